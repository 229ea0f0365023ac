//! Streams on their way to the new process, and the entries that precede them there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::error::HandoverError;
use super::hand_over::{ANSWER_TIMEOUT, HandOver, LEAVE_FOR, WORK_TIMEOUT};
use super::protocol::{ToNew, ToOld};
use super::seam::Seam;
use crate::event::Position;
use crate::hub::Leaving;

/// Longest time for which streams leave at once.
const LEAVE_AT_MOST: Duration = Duration::from_secs(1);
/// Longest time for which the shards are held, and all clients wait. If the new process hangs then, the old one goes on.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);
/// How often entries are forwarded before a hold. What comes meanwhile is forwarded next, and is less each time, unless
/// publishers are faster than the new process.
const FORWARDS_AHEAD: usize = 4;

impl HandOver<'_> {
    /// Lets all streams leave, and forwards entries in between.
    pub(super) async fn move_streams(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        while !self.move_some(seam).await? {}
        Ok(())
    }

    /// Brings both processes to the same entry, and lets streams leave there for a moment. Returns whether every
    /// stream has left. Meanwhile, entries wait.
    pub(super) async fn move_some(&mut self, seam: &mut Seam) -> Result<bool, HandoverError> {
        let hub = Arc::clone(&self.old.hub);
        let before = self.report().connections;
        let time = self.leave_for;
        self.forward_ahead(seam).await?;
        // The shards finish what they are doing, however long that takes.
        let held = seam.while_waiting(hub.hold()).await?;
        let position = held.ok_or(HandoverError::ShardsEnded)?;
        let moved = self.move_at(position, time, seam);
        let moved = hub.clock.within(HOLD_TIMEOUT, moved).await;
        let is_empty = moved.unwrap_or(Err(HandoverError::Hangs(HOLD_TIMEOUT)))?;
        self.leave_for = if is_empty || self.report().connections > before {
            LEAVE_FOR
        } else {
            LEAVE_AT_MOST.min(2 * time)
        };
        Ok(is_empty)
    }

    /// Does that at a position at which all shards are held, and releases them.
    async fn move_at(
        &mut self,
        position: Position,
        time: Duration,
        seam: &mut Seam,
    ) -> Result<bool, HandoverError> {
        let hub = Arc::clone(&self.old.hub);
        self.forward(position, seam).await?;
        for leaving in &self.leaving {
            leaving.position.store(position.0, Ordering::Release);
            leaving.is_empty.send_replace(false);
        }
        hub.let_leave(true);
        let has_left = self.all(|leaving| &leaving.is_empty, true);
        let is_empty = hub.clock.within(time, has_left).await.is_some();
        hub.let_leave(false);
        self.all(|leaving| &leaving.is_under_way, false).await;
        hub.release();
        let has_failed = |leaving: &Arc<Leaving>| leaving.has_failed.load(Ordering::Acquire);
        if self.leaving.iter().any(has_failed) {
            return Err(HandoverError::Streams);
        }
        Ok(is_empty)
    }

    /// Waits until a flag of every shard has this value.
    async fn all(&self, flag: fn(&Leaving) -> &watch::Sender<bool>, value: bool) {
        for leaving in &self.leaving {
            let mut flag = flag(leaving).subscribe();
            // The sender is in `leaving`.
            let _ = flag.wait_for(|now| *now == value).await;
        }
    }

    /// Forwards what is there while the shards go on, so that little is left while they are held. The streams that are
    /// still here get it here.
    async fn forward_ahead(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        for _ in 0..FORWARDS_AHEAD {
            let Some(newest) = seam.newest() else {
                return Ok(());
            };
            // It may have many streams by now.
            self.successor.patience = WORK_TIMEOUT;
            let forwarded = self.forward(newest, seam).await;
            self.successor.patience = ANSWER_TIMEOUT;
            forwarded?;
        }
        Ok(())
    }

    /// Forwards all entries up to a position that the dispatcher has passed. When this returns, the new process's shards
    /// have carried them out.
    pub(super) async fn forward(
        &mut self,
        to: Position,
        seam: &mut Seam,
    ) -> Result<(), HandoverError> {
        while seam.position < to {
            let entries = seam.take(to).await?;
            let entries = entries.iter();
            let entries = entries.map(|it| self.continued.describe(it)).collect();
            self.successor.tell(&ToNew::Entries(entries), &[]).await?;
            let taken = self
                .successor
                .expect(|answer| matches!(answer, ToOld::Taken));
            seam.while_waiting(taken).await??;
            self.old.hub.note_forwarded(Some(seam.position));
        }
        Ok(())
    }
}
