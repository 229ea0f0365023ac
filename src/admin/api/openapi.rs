//! `GET /openapi.json`: the OpenAPI 3.1 description of the admin listener.

use hyper::StatusCode;

use super::response::{ApiResponse, bytes};

/// A JSON file, so that editors and validators can read it.
const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) fn response() -> ApiResponse {
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
