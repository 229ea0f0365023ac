//! An event in a request, parsed into what is published.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::id::Id;
use super::response::{ApiError, Object, parse};
use crate::event::{Draft, EventName, InvalidEvent, MAX_SOURCE_ID_BYTES, Target, UserId, Users};
use crate::text::json_string;
use crate::topic::Topic;

/// Users of one event. Their ids take about 1 MB, and all lookups together about 1 ms.
const MAX_USERS: usize = 10_000;

/// Parses an event whose data has at most `max_bytes`.
pub(super) fn parse_draft(json: &[u8], max_bytes: usize) -> Result<Draft, ApiError> {
    parse::<Event<'_>>(json)?.draft(max_bytes)
}

/// An event as its JSON has it. Texts without escapes are not copied.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    #[serde(borrow)]
    to: Object<To<'a>>,
    #[serde(borrow, rename = "event")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    persist: Option<bool>,
}

/// The target. [`To::target`] refuses an object that does not have exactly one of the fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    user: Option<Id<'a>>,
    #[serde(borrow, default, deserialize_with = "given")]
    users: Option<Vec<Id<'a>>>,
    #[serde(default, deserialize_with = "given")]
    topic: Option<String>,
    #[serde(default, deserialize_with = "given")]
    all: Option<bool>,
}

/// Refuses `null`. Otherwise, an event whose user is missing would go to the other target of the object.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Event<'_> {
    fn draft(self, max_bytes: usize) -> Result<Draft, ApiError> {
        let data = payload(self.data)?;
        if data.len() > max_bytes {
            return Err(ApiError::too_large(max_bytes));
        }
        Ok(Draft {
            to: self.to.0.target()?,
            name: match self.name {
                Some(name) => EventName::of_publisher(&name).map_err(invalid)?,
                None => EventName::default(),
            },
            data,
            source_id: self.id.as_deref().map(source_id).transpose()?,
            is_kept: self.persist.unwrap_or(true),
        })
    }
}

impl To<'_> {
    fn target(self) -> Result<Target, ApiError> {
        match (self.user, self.users, self.topic, self.all) {
            (Some(user), None, None, None) => Ok(Target::User(user.parse()?)),
            (None, Some(users), None, None) => {
                if users.len() > MAX_USERS {
                    return Err(ApiError::invalid(format!(
                        "to.users: {} users, at most {MAX_USERS} in one event",
                        users.len()
                    )));
                }
                let users = users.into_iter().map(Id::parse);
                Ok(Target::Users(Users::new(users.collect::<Result<_, _>>()?)))
            }
            (None, None, Some(topic), None) => Topic::parse(&topic)
                .map(Target::Topic)
                .map_err(|error| ApiError::invalid(format!("to.topic: {error}"))),
            (None, None, None, Some(true)) => Ok(Target::All),
            _ => Err(ApiError::invalid(
                "to: expected one of {\"user\": id}, {\"users\": [ids]}, {\"topic\": name}, {\"all\": true}",
            )),
        }
    }
}

impl Id<'_> {
    fn parse(self) -> Result<UserId, ApiError> {
        UserId::new(&self.0).map_err(invalid)
    }
}

/// The data that clients receive: the text of a JSON string, or other JSON without white space.
fn payload(data: &RawValue) -> Result<String, ApiError> {
    let raw = data.get();
    if raw.starts_with('"') {
        let text = json_string(raw).map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok(text.into_owned())
    } else {
        Ok(compact(raw))
    }
}

/// Removes the white space between JSON tokens. Numbers and the order of keys stay as written.
fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut in_string, mut is_escaped) = (false, false);
    for character in json.chars() {
        if in_string {
            in_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
        } else if character.is_ascii_whitespace() {
            continue;
        } else {
            in_string = character == '"';
        }
        text.push(character);
    }
    text
}

fn source_id(id: &str) -> Result<CompactString, ApiError> {
    if id.is_empty() || id.len() > MAX_SOURCE_ID_BYTES {
        return Err(ApiError::invalid(format!(
            "id: {} bytes, 1 to {MAX_SOURCE_ID_BYTES} are kept for de-duplication",
            id.len()
        )));
    }
    Ok(id.into())
}

fn invalid(error: InvalidEvent) -> ApiError {
    ApiError::invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn draft(json: &str) -> Result<Draft, ApiError> {
        parse_draft(json.as_bytes(), 1_024)
    }

    #[test]
    fn a_string_is_sent_as_it_is_and_other_json_compact() {
        let data = |json| {
            draft(&format!(r#"{{"to":{{"all":true}},"data":{json}}}"#))
                .unwrap()
                .data
        };
        assert_eq!(data(r#""a\n\"b""#), "a\n\"b");
        assert_eq!(
            data(r#"{ "b" : 1.50, "a" : [ 1, "x y" ] }"#),
            r#"{"b":1.50,"a":[1,"x y"]}"#
        );
        assert_eq!(data("null"), "null");
    }

    #[test]
    fn a_target_is_exactly_one_form() {
        for to in [
            r"{}",
            r#"{"all":false}"#,
            r#"{"user":"1","all":true}"#,
            r#"{"user":""}"#,
            r#"{"topic":"a//b"}"#,
            r#"{"who":1}"#,
            r#"{"user":null,"all":true}"#,
            r#"["1",null,null,null]"#,
        ] {
            assert!(
                draft(&format!(r#"{{"to":{to},"data":1}}"#)).is_err(),
                "{to}"
            );
        }
        let users = draft(r#"{"to":{"users":["2",1,"2"]},"data":1}"#)
            .unwrap()
            .to;
        let expected = ["1", "2"].map(|id| UserId::new(id).unwrap());
        assert_eq!(users, Target::Users(Users::new(expected.into())));
    }

    #[test]
    fn an_integer_of_any_size_is_a_user_by_its_digits() {
        for digits in ["0", "-7", "9223372036854775808", "184467440737095516160"] {
            let to = |ids: &str| draft(&format!(r#"{{"to":{ids},"data":1}}"#)).unwrap().to;
            let user = UserId::new(digits).unwrap();
            assert_eq!(
                to(&format!(r#"{{"user": {digits} }}"#)),
                Target::User(user.clone())
            );
            let users = Target::Users(Users::new(vec![user]));
            assert_eq!(to(&format!(r#"{{"users":[{digits}]}}"#)), users);
        }
        for literal in ["1.0", "1e3", "-0", "true", "[1]", "{}"] {
            let event = format!(r#"{{"to":{{"user":{literal}}},"data":1}}"#);
            let error = draft(&event).unwrap_err();
            assert!(
                error.message().contains("an id is text or an integer"),
                "{error:?}"
            );
        }
        let long = format!(r#"{{"to":{{"user":{}}},"data":1}}"#, "1".repeat(257));
        assert!(draft(&long).is_err());
    }

    #[test]
    fn texts_may_have_escapes() {
        let event = r#"{"to":{"user":"\u0041\"b"},"event":"\u0063","data":"\\","id":"\u0064"}"#;
        let escaped = draft(event).unwrap();
        assert_eq!(escaped.to, Target::User(UserId::new("A\"b").unwrap()));
        assert_eq!(escaped.name, EventName::new("c").unwrap());
        assert_eq!(
            (escaped.data.as_str(), escaped.source_id.as_deref()),
            ("\\", Some("d"))
        );
        let topic = draft(r#"{"to":{"topic":"a\/b"},"data":1}"#).unwrap().to;
        assert_eq!(topic, Target::Topic(Topic::parse("a/b").unwrap()));
    }

    #[test]
    fn unknown_fields_and_bad_names_are_errors() {
        for body in [
            r#"{"to":{"all":true},"data":1,"dta":2}"#,
            r#"{"to":{"all":true}}"#,
            r#"{"to":{"all":true},"data":1,"event":"a\nb"}"#,
            r#"{"to":{"all":true},"data":1,"event":"heartbeat"}"#,
            r#"{"to":{"all":true},"data":1,"id":""}"#,
            "[]",
            "",
        ] {
            assert!(draft(body).is_err(), "{body}");
        }
        let big = format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(1_025));
        assert_eq!(draft(&big).unwrap_err(), ApiError::too_large(1_024));
    }

    proptest! {
        #[test]
        fn compact_json_means_the_same(value in "\\PC{0,30}", number: i64) {
            let value = json!({ value.clone(): [number, value, null, {"a b": 1.5}] });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), value.to_string());
        }
    }
}
