//! Entries of the store's log, as Redis returns them.

use redis::{ErrorKind, RedisError, Value};

use crate::event::EventId;

/// One entry of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StreamEntry {
    pub(super) id: EventId,
    /// The value of its field; empty if it has none.
    pub(super) value: Vec<u8>,
}

/// The entries of a response to `XRANGE`.
pub(super) fn entries(value: Value) -> Result<Vec<StreamEntry>, RedisError> {
    let items = match value {
        Value::Array(items) => items,
        Value::Nil => Vec::new(),
        _ => return Err(unexpected()),
    };
    items.into_iter().map(entry).collect()
}

/// A stream's name and its entries.
type StreamEntries = (Vec<u8>, Vec<StreamEntry>);

/// The streams of a response to `XREAD`. Streams without new entries are left out.
pub(super) fn streams(value: Value) -> Result<Vec<StreamEntries>, RedisError> {
    let items = match value {
        Value::Array(items) => items,
        Value::Nil => Vec::new(),
        _ => return Err(unexpected()),
    };
    items
        .into_iter()
        .map(|stream| match stream {
            Value::Array(pair) => {
                let [name, list] = <[Value; 2]>::try_from(pair).map_err(|_| unexpected())?;
                Ok((bytes(name)?, entries(list)?))
            }
            _ => Err(unexpected()),
        })
        .collect()
}

fn entry(value: Value) -> Result<StreamEntry, RedisError> {
    let Value::Array(pair) = value else {
        return Err(unexpected());
    };
    let [id, fields] = <[Value; 2]>::try_from(pair).map_err(|_| unexpected())?;
    let id = std::str::from_utf8(&bytes(id)?)
        .ok()
        .and_then(|id| id.parse().ok())
        .ok_or_else(unexpected)?;
    let value = match fields {
        Value::Array(fields) => fields.into_iter().nth(1).map(bytes).transpose()?,
        _ => None,
    };
    Ok(StreamEntry {
        id,
        value: value.unwrap_or_default(),
    })
}

fn bytes(value: Value) -> Result<Vec<u8>, RedisError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "not a list of entries").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_response_is_read_by_stream_and_entry() {
        let one = Value::Array(vec![bulk("5-1"), Value::Array(vec![bulk("e"), bulk("{}")])]);
        let bare = Value::Array(vec![bulk("6-0"), Value::Nil]);
        let response = Value::Array(vec![Value::Array(vec![
            bulk("log"),
            Value::Array(vec![one, bare]),
        ])]);
        let read = streams(response).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].0, b"log");
        let ids: Vec<String> = read[0].1.iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(ids, ["5-1", "6-0"]);
        assert_eq!(read[0].1[0].value, b"{}");
        assert!(read[0].1[1].value.is_empty());
    }

    #[test]
    fn nothing_new_is_an_empty_list_and_anything_else_is_an_error() {
        assert_eq!(streams(Value::Nil).unwrap(), []);
        assert_eq!(entries(Value::Array(Vec::new())).unwrap(), []);
        assert!(streams(Value::Int(1)).is_err());
        let without_id = Value::Array(vec![Value::Array(vec![bulk("x"), Value::Nil])]);
        assert!(entries(without_id).is_err());
    }
}
