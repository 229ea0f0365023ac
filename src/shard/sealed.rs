//! Clients with TLS: what is sent to them is sealed on its way to the socket, and what they send
//! is opened just to tell an end from all else.
//!
//! Nothing is kept for a client but its secrets. Records are sealed in a buffer of the shard's and
//! copied only where a socket does not take them: a backlog holds ciphertext, so that nothing is
//! sealed twice. A record that has come only in part waits in the kernel.

#![allow(clippy::indexing_slicing)] // the kernel gives at most what it was asked for

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::Shard;
use super::backlog::Chunk;
use super::slot::Slot;
use super::write::{MAX_DISCARDED_BYTES, reason_of};
use crate::metrics::DisconnectReason;
use crate::tls::{Alert, Verdict};

impl Shard {
    /// Sends `parts`, sealed in as few records as hold them; false where that ended the client.
    pub(super) fn send_sealed<'a>(
        &mut self,
        key: u32,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> bool {
        let Some(secrets) = self.table.get_mut(key).and_then(Slot::secrets_mut) else {
            return false;
        };
        self.records.clear();
        secrets.seal(parts, &mut self.records);
        let are_worn = secrets.are_worn();
        let is_there = self.send_records(key);
        if is_there && are_worn {
            // The timer ends it: whoever sends here may be about to end it as well.
            self.arm(key);
        }
        is_there
    }

    /// Tells a client why it is about to be cut off, as far as its socket takes that. With a backlog
    /// it is not told: in the middle of a record there is no place for another.
    #[cold]
    pub(super) fn say_goodbye(&mut self, key: u32, alert: Alert) {
        let Some(slot) = self.table.get_mut(key) else {
            return;
        };
        if slot.is_backlogged() {
            return;
        }
        let Some(secrets) = slot.secrets_mut() else {
            return;
        };
        self.records.clear();
        secrets.seal_alert(alert, &mut self.records);
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // It may be gone.
        let _ = send(&slot.fd, &self.records, flags);
    }

    fn send_records(&mut self, key: u32) -> bool {
        let mut records = std::mem::take(&mut self.records);
        let is_there = self.send_as_it_is(key, &records, |sent| Chunk::copy(&records[sent..]));
        records.clear();
        self.records = records;
        is_there
    }

    /// Takes what a client sent: its end, or nothing that matters.
    pub(super) fn open_input(&mut self, key: u32) {
        let verdict = match self.receive(key) {
            Ok(verdict) => verdict,
            Err(errno) => {
                self.close(key, reason_of(errno));
                return;
            }
        };
        match verdict {
            Verdict::Stays => {}
            Verdict::Leaves => self.close(key, DisconnectReason::ClientClosed),
            Verdict::Fails | Verdict::Floods => self.close(key, DisconnectReason::Error),
            Verdict::Breaks(alert) => self.close_with(key, DisconnectReason::Error, alert),
            Verdict::Renews => {
                self.end_drained(key);
            }
        }
    }

    /// Takes whole records from the socket and leaves what has come of the next one there: the rest
    /// of it makes the socket ready again.
    fn receive(&mut self, key: u32) -> Result<Verdict, Errno> {
        let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
        let Some(slot) = self.table.get_mut(key) else {
            return Ok(Verdict::Stays);
        };
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
            let seen = match recv(&slot.fd, &mut scratch, flags) {
                Ok((_, 0)) => return Ok(Verdict::Leaves),
                Ok((_, seen)) => seen,
                Err(Errno::AGAIN) => return Ok(Verdict::Stays),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let budget = usize::from(MAX_DISCARDED_BYTES - slot.discarded_bytes);
            let Some(secrets) = slot.secrets_mut() else {
                return Ok(Verdict::Stays);
            };
            let (taken, verdict) = secrets.receive(&mut scratch[..seen], budget);
            if taken == 0 || verdict != Verdict::Stays {
                return Ok(verdict);
            }
            slot.discarded_bytes += u16::try_from(taken).unwrap_or(MAX_DISCARDED_BYTES);
            // It was there a moment ago.
            recv(&slot.fd, &mut scratch[..taken], RecvFlags::DONTWAIT)?;
        }
    }
}

#[cfg(test)]
mod tests;
