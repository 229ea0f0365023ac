//! Texts with `${…}` variables: paths, headers and bodies for other servers.

use std::fmt::Write;

use anyhow::{Context, Result, bail};

/// The variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// The user's id: its number, or the name in the token file.
    User,
    /// The connection's number.
    Number,
    /// The event's payload, unchanged.
    Data,
    /// The payload as an event of a stream (`data: …` and a blank line), as a JSON string.
    SseJson,
    /// The payload percent-encoded, for a form or a query.
    DataForm,
    /// The bodies of a batch's events, one per line.
    Lines,
    /// The API key.
    Key,
}

/// The variables in a client's request.
pub(crate) const OF_CLIENT: &[Variable] = &[Variable::User, Variable::Number];
/// The variables in a publish to all clients.
pub(crate) const OF_EVENT: &[Variable] = &[
    Variable::Data,
    Variable::SseJson,
    Variable::DataForm,
    Variable::Key,
];
/// The variables in a publish to one user.
pub(crate) const OF_UNICAST: &[Variable] = &[
    Variable::Data,
    Variable::SseJson,
    Variable::DataForm,
    Variable::Key,
    Variable::User,
];

/// The variables in a publish of several events.
pub(crate) const OF_BATCH: &[Variable] = &[Variable::Lines, Variable::Key];

/// A parsed text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    /// A text and the variable after it.
    pieces: Vec<(String, Variable)>,
    rest: String,
}

impl Template {
    /// Parses `text`; only the `allowed` variables may be used.
    pub(crate) fn parse(text: &str, allowed: &[Variable]) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .with_context(|| format!("{text:?}: ${{ without a closing }}"))?;
            let known = allowed.iter().find(|variable| variable.name() == name);
            let Some(&variable) = known else {
                let names: Vec<_> = allowed.iter().map(|variable| variable.name()).collect();
                bail!(
                    "{text:?}: no variable ${{{name}}} here; known are {}",
                    names.join(", ")
                );
            };
            pieces.push((before.to_owned(), variable));
            rest = after;
        }
        Ok(Self {
            pieces,
            rest: rest.to_owned(),
        })
    }

    /// Appends the text to `into`; `value` writes each variable.
    pub(crate) fn write_with(
        &self,
        into: &mut String,
        mut value: impl FnMut(Variable, &mut String),
    ) {
        for (text, variable) in &self.pieces {
            into.push_str(text);
            value(*variable, into);
        }
        into.push_str(&self.rest);
    }

    /// Appends a text with variables of [`OF_CLIENT`] to `into`, for the connection with this `number`.
    pub(crate) fn write_for(&self, number: u32, user: impl Fn() -> String, into: &mut String) {
        self.write_with(into, |variable, into| {
            if variable == Variable::User {
                into.push_str(&user());
            } else {
                write!(into, "{number}").expect("a String takes all");
            }
        });
    }

    /// Returns true if the text contains a `?`.
    pub(crate) fn has_query(&self) -> bool {
        let texts = self.pieces.iter().map(|(text, _)| text);
        texts.chain([&self.rest]).any(|text| text.contains('?'))
    }
}

impl Variable {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Number => "number",
            Self::Data => "data",
            Self::SseJson => "sse_json",
            Self::DataForm => "data_form",
            Self::Lines => "lines",
            Self::Key => "key",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_in_place() {
        let template = Template::parse("/sub/${user}?n=${number}&{}", OF_CLIENT).unwrap();
        let mut text = "GET ".to_owned();
        template.write_for(12, || "2".to_owned(), &mut text);
        assert_eq!(text, "GET /sub/2?n=12&{}");
        assert!(template.has_query());
    }

    #[test]
    fn an_unknown_variable_is_refused_with_a_list_of_the_known_ones() {
        let refused = |text| Template::parse(text, OF_CLIENT).unwrap_err().to_string();
        assert!(refused("/${data}").contains("user, number"));
        assert!(refused("/${user").contains("without a closing }"));
    }
}
