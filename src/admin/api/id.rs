//! Ids of users and sessions in requests.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::event::integer_digits;
use crate::text::json_string;

/// An id: text, or an integer of any size, such as a primary key in Django.
pub(super) struct Id<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let text = if json.starts_with('"') {
            json_string(json).map_err(D::Error::custom)?
        } else {
            let digits = integer_digits(json);
            digits
                .ok_or_else(|| D::Error::custom("an id is text or an integer"))?
                .into()
        };
        Ok(Self(text))
    }
}
