//! `GET /openapi.json`: the admin listener, described in OpenAPI 3.1.

use hyper::StatusCode;

use super::answer::{Answer, bytes};

/// Kept as JSON beside this file, so that editors and validators can read it.
const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) fn answer() -> Answer {
    bytes(StatusCode::OK, "application/json", DOCUMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_json_and_its_references_resolve() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut rest = DOCUMENT;
        while let Some(at) = rest.find("\"#/") {
            rest = &rest[at + 2..];
            let end = rest.find('"').unwrap();
            assert!(document.pointer(&rest[..end]).is_some(), "{}", &rest[..end]);
        }
    }
}
