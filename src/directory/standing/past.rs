//! A user's earlier sessions, so that one that is named again does not bring revoked tokens back.

use serde::{Deserialize, Serialize};

use crate::auth::IssuedAt;
use crate::directory::digest::Digest;

/// Sessions remembered per user: more devices than one person alternates between. 128 bytes.
const MAX_PAST: usize = 8;
/// Of those, sessions that were replaced and never logged out. Most are never named again: a login
/// makes a new one each time.
const MAX_REPLACED: usize = 2;

/// A session and the tokens of it that are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) session: Digest,
    /// Its tokens have to be issued at this Unix millisecond or later, if they tell.
    pub(super) from_ms: u64,
    /// Tokens that do not tell are refused: there may be some from before a log-out.
    pub(super) needs_iat: bool,
}

impl Claim {
    pub(super) fn allows(self, issued: Option<IssuedAt>) -> bool {
        match issued {
            Some(issued) => self.from_ms == 0 || issued.is_after(self.from_ms - 1),
            None => !self.needs_iat,
        }
    }
}

/// Sessions that are not current, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Past(Box<[Earlier]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, bool, bool)", into = "(u32, u64, bool, bool)")]
struct Earlier {
    /// 32 bits of its digest. Two sessions that share them only make the newer one's bound the
    /// older one's.
    session: u32,
    from_ms: u64,
    needs_iat: bool,
    /// There was a log-out since it was current.
    is_logged_out: bool,
}

const _: () = assert!(size_of::<Earlier>() == 16);

impl Past {
    /// Another session took the place of this one.
    pub(super) fn replaced(&mut self, claim: Claim) {
        self.push(Earlier {
            session: claim.session.short(),
            from_ms: claim.from_ms,
            needs_iat: claim.needs_iat,
            is_logged_out: false,
        });
    }

    /// All sessions were logged out. Tokens of the current one have to be issued at `from_ms` or
    /// later from now on.
    pub(super) fn logged_out(&mut self, current: Option<Claim>, from_ms: u64) {
        for earlier in &mut self.0 {
            earlier.is_logged_out = true;
        }
        if let Some(current) = current {
            self.push(Earlier {
                session: current.session.short(),
                from_ms,
                needs_iat: true,
                is_logged_out: true,
            });
        }
    }

    /// Takes a session out that becomes the current one. `from_ms` is what a new one's tokens need.
    pub(super) fn claim(&mut self, session: Digest, from_ms: u64) -> Claim {
        let mut claim = Claim {
            session,
            from_ms,
            needs_iat: false,
        };
        let mut rest = self.0.to_vec();
        if let Some(place) = rest.iter().position(|past| past.session == session.short()) {
            let earlier = rest.remove(place);
            claim.from_ms = if earlier.is_logged_out {
                from_ms.max(earlier.from_ms)
            } else {
                // As it was when it was replaced.
                earlier.from_ms
            };
            claim.needs_iat = earlier.is_logged_out || earlier.needs_iat;
            self.0 = rest.into();
        }
        claim
    }

    fn push(&mut self, newest: Earlier) {
        let mut all = self.0.to_vec();
        all.push(newest);
        let was_replaced_only = |past: &Earlier| !past.is_logged_out && !past.needs_iat;
        if all.iter().filter(|past| was_replaced_only(past)).count() > MAX_REPLACED
            && let Some(oldest) = all.iter().position(was_replaced_only)
        {
            all.remove(oldest);
        }
        if all.len() > MAX_PAST {
            all.remove(0);
        }
        self.0 = all.into();
    }
}

impl From<(u32, u64, bool, bool)> for Earlier {
    fn from((session, from_ms, needs_iat, is_logged_out): (u32, u64, bool, bool)) -> Self {
        Self {
            session,
            from_ms,
            needs_iat,
            is_logged_out,
        }
    }
}

impl From<Earlier> for (u32, u64, bool, bool) {
    fn from(earlier: Earlier) -> Self {
        (
            earlier.session,
            earlier.from_ms,
            earlier.needs_iat,
            earlier.is_logged_out,
        )
    }
}
