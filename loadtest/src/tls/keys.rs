//! Opens or seals the records of one direction (RFC 8446, sections 5.2 and 5.3).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::Fault;
use super::record::{APPLICATION_DATA, HEADER_BYTES, MAX_CONTENT_BYTES};

/// The longest key of all ciphers.
const MAX_KEY_BYTES: usize = 32;

/// A key, its nonce base and the number of the next record. The key schedule is computed for each record. To
/// keep it would cost half a kilobyte per client; to compute it costs a fraction of the `recv`.
#[derive(Debug)]
pub(super) struct Keys {
    next: u64,
    key: [u8; MAX_KEY_BYTES],
    nonce_base: [u8; NONCE_LEN],
    cipher: Cipher,
}

#[derive(Clone, Copy, Debug)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Keys {
    /// Takes the secrets from rustls, starting with record `next`.
    pub(super) fn new(
        next: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Result<Self, rustls::Error> {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
        let (cipher, secret, iv) = match secrets {
            Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
            _ => return Err(rustls::Error::General("an unknown cipher".to_owned())),
        };
        let mut key = [0; MAX_KEY_BYTES];
        key[..secret.as_ref().len()].copy_from_slice(secret.as_ref());
        let nonce_base = iv.as_ref().try_into();
        Ok(Self {
            next,
            key,
            nonce_base: nonce_base.expect("a nonce of TLS 1.3 has twelve bytes"),
            cipher,
        })
    }

    /// Opens the next record in place; returns the type of its content, and the content.
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<(u8, &'a [u8]), Fault> {
        let (header, body) = record
            .split_first_chunk_mut::<HEADER_BYTES>()
            .ok_or(Fault::Tampered)?;
        let opened = self
            .key()
            .open_in_place(self.nonce(), Aad::from(*header), body);
        let opened = opened.map_err(|_| Fault::Tampered)?;
        self.next += 1;
        // The type follows the content, and zeros may follow the type.
        let kind_at = opened.iter().rposition(|&byte| byte != 0);
        let kind_at = kind_at.ok_or(Fault::Unexpected(0))?;
        Ok((opened[kind_at], &opened[..kind_at]))
    }

    /// Appends a record with `content` to `into`.
    pub(super) fn seal(&mut self, content: &[u8], into: &mut Vec<u8>) {
        debug_assert!(content.len() <= MAX_CONTENT_BYTES);
        let algorithm = self.cipher.algorithm();
        let body_bytes = content.len() + 1 + algorithm.tag_len();
        let length = u16::try_from(body_bytes).expect("a record's content is limited");
        let [high, low] = length.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let mut body = Vec::with_capacity(body_bytes);
        body.extend_from_slice(content);
        body.push(APPLICATION_DATA);
        self.key()
            .seal_in_place_append_tag(self.nonce(), Aad::from(header), &mut body)
            .expect("a record is shorter than the ciphers' limits");
        self.next += 1;
        into.extend(header);
        into.extend(body);
    }

    fn key(&self) -> LessSafeKey {
        let algorithm = self.cipher.algorithm();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        LessSafeKey::new(key.expect("the key has the length of its algorithm"))
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = self.nonce_base;
        for (byte, number) in nonce[NONCE_LEN - 8..]
            .iter_mut()
            .zip(self.next.to_be_bytes())
        {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Cipher {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}
