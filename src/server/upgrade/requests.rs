//! Requests at the end of a hand-over: those that are under way are finished, and the next ones wait. Admin connections
//! between two requests pass to the new process at once, and public ones when it serves.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::error::HandoverError;
use super::hand_over::HandOver;
use super::protocol::ToNew;
use super::seam::Seam;
use crate::admin::PassedConnection;
use crate::base64_bytes::Base64Bytes;
use crate::clock::millis;

/// Longest wait for requests that are under way. New requests wait as long.
const REQUEST_GRACE: Duration = Duration::from_secs(1);
/// Time between two looks at them.
const REQUEST_POLL: Duration = Duration::from_millis(1);

impl HandOver<'_> {
    /// Finishes requests, and passes on the admin connections, each as soon as it is between two.
    pub(super) async fn finish_requests(&mut self, seam: &mut Seam) -> Result<(), HandoverError> {
        let admin = Arc::clone(&self.old.admin);
        let requests = self.old.public.requests();
        requests.hold();
        self.arriving = Some(admin.pass_on());
        let end_ms = self.old.hub.clock.now_ms() + millis(REQUEST_GRACE);
        loop {
            let is_late = self.old.hub.clock.now_ms() >= end_ms;
            if is_late && let Some(arriving) = &mut self.arriving {
                // Before the last look, so that none is lost between that and the end.
                arriving.close();
            }
            while let Some(connection) = self.next_arriving() {
                let message = ToNew::AdminConnection {
                    received: Base64Bytes::from(&*connection.received),
                };
                // If the new process does not get it, this one has it.
                let copy = connection.socket.try_clone()?;
                self.passed.push(connection);
                self.successor.tell(&message, &[copy.as_fd()]).await?;
            }
            let is_empty = self
                .arriving
                .as_ref()
                .is_none_or(mpsc::UnboundedReceiver::is_empty);
            if admin.unfinished() == 0 && requests.under_way() == 0 && is_empty {
                return Ok(());
            }
            if is_late {
                tracing::warn!(
                    admin_requests = admin.unfinished(),
                    public_requests = requests.under_way(),
                    "requests take too long for the upgrade; the old process answers them, if it still can"
                );
                return Ok(());
            }
            self.move_some(seam).await?;
            self.old.hub.clock.sleep(REQUEST_POLL).await;
        }
    }

    fn next_arriving(&mut self) -> Option<PassedConnection> {
        self.arriving.as_mut()?.try_recv().ok()
    }

    /// Keeps the admin connections that were about to be passed on.
    pub(super) fn take_back(&mut self) {
        if let Some(arriving) = &mut self.arriving {
            arriving.close();
        }
        while let Some(connection) = self.next_arriving() {
            self.passed.push(connection);
        }
    }
}
