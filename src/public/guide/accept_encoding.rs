//! Whether a client asks for gzip (RFC 9110 §12.5.3).

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

use crate::request::list;

/// A weight from 0 to 1, in thousandths. A coding with weight 0 is not acceptable.
type Weight = u16;

const FULL_WEIGHT: Weight = 1_000;

/// Returns true if the client accepts gzip, and does not prefer an uncompressed stream.
pub(super) fn asks_for_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for item in list(headers, &ACCEPT_ENCODING) {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let slot = if is(coding, "gzip") || is(coding, "x-gzip") {
            &mut gzip
        } else if is(coding, "identity") {
            &mut identity
        } else if coding == b"*" {
            &mut any
        } else {
            continue;
        };
        // A weight that cannot be read asks for nothing.
        *slot = Some(parts.next().map_or(Some(FULL_WEIGHT), weight).unwrap_or(0));
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

fn is(coding: &[u8], name: &str) -> bool {
    coding.eq_ignore_ascii_case(name.as_bytes())
}

/// Reads `q=0.5`. `None` if it is something else.
fn weight(parameter: &[u8]) -> Option<Weight> {
    let (name, value) = std::str::from_utf8(parameter).ok()?.split_once('=')?;
    let (whole, thousandths) = value.split_once('.').unwrap_or((value, ""));
    let is_short = whole.len() == 1 && thousandths.len() <= 3;
    if !name.eq_ignore_ascii_case("q") || !is_short {
        return None;
    }
    let digits = format!("{whole}{thousandths:0<3}");
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let weight: Weight = digits.parse().ok()?;
    (is_number && weight <= FULL_WEIGHT).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(values: &[&str]) -> bool {
        let values = values.iter().map(|value| value.parse().unwrap());
        let headers: HeaderMap = values.map(|value| (ACCEPT_ENCODING, value)).collect();
        asks_for_gzip(&headers)
    }

    #[test]
    fn gzip_is_for_clients_that_name_it_or_take_anything() {
        for value in [
            "gzip",
            "x-gzip",
            "GZip",
            "gzip, deflate, br, zstd",
            "br;q=1.0,gzip;q=0.8, *;q=0.1",
            "deflate , gzip ; Q=0.001",
            "identity;q=0.5, gzip",
            "identity, gzip",
            "*",
            "*;q=0.5",
        ] {
            assert!(asks(&[value]), "{value}");
        }
        assert!(asks(&["br", "deflate, gzip"]));
    }

    #[test]
    fn gzip_is_not_for_clients_that_rule_it_out_or_prefer_none() {
        for value in [
            "",
            "identity",
            "br, deflate",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=0, *",
            "*;q=0",
            "identity;q=1, gzip;q=0.5",
            "identity, *;q=0.5",
            "gzip;q=",
            "gzip;q=2",
            "gzip;q=-1",
            "gzip;q=0.0001",
            "gzip;level=9",
            "gzipped",
            "gzip;q=\u{e9}",
        ] {
            assert!(!asks(&[value]), "{value}");
        }
        assert!(!asks(&[]));
    }
}
