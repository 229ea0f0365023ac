//! How the sockets over which streams move get into the shards.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::hub::{Hub, Move};
use crate::net::Passage;

/// The passages into all shards' descriptor tables. They last: an upgrade that fails does not use them up.
#[derive(Clone, Debug)]
pub(crate) struct Passages {
    hub: Arc<Hub>,
    /// One for each shard.
    all: Arc<[Passage]>,
}

impl Passages {
    /// The passages, one for each shard of the hub.
    pub(in crate::shard) fn new(hub: Arc<Hub>, all: Vec<Passage>) -> Self {
        Self {
            hub,
            all: all.into(),
        }
    }

    /// The number of shards.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Orders a shard to move streams over `socket`. Shards are numbered in a circle: the one after the last is the
    /// first.
    ///
    /// # Errors
    /// The shard has ended.
    pub(crate) fn order_move(
        &self,
        shard: usize,
        socket: UnixStream,
        order: Move,
    ) -> io::Result<()> {
        let number = shard % self.count().max(1);
        let (inbox, passage) = self
            .hub
            .inboxes()
            .get(number)
            .zip(self.all.get(number))
            .ok_or(io::ErrorKind::NotFound)?;
        // The shard takes it when it gets the order.
        passage.pass(socket)?;
        inbox.order_move(order);
        Ok(())
    }
}
