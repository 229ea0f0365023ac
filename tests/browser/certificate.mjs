// A self-signed certificate.

import { execFile } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Creates one for 127.0.0.1, with its key, in this directory. */
export async function makeCertificate(directory) {
  const chain = join(directory, 'cert.pem');
  const key = join(directory, 'key.pem');
  await promisify(execFile)('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', chain,
  ]);
  const publicKey = new X509Certificate(await readFile(chain)).publicKey.export({ type: 'spki', format: 'der' });
  return {
    chain,
    key,
    /** The hash with which Chromium accepts it without an authority. */
    chromiumArg: `--ignore-certificate-errors-spki-list=${createHash('sha256').update(publicKey).digest('base64')}`,
  };
}
