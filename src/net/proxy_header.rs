//! Reads the PROXY header (versions 1 and 2 of HAProxy's "The PROXY protocol"), in which a layer-4 load
//! balancer names its client.
//!
//! The request follows, and hyper has to find it untouched. So bytes are peeked at first, and only those
//! of the header are taken.

use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use proxy_header::{ParseConfig, ProxyHeader};
use rustix::net::RecvFlags;

use super::Socket;

/// Longest header accepted. A client certificate's subject and a balancer's own fields fit, and memory
/// stays bounded.
const MAX_BYTES: usize = 4_096;
/// Longest header of version 1, with its line end (section 2.1).
const V1_MAX_BYTES: usize = 107;
const V1_START: &[u8] = b"PROXY ";
/// The signature of version 2 (section 2.2).
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL.
const V2_LOCAL: u8 = 0x20;
/// Length of the fixed part of version 2. Its last two bytes are the length of the rest.
const V2_FIXED_BYTES: usize = 16;

/// Why no header could be read.
#[derive(Debug)]
pub(crate) enum NoHeader {
    /// The peer closed the connection, as a balancer does after a port check.
    Closed,
    /// The peer sent something else.
    Malformed,
}

/// Reads the header and returns the client's address. It is `None` if the balancer speaks for itself or
/// does not know the client. Waits without a limit.
///
/// # Errors
/// [`NoHeader`]; the connection cannot be used.
pub(crate) async fn read(socket: &mut Socket) -> Result<Option<IpAddr>, NoHeader> {
    let mut header = Header::default();
    while !header.is_complete() {
        let taken = poll_fn(|cx| poll_next(socket, &mut header, cx)).await?;
        let mut scratch = vec![0; taken];
        match socket.receive(&mut scratch, RecvFlags::empty()).await {
            Ok(received) if received == taken => {}
            _ => return Err(NoHeader::Closed),
        }
    }
    header.client()
}

/// Takes what has arrived of the header. Returns the number of these bytes, which are still in the kernel.
fn poll_next(
    socket: &mut Socket,
    header: &mut Header,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, NoHeader>> {
    // On the stack, so that a connection that waits needs no buffer.
    let mut scratch = [0; MAX_BYTES];
    Poll::Ready(
        match ready!(socket.poll_receive(cx, &mut scratch, RecvFlags::PEEK)) {
            Ok(0) | Err(_) => Err(NoHeader::Closed),
            Ok(seen) => header.take(scratch.get(..seen).unwrap_or_default()),
        },
    )
}

/// The bytes of a header so far.
#[derive(Debug, Default)]
struct Header(Vec<u8>);

impl Header {
    /// Takes the bytes of `next` that belong to the header, and returns their number: at least one.
    fn take(&mut self, next: &[u8]) -> Result<usize, NoHeader> {
        let before = self.0.len();
        self.0.extend_from_slice(next);
        let length = self.known_length().ok_or(NoHeader::Malformed)?;
        self.0.truncate(length.max(before));
        Ok(self.0.len() - before)
    }

    /// How many of the bytes held belong to the header, as far as known; `None` if this is not a header.
    fn known_length(&self) -> Option<usize> {
        let held = self.0.as_slice();
        if starts_like(held, V1_START) {
            let line = held.iter().position(|byte| *byte == b'\n');
            let length = line.map_or(held.len(), |end| end + 1);
            return (length <= V1_MAX_BYTES && (line.is_some() || length < V1_MAX_BYTES))
                .then_some(length);
        }
        if starts_like(held, V2_START) {
            let length = v2_length(held).unwrap_or(V2_FIXED_BYTES);
            return (length <= MAX_BYTES).then_some(length.min(held.len()));
        }
        None
    }

    fn is_complete(&self) -> bool {
        let held = self.0.as_slice();
        held.starts_with(V1_START) && held.ends_with(b"\n")
            || v2_length(held).is_some_and(|length| held.len() == length)
    }

    fn client(&self) -> Result<Option<IpAddr>, NoHeader> {
        // The balancer speaks for itself. Addresses in such a header are to be ignored.
        if self.0.starts_with(V2_START) && self.0.get(V2_START.len()) == Some(&V2_LOCAL) {
            return Ok(None);
        }
        let (header, _) =
            ProxyHeader::parse(&self.0, ParseConfig::default()).map_err(|_| NoHeader::Malformed)?;
        let address = header.proxied_address();
        Ok(address
            .map(|address| address.source.ip().to_canonical())
            .filter(|address| !address.is_unspecified()))
    }
}

/// The whole length of a version 2 header, once its fixed part is there.
fn v2_length(held: &[u8]) -> Option<usize> {
    let fixed = held.get(..V2_FIXED_BYTES)?;
    let rest = fixed.last_chunk().map(|bytes| u16::from_be_bytes(*bytes))?;
    fixed
        .starts_with(V2_START)
        .then_some(V2_FIXED_BYTES + usize::from(rest))
}

/// Returns true if one of the two starts with the other.
fn starts_like(held: &[u8], start: &[u8]) -> bool {
    held.iter().zip(start).all(|(held, start)| held == start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;
    use std::net::SocketAddr;

    /// Feeds `bytes` in pieces. Returns the client and the number of bytes taken.
    fn fed(bytes: &[u8], pieces: impl Iterator<Item = usize>) -> Option<(Option<IpAddr>, usize)> {
        let mut header = Header::default();
        let mut taken = 0;
        for piece in pieces {
            let next = &bytes[taken..bytes.len().min(taken + piece.max(1))];
            if next.is_empty() {
                return None;
            }
            let more = header.take(next).ok()?;
            assert!(more > 0 && more <= next.len());
            taken += more;
            if header.is_complete() {
                return header.client().ok().map(|client| (client, taken));
            }
        }
        unreachable!("the pieces do not end")
    }

    fn whole(bytes: &[u8]) -> Option<(Option<IpAddr>, usize)> {
        fed(bytes, std::iter::repeat(MAX_BYTES))
    }

    fn version_2(source: &str, destination: &str, fields: usize) -> Vec<u8> {
        let parse = |address: &str| -> SocketAddr { address.parse().unwrap() };
        let addresses = ProxiedAddress::stream(parse(source), parse(destination));
        let mut header = ProxyHeader::with_address(addresses);
        header.append_tlv(proxy_header::Tlv::UniqueId(vec![7; fields].into()));
        let mut bytes = vec![0; MAX_BYTES * 2];
        let length = header.encode_to_slice_v2(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn both_versions_name_the_client_and_leave_the_request() {
        let headers: [(&[u8], Option<&str>); 7] = [
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 443\r\n",
                Some("192.0.2.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 4321 443\r\n",
                Some("2001:db8::7"),
            ),
            (b"PROXY UNKNOWN\r\n", None),
            (
                &version_2("192.0.2.7:4321", "192.0.2.1:443", 3),
                Some("192.0.2.7"),
            ),
            // LOCAL: the balancer's own health check.
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\0", None),
            (b"PROXY TCP4 0.0.0.0 192.0.2.1 4321 443\r\n", None),
        ];
        for (header, client) in headers {
            let mut bytes = header.to_vec();
            bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(whole(&bytes), Some((client, header.len())));
        }
    }

    #[test]
    fn anything_else_is_rejected_at_its_first_wrong_byte() {
        for bytes in [
            &b"G"[..],
            b"POST",
            b"\r\n\r\n\r",
            b"\x16\x03\x01",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 x 192.0.2.1 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c123456789012",
        ] {
            assert_eq!(whole(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_length_of_a_header_is_bounded() {
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(whole(&endless), None);
        assert!(whole(&version_2("192.0.2.7:1", "192.0.2.1:2", 4_000)).is_some());
        assert_eq!(whole(&version_2("192.0.2.7:1", "192.0.2.1:2", 4_096)), None);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            pieces in proptest::collection::vec(1_usize..40, 1..40),
            is_first_version: bool,
            fields in 0_usize..60,
        ) {
            let header = if is_first_version {
                b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 443\r\n".to_vec()
            } else {
                version_2("[2001:db8::7]:1", "[2001:db8::1]:2", fields)
            };
            let bytes = [header.as_slice(), b"GET / HTTP/1.1\r\n\r\n"].concat();
            let cut = fed(&bytes, pieces.into_iter().chain(std::iter::repeat(1)));
            prop_assert_eq!(cut, whole(&bytes));
            prop_assert_eq!(cut.unwrap().1, header.len());
        }

        #[test]
        fn no_bytes_make_it_panic(start in 0_usize..3, bytes: Vec<u8>) {
            let start = [&b""[..], V1_START, V2_START][start];
            let _ = whole(&[start, bytes.as_slice()].concat());
        }
    }
}
