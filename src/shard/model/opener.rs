//! A browser's side of TLS: it accepts records only in the order of their sequence numbers.

use crate::tls::{Secrets, record_bytes};

const ALERT: u8 = 21;
const DATA: u8 = 23;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

pub(in crate::shard) struct Opener {
    pub(in crate::shard) secrets: Secrets,
    /// The part of the next record that has arrived.
    pending: Vec<u8>,
    has_begun: bool,
    /// The client has sent something that the server answers with an alert other than `close_notify`.
    pub(in crate::shard) expects_failure: bool,
    /// The server has sent an alert, so nothing more may arrive.
    pub(in crate::shard) is_told: bool,
}

impl Opener {
    /// The secrets of the shard, and the client's opener for them.
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

    /// Appends the content of the records that `bytes` complete.
    pub(in crate::shard) fn receive(&mut self, bytes: &[u8], received: &mut Vec<u8>) {
        self.pending.extend_from_slice(bytes);
        if !self.has_begun {
            // Skips the bytes that the test has filled the socket with.
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
            assert!(!self.is_told, "a record after an alert");
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
