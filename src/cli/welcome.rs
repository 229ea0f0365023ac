//! What `serve --dev` prints when it serves: where the pages are, how to log in, and a call to try.

use crate::config::Endpoint;

/// What there is to try.
pub(super) struct Welcome<'a> {
    /// The listeners without TLS.
    pub(super) public: &'a [Endpoint],
    /// The listeners with TLS.
    pub(super) tls: &'a [Endpoint],
    pub(super) admin: &'a [Endpoint],
    /// Whether the well-known user can log in.
    pub(super) has_user: bool,
    /// The API key, if `--dev` made it. A configured one is not printed.
    pub(super) api_key: Option<&'a str>,
    /// Where the secrets are kept, if they are.
    pub(super) kept_in: Option<&'a str>,
}

impl Welcome<'_> {
    /// The lines, of which the last is a command.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let demo = page("http", self.public).or_else(|| page("https", self.tls));
        lines.extend(demo.map(|page| format!("idlewild: demo page: {page}")));
        let dashboard = page("http", self.admin);
        lines.extend(dashboard.map(|page| format!("idlewild: dashboard: {page}")));
        if self.has_user {
            lines.push("idlewild: login: user@example.com with the password `password`".to_owned());
        }
        if let Some(key) = self.api_key {
            lines.push(format!("idlewild: development API key: {key}"));
        }
        if let Some(directory) = self.kept_in {
            lines.push(format!(
                "idlewild: secrets are kept in {directory}, and remain the same at the next start"
            ));
        }
        if let Some(admin) = self.admin.first() {
            lines.push("idlewild: publish an event to everyone:".to_owned());
            lines.push(self.publish(admin));
        }
        lines
    }

    /// A command that publishes an event.
    fn publish(&self, admin: &Endpoint) -> String {
        let (socket, base) = match (admin, url("http", admin)) {
            (Endpoint::Unix(path), _) => {
                let socket = format!("--unix-socket '{}' ", path.display());
                (socket, "http://localhost/".to_owned())
            }
            (Endpoint::Tcp(_), url) => (String::new(), url.unwrap_or_default()),
        };
        let key = self.api_key.unwrap_or("$IDLEWILD_API_KEY");
        format!(
            "curl {socket}{base}v1/events -H \"Authorization: Bearer {key}\" -d '{{\"to\": {{\"all\": true}}, \"data\": \"Hello\"}}'"
        )
    }
}

/// The address of the page of the first listener that a browser can open.
fn page(scheme: &str, endpoints: &[Endpoint]) -> Option<String> {
    endpoints.iter().find_map(|endpoint| url(scheme, endpoint))
}

/// The address of a listener's root; `None` for a unix socket.
fn url(scheme: &str, endpoint: &Endpoint) -> Option<String> {
    let Endpoint::Tcp(address) = endpoint else {
        return None;
    };
    let mut address = *address;
    if address.ip().is_unspecified() {
        // It accepts connections to every address of this machine.
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Some(format!("{scheme}://{address}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(addresses: &[&str]) -> Vec<Endpoint> {
        let endpoints = addresses.iter().map(|address| address.parse().unwrap());
        endpoints.collect()
    }

    #[test]
    fn addresses_are_those_that_a_browser_on_this_machine_can_open() {
        for (endpoint, shown) in [
            ("127.0.0.1:8000", Some("http://127.0.0.1:8000/")),
            ("0.0.0.0:8000", Some("http://127.0.0.1:8000/")),
            ("[::]:8000", Some("http://[::1]:8000/")),
            ("unix:/run/idlewild/public.sock", None),
        ] {
            assert_eq!(page("http", &endpoints(&[endpoint])).as_deref(), shown);
        }
    }

    #[test]
    fn a_configured_key_is_not_printed_and_a_unix_socket_is_reached_as_well() {
        let admin = endpoints(&["unix:/run/a.sock"]);
        let welcome = Welcome {
            public: &[],
            tls: &endpoints(&["127.0.0.1:8443"]),
            admin: &admin,
            has_user: false,
            api_key: None,
            kept_in: None,
        };
        let expected = [
            "idlewild: demo page: https://127.0.0.1:8443/",
            "idlewild: publish an event to everyone:",
            "curl --unix-socket '/run/a.sock' http://localhost/v1/events -H \"Authorization: Bearer $IDLEWILD_API_KEY\" -d '{\"to\": {\"all\": true}, \"data\": \"Hello\"}'",
        ];
        assert_eq!(welcome.lines(), expected);
    }
}
