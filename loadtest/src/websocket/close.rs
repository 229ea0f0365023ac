//! The code and the reason of a close frame (section 7.4).

use std::fmt;

use super::Violation;

/// The content of a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// `None` if the frame is empty.
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
}

impl Close {
    /// Parses the payload of a close frame.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return if payload.is_empty() {
                let reason = String::new();
                Ok(Self { code: None, reason })
            } else {
                Err(Violation::CloseCode)
            };
        };
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(Violation::CloseCode);
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
        Ok(Self {
            code: Some(code),
            reason: reason.to_owned(),
        })
    }
}

/// Returns true for registered codes that may be sent, and for codes of libraries and applications.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "closed by the server with {code}")?,
            None => f.write_str("closed by the server without a code")?,
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason.escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_must_not_be_sent_are_rejected() {
        for code in [1000, 1001, 1003, 1007, 1011, 1013, 3000, 4001, 4029, 4999] {
            assert!(Close::parse(&u16::to_be_bytes(code)).is_ok(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            let refused = Close::parse(&u16::to_be_bytes(code));
            assert_eq!(refused, Err(Violation::CloseCode), "{code}");
        }
        assert_eq!(Close::parse(&[3]), Err(Violation::CloseCode));
        assert_eq!(Close::parse(&[3, 233, 0xff]), Err(Violation::Utf8));
    }

    #[test]
    fn a_close_is_shown_on_one_line_with_code_and_reason() {
        let shown = |payload: &[u8]| Close::parse(payload).unwrap().to_string();
        assert_eq!(shown(b""), "closed by the server without a code");
        assert_eq!(shown(&[3, 233]), "closed by the server with 1001");
        assert_eq!(
            shown(b"\x0f\xbdToo many\nconnections"),
            "closed by the server with 4029: Too many\\nconnections"
        );
    }
}
