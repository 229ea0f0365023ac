//! Cases of RFC 6455. Each is read whole, split in two at every byte, and byte by byte.

use std::collections::HashSet;
use std::fmt::Write;

use super::*;

/// The smallest number of cases; with fewer, some were lost by mistake.
const MIN_CASES: usize = 150;

struct Cases(Vec<(String, Vec<u8>, String)>);

impl Cases {
    /// The expectation lists the client's actions, and "…" if a frame or message is incomplete.
    fn add(&mut self, name: impl Into<String>, sent: &[&[u8]], expected: impl Into<String>) {
        self.0.push((name.into(), sent.concat(), expected.into()));
    }
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, text.as_ref())
}

fn first(text: impl AsRef<[u8]>) -> Vec<u8> {
    frame(TEXT, text.as_ref())
}

fn binary(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | BINARY, payload.as_ref())
}

fn first_binary(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(BINARY, payload.as_ref())
}

fn more(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(CONTINUATION, payload.as_ref())
}

fn last(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CONTINUATION, payload.as_ref())
}

fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PING, payload.as_ref())
}

fn pong(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PONG, payload.as_ref())
}

fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_ref()].concat();
    frame(FIN | CLOSE, &payload)
}

/// Only the header of a frame whose length is in eight bytes.
fn long(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first, MASKED | EIGHT_BYTES];
    head.extend(length.to_be_bytes());
    head
}

/// The same in two bytes.
fn medium(first: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    vec![first, MASKED | TWO_BYTES, high, low]
}

fn lengths(cases: &mut Cases) {
    for bytes in [
        0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 1_000, 4_095, 4_096,
    ] {
        cases.add(
            format!("a text of {bytes} bytes"),
            &[&text("x".repeat(bytes))],
            "message",
        );
    }
    for bytes in [0, 125, 126, 4_096] {
        let payload = vec![0xff; bytes];
        cases.add(
            format!("a binary message of {bytes} bytes"),
            &[&binary(payload)],
            "message",
        );
    }
    let too_long = vec![b'x'; 4_097];
    cases.add("a text of 4,097 bytes", &[&text(&too_long)], "1009");
    cases.add(
        "a binary message of 4,097 bytes",
        &[&binary(&too_long)],
        "1009",
    );
    for length in [4_097, 65_535] {
        let head = medium(FIN | TEXT, length);
        cases.add(
            format!("no more than the head of a text of {length} bytes"),
            &[&head],
            "1009",
        );
    }
    for length in [
        1 << 16,
        1 << 31,
        1 << 32,
        (1 << 32) + 1,
        1 << 62,
        (1 << 63) - 1,
    ] {
        for (what, first) in [
            ("a text", FIN | TEXT),
            ("a part", TEXT),
            ("binary", FIN | BINARY),
        ] {
            let name = format!("no more than the head of {what} of {length:#x} bytes");
            cases.add(name, &[&long(first, length)], "1009");
        }
    }
    for length in [1 << 63, (1 << 63) + 5, u64::MAX] {
        let name = format!("a length of {length:#x}, with the top bit");
        cases.add(name, &[&long(FIN | TEXT, length)], "1002");
    }
    for length in [0, 1, 125] {
        let name = format!("a length of {length} in two bytes");
        cases.add(name, &[&medium(FIN | TEXT, length)], "1002");
        let head = medium(FIN | CONTINUATION, length);
        let name = format!("a last part's length of {length} in two bytes");
        cases.add(name, &[&first("x"), &head], "1002");
    }
    cases.add(
        "a length of 126 in two bytes",
        &[&medium(FIN | TEXT, 126)],
        "…",
    );
    for length in [0, 1, 125, 126, 4_096, 65_535] {
        let name = format!("a length of {length} in eight bytes");
        cases.add(name, &[&long(FIN | BINARY, length)], "1002");
    }
}

fn masks(cases: &mut Cases) {
    let hello = |first, mask| masked(first, mask, "grüße".as_bytes());
    for mask in [[0; 4], [0xff; 4], [1, 2, 3, 4], [0x80, 0, 0, 0x80]] {
        cases.add(
            format!("the mask {mask:x?}"),
            &[&hello(FIN | TEXT, mask)],
            "message",
        );
    }
    cases.add(
        "a mask for each message",
        &[
            &hello(FIN | TEXT, [9; 4]),
            &hello(FIN | TEXT, [200; 4]),
            &text("ü"),
        ],
        "message, message, message",
    );
    cases.add(
        "a mask for each part",
        &[
            &hello(TEXT, [1, 0, 0, 1]),
            &hello(CONTINUATION, MASK),
            &hello(FIN, [7, 6, 5, 4]),
        ],
        "message",
    );
    cases.add(
        "a ping's mask inside a message",
        &[
            &hello(TEXT, [1, 0, 0, 1]),
            &masked(FIN | PING, [3, 4, 5, 6], b"abcdefg"),
            &last("ß"),
        ],
        "ping abcdefg, message",
    );
    cases.add(
        "text that is valid only as it is masked",
        &[&masked(FIN | TEXT, [0x80; 4], b"\x80")],
        "1007",
    );
    for (what, opcode) in [
        ("text", FIN | TEXT),
        ("first part", TEXT),
        ("binary message", FIN | BINARY),
        ("ping", FIN | PING),
        ("pong", FIN | PONG),
        ("close", FIN | CLOSE),
    ] {
        cases.add(format!("an unmasked {what}"), &[&[opcode, 0]], "1002");
    }
    cases.add(
        "an unmasked text with a payload",
        &[b"\x81\x05hello"],
        "1002",
    );
    cases.add(
        "an unmasked text with a long payload",
        &[b"\x81\x7e"],
        "1002",
    );
    cases.add(
        "an unmasked text with a very long payload",
        &[b"\x81\x7f"],
        "1002",
    );
    cases.add(
        "an unmasked continuation",
        &[&first("a"), &[FIN, 1, b'x']],
        "1002",
    );
    cases.add(
        "an unmasked frame after a good one",
        &[&text("a"), &[FIN | TEXT, 0]],
        "message, 1002",
    );
}

fn first_bytes(cases: &mut Cases) {
    for (bits, name) in [(0x40, "1"), (0x20, "2"), (0x10, "3"), (0x70, "1, 2 and 3")] {
        for (what, opcode) in [
            ("text", TEXT),
            ("binary message", BINARY),
            ("ping", PING),
            ("close", CLOSE),
        ] {
            let name = format!("a {what} with reserved bit {name}");
            cases.add(name, &[&frame(FIN | bits | opcode, b"")], "1002");
        }
        let name = format!("a continuation with reserved bit {name}");
        cases.add(name, &[&first("x"), &frame(FIN | bits, b"y")], "1002");
    }
    for opcode in (3..=7).chain(11..=15) {
        cases.add(
            format!("opcode {opcode}"),
            &[&frame(FIN | opcode, b"")],
            "1002",
        );
        cases.add(
            format!("opcode {opcode}, not final"),
            &[&frame(opcode, b"x")],
            "1002",
        );
        let sent: [&[u8]; 2] = [&first("x"), &frame(FIN | opcode, b"")];
        cases.add(format!("opcode {opcode} inside a message"), &sent, "1002");
    }
    cases.add("a first byte that is wrong, alone", &[&[FIN | 3]], "1002");
    cases.add("a first byte that is right, alone", &[&[FIN | TEXT]], "…");
    cases.add("nothing", &[], "");
    cases.add("an HTTP request", &[b"GET / HTTP/1.1\r\n\r\n"], "1002");
    cases.add("a TLS hello", &[b"\x16\x03\x01\x02\x00\x01"], "1002");
}

fn control_frames(cases: &mut Cases) {
    let longest = "p".repeat(125);
    let too_long = "p".repeat(126);
    cases.add("a ping", &[&ping("")], "ping ");
    cases.add("a ping with a payload", &[&ping("hello")], "ping hello");
    cases.add(
        "the longest ping",
        &[&ping(&longest)],
        format!("ping {longest}"),
    );
    cases.add("a ping of 126 bytes", &[&ping(&too_long)], "1002");
    cases.add(
        "a ping whose length is in eight bytes",
        &[&long(FIN | PING, 1)],
        "1002",
    );
    cases.add("a ping in parts", &[&frame(PING, b"hel")], "1002");
    cases.add(
        "a ping whose payload is no text",
        &[&ping(b"\xff\x00")],
        "ping ff00",
    );
    cases.add(
        "ten pings",
        &[&ping("a").repeat(10)],
        ["ping a"; 10].join(", "),
    );
    cases.add("a ping that is not all there", &[&ping("hello")[..10]], "…");
    cases.add("a pong", &[&pong("")], "pong");
    cases.add("a pong with a payload", &[&pong("hello")], "pong");
    cases.add("the longest pong", &[&pong(&longest)], "pong");
    cases.add("a pong of 126 bytes", &[&pong(&too_long)], "1002");
    cases.add("a pong in parts", &[&frame(PONG, b"")], "1002");
    cases.add(
        "pongs and pings",
        &[&pong("1"), &ping("2"), &pong("3")],
        "pong, ping 2, pong",
    );
    cases.add(
        "messages and pings",
        &[&text("1"), &ping("2"), &text("3")],
        "message, ping 2, message",
    );
    cases.add(
        "a continuation of a ping",
        &[&ping("1"), &last("2")],
        "ping 1, 1002",
    );
}

fn parts(cases: &mut Cases) {
    cases.add("two parts", &[&first("a"), &last("b")], "message");
    cases.add(
        "three parts",
        &[&first("a"), &more("b"), &last("c")],
        "message",
    );
    cases.add(
        "parts of a binary message",
        &[&first_binary("a"), &more("\u{7f}"), &last("c")],
        "message",
    );
    cases.add("an empty first part", &[&first(""), &last("b")], "message");
    cases.add(
        "an empty part between two",
        &[&first("a"), &more(""), &last("b")],
        "message",
    );
    cases.add("an empty last part", &[&first("a"), &last("")], "message");
    cases.add(
        "three empty parts",
        &[&first(""), &more(""), &last("")],
        "message",
    );
    cases.add(
        "a hundred parts",
        &[&first("a"), &more("b").repeat(98), &last("c")],
        "message",
    );
    cases.add(
        "two messages in parts",
        &[&first("a"), &last("b"), &first_binary("c"), &last("d")],
        "message, message",
    );
    cases.add(
        "a message, then one in parts",
        &[&text("a"), &first("a"), &last("b")],
        "message, message",
    );
    cases.add("a first part", &[&first("a")], "…");
    cases.add("an empty first part, alone", &[&first("")], "…");
    cases.add("two parts of three", &[&first("a"), &more("b")], "…");
    cases.add(
        "a ping between parts",
        &[&first("a"), &ping("p"), &last("b")],
        "ping p, message",
    );
    cases.add(
        "a pong between parts",
        &[&first("a"), &pong("p"), &last("b")],
        "pong, message",
    );
    cases.add(
        "pings around each part",
        &[
            &ping("1"),
            &first("a"),
            &ping("2"),
            &more("b"),
            &ping("3"),
            &last("c"),
            &ping("4"),
        ],
        "ping 1, ping 2, ping 3, message, ping 4",
    );
    cases.add(
        "a close between parts",
        &[&first("a"), &close(1000, ""), &last("b")],
        "close 1000",
    );
    cases.add("a continuation of nothing", &[&last("a")], "1002");
    cases.add("an empty continuation of nothing", &[&last("")], "1002");
    cases.add(
        "a continuation of nothing, not final",
        &[&more("a")],
        "1002",
    );
    cases.add(
        "a continuation of nothing, far too long",
        &[&long(FIN, 1 << 40), &MASK],
        "1002",
    );
    cases.add(
        "a continuation of a whole message",
        &[&text("a"), &last("b")],
        "message, 1002",
    );
    cases.add(
        "a continuation of an ended message",
        &[&first("a"), &last("b"), &more("c")],
        "message, 1002",
    );
    for (outer, begun) in [("text", first("a")), ("binary message", first_binary("a"))] {
        for (inner, frame) in [
            ("text", text("b")),
            ("first part of a text", first("b")),
            ("binary message", binary("b")),
            ("first part of a binary message", first_binary("")),
        ] {
            let name = format!("a {inner} inside a {outer}");
            cases.add(name, &[&begun, &frame], "1002");
        }
    }
    let half = "x".repeat(2_048);
    cases.add(
        "4,096 bytes in parts",
        &[&first(&half), &last(&half)],
        "message",
    );
    cases.add(
        "4,096 bytes and an empty part",
        &[&first(&half), &more(&half), &last("")],
        "message",
    );
    cases.add(
        "4,097 bytes in parts",
        &[&first(&half), &more(&half), &last("x")],
        "1009",
    );
    cases.add(
        "4,097 bytes of a binary message in parts",
        &[&first_binary(&half), &more(&half), &last("x")],
        "1009",
    );
    let head = medium(FIN, 2_049);
    cases.add(
        "no more than the head of the part that is too much",
        &[&first(&half), &head],
        "1009",
    );
    cases.add(
        "a last part of 2^40 bytes",
        &[&first("a"), &long(FIN, 1 << 40)],
        "1009",
    );
    cases.add(
        "two messages of 4,096 bytes",
        &[&text("x".repeat(4_096)).repeat(2)],
        "message, message",
    );
    cases.add(
        "4,096 one-byte parts and one more",
        &[&first("x"), &more("x").repeat(4_095), &ping(""), &last("x")],
        "ping , 1009",
    );
}

fn utf8(cases: &mut Cases) {
    for (name, character) in [
        ("two bytes", "é"),
        ("three bytes", "€"),
        ("four bytes", "😀"),
        ("the byte order mark", "\u{feff}"),
        ("NUL", "\0"),
        ("the last character", "\u{10ffff}"),
        ("the one before the surrogates", "\u{d7ff}"),
        ("the one after the surrogates", "\u{e000}"),
        ("a noncharacter", "\u{fffe}"),
    ] {
        cases.add(
            format!("a text with {name}"),
            &[&text(format!("a{character}b"))],
            "message",
        );
        for split in 1..character.len() {
            let (begin, end) = character.as_bytes().split_at(split);
            let name = |what| format!("a text with {name} {what} after {split} bytes");
            cases.add(
                name("in two parts, cut"),
                &[&first(begin), &last(end)],
                "message",
            );
            cases.add(
                name("around a ping, cut"),
                &[&first(begin), &ping("é"), &last(end)],
                "ping é, message",
            );
            cases.add(name("ended"), &[&text(begin)], "1007");
            cases.add(
                name("ended in a last part"),
                &[&first("a"), &last(begin)],
                "1007",
            );
            cases.add(name("interrupted"), &[&first(begin), &last("a")], "1007");
        }
    }
    cases.add(
        "four bytes in four parts",
        &[&first([0xf0]), &more([0x9f]), &more([0x98]), &last([0x80])],
        "message",
    );
    cases.add(
        "an empty part inside a character",
        &[&first([0xc3]), &more(""), &last([0xa9])],
        "message",
    );
    for (name, bytes) in [
        ("a byte that continues nothing", &b"\x80"[..]),
        ("another such byte", b"\xbf"),
        ("one byte too many", b"\xc3\xa9\xa9"),
        ("NUL in two bytes", b"\xc0\x80"),
        ("DEL in two bytes", b"\xc1\xbf"),
        ("NUL in three bytes", b"\xe0\x80\x80"),
        ("three bytes for two", b"\xe0\x9f\xbf"),
        ("NUL in four bytes", b"\xf0\x80\x80\x80"),
        ("four bytes for three", b"\xf0\x8f\xbf\xbf"),
        ("the first surrogate", b"\xed\xa0\x80"),
        ("the last surrogate", b"\xed\xbf\xbf"),
        ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
        ("what is beyond the last character", b"\xf4\x90\x80\x80"),
        ("a first byte beyond all", b"\xf5\x80\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("a byte order mark of UTF-16", b"\xff\xfe"),
    ] {
        cases.add(
            format!("a text with {name}"),
            &[&text([b"a", bytes].concat())],
            "1007",
        );
        let sent: [&[u8]; 2] = [&first("aé"), &last(bytes)];
        cases.add(format!("a part with {name}"), &sent, "1007");
        cases.add(
            format!("a binary message with {name}"),
            &[&binary(bytes)],
            "message",
        );
    }
    // The frame is incomplete, but the text is already invalid.
    for (name, bytes) in [
        ("a lone byte", &b"\x80"[..]),
        ("a surrogate", b"\xed\xa0"),
        ("a form that is too long", b"\xe0\x80"),
        ("a character beyond the last", b"\xf4\x90"),
    ] {
        let whole = text([b"a", bytes, &[b'x'; 100]].concat());
        let sent = &whole[..whole.len() - 100];
        cases.add(
            format!("{name} in a text that is not all there"),
            &[sent],
            "1007",
        );
    }
    let pending = text("abc\u{20ac}");
    cases.add(
        "half a character in a text that is not all there",
        &[&pending[..pending.len() - 1]],
        "…",
    );
    cases.add(
        "a good text after another",
        &[&text("é"), &text("€")],
        "message, message",
    );
    cases.add(
        "a bad text after a good one",
        &[&text("é"), &text(b"\xff")],
        "message, 1007",
    );
    cases.add(
        "a text after a binary message that is none",
        &[&binary(b"\xc3"), &text("a")],
        "message, message",
    );
    cases.add(
        "a binary message in parts that is no text",
        &[&first_binary(b"\xc3"), &last(b"\xff")],
        "message",
    );
}

fn closes(cases: &mut Cases) {
    cases.add("a close", &[&frame(FIN | CLOSE, b"")], "close");
    cases.add(
        "a close with half a code",
        &[&frame(FIN | CLOSE, b"\x03")],
        "1002",
    );
    cases.add("a close in parts", &[&frame(CLOSE, b"\x03\xe8")], "1002");
    let longest = "r".repeat(123);
    cases.add("the longest close", &[&close(1000, &longest)], "close 1000");
    cases.add(
        "a close of 126 bytes",
        &[&close(1000, "r".repeat(124))],
        "1002",
    );
    for code in (1000..=1003)
        .chain(1007..=1014)
        .chain([3000, 3999, 4000, 4001, 4999])
    {
        cases.add(
            format!("a close with {code}"),
            &[&close(code, "")],
            format!("close {code}"),
        );
    }
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 9999, 65_535,
    ] {
        cases.add(
            format!("a close with {code}"),
            &[&close(code, "no")],
            "1002",
        );
    }
    cases.add(
        "a close with a reason",
        &[&close(1001, "going away")],
        "close 1001",
    );
    cases.add(
        "a close with a reason beyond ASCII",
        &[&close(1001, "tschüß €😀")],
        "close 1001",
    );
    cases.add(
        "a close with a reason that is no text",
        &[&close(1001, b"a\xff")],
        "1007",
    );
    cases.add(
        "a close with a reason that ends inside a character",
        &[&close(1001, b"\xe2\x82")],
        "1007",
    );
    cases.add(
        "a close with a bad code and a bad reason",
        &[&close(999, b"\xff")],
        "1002",
    );
    cases.add(
        "a close that is not all there",
        &[&close(1000, "bye")[..8]],
        "…",
    );
    cases.add(
        "a message, then a close",
        &[&text("a"), &close(1000, "")],
        "message, close 1000",
    );
    cases.add(
        "a ping, then a close",
        &[&ping("p"), &close(1000, "")],
        "ping p, close 1000",
    );
    cases.add(
        "two closes",
        &[&close(1000, ""), &close(1001, "")],
        "close 1000",
    );
    cases.add(
        "a ping after a close",
        &[&close(1000, ""), &ping("late")],
        "close 1000",
    );
    cases.add(
        "a text after a close",
        &[&close(1000, ""), &text("late")],
        "close 1000",
    );
    cases.add(
        "garbage after a close",
        &[&close(1000, ""), b"\xff\xff\xff"],
        "close 1000",
    );
    cases.add(
        "a close after garbage",
        &[b"\xff", &close(1000, "")],
        "1002",
    );
    cases.add(
        "a ping after a text that is none",
        &[&text(b"\xff"), &ping("late")],
        "1007",
    );
    cases.add(
        "a message after one that is too long",
        &[&long(FIN | TEXT, 1 << 20), &text("a")],
        "1009",
    );
}

/// The result in the words of an expectation.
fn written(seen: &Seen) -> String {
    let mut all: Vec<String> = Vec::new();
    for did in &seen.did {
        all.push(match did {
            Did::Message => "message".into(),
            Did::Ping(payload) => match str::from_utf8(payload) {
                Ok(text) => format!("ping {text}"),
                Err(_) => payload.iter().fold("ping ".into(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                }),
            },
            Did::Pong => "pong".into(),
            Did::Close(None) => "close".into(),
            Did::Close(Some(code)) => format!("close {code}"),
            Did::Fail(code) => code.number().to_string(),
        });
    }
    if seen.is_pending {
        all.push("…".into());
    }
    all.join(", ")
}

#[test]
fn a_client_is_understood_however_its_bytes_arrive() {
    let mut cases = Cases(Vec::new());
    lengths(&mut cases);
    masks(&mut cases);
    first_bytes(&mut cases);
    control_frames(&mut cases);
    parts(&mut cases);
    utf8(&mut cases);
    closes(&mut cases);
    let Cases(cases) = cases;
    println!("{} cases", cases.len());
    assert!(cases.len() >= MIN_CASES);
    let names: HashSet<&str> = cases.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    for (name, sent, expected) in &cases {
        let whole = Seen::by_frame([sent.as_slice()]);
        assert_eq!(written(&whole), *expected, "{name}");
        whole.check_reads([sent.as_slice()]);
        let by_byte = Seen::by_frame(sent.chunks(1));
        assert_eq!(written(&by_byte), *expected, "{name}, byte by byte");
        by_byte.check_reads(sent.chunks(1));
        // Not within long payloads, where all positions are equivalent.
        let ends = sent.len().min(300);
        for cut in (1..ends).chain(sent.len().saturating_sub(20).max(ends)..sent.len()) {
            let (before, after) = sent.split_at(cut);
            let cut_once = Seen::by_frame([before, after]);
            assert_eq!(
                written(&cut_once),
                *expected,
                "{name}, cut after {cut} bytes"
            );
            cut_once.check_reads([before, after]);
        }
    }
}
