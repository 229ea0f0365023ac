//! Tests a link against rustls as the server, in memory. Records that rustls cannot produce are sealed here.

use std::io::{Read, Write};
use std::sync::Arc;

use ::aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use clap::ValueEnum;
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ConnectionTrafficSecrets, ServerConfig, ServerConnection};

use super::*;
use crate::parse::Reached;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: &[u8] = &[4, 0, 0, 3, 1, 2, 3];
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];

/// A client and its server, and the data that the client has read.
struct Session {
    link: Link,
    server: ServerConnection,
    outgoing: Vec<u8>,
    counts: TlsCounts,
    /// The client's keys, once its stream has begun.
    sealer: Option<super::Sealer>,
    read: Vec<u8>,
}

impl Session {
    fn new(client: &Client, server: &Arc<ServerConfig>) -> Self {
        let mut outgoing = Vec::new();
        Self {
            link: Link::start(client, REQUEST, &mut outgoing).unwrap(),
            server: ServerConnection::new(Arc::clone(server)).unwrap(),
            outgoing,
            counts: TlsCounts::default(),
            sealer: None,
            read: Vec::new(),
        }
    }

    /// Runs up to the arrival of the request. All bytes to the client come in pieces of these lengths,
    /// repeatedly.
    fn ask(&mut self, pieces: &[usize]) {
        let mut request = Vec::new();
        while request != REQUEST {
            let sent = std::mem::take(&mut self.outgoing);
            assert!(!sent.is_empty(), "neither side has more to send");
            self.server.read_tls(&mut sent.as_slice()).unwrap();
            let state = self.server.process_new_packets().unwrap();
            let start = request.len();
            request.resize(start + state.plaintext_bytes_to_read(), 0);
            self.server
                .reader()
                .read_exact(&mut request[start..])
                .unwrap();
            self.deliver(pieces).unwrap();
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.server.writer().write_all(bytes).unwrap();
    }

    /// Passes the server's outgoing bytes to the client.
    fn deliver(&mut self, pieces: &[usize]) -> Result<(), Stopped> {
        let mut bytes = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_mut_slice();
        for &piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (taken, left) = rest.split_at_mut(piece.min(rest.len()));
            self.receive(taken)?;
            rest = left;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Stopped> {
        let Self {
            link,
            outgoing,
            counts,
            sealer,
            read,
            ..
        } = self;
        let mut input = Input(bytes);
        while let Some(Reached::Body) =
            link.receive(&mut input, outgoing, counts, sealer, &mut |bytes| {
                read.extend_from_slice(bytes);
                Ok(Reached::Body)
            })?
        {}
        Ok(())
    }

    /// A stream that has begun, and whose further records are sealed here.
    fn by_hand(client: &Client) -> (Self, Sealer) {
        let mut config = Arc::unwrap_or_clone(server_config().unwrap());
        config.enable_secret_extraction = true;
        let config = Arc::new(config);
        let mut session = Self::new(client, &config);
        session.ask(&[usize::MAX]);
        session.say(b"head");
        session.deliver(&[usize::MAX]).unwrap();
        assert_eq!(session.read, b"head");
        session.read.clear();
        let spare = ServerConnection::new(config).unwrap();
        let server = std::mem::replace(&mut session.server, spare);
        (session, Sealer::new(server))
    }
}

/// The server's sending direction.
struct Sealer {
    key: LessSafeKey,
    nonce_base: [u8; 12],
    next: u64,
}

impl Sealer {
    fn new(server: ServerConnection) -> Self {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
        let (next, secrets) = server.dangerous_extract_secrets().unwrap().tx;
        let (algorithm, key, iv) = match &secrets {
            Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => panic!("an unknown cipher"),
        };
        Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap()),
            nonce_base: iv.as_ref().try_into().unwrap(),
            next,
        }
    }

    fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut body = [content, &[kind], &vec![0; padding]].concat();
        let length = u16::try_from(body.len() + 16).unwrap().to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, length[0], length[1]];
        let number = u128::from(self.next).to_be_bytes();
        let nonce = std::array::from_fn(|at| self.nonce_base[at] ^ number[at + 4]);
        self.next += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut body);
        sealed.unwrap();
        [&header[..], &body].concat()
    }
}

fn client(cipher: Option<Cipher>, tickets: Option<usize>) -> Client {
    Client::new("127.0.0.1", Trust::Anybody, cipher, tickets).unwrap()
}

/// The counts of a connection whose stream has begun.
fn counts_of(client: &Client, server: &Arc<ServerConfig>) -> (u64, u64) {
    let mut session = Session::new(client, server);
    session.ask(&[usize::MAX]);
    session.say(b"head");
    session.deliver(&[usize::MAX]).unwrap();
    (session.counts.full, session.counts.resumed)
}

proptest! {
    // Each case is a handshake.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_servers_bytes_are_split_the_client_reads_the_same(
        pieces in proptest::collection::vec(prop_oneof![1usize..8, 1usize..2_000], 1..20),
        texts in proptest::collection::vec(0usize..20_000, 1..5),
    ) {
        let server = server_config().unwrap();
        let mut session = Session::new(&client(None, Some(1)), &server);
        session.ask(&pieces);
        let mut expected = Vec::new();
        for (text, letter) in texts.into_iter().zip(b'a'..) {
            let text = vec![letter; text];
            session.say(&text);
            session.deliver(&pieces).unwrap();
            expected.extend(text);
        }
        prop_assert!(session.read == expected);
        session.server.send_close_notify();
        prop_assert_eq!(session.deliver(&pieces), Err(Stopped::Closed));
    }
}

#[test]
fn the_clients_offer_http_1() {
    let server = server_config().unwrap();
    let mut session = Session::new(&client(None, None), &server);
    session.ask(&[usize::MAX]);
    assert_eq!(session.server.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_second_session_is_resumed_by_the_ticket_of_the_first_one_only_if_tickets_are_kept() {
    let server = server_config().unwrap();
    let keeping = client(None, Some(8));
    assert_eq!(counts_of(&keeping, &server), (1, 0));
    assert_eq!(
        counts_of(&keeping.clone(), &server),
        (0, 1),
        "a copy shares them"
    );
    let forgetful = client(None, None);
    assert_eq!(counts_of(&forgetful, &server), (1, 0));
    assert_eq!(counts_of(&forgetful, &server), (1, 0));
}

#[test]
fn no_more_tickets_are_stored_than_configured() {
    let (server, client) = (server_config().unwrap(), client(None, Some(1)));
    assert_eq!(counts_of(&client, &server), (1, 0));
    // The server issued two tickets, and both clients begin before either gets another.
    let mut sessions = [(); 2].map(|()| Session::new(&client, &server));
    let kinds = sessions.each_mut().map(|session| {
        session.ask(&[usize::MAX]);
        (session.counts.full, session.counts.resumed)
    });
    assert_eq!(kinds, [(0, 1), (1, 0)]);
}

#[test]
fn every_offered_cipher_can_be_read() {
    for &cipher in Cipher::value_variants() {
        let (mut session, mut sealer) = Session::by_hand(&client(Some(cipher), None));
        for text in [&b"one"[..], b"two"] {
            session
                .receive(&mut sealer.seal(APPLICATION_DATA, text, 0))
                .unwrap();
        }
        assert_eq!(session.read, b"onetwo", "{cipher:?}");
    }
}

#[test]
fn the_server_reads_records_of_a_streaming_client_with_every_cipher() {
    for &cipher in Cipher::value_variants() {
        let server = server_config().unwrap();
        let mut session = Session::new(&client(Some(cipher), None), &server);
        session.ask(&[usize::MAX]);
        assert!(session.sealer.is_none(), "the stream has not begun");
        session.say(b"head");
        session.deliver(&[usize::MAX]).unwrap();
        let sealer = session.sealer.as_mut().unwrap();
        let more_than_a_record = vec![b'x'; 20_000];
        let mut heard = Vec::new();
        for said in [&b"pong"[..], b"pong again", &more_than_a_record] {
            let mut records = Vec::new();
            sealer.seal(said, &mut records);
            let mut records = records.as_slice();
            while !records.is_empty() {
                session.server.read_tls(&mut records).unwrap();
                let state = session.server.process_new_packets().unwrap();
                let start = heard.len();
                heard.resize(start + state.plaintext_bytes_to_read(), 0);
                let mut reader = session.server.reader();
                reader.read_exact(&mut heard[start..]).unwrap();
            }
        }
        let expected = [b"pongpong again", &more_than_a_record[..]].concat();
        assert!(heard == expected, "{cipher:?}");
    }
}

#[test]
fn padding_and_tickets_are_ignored() {
    let (mut session, mut sealer) = Session::by_hand(&client(None, None));
    let two_tickets = [NEW_SESSION_TICKET, NEW_SESSION_TICKET].concat();
    let records = [
        sealer.seal(APPLICATION_DATA, b"padded", 300),
        sealer.seal(HANDSHAKE, &two_tickets, 0),
        sealer.seal(APPLICATION_DATA, b"", 5),
        sealer.seal(APPLICATION_DATA, b"!", 0),
    ];
    session.receive(&mut records.concat()).unwrap();
    assert_eq!(session.read, b"padded!");
}

#[test]
fn a_record_that_was_altered_omitted_or_repeated_is_detected() {
    let tampered = Err(Stopped::Faulty(Fault::Tampered));
    for at in [1, 5, 10, 24] {
        let (mut session, mut sealer) = Session::by_hand(&client(None, None));
        let mut record = sealer.seal(APPLICATION_DATA, b"data", 0);
        record[at] ^= 1;
        assert_eq!(session.receive(&mut record), tampered, "byte {at}");
    }
    let (mut session, mut sealer) = Session::by_hand(&client(None, None));
    sealer.seal(APPLICATION_DATA, b"lost", 0);
    let mut record = sealer.seal(APPLICATION_DATA, b"next", 0);
    assert_eq!(session.receive(&mut record), tampered);
    let (mut session, mut sealer) = Session::by_hand(&client(None, None));
    let mut twice = sealer.seal(APPLICATION_DATA, b"twice", 0).repeat(2);
    assert_eq!(session.receive(&mut twice), tampered);
    assert_eq!(session.read, b"twice");
}

#[test]
fn messages_that_are_not_allowed_in_a_stream_are_refused_with_their_kind() {
    let half_a_ticket = &NEW_SESSION_TICKET[..5];
    for (kind, content, stopped) in [
        (ALERT, &[1, 0][..], Stopped::Closed),
        (ALERT, &[2, 20], Fault::Alert(20).into()),
        (ALERT, &[2], Fault::Unexpected(ALERT).into()),
        (HANDSHAKE, KEY_UPDATE, Fault::Message(24).into()),
        (HANDSHAKE, half_a_ticket, Fault::Message(4).into()),
        (HANDSHAKE, &[4, 0], Fault::Unexpected(HANDSHAKE).into()),
        (20, &[1], Fault::Unexpected(20).into()),
        (0, &[0], Fault::Unexpected(0).into()),
    ] {
        let (mut session, mut sealer) = Session::by_hand(&client(None, None));
        let received = session.receive(&mut sealer.seal(kind, content, 0));
        assert_eq!(received, Err(stopped), "{kind} {content:?}");
    }
    let (mut session, _) = Session::by_hand(&client(None, None));
    let received = session.receive(&mut [20, 3, 3, 0, 1, 1]);
    assert_eq!(received, Err(Fault::Unexpected(20).into()), "not sealed");
}

/// Returns true if a client that trusts `trusted` accepts this certificate from 127.0.0.1.
fn takes(
    trusted: &CertificateDer<'static>,
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
) -> bool {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let server = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let trust = Trust::Of(vec![trusted.clone()]);
    let client = Client::new("127.0.0.1", trust, None, None).unwrap();
    let mut session = Session::new(&client, &Arc::new(server));
    let hello = std::mem::take(&mut session.outgoing);
    session.server.read_tls(&mut hello.as_slice()).unwrap();
    session.server.process_new_packets().unwrap();
    match session.deliver(&[usize::MAX]) {
        Ok(()) => true,
        Err(Stopped::Faulty(Fault::Handshake(rustls::Error::InvalidCertificate(_)))) => false,
        Err(stopped) => panic!("{stopped:?}"),
    }
}

#[test]
fn a_certificate_is_accepted_if_it_is_trusted_or_signed_by_a_trusted_one() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained); // as openssl's self-signed ones are
    let authority: CertificateDer<'static> = params.self_signed(&key).unwrap().into();
    let issuer = Issuer::new(params, &key);
    let signed = |name: &str| -> CertificateDer<'static> {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        params.signed_by(&key, &issuer).unwrap().into()
    };
    let (here, elsewhere) = (signed("127.0.0.1"), signed("example.com"));
    assert!(takes(&authority, &authority, &key), "named");
    assert!(takes(&authority, &here, &key), "signed");
    assert!(!takes(&authority, &elsewhere, &key), "of another name");
    assert!(takes(&elsewhere, &elsewhere, &key), "named itself");
    let stranger = Certificate::for_loopback().unwrap().certificate;
    assert!(!takes(&stranger, &here, &key), "neither");
}
