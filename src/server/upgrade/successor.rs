//! The new process, as the old one talks to it: it may be slow, decline, or end.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::error::HandoverError;
use super::peer::Peer;
use super::protocol::{ToNew, ToOld};
use crate::clock::Clock;

/// The new process.
pub(super) struct Successor {
    pub(super) peer: Peer,
    pub(super) clock: Clock,
    /// Longest wait for it.
    pub(super) patience: Duration,
}

impl Successor {
    /// Sends a message with descriptors. If the new process has ended, it may have declined before.
    pub(super) async fn tell(
        &mut self,
        message: &ToNew,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        let told = self.peer.send(message, descriptors);
        let told = self.clock.within(self.patience, told).await;
        let told = told.unwrap_or(Err(HandoverError::Hangs(self.patience)));
        if let Err(HandoverError::Ended) = told {
            loop {
                self.answer().await?;
            }
        }
        told
    }

    /// Waits for its next message. Fails if it declines.
    pub(super) async fn answer(&mut self) -> Result<ToOld, HandoverError> {
        let answer = self.clock.within(self.patience, self.peer.receive()).await;
        let answer = answer.unwrap_or(Err(HandoverError::Hangs(self.patience)));
        match answer?.0 {
            ToOld::Declined { reason } => Err(HandoverError::Declined(reason)),
            answer => Ok(answer),
        }
    }

    /// Waits for its next message, which has to be a certain one.
    pub(super) async fn expect(&mut self, is_it: fn(&ToOld) -> bool) -> Result<(), HandoverError> {
        let answer = self.answer().await?;
        if is_it(&answer) {
            Ok(())
        } else {
            Err(HandoverError::Unexpected)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A new process, and its end of the connection.
    fn successor() -> (Successor, Peer) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let successor = Successor {
            peer: Peer::new(ours).unwrap(),
            clock: Clock::manual(0),
            patience: Duration::from_secs(1),
        };
        (successor, Peer::new(theirs).unwrap())
    }

    #[tokio::test]
    async fn a_decline_is_heard_from_a_process_that_has_ended_before_it_is_told_more() {
        for has_unread in [false, true] {
            let (mut successor, mut new) = successor();
            if has_unread {
                successor.tell(&ToNew::Start, &[]).await.unwrap();
            }
            let declined = ToOld::Declined {
                reason: "no room".into(),
            };
            new.send(&ToOld::Restored, &[]).await.unwrap();
            new.send(&declined, &[]).await.unwrap();
            drop(new);
            let told = successor.tell(&ToNew::Start, &[]).await;
            assert!(
                matches!(&told, Err(HandoverError::Declined(reason)) if reason == "no room"),
                "{told:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_process_that_has_ended_without_a_word_has_ended_too_early() {
        for has_unread in [false, true] {
            let (mut successor, new) = successor();
            if has_unread {
                successor.tell(&ToNew::Start, &[]).await.unwrap();
            }
            drop(new);
            let told = successor.tell(&ToNew::Start, &[]).await;
            assert!(matches!(told, Err(HandoverError::Ended)), "{told:?}");
        }
    }
}
