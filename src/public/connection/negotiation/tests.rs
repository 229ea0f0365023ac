use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::LazyLock;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

use super::*;
use crate::net::Socket;
use crate::public::connection::socket::LooseEnds;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// A server's configuration, and a client that accepts its certificate.
static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
});

/// A client's first message, without the header of its record.
fn hello() -> Vec<u8> {
    let client = Arc::clone(&CONFIGS.1);
    let mut client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut record = Vec::new();
    client.write_tls(&mut record).unwrap();
    record.split_off(5)
}

fn record(typed: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[typed, 3, 1, high, low], body].concat()
}

/// Lets a client send these bytes and close. Returns how the handshake ends, and what the client receives.
fn outcome(sent: &[u8]) -> (Result<(), Failure>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let socket = Socket::from_fd(server.into()).unwrap();
        let socket = ClientSocket::new(socket, Rc::new(LooseEnds::of_tls()));
        let config = Arc::clone(&CONFIGS.0);
        let mut negotiation = Negotiation::new(socket, config).unwrap();
        client.write_all(sent).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let outcome = negotiation.run().await;
        assert!(negotiation.incoming.len() <= MAX_INCOMING_BYTES + 4_096);
        // What was sent is here already.
        client.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        let end = std::io::Read::read_to_end(&mut client, &mut received);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        (outcome, received)
    })
}

#[test]
fn a_client_that_is_rejected_gets_an_alert() {
    let hello = hello();
    let begun = record(HANDSHAKE, &hello[..1]);
    let wrong = [1, 0, 0, 1, 0];
    for (case, sent) in [
        ("no TLS", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (
            "no TLS after a part of a message",
            [&begun, &[0; 5][..]].concat(),
        ),
        (
            "more than a hello in its record",
            record(HANDSHAKE, &[&hello[..], &[1]].concat()),
        ),
        (
            "a wrong message, and another",
            record(HANDSHAKE, &[wrong, wrong].concat()),
        ),
    ] {
        let (outcome, received) = outcome(&sent);
        assert!(
            matches!(outcome, Err(Failure::Rejected(_))),
            "{case}: {outcome:?}"
        );
        let last = received
            .len()
            .checked_sub(7)
            .map(|start| &received[start..]);
        // A fatal alert.
        assert!(
            matches!(last, Some([ALERT, 3, _, 0, 2, 2, _])),
            "{case}: {received:?}"
        );
    }
}

#[test]
fn a_message_that_does_not_end_is_held_only_up_to_a_limit() {
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(5 * 16_384, 0);
    let records = message
        .chunks(16_384)
        .flat_map(|part| record(HANDSHAKE, part));
    let (outcome, _) = outcome(&records.collect::<Vec<u8>>());
    assert!(matches!(outcome, Err(Failure::Rejected(_))), "{outcome:?}");
}

#[test]
fn a_handshake_has_a_limited_number_of_records() {
    let hello = hello();
    let of_one_byte = |bytes: usize| {
        let parts = hello[..bytes].iter();
        outcome(
            &parts
                .flat_map(|byte| record(HANDSHAKE, &[*byte]))
                .collect::<Vec<u8>>(),
        )
        .0
    };
    let most = MAX_RECORDS as usize;
    // Within the limit, the server waits for the rest, and the client leaves.
    assert!(matches!(of_one_byte(most), Err(Failure::Closed)));
    assert!(matches!(of_one_byte(most + 1), Err(Failure::Rejected(_))));
}

proptest! {
    #[test]
    fn nothing_that_a_client_sends_breaks_a_handshake(
        pieces in prop::collection::vec(
            prop_oneof![
                4 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(from, to)| {
                    let hello = hello();
                    let (from, to) = (from.index(hello.len()), to.index(hello.len()));
                    record(HANDSHAKE, &hello[from.min(to)..=from.max(to)])
                }),
                2 => Just(record(HANDSHAKE, &hello())),
                2 => any::<prop::sample::Index>().prop_map(|cut| {
                    let hello = hello();
                    let (first, second) = hello.split_at(cut.index(hello.len()));
                    [record(HANDSHAKE, first), record(HANDSHAKE, second)].concat()
                }),
                2 => (20u8..25, prop::collection::vec(any::<u8>(), 0..40))
                    .prop_map(|(typed, body)| record(typed, &body)),
                1 => prop::collection::vec(any::<u8>(), 0..40),
                1 => prop::collection::vec(any::<u8>(), 4)
                    .prop_map(|body| record(HANDSHAKE, &[&[1, 0, 0, 4][..], &body, &[1, 0]].concat())),
            ],
            0..6,
        ),
    ) {
        // The client closes before the handshake can complete.
        let (outcome, _) = outcome(&pieces.concat());
        prop_assert!(outcome.is_err());
    }
}
