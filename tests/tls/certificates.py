"""Certificates as an operator has them: one file with the chain and one with the key, made by `openssl req`."""

import subprocess


class Certificate:
    """A self-signed certificate, so that a peer verifies it with its own file."""

    def __init__(self, directory, name, alternatives):
        self.name = name
        self.chain = directory / f"{name}.pem"
        self.key = directory / f"{name}.key.pem"
        self.renew(name, alternatives)

    def renew(self, name, alternatives):
        """Writes a new key and a new certificate for `name` over the files."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}", "-keyout", self.key, "-out", self.chain],
            check=True, capture_output=True)

    def toml(self):
        return f'{{ cert = "{self.chain}", key = "{self.key}" }}'
