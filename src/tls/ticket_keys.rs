//! The keys of session tickets (RFC 8446 §4.6.1). They rotate, and another process of the server can take them over, so
//! that clients resume their sessions there.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use parking_lot::{Mutex, MutexGuard};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

use crate::base64_bytes::Base64Bytes;
use crate::clock::{Clock, millis};

/// For so long, a key encrypts tickets. It decrypts them for as long again, so a ticket is good for this time at least.
const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
const KEY_BYTES: usize = 32;
/// The nonce is random, and precedes the ciphertext. With this cipher, a nonce that comes twice reveals only whether two
/// tickets are equal (RFC 8452 §1).
const NONCE_BYTES: usize = 12;

/// Encrypts session tickets, and decrypts them.
pub(super) struct TicketKeys {
    keys: Mutex<Keys>,
    clock: Clock,
}

struct Keys {
    current: TicketKey,
    previous: Option<TicketKey>,
    /// When `current` becomes `previous`.
    rotation_ms: u64,
}

struct TicketKey {
    cipher: RandomizedNonceKey,
    secret: Base64Bytes,
}

/// The keys of session tickets, described for another process of the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableTicketKeys {
    current: Base64Bytes,
    #[serde(default)]
    previous: Option<Base64Bytes>,
    /// The time until the rotation.
    left_ms: u64,
}

impl TicketKey {
    /// `None` if the system has no random numbers.
    fn random() -> Option<Self> {
        let mut secret = Base64Bytes::from([0; KEY_BYTES].as_slice());
        aws_lc_rs::rand::fill(&mut secret.0).ok()?;
        Self::new(secret)
    }

    /// `None` if the secret has a wrong length.
    fn new(secret: Base64Bytes) -> Option<Self> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM_SIV, &secret.0).ok()?;
        Some(Self { cipher, secret })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .cipher
            .seal_in_place_append_tag(Aad::empty(), &mut sealed)
            .ok()?;
        let mut ticket = nonce.as_ref().to_vec();
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.cipher.open_in_place(nonce, Aad::empty(), &mut sealed);
        let length = plain.ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl TicketKeys {
    /// A new random key. `None` if the system has no random numbers.
    pub(super) fn new(clock: Clock) -> Option<Self> {
        let keys = Keys {
            current: TicketKey::random()?,
            previous: None,
            rotation_ms: clock.now_ms() + millis(ROTATION),
        };
        Some(Self {
            keys: Mutex::new(keys),
            clock,
        })
    }

    /// Describes the keys.
    pub(super) fn to_portable(&self) -> PortableTicketKeys {
        let keys = self.keys();
        PortableTicketKeys {
            current: keys.current.secret.clone(),
            previous: keys.previous.as_ref().map(|key| key.secret.clone()),
            left_ms: keys.rotation_ms.saturating_sub(self.clock.now_ms()),
        }
    }

    /// Takes the keys of another process over. Without effect if one has a wrong length.
    pub(super) fn take_over(&self, portable: PortableTicketKeys) {
        let previous = portable.previous.map(TicketKey::new);
        if let (Some(current), None | Some(Some(_))) = (TicketKey::new(portable.current), &previous)
        {
            *self.keys.lock() = Keys {
                current,
                previous: previous.flatten(),
                rotation_ms: self.clock.now_ms() + portable.left_ms.min(millis(ROTATION)),
            };
        }
    }

    /// The keys that count now. Without random numbers, no new key comes.
    fn keys(&self) -> MutexGuard<'_, Keys> {
        let now_ms = self.clock.now_ms();
        let mut keys = self.keys.lock();
        if now_ms >= keys.rotation_ms
            && let Some(key) = TicketKey::random()
        {
            let previous = std::mem::replace(&mut keys.current, key);
            // Without a handshake for long, even its last tickets are too old.
            let is_good = now_ms < keys.rotation_ms + millis(ROTATION);
            keys.previous = is_good.then_some(previous);
            keys.rotation_ms = now_ms + millis(ROTATION);
        }
        keys
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(ROTATION.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().current.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys();
        let previous = keys.previous.as_ref();
        let opened = keys.current.open(ticket);
        opened.or_else(|| previous.and_then(|key| key.open(ticket)))
    }
}

/// Not the keys.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (TicketKeys, Clock) {
        let clock = Clock::manual(1_700_000_000_000);
        (TicketKeys::new(clock.clone()).unwrap(), clock)
    }

    #[test]
    fn a_ticket_is_good_for_one_rotation_and_at_most_two() {
        let (keys, clock) = scene();
        let first = keys.encrypt(b"first").unwrap();
        clock.advance(ROTATION * 2 / 3);
        let last = keys.encrypt(b"last").unwrap();
        clock.advance(ROTATION);
        assert_eq!(keys.decrypt(&last).unwrap(), b"last");
        assert_eq!(keys.decrypt(&first).unwrap(), b"first");
        clock.advance(ROTATION / 3);
        let next = keys.encrypt(b"next").unwrap();
        clock.advance(ROTATION);
        assert_eq!(keys.decrypt(&first), None);
        assert_eq!(keys.decrypt(&last), None);
        assert_eq!(keys.decrypt(&next).unwrap(), b"next");
    }

    #[test]
    fn a_key_that_was_not_used_for_long_is_not_kept() {
        let (keys, clock) = scene();
        let ticket = keys.encrypt(b"plain").unwrap();
        clock.advance(2 * ROTATION);
        assert_eq!(keys.decrypt(&ticket), None);
    }

    #[test]
    fn another_process_continues_with_both_keys_and_their_rotation() {
        let (old, clock) = scene();
        let earlier = old.encrypt(b"earlier").unwrap();
        clock.advance(ROTATION);
        let later = old.encrypt(b"later").unwrap();
        clock.advance(ROTATION / 2);
        let json = serde_json::to_string(&old.to_portable()).unwrap();
        let new = TicketKeys::new(clock.clone()).unwrap();
        assert_eq!(new.decrypt(&later), None);
        new.take_over(serde_json::from_str(&json).unwrap());
        assert_eq!(new.decrypt(&earlier).unwrap(), b"earlier");
        assert_eq!(new.decrypt(&later).unwrap(), b"later");
        assert_eq!(old.decrypt(&new.encrypt(b"new").unwrap()).unwrap(), b"new");
        clock.advance(ROTATION / 2);
        assert_eq!(new.decrypt(&earlier), None);
        assert_eq!(new.decrypt(&later).unwrap(), b"later");
    }

    #[test]
    fn keys_of_a_wrong_length_change_nothing() {
        let (keys, _clock) = scene();
        let ticket = keys.encrypt(b"plain").unwrap();
        for (current, previous) in [(31, None), (32, Some(33))] {
            let bytes = |length: usize| Base64Bytes::from(vec![7; length].as_slice());
            keys.take_over(PortableTicketKeys {
                current: bytes(current),
                previous: previous.map(bytes),
                left_ms: 1,
            });
            assert_eq!(keys.decrypt(&ticket).unwrap(), b"plain");
        }
    }

    #[test]
    fn an_altered_or_short_ticket_is_refused() {
        let (keys, _clock) = scene();
        let ticket = keys.encrypt(b"plain").unwrap();
        for at in 0..ticket.len() {
            let mut altered = ticket.clone();
            altered[at] ^= 1;
            assert_eq!(keys.decrypt(&altered), None);
            assert_eq!(keys.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn no_key_is_printed() {
        let (keys, _clock) = scene();
        let portable = format!("{:?} {keys:?}", keys.to_portable());
        assert!(portable.contains("32 bytes"), "{portable}");
    }
}
