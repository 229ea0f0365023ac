//! Unused tickets, described for another process of the server. Only their hashes are known, so the description is
//! no list of usable tickets.

use serde::{Deserialize, Serialize};

use super::tickets::{Holder, Tickets};
use crate::auth::{Issued, IssuedAt};
use crate::event::Position;
use crate::topic::TopicPattern;

/// An unused ticket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableTicket {
    /// The hash, in hexadecimal.
    hash: String,
    /// The time until it expires.
    left_ms: u64,
    user: String,
    session: Option<String>,
    /// When the token was issued, in Unix milliseconds.
    issued_ms: Option<u64>,
    /// For an answer of the application: the log's position when it was asked.
    asked: Option<u64>,
    expires_at: u64,
    topics: Vec<String>,
}

impl Tickets {
    /// Describes all tickets that have not expired.
    pub(crate) fn describe(&self) -> Vec<PortableTicket> {
        let now_ms = self.clock.now_ms();
        let table = self.table.lock();
        let tickets = table.tickets.iter();
        tickets
            .filter(|(_, entry)| entry.expiry.at_ms > now_ms)
            .map(|(hash, entry)| {
                PortableTicket::new(hash, entry.expiry.at_ms - now_ms, &entry.value)
            })
            .collect()
    }

    /// Takes over tickets of another process. Those that cannot be read are dropped.
    pub(crate) fn take_over(&self, tickets: Vec<PortableTicket>) {
        let now_ms = self.clock.now_ms();
        let mut table = self.table.lock();
        for ticket in tickets {
            if let Ok(hash) = u128::from_str_radix(&ticket.hash, 16) {
                let expires_ms = now_ms.saturating_add(ticket.left_ms);
                table.insert(hash, expires_ms, ticket.identity());
            }
        }
    }
}

impl PortableTicket {
    fn new(hash: u128, left_ms: u64, holder: &Holder) -> Self {
        let (issued_ms, asked) = match holder.issued {
            None => (None, None),
            Some(Issued::Token(at)) => (Some(at.unix_ms()), None),
            Some(Issued::Answer(position)) => (None, Some(position.0)),
        };
        Self {
            hash: format!("{hash:032x}"),
            left_ms,
            user: holder.user.to_string(),
            session: holder.session.as_deref().map(Into::into),
            issued_ms,
            asked,
            expires_at: holder.expires_at,
            topics: holder.topics.lines().map(Into::into).collect(),
        }
    }

    fn identity(self) -> crate::auth::Identity {
        let asked = self
            .asked
            .map(|position| Issued::Answer(Position(position)));
        let issued = self
            .issued_ms
            .map(|unix_ms| Issued::Token(IssuedAt::from_unix_ms(unix_ms)));
        crate::auth::Identity {
            user: self.user.into(),
            session: self.session.map(Into::into),
            issued: issued.or(asked),
            expires_at: self.expires_at,
            topics: self
                .topics
                .iter()
                .filter_map(|topic| TopicPattern::parse(topic).ok())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::Identity;
    use crate::clock::Clock;

    #[test]
    fn the_other_process_knows_a_ticket_for_the_rest_of_its_life() {
        let identity = |issued| Identity {
            user: "42".into(),
            session: Some("a".into()),
            issued,
            expires_at: 7,
            topics: [TopicPattern::parse("orders/*").unwrap()].into(),
        };
        let clock = Clock::manual(1_000_000);
        let here = Tickets::new(clock.clone());
        let answered = Some(Issued::Answer(Position(3)));
        let token = Some(Issued::Token(IssuedAt::from_unix_ms(5)));
        let life = Duration::from_secs(30);
        let [first, second] = [token, answered].map(|it| here.issue(identity(it), life));
        clock.advance(Duration::from_secs(20));
        let json = serde_json::to_string(&here.describe()).unwrap();
        assert!(!json.contains(&first));
        let other_clock = Clock::manual(9_000_000);
        let there = Tickets::new(other_clock.clone());
        there.take_over(serde_json::from_str(&json).unwrap());
        for (ticket, issued) in [(&first, token), (&second, answered)] {
            let found = there.look(ticket).unwrap();
            assert_eq!(format!("{found:?}"), format!("{:?}", identity(issued)));
        }
        other_clock.advance(Duration::from_secs(9));
        assert!(there.redeem(&first).is_some() && there.redeem(&first).is_none());
        other_clock.advance(Duration::from_secs(1));
        assert!(there.redeem(&second).is_none());
    }
}
