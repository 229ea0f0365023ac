//! A browser's end of TLS: it reads the records in the order of their numbers, and none but those.

use crate::tls::{Secrets, record_bytes};

const ALERT: u8 = 21;
const DATA: u8 = 23;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

pub(in crate::shard) struct Opener {
    pub(in crate::shard) secrets: Secrets,
    /// What came of the next record.
    pending: Vec<u8>,
    has_begun: bool,
    /// It has done what is answered with an alert.
    pub(in crate::shard) expects_failure: bool,
    /// The server said that nothing more comes.
    pub(in crate::shard) is_told: bool,
}

impl Opener {
    /// What the shard seals with, and who opens that.
    pub(in crate::shard) fn pair(cipher: usize) -> (Secrets, Self) {
        let (server, client) = Secrets::pair(cipher);
        let opener = Self {
            secrets: client,
            pending: Vec::new(),
            has_begun: false,
            expects_failure: false,
            is_told: false,
        };
        (server, opener)
    }

    /// Appends what `bytes` make readable.
    pub(in crate::shard) fn receive(&mut self, bytes: &[u8], received: &mut Vec<u8>) {
        self.pending.extend_from_slice(bytes);
        if !self.has_begun {
            // What filled the socket before.
            let filling = self.pending.iter().take_while(|byte| **byte == b'.');
            self.pending.drain(..filling.count());
            self.has_begun = !self.pending.is_empty();
        }
        while let Some(length) = record_bytes(&self.pending).expect("records only")
            && self.pending.len() >= length
        {
            let mut record: Vec<u8> = self.pending.drain(..length).collect();
            let opened = self.secrets.decrypt(&mut record);
            let (typed, content) = opened.expect("this record and no other");
            assert!(!self.is_told, "behind close_notify");
            match typed {
                DATA => received.extend_from_slice(content),
                ALERT => {
                    assert_eq!(
                        content == CLOSE_NOTIFY,
                        !self.expects_failure,
                        "{content:?}"
                    );
                    self.is_told = true;
                }
                typed => panic!("{typed} {content:?}"),
            }
        }
    }
}
