//! The secrets of a TLS connection that left rustls: key, nonce base and sequence number of each
//! direction. They are wiped when dropped.

use std::ops::{Deref, DerefMut};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};
use zeroize::Zeroize;

/// The nonce length of all three ciphers (RFC 8446 §5.3).
const IV_BYTES: usize = 12;

/// A stream ends after this many records, so that its client reconnects with new keys. AES-GCM is safe
/// for 2^24.5 full records (RFC 8446 §5.5), which leaves room for the last ones.
pub(crate) const MAX_RECORDS: u32 = if cfg!(test) { 64 } else { 1 << 23 };

/// The secrets of one connection, by cipher. `Short` and `Long` point to its keys.
#[derive(Debug)]
pub(crate) enum ByCipher<Short, Long> {
    Aes128(Short),
    Aes256(Long),
    ChaCha20(Long),
}

/// The secrets of one connection.
pub(crate) type Secrets = ByCipher<Box<TrafficKeys<16>>, Box<TrafficKeys<32>>>;
/// Those of somebody else's connection.
pub(crate) type SecretsRef<'a> = ByCipher<&'a TrafficKeys<16>, &'a TrafficKeys<32>>;
/// The same, to seal and open with.
pub(crate) type SecretsMut<'a> = ByCipher<&'a mut TrafficKeys<16>, &'a mut TrafficKeys<32>>;

const _: () = assert!(
    size_of::<TrafficKeys<16>>() == 64,
    "the usual cipher's secrets are one cache line"
);
const _: () = assert!(
    size_of::<TrafficKeys<32>>() <= 128,
    "no cipher needs more than two"
);

/// The keys of both directions, `N` bytes each.
pub(crate) struct TrafficKeys<const N: usize> {
    sending: Direction<N>,
    receiving: Direction<N>,
}

/// The direction that keys are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Sending,
    Receiving,
}

struct Direction<const N: usize> {
    key: [u8; N],
    iv: [u8; IV_BYTES],
    /// The number of the next record. 32 bits suffice, since a connection ends soon after [`MAX_RECORDS`].
    sequence: u32,
}

/// The cipher of one direction, ready for a record.
pub(super) struct Cipher<'a> {
    pub(super) key: LessSafeKey,
    iv: &'a [u8; IV_BYTES],
    sequence: &'a mut u32,
}

impl Secrets {
    /// Takes the secrets from rustls; `None` if the cipher is unknown or differs between the directions.
    /// [`super::Tls`] never negotiates that.
    pub(crate) fn new(extracted: &ExtractedSecrets) -> Option<Self> {
        let (sending, receiving) = (part(&extracted.tx)?, part(&extracted.rx)?);
        let secrets = match (&extracted.tx.1, &extracted.rx.1) {
            (Aes128Gcm { .. }, Aes128Gcm { .. }) => {
                Self::Aes128(TrafficKeys::boxed(&sending, &receiving)?)
            }
            (Aes256Gcm { .. }, Aes256Gcm { .. }) => {
                Self::Aes256(TrafficKeys::boxed(&sending, &receiving)?)
            }
            (Chacha20Poly1305 { .. }, Chacha20Poly1305 { .. }) => {
                Self::ChaCha20(TrafficKeys::boxed(&sending, &receiving)?)
            }
            _ => return None,
        };
        Some(secrets)
    }

    /// Replaces the keys of one direction by those that rustls provides; `None` if they are another cipher's.
    pub(super) fn replace(
        &mut self,
        side: Side,
        new: &(u64, ConnectionTrafficSecrets),
    ) -> Option<()> {
        let new_part = part(new)?;
        match (self, &new.1) {
            (Self::Aes128(keys), Aes128Gcm { .. }) => keys.side(side).fill(&new_part),
            (Self::Aes256(keys), Aes256Gcm { .. })
            | (Self::ChaCha20(keys), Chacha20Poly1305 { .. }) => keys.side(side).fill(&new_part),
            _ => None,
        }
    }

    pub(crate) fn as_ref(&self) -> SecretsRef<'_> {
        match self {
            Self::Aes128(keys) => ByCipher::Aes128(keys),
            Self::Aes256(keys) => ByCipher::Aes256(keys),
            Self::ChaCha20(keys) => ByCipher::ChaCha20(keys),
        }
    }

    pub(crate) fn as_mut(&mut self) -> SecretsMut<'_> {
        match self {
            Self::Aes128(keys) => ByCipher::Aes128(keys),
            Self::Aes256(keys) => ByCipher::Aes256(keys),
            Self::ChaCha20(keys) => ByCipher::ChaCha20(keys),
        }
    }
}

impl<Short, Long> ByCipher<Short, Long>
where
    Short: Deref<Target = TrafficKeys<16>>,
    Long: Deref<Target = TrafficKeys<32>>,
{
    /// Returns true if the keys of a direction have sealed so many records that the connection must end.
    pub(crate) fn are_worn(&self) -> bool {
        let (sent, received) = match self {
            Self::Aes128(keys) => keys.sequences(),
            Self::Aes256(keys) | Self::ChaCha20(keys) => keys.sequences(),
        };
        sent.max(received) >= MAX_RECORDS
    }
}

impl<Short, Long> ByCipher<Short, Long>
where
    Short: DerefMut<Target = TrafficKeys<16>>,
    Long: DerefMut<Target = TrafficKeys<32>>,
{
    pub(super) fn sending(&mut self) -> Cipher<'_> {
        match self {
            Self::Aes128(keys) => keys.sending.cipher(&AES_128_GCM),
            Self::Aes256(keys) => keys.sending.cipher(&AES_256_GCM),
            Self::ChaCha20(keys) => keys.sending.cipher(&CHACHA20_POLY1305),
        }
    }

    pub(super) fn receiving(&mut self) -> Cipher<'_> {
        match self {
            Self::Aes128(keys) => keys.receiving.cipher(&AES_128_GCM),
            Self::Aes256(keys) => keys.receiving.cipher(&AES_256_GCM),
            Self::ChaCha20(keys) => keys.receiving.cipher(&CHACHA20_POLY1305),
        }
    }
}

impl<const N: usize> TrafficKeys<N> {
    /// Sending and receiving.
    pub(super) fn parts(&self) -> [KeyParts<'_>; 2] {
        [self.sending.part(), self.receiving.part()]
    }

    /// `None` if a key has the wrong length for the cipher.
    pub(super) fn boxed(sending: &KeyParts<'_>, receiving: &KeyParts<'_>) -> Option<Box<Self>> {
        // Filled in place: a copy on the stack would not be wiped.
        let mut keys = Box::new(Self {
            sending: Direction::EMPTY,
            receiving: Direction::EMPTY,
        });
        keys.sending.fill(sending)?;
        keys.receiving.fill(receiving)?;
        Some(keys)
    }

    fn side(&mut self, side: Side) -> &mut Direction<N> {
        match side {
            Side::Sending => &mut self.sending,
            Side::Receiving => &mut self.receiving,
        }
    }

    /// The numbers of the next records: sent, received.
    fn sequences(&self) -> (u32, u32) {
        (self.sending.sequence, self.receiving.sequence)
    }
}

/// The secrets of one direction, as rustls provides them.
pub(super) struct KeyParts<'a> {
    pub(super) key: &'a [u8],
    pub(super) iv: &'a [u8],
    pub(super) sequence: u32,
}

fn part((sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> Option<KeyParts<'_>> {
    match secrets {
        Aes128Gcm { key, iv } | Aes256Gcm { key, iv } | Chacha20Poly1305 { key, iv } => {
            Some(KeyParts {
                key: key.as_ref(),
                iv: iv.as_ref(),
                sequence: u32::try_from(*sequence).ok()?,
            })
        }
        _ => None,
    }
}

/// Shows no secret: debug output ends up in logs.
impl<const N: usize> std::fmt::Debug for TrafficKeys<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrafficKeys")
    }
}

impl<const N: usize> Drop for Direction<N> {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl<const N: usize> Direction<N> {
    const EMPTY: Self = Self {
        key: [0; N],
        iv: [0; IV_BYTES],
        sequence: 0,
    };

    fn part(&self) -> KeyParts<'_> {
        KeyParts {
            key: &self.key,
            iv: &self.iv,
            sequence: self.sequence,
        }
    }

    fn fill(&mut self, part: &KeyParts<'_>) -> Option<()> {
        let (key, iv): (&[u8; N], &[u8; IV_BYTES]) =
            (part.key.try_into().ok()?, part.iv.try_into().ok()?);
        self.key.copy_from_slice(key);
        self.iv.copy_from_slice(iv);
        self.sequence = part.sequence;
        Some(())
    }

    #[allow(clippy::expect_used)]
    fn cipher(&mut self, algorithm: &'static Algorithm) -> Cipher<'_> {
        let key =
            UnboundKey::new(algorithm, &self.key).expect("the key is as long as the cipher's");
        Cipher {
            key: LessSafeKey::new(key),
            iv: &self.iv,
            sequence: &mut self.sequence,
        }
    }
}

impl Cipher<'_> {
    /// The next record's nonce (RFC 8446 §5.3). No nonce is used twice.
    #[allow(clippy::expect_used)]
    pub(super) fn next_nonce(&mut self) -> Nonce {
        let mut nonce = *self.iv;
        let sequence = u64::from(*self.sequence).to_be_bytes();
        let last = nonce.iter_mut().skip(IV_BYTES - sequence.len());
        last.zip(sequence).for_each(|(byte, of)| *byte ^= of);
        *self.sequence = (*self.sequence)
            .checked_add(1)
            .expect("a stream ends long before its sequence number does");
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
impl Secrets {
    /// The secrets of both ends of a connection: server and client.
    pub(crate) fn pair(cipher: usize) -> (Self, Self) {
        fn ends<const N: usize>() -> (Box<TrafficKeys<N>>, Box<TrafficKeys<N>>) {
            let part = |key, iv| KeyParts {
                key,
                iv,
                sequence: 0,
            };
            let down = part(&[0xa5; N], &[1; IV_BYTES]);
            let up = part(&[0x5a; N], &[2; IV_BYTES]);
            let server = TrafficKeys::boxed(&down, &up).unwrap();
            (server, TrafficKeys::boxed(&up, &down).unwrap())
        }
        match cipher % 3 {
            0 => {
                let (server, client) = ends();
                (Self::Aes128(server), Self::Aes128(client))
            }
            1 => {
                let (server, client) = ends();
                (Self::Aes256(server), Self::Aes256(client))
            }
            _ => {
                let (server, client) = ends();
                (Self::ChaCha20(server), Self::ChaCha20(client))
            }
        }
    }
}
