use super::*;
use crate::tls::Secrets;
use proptest::prelude::*;

/// The contents of the records in `bytes`, as the other end reads them, and their number.
fn read(end: &mut Secrets, mut bytes: Vec<u8>) -> Result<(Vec<u8>, usize), Alert> {
    let (mut content, mut records) = (Vec::new(), 0);
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let length = record_bytes(rest)?.expect("records are whole");
        let (record, later) = rest.split_at_mut(length);
        let (typed, inner) = end.decrypt(record)?;
        assert_eq!(typed, DATA);
        content.extend_from_slice(inner);
        records += 1;
        rest = later;
    }
    Ok((content, records))
}

proptest! {
    #[test]
    fn the_peer_reads_exactly_what_was_sealed_in_as_few_records_as_hold_it(
        cipher in 0usize..3,
        sends in prop::collection::vec(prop::collection::vec(0usize..20_000, 0..4), 1..6),
    ) {
        let (mut server, mut client) = Secrets::pair(cipher);
        let mut next = 0u8;
        for lengths in sends {
            let parts: Vec<Vec<u8>> = lengths
                .iter()
                .map(|length| {
                    next = next.wrapping_add(1);
                    vec![next; *length]
                })
                .collect();
            let mut out = b"before".to_vec();
            server.seal(parts.iter().map(Vec::as_slice), &mut out);
            prop_assert!(out.starts_with(b"before"));
            let plain = parts.concat();
            let (read, records) = read(&mut client, out.split_off(6)).unwrap();
            prop_assert_eq!(records, plain.len().div_ceil(MAX_CONTENT_BYTES));
            prop_assert_eq!(read, plain);
        }
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_refused(
        cipher in 0usize..3,
        content in prop::collection::vec(any::<u8>(), 1..100),
        bit in any::<prop::sample::Index>(),
    ) {
        let (mut server, mut client) = Secrets::pair(cipher);
        let mut sealed = client.record(DATA, &content);
        // All bits except those of type and length, with which it would not even be opened.
        let bits: Vec<usize> = (8..24).chain(HEADER_BYTES * 8..sealed.len() * 8).collect();
        let bit = bits[bit.index(bits.len())];
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(server.open(&mut sealed), Err(Alert::BadRecordMac));
    }
}

#[test]
fn a_record_is_accepted_once_and_in_order() {
    let (mut server, mut client) = Secrets::pair(0);
    let first = client.record(DATA, b"1");
    let second = client.record(DATA, b"2");
    assert_eq!(server.open(&mut first.clone()), Ok(Received::Data(b"1")));
    assert_eq!(
        server.open(&mut first.clone()),
        Err(Alert::BadRecordMac),
        "replayed"
    );
    let (mut server, _) = Secrets::pair(0);
    assert_eq!(
        server.open(&mut second.clone()),
        Err(Alert::BadRecordMac),
        "out of order"
    );
}

#[test]
fn records_that_end_a_connection_are_recognised() {
    let key_update = |is_requested| Received::KeyUpdate { is_requested };
    let cases: [(u8, &[u8], Result<Received<'_>, Alert>); 15] = [
        (
            DATA,
            b"GET / HTTP/1.1",
            Ok(Received::Data(b"GET / HTTP/1.1")),
        ),
        (DATA, b"", Ok(Received::Data(b""))),
        // Padding (§5.4) after the type: here the last byte of the content looks like a type.
        (0, &[1, DATA, 0, 0], Ok(Received::Data(&[1]))),
        (ALERT, &[1, 0], Ok(Received::CloseNotify)),
        (ALERT, &[1, 90], Ok(Received::Data(b""))),
        (ALERT, &[2, 20], Ok(Received::Failure)),
        (ALERT, &[1], Err(Alert::UnexpectedMessage)),
        (HANDSHAKE, &[24, 0, 0, 1, 0], Ok(key_update(false))),
        (HANDSHAKE, &[24, 0, 0, 1, 1], Ok(key_update(true))),
        (HANDSHAKE, &[24, 0, 0, 1, 2], Err(Alert::UnexpectedMessage)),
        (
            HANDSHAKE,
            &[24, 0, 0, 1, 0, 24],
            Err(Alert::UnexpectedMessage),
        ),
        (HANDSHAKE, &[], Err(Alert::UnexpectedMessage)),
        (HANDSHAKE, &[1, 0, 0, 0], Err(Alert::UnexpectedMessage)),
        (20, &[1], Err(Alert::UnexpectedMessage)),
        // Only padding.
        (0, &[0, 0], Err(Alert::UnexpectedMessage)),
    ];
    for (typed, content, expected) in cases {
        let (mut server, mut client) = Secrets::pair(1);
        let mut sealed = client.record(typed, content);
        assert_eq!(server.open(&mut sealed), expected, "{typed} {content:?}");
    }
}

#[test]
fn alerts_have_the_right_level() {
    for (alert, level) in [(Alert::CloseNotify, 1), (Alert::BadRecordMac, 2)] {
        let (mut server, mut client) = Secrets::pair(2);
        let mut out = Vec::new();
        server.seal_alert(alert, &mut out);
        assert_eq!(
            client.decrypt(&mut out),
            Ok((ALERT, &[level, alert as u8][..]))
        );
    }
}

#[test]
fn the_length_of_a_record_is_read_from_its_header() {
    assert_eq!(record_bytes(&[]), Ok(None));
    assert_eq!(record_bytes(&[23, 3, 3, 0]), Ok(None));
    assert_eq!(record_bytes(&[23, 3, 3, 0, 17]), Ok(Some(22)));
    assert_eq!(record_bytes(&[23, 3, 3, 0x41, 0x00]), Ok(Some(16_645)));
    assert_eq!(
        record_bytes(&[23, 3, 3, 0x41, 0x01]),
        Err(Alert::RecordOverflow),
        "2^14 + 257"
    );
    for outer in [20, 21, 22, 0, b'G'] {
        assert_eq!(
            record_bytes(&[outer]),
            Err(Alert::UnexpectedMessage),
            "nothing is unencrypted after the handshake"
        );
    }
}

#[test]
fn no_byte_of_a_secret_is_printed() {
    let (server, _) = Secrets::pair(0);
    assert_eq!(format!("{server:?}"), "Aes128(TrafficKeys)");
}
