//! The secrets of a connection, described for another process of the server.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::secrets::{ByCipher, KeyParts, Secrets, TrafficKeys};
use crate::base64_bytes::Base64Bytes;

/// [`Secrets`] with names and texts, so that another version of the server understands them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableSecrets {
    cipher: CipherName,
    sending: PortableDirection,
    receiving: PortableDirection,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum CipherName {
    #[serde(rename = "AES_128_GCM")]
    Aes128,
    #[serde(rename = "AES_256_GCM")]
    Aes256,
    #[serde(rename = "CHACHA20_POLY1305")]
    ChaCha20,
}

#[derive(Debug, Serialize, Deserialize)]
struct PortableDirection {
    key: Base64Bytes,
    iv: Base64Bytes,
    /// The number of the next record.
    sequence: u32,
}

impl PortableDirection {
    fn of(part: &KeyParts<'_>) -> Self {
        Self {
            key: part.key.into(),
            iv: part.iv.into(),
            sequence: part.sequence,
        }
    }

    fn part(&self) -> KeyParts<'_> {
        KeyParts {
            key: &self.key.0,
            iv: &self.iv.0,
            sequence: self.sequence,
        }
    }
}

impl<Short, Long> ByCipher<Short, Long>
where
    Short: Deref<Target = TrafficKeys<16>>,
    Long: Deref<Target = TrafficKeys<32>>,
{
    /// Describes the secrets. From then on, only one of the two may seal or open anything.
    pub(crate) fn to_portable(&self) -> PortableSecrets {
        let (cipher, [sending, receiving]) = match self {
            Self::Aes128(keys) => (CipherName::Aes128, keys.parts()),
            Self::Aes256(keys) => (CipherName::Aes256, keys.parts()),
            Self::ChaCha20(keys) => (CipherName::ChaCha20, keys.parts()),
        };
        PortableSecrets {
            cipher,
            sending: PortableDirection::of(&sending),
            receiving: PortableDirection::of(&receiving),
        }
    }
}

impl Secrets {
    /// Takes over what another process has described. `None` if a key has the wrong length for the cipher.
    pub(crate) fn from_portable(portable: &PortableSecrets) -> Option<Self> {
        let (sending, receiving) = (portable.sending.part(), portable.receiving.part());
        Some(match portable.cipher {
            CipherName::Aes128 => Self::Aes128(TrafficKeys::boxed(&sending, &receiving)?),
            CipherName::Aes256 => Self::Aes256(TrafficKeys::boxed(&sending, &receiving)?),
            CipherName::ChaCha20 => Self::ChaCha20(TrafficKeys::boxed(&sending, &receiving)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_process_seals_the_next_record() {
        for cipher in 0..3 {
            let (mut server, mut client) = Secrets::pair(cipher);
            let mut records = Vec::new();
            server.seal([b"one".as_slice()], &mut records);
            let json = serde_json::to_string(&server.to_portable()).unwrap();
            let portable = serde_json::from_str(&json).unwrap();
            let mut moved = Secrets::from_portable(&portable).unwrap();
            let first = records.len();
            moved.seal([b"two".as_slice()], &mut records);
            for (record, text) in [(0..first, "one"), (first..records.len(), "two")] {
                let (_, content) = client.decrypt(&mut records[record]).unwrap();
                assert_eq!(content, text.as_bytes());
            }
            client.seal([b"up".as_slice()], &mut records);
            let received = records.len() - first * 2;
            let up = records.len() - received;
            assert_eq!(moved.decrypt(&mut records[up..]).unwrap().1, b"up");
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        let mut portable = Secrets::pair(0).0.to_portable();
        portable.cipher = CipherName::Aes256;
        assert!(Secrets::from_portable(&portable).is_none());
    }
}
