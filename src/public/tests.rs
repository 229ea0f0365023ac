//! `docs/streams.openapi.json` describes the public listener for programs. These tests compare it with the code.

use std::collections::BTreeSet;
use std::path::Path;

use hyper::Method;
use hyper::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::routes::{Route, Routes};
use crate::config::Config;
use crate::event::{EventId, RESERVED_NAMES};
use crate::wire::websocket::CloseCode;
use crate::wire::{End, Event, Signal, Wire};

const STREAM: &str = "/api/v1/auth/sse/notifications/";
const ID: EventId = EventId { ms: 17, seq: 3 };

struct Document(Value);

impl Document {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/streams.openapi.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// What `value` is, or refers to.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(name, _)| name.as_str()).collect()
}

fn texts(value: &Value) -> BTreeSet<&str> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// All references in `value`, at any depth.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn all_references_of_the_document_resolve() {
    let document = Document::read();
    let mut found = Vec::new();
    references(&document.0, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let target = document.0.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference}");
    }
}

#[test]
fn the_document_has_every_route_and_no_other() {
    /// The paths of a route. A new route has to be added to the list below, too.
    fn paths(route: Route) -> &'static [&'static str] {
        match route {
            Route::Notifications => &[STREAM],
            Route::WebSocket => &["/api/v1/auth/ws/notifications/", "/ws/notifications/"],
            Route::TestStream => &["/api/v1/auth/sse/test/"],
            Route::Ticket => &["/api/v1/auth/sse/ticket/"],
            Route::Login => &["/api/v1/auth/login/"],
            Route::Health => &["/healthz"],
            Route::Demo => &["/"],
        }
    }
    let all = [
        Route::Notifications,
        Route::WebSocket,
        Route::TestStream,
        Route::Ticket,
        Route::Login,
        Route::Health,
        Route::Demo,
    ];
    let routes = Routes::new(&Config::default(), true, true);
    let document = Document::read();
    let mut served = BTreeSet::new();
    for route in all {
        for path in paths(route) {
            assert_eq!(routes.find(path), Some(route), "{path}");
            served.insert(*path);
            let methods: BTreeSet<String> = [Method::GET, Method::HEAD, Method::POST]
                .iter()
                .filter(|method| route.serves(method))
                .map(|method| method.as_str().to_lowercase())
                .collect();
            let described = keys(&document.0["paths"][path]);
            assert_eq!(described, methods.iter().map(String::as_str).collect());
        }
    }
    assert_eq!(keys(&document.0["paths"]), served);
}

#[test]
fn the_document_has_every_event_name_of_the_server() {
    let document = Document::read();
    let published = &document.schema("Published")["properties"]["event"]["not"]["enum"];
    assert_eq!(texts(published), BTreeSet::from(RESERVED_NAMES));
    let schemas = document.0["components"]["schemas"].as_object().unwrap();
    let named: BTreeSet<&str> = schemas
        .values()
        .filter_map(|schema| schema["properties"]["event"]["const"].as_str())
        .chain(document.schema("WebSocketMessage")["if"]["properties"]["event"]["const"].as_str())
        .collect();
    assert_eq!(named, BTreeSet::from(RESERVED_NAMES));
}

/// The fields of a block as the document has them: numbers as numbers, and several lines of data as one text.
fn fields(block: &str) -> Value {
    let mut fields = json!({});
    for line in block.trim_end().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let before = fields[name].as_str().map(|before| format!("{before}\n"));
        fields[name] = match name {
            "retry" => json!(value.parse::<u64>().unwrap()),
            _ => json!(before.unwrap_or_default() + value),
        };
    }
    fields
}

/// Returns true if an object has the properties of a schema, as far as names and constants go.
fn fits(fields: &Value, schema: &Value) -> bool {
    let (names, properties) = (keys(fields), &schema["properties"]);
    names.is_subset(&keys(properties))
        && texts(&schema["required"]).is_subset(&names)
        && names.iter().all(|name| {
            let (value, property) = (&fields[name], &properties[name]);
            property.get("const").is_none_or(|only| only == value)
                && !texts(&property["not"]["enum"]).contains(value.as_str().unwrap_or_default())
        })
}

#[test]
fn the_document_has_every_block_that_a_stream_sends() {
    let event = |id, name, data| Signal::Event(Event { id, name, data });
    let opened = |position| Signal::Opened {
        position,
        retry_ms: 2_000,
    };
    let blocks = [
        (opened(Some(ID)), "Heartbeat"),
        (opened(None), "Heartbeat"),
        (Signal::Heartbeat { position: Some(ID) }, "Heartbeat"),
        (
            Signal::Gap {
                position: ID,
                last_event_id: "1-0",
                oldest: None,
            },
            "ReplayGap",
        ),
        (event(Some(ID), "message", "a\nb"), "Published"),
        (event(None, "order", "{}"), "Published"),
        (Signal::End(End::Expired), "TokenExpired"),
        (Signal::End(End::Evicted), "Evicted"),
        (Signal::End(End::GoingAway { retry_ms: 7 }), "GoingAway"),
    ];
    let document = Document::read();
    let of_stream = document.schema("StreamEvent")["oneOf"].as_array().unwrap();
    for (signal, expected) in blocks {
        let mut block = Vec::new();
        Wire::SseRaw.encode(&signal, &mut block);
        let fields = fields(std::str::from_utf8(&block).unwrap());
        let fitting: Vec<&str> = of_stream
            .iter()
            .filter(|it| fits(&fields, document.resolve(it)))
            .map(|it| it["$ref"].as_str().unwrap())
            .collect();
        let expected = format!("#/components/schemas/{expected}");
        assert_eq!(fitting, [expected], "{fields}");
    }
}

#[test]
fn the_document_has_every_refusal_of_a_stream() {
    let document = Document::read();
    let retry_after_s = 6;
    for refusal in [
        Refusal::Unauthenticated,
        Refusal::TopicNotAllowed,
        Refusal::TooManyConnections,
        Refusal::ServerFull,
        Refusal::AuthUnavailable,
        Refusal::ShuttingDown,
        Refusal::BadRequest(""),
    ] {
        let response = refusal.response(retry_after_s);
        let responses = &document.0["paths"][STREAM]["get"]["responses"];
        let described = document.resolve(&responses[response.status().as_str()]);
        let description = described["description"].as_str().unwrap();
        assert!(description.contains(refusal.reason()), "{refusal:?}");
        for (header, name) in [
            (RETRY_AFTER, "Retry-After"),
            (WWW_AUTHENTICATE, "WWW-Authenticate"),
        ] {
            let has = response.headers().contains_key(header);
            let says = keys(&described["headers"]).contains(name);
            assert_eq!(says, has, "{refusal:?}: {name}");
        }
    }
    let origin = &document.0["paths"]["/ws/notifications/"]["get"]["responses"]["403"];
    let description = document.resolve(origin)["description"].as_str().unwrap();
    assert!(description.contains(Refusal::OriginNotAllowed.reason()));
}

#[test]
fn the_document_has_every_close_code_with_its_reasons() {
    let all = [
        CloseCode::GoingAway,
        CloseCode::Disconnected,
        CloseCode::ProtocolError,
        CloseCode::NotUtf8,
        CloseCode::TooManyMessages,
        CloseCode::MessageTooLong,
        CloseCode::ServerFull,
        CloseCode::ShuttingDown,
        CloseCode::AuthUnavailable,
        CloseCode::Unauthenticated,
        CloseCode::Expired,
        CloseCode::LoggedOut,
        CloseCode::TopicNotAllowed,
        CloseCode::TooManyConnections,
        CloseCode::Evicted,
        CloseCode::BadRequest("invalid request"),
    ];
    let document = Document::read();
    let described = document.schema("CloseCode")["oneOf"].as_array().unwrap();
    for code in all {
        let entry = described
            .iter()
            .find(|entry| entry["const"] == code.number());
        let description = entry.unwrap()["description"].as_str().unwrap();
        assert!(description.contains(code.reason()), "{code:?}");
    }
    let numbers: BTreeSet<u16> = all.iter().map(|code| code.number()).collect();
    assert_eq!(described.len(), numbers.len());
}
