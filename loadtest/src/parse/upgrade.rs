//! Checks the response to a WebSocket handshake (RFC 6455, section 4.1).

use super::Malformed;
use super::head::{Head, HeadParser};
use crate::websocket::ACCEPT_BYTES;

/// Collects the head of the response, and has the expected `Sec-WebSocket-Accept`.
#[derive(Debug)]
pub(crate) struct Upgrade {
    head: HeadParser,
    accept: [u8; ACCEPT_BYTES],
}

impl Upgrade {
    /// Starts before the status line of a response that must contain `accept`.
    pub(super) fn new(accept: [u8; ACCEPT_BYTES]) -> Self {
        let head = HeadParser::default();
        Self { head, accept }
    }

    /// Takes bytes from `input` up to the end of the head. Returns true if the connection is now a WebSocket.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        match self.head.feed(input)? {
            None => Ok(false),
            Some(head) => self.check(head).map(|()| true),
        }
    }

    fn check(&self, head: Head) -> Result<(), Malformed> {
        if head.status != 101 {
            return Err(Malformed::Status(head.status));
        }
        let upgrade = head.upgrade;
        if !upgrade.websocket || !upgrade.connection {
            return Err(Malformed::Upgrade("no upgrade to websocket"));
        }
        if upgrade.accept != Some(self.accept) {
            return Err(Malformed::Upgrade(
                "a wrong or missing Sec-WebSocket-Accept",
            ));
        }
        if upgrade.unoffered {
            return Err(Malformed::Upgrade(
                "an extension or protocol that was not offered",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::accept;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn answered(head: &str) -> Result<bool, Malformed> {
        let head = head.replace('\n', "\r\n") + "\r\n\r\n";
        let mut upgrade = Upgrade::new(accept(KEY));
        let mut whole = Ok(false);
        for byte in head.as_bytes() {
            assert_eq!(whole, Ok(false));
            whole = upgrade.feed(&mut std::slice::from_ref(byte));
        }
        whole
    }

    #[test]
    fn a_response_must_accept_the_whole_request_and_nothing_else() {
        let good = "HTTP/1.1 101 Switching Protocols\nupgrade: WebSocket\nConnection: keep-alive, Upgrade\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(answered(good), Ok(true));
        let upgrade = |text| Err(Malformed::Upgrade(text));
        for (from, to, expected) in [
            ("101", "403", Err(Malformed::Status(403))),
            ("101", "200", Err(Malformed::Status(200))),
            ("WebSocket", "h2c", upgrade("no upgrade to websocket")),
            (", Upgrade", "", upgrade("no upgrade to websocket")),
            (
                "s3p",
                "S3p",
                upgrade("a wrong or missing Sec-WebSocket-Accept"),
            ),
            (
                "Accept",
                "Accepted",
                upgrade("a wrong or missing Sec-WebSocket-Accept"),
            ),
            (
                "Accept: s3p",
                "Accept: s3",
                upgrade("a wrong or missing Sec-WebSocket-Accept"),
            ),
            (
                "upgrade",
                "Sec-WebSocket-Extensions: permessage-deflate\nupgrade",
                upgrade("an extension or protocol that was not offered"),
            ),
            (
                "upgrade",
                "Sec-WebSocket-Protocol: idlewild.v1\nupgrade",
                upgrade("an extension or protocol that was not offered"),
            ),
        ] {
            assert_eq!(
                answered(&good.replacen(from, to, 1)),
                expected,
                "{from} → {to}"
            );
        }
    }
}
