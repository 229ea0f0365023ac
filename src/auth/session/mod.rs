//! Asks the application whose session a cookie is: the last way in, for clients that have no
//! token.
//!
//! Each question costs the application a request, clients come back in storms, and anybody can make
//! up a cookie. So:
//! - only a request with one of the session cookies, or `Authorization`, is asked about;
//! - an answer is kept for [`KEPT`], and requests with the same session share one question;
//! - at most [`MAX_QUESTIONS`] are under way, of one address [`MAX_QUESTIONS_EACH`], and addresses
//!   take turns;
//! - an address whose sessions are refused again and again is asked about more slowly
//!   ([`MAX_REFUSALS`]). What is answered well costs it nothing.
//!
//! What the application did not answer is not kept: it may be back with the next request, and the
//! bounds hold without it.

mod answers;
mod session_auth;

pub use session_auth::{
    KEPT, MAX_ANSWER_BYTES, MAX_QUESTIONS, MAX_QUESTIONS_EACH, MAX_REFUSALS, MAX_WAIT,
    REFUSAL_EVERY,
};
pub(crate) use session_auth::{NoSession, SessionAuth};
