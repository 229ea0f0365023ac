//! Asks the application whose session a cookie is. This is for clients without a token, and is tried
//! last.
//!
//! Each question costs the application a request. Clients come back in storms, and anyone can make up a
//! cookie. Therefore:
//! - only a request with a session cookie or `Authorization` causes a question;
//! - an answer is kept for [`KEPT`], and requests with the same session share a question;
//! - at most [`MAX_QUESTIONS`] are in flight, [`MAX_QUESTIONS_EACH`] per address, and the queue is
//!   fair between addresses;
//! - an address with many refused sessions is slowed down ([`MAX_REFUSALS`]). Good sessions do not
//!   count against it.
//!
//! A failure to answer is not cached: the application may be back for the next request, and the limits
//! hold anyway.

mod answers;
mod session_auth;

pub use session_auth::{
    KEPT, MAX_ANSWER_BYTES, MAX_QUESTIONS, MAX_QUESTIONS_EACH, MAX_REFUSALS, MAX_WAIT,
    REFUSAL_EVERY,
};
pub(crate) use session_auth::{NoSession, SessionAuth};
