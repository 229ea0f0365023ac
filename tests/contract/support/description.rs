//! Compares responses with the description in `/openapi.json`.

use serde_json::Value;

use super::TestServer;

/// A server's OpenAPI document.
pub struct Description(Value);

impl Description {
    pub fn of(server: &TestServer) -> Self {
        Self(server.admin("GET", "/openapi.json", "").json())
    }

    /// Checks that a value has the type of this schema, all required properties, and no others than it
    /// lists, including nested ones.
    #[track_caller]
    pub fn covers(&self, name: &str, value: &Value) {
        self.check(value, &self.0["components"]["schemas"][name], name);
    }

    #[track_caller]
    fn check(&self, value: &Value, schema: &Value, path: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let schema = self.0.pointer(reference.trim_start_matches('#')).unwrap();
            return self.check(value, schema, path);
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() && schema["type"] != "number" => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is_one_of = |kinds: &Vec<Value>| kinds.iter().any(|name| name == kind);
        assert!(
            schema["type"] == kind || schema["type"].as_array().is_some_and(is_one_of),
            "{path}: {value} is no {}",
            schema["type"]
        );
        let of_any_name = &schema["additionalProperties"];
        if let Some(fields) = value.as_object().filter(|_| of_any_name.is_object()) {
            for (name, field) in fields {
                self.check(field, of_any_name, &format!("{path}.{name}"));
            }
        } else if let Some(fields) = value.as_object() {
            let properties = schema["properties"].as_object().unwrap();
            let required = schema["required"].as_array().unwrap();
            let is_required = |name: &str| required.iter().any(|required| required == name);
            for name in properties.keys() {
                let is_there = fields.contains_key(name);
                assert!(is_there || !is_required(name), "{path}.{name} is missing");
            }
            for name in fields.keys() {
                assert!(properties.contains_key(name), "{path}.{name} is unknown");
            }
            for (name, field) in fields {
                self.check(field, &properties[name], &format!("{path}.{name}"));
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.check(item, &schema["items"], &format!("{path}[]"));
        }
    }
}
