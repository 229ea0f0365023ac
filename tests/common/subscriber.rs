//! Who wants which events.

use std::time::{Duration, SystemTime};

use idlewild::auth::mint::{Claims, mint};
use idlewild::config::{Auth, Secret};

use super::book::{Event, To};

/// Longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// The user and the topics of a client.
#[derive(Clone, Debug)]
pub struct Subscriber {
    pub user: u16,
    pub topics: Vec<u8>,
}

impl Subscriber {
    pub fn wants(&self, event: &Event) -> bool {
        match &event.to {
            To::User(user) => *user == self.user,
            To::Users(users) => users.contains(&self.user),
            To::Topic(topic) => self.topics.contains(topic),
            To::All => true,
        }
    }

    /// A token for this user and these topics.
    pub fn token(&self, secret: &str) -> String {
        let topics: Vec<String> = self.topics.iter().copied().map(topic_name).collect();
        token(secret, &user_name(self.user), None, &topics)
    }
}

/// A token of a session.
pub fn session_token(secret: &str, user: &str, session: &str) -> String {
    token(secret, user, Some(session), &[])
}

fn token(secret: &str, user: &str, session: Option<&str>, topics: &[String]) -> String {
    let auth = Auth {
        secret: Secret::new(secret),
        ..Auth::default()
    };
    #[allow(clippy::disallowed_methods)] // a real process in real time
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let claims = Claims {
        user,
        session,
        topics,
        ttl: TOKEN_LIFE,
        now_unix_ms: u64::try_from(unix.unwrap().as_millis()).unwrap(),
    };
    mint(&auth, &claims).unwrap()
}

pub fn user_name(user: u16) -> String {
    format!("user-{user}")
}

pub fn topic_name(topic: u8) -> String {
    format!("topics/{topic}")
}
