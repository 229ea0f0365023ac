//! Clients with TLS: what is sent to them is sealed on its way to the socket, and what they send
//! is opened just to tell an end from all else.
//!
//! Nothing is kept for a client but its secrets. Records are sealed in a buffer of the shard's and
//! copied only where a socket does not take them: a backlog holds ciphertext, so that nothing is
//! sealed twice. A record that has come only in part waits in the kernel.

#![allow(clippy::indexing_slicing)] // the kernel gives at most what it was asked for

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::Shard;
use super::slot::Slot;
use super::write::{MAX_DISCARDED_BYTES, reason_of};
use crate::metrics::DisconnectReason;
use crate::tls::{Alert, Received, record_bytes};

/// What the buffer keeps after a large frame: a full parcel's records.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// What becomes of a client after what it sent.
enum Verdict {
    Stays,
    /// It is gone, or on its way.
    Left(DisconnectReason),
    /// It is told why it is cut off.
    Broke(Alert),
    /// It has new keys, which nobody here follows.
    Renewed,
}

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

    /// Says that nothing more comes; false where that ended the client.
    pub(super) fn send_close_notify(&mut self, key: u32) -> bool {
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        let Some(secrets) = slot.secrets_mut() else {
            return true;
        };
        self.records.clear();
        secrets.seal_alert(Alert::CloseNotify, &mut self.records);
        self.send_records(key)
    }

    /// Tells a client why it is about to be cut off, as far as its socket takes that. With a backlog
    /// it is not told: in the middle of a record there is no place for another.
    #[cold]
    pub(super) fn say_goodbye(&mut self, key: u32, alert: Alert) {
        let Some(slot) = self.table.get_mut(key) else {
            return;
        };
        if slot.is_ending() || slot.is_backlogged() {
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
        let is_there = self.send_as_it_is(key, &records, |sent| {
            Bytes::copy_from_slice(&records[sent..])
        });
        records.clear();
        records.shrink_to(MAX_KEPT_BYTES);
        self.records = records;
        is_there
    }

    /// Takes what a client sent: its end, or nothing that matters.
    pub(super) fn open_input(&mut self, key: u32) {
        match self.receive(key) {
            Verdict::Stays => {}
            Verdict::Left(reason) => self.close(key, reason),
            Verdict::Broke(alert) => {
                // Over unread input the kernel would reset the connection, and the alert with it.
                self.drain_input(key);
                self.close_with(key, DisconnectReason::Error, alert);
            }
            Verdict::Renewed => {
                self.end_drained(key);
            }
        }
    }

    fn receive(&mut self, key: u32) -> Verdict {
        let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
        let Some(slot) = self.table.get_mut(key) else {
            return Verdict::Stays;
        };
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
            let seen = match recv(&slot.fd, &mut scratch, flags) {
                Ok((_, 0)) => return Verdict::Left(DisconnectReason::ClientClosed),
                Ok((_, seen)) => seen,
                Err(Errno::AGAIN) => return Verdict::Stays,
                Err(Errno::INTR) => continue,
                Err(errno) => return Verdict::Left(reason_of(errno)),
            };
            let mut opened = 0;
            loop {
                let rest = &mut scratch[opened..seen];
                let length = match record_bytes(rest) {
                    Ok(Some(length)) => length,
                    Ok(None) => break,
                    Err(alert) => return Verdict::Broke(alert),
                };
                // Counted when it begins: a record is not waited for that would be too much.
                let sum = usize::from(slot.discarded_bytes) + length;
                if sum > usize::from(MAX_DISCARDED_BYTES) {
                    return Verdict::Left(DisconnectReason::Error);
                }
                let Some(record) = rest.get_mut(..length) else {
                    break;
                };
                let Some(secrets) = slot.secrets_mut() else {
                    return Verdict::Stays;
                };
                match secrets.open(record) {
                    Ok(Received::Data) => {}
                    Ok(Received::CloseNotify) => {
                        return Verdict::Left(DisconnectReason::ClientClosed);
                    }
                    Ok(Received::Failure) => return Verdict::Left(DisconnectReason::Error),
                    Ok(Received::KeyUpdate) => return Verdict::Renewed,
                    Err(alert) => return Verdict::Broke(alert),
                }
                slot.discarded_bytes = u16::try_from(sum).unwrap_or(u16::MAX);
                opened += length;
            }
            if opened == 0 {
                // The rest of it makes the socket ready again.
                return Verdict::Stays;
            }
            // What was looked at is there.
            let _ = recv(&slot.fd, &mut scratch[..opened], RecvFlags::DONTWAIT);
        }
    }
}

#[cfg(test)]
mod tests;
