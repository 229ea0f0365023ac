//! Dispatch: hands the log's entries to the shards. One thread at a time does so, so each inbox holds entries in log
//! order.
//!
//! An engine may dispatch what it has appended on its own thread or on the publisher's, if nobody else is at it and nothing
//! is in the way ([`Hub::dispatch_now`]). The shards then wake up while the publisher is still being answered. Everything
//! else is left to the dispatcher's task.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::connection::ConnectionId;
use super::dispatcher::{Commands, Dispatcher};
use super::hub::Hub;
use super::inbox::{Command, Ending, Recipients};
use super::log::{Control, Entry, Record};
use super::outgoing::Outgoing;
use super::presence::by_shard;
use crate::event::{Target, UserId};

/// Most entries that are handed over before the shards are woken: enough that a burst leaves in few sends.
const BATCH: usize = 1_024;

impl Hub {
    /// Dispatches the log's entries for ever. Only one task runs this.
    pub async fn dispatch(&self) {
        self.dispatcher.lock().is_running = true;
        loop {
            self.in_flight.room().await;
            tokio::select! {
                biased;
                () = self.tap.requested() => self.pause_between_batches(),
                () = self.log.until_undispatched() => {
                    let (batch, tap) = {
                        let mut dispatcher = self.dispatcher.lock();
                        (self.dispatch_batch(&mut dispatcher), dispatcher.tap.clone())
                    };
                    if let Some(tap) = tap {
                        self.pass(&batch, &tap).await;
                    }
                }
            }
        }
    }

    /// Dispatches the next entries on the caller's thread. What cannot be dispatched at once is left to the task.
    pub(super) fn dispatch_now(&self) {
        if let Some(mut dispatcher) = self.dispatcher.try_lock()
            && dispatcher.is_running
            && dispatcher.tap.is_none()
            && self.in_flight.has_room()
        {
            self.dispatch_batch(&mut dispatcher);
        }
        // It may have been appended by somebody else meanwhile, who could not lock the dispatcher.
        if self.log.has_undispatched() {
            self.log.announce();
        }
    }

    fn dispatch_batch(&self, dispatcher: &mut Dispatcher) -> Vec<Arc<Entry>> {
        let batch = self.log.undispatched(BATCH);
        let commands = &mut dispatcher.commands;
        for entry in &batch {
            self.route(entry, commands);
        }
        for (inbox, commands) in self.inboxes.iter().zip(commands.iter_mut()) {
            inbox.push_all(commands);
        }
        if let Some(last) = batch.last() {
            self.log.mark_dispatched(last, self.clock.now_ms());
        }
        batch
    }

    /// Passes on what was dispatched, to a process that follows.
    async fn pass(&self, batch: &[Arc<Entry>], tap: &mpsc::Sender<Arc<Entry>>) {
        for entry in batch {
            if tap.send(Arc::clone(entry)).await.is_err() {
                // Nobody follows any more.
                self.dispatcher.lock().tap = None;
                return;
            }
        }
    }

    fn route(&self, entry: &Arc<Entry>, commands: &mut Commands) {
        match &entry.record {
            Record::Event { to, .. } => match to {
                Target::All => self.to_every_shard(entry, commands, || Recipients::Everyone),
                Target::Topic(_) => {
                    self.to_every_shard(entry, commands, || Recipients::Subscribers);
                }
                Target::User(user) => self.to_users(entry, std::slice::from_ref(user), commands),
                Target::Users(users) => self.to_users(entry, users.as_slice(), commands),
            },
            Record::Session { change, .. } => {
                let has_time = self.engine.has_times_in_ids();
                let log_ms = if has_time { entry.id.ms } else { 0 };
                let ended = self
                    .directory
                    .change_session(change, log_ms, entry.position);
                self.release_places(change.user.as_str(), ended.len());
                self.ended.note(entry.id, ended.len());
                let end = |outgoing, connections| Command::End {
                    connections,
                    end: Ending::LoggedOut(outgoing),
                };
                self.to_connections(entry, &ended, commands, end);
            }
            Record::Mark => {}
            // In its place among the deliveries, so that no stream gets an event after those that it has missed.
            Record::Resync => {
                for commands in commands {
                    commands.push(Command::EndAll { from: 0 });
                }
            }
            Record::Control { control, receipt } => {
                let Control::Disconnect { user } = control;
                let ended = self.directory.disconnect_user(user.as_str());
                self.release_places(user.as_str(), ended.len());
                for (commands, connections) in by_shard(commands, &ended) {
                    commands.push(Command::End {
                        connections,
                        end: Ending::Disconnected,
                    });
                }
                receipt.give(ended.len() as u64);
            }
        }
    }

    fn to_every_shard(
        &self,
        entry: &Arc<Entry>,
        commands: &mut Commands,
        to: impl Fn() -> Recipients,
    ) {
        let outgoing = self.in_flight.begin(entry, commands.len());
        for commands in commands {
            commands.push(Command::Deliver {
                outgoing: Arc::clone(&outgoing),
                to: to(),
            });
        }
    }

    fn to_users(&self, entry: &Arc<Entry>, users: &[UserId], commands: &mut Commands) {
        let mut connections = Vec::new();
        for user in users {
            self.directory
                .connections(user.as_str(), |connection| connections.push(connection));
        }
        let deliver = |outgoing, connections| Command::Deliver {
            outgoing,
            to: Recipients::Connections(connections),
        };
        self.to_connections(entry, &connections, commands, deliver);
    }

    fn to_connections(
        &self,
        entry: &Arc<Entry>,
        connections: &[ConnectionId],
        commands: &mut Commands,
        command: impl Fn(Arc<Outgoing>, Vec<ConnectionId>) -> Command,
    ) {
        let groups = by_shard(commands, connections);
        if groups.is_empty() {
            return;
        }
        let outgoing = self.in_flight.begin(entry, groups.len());
        for (commands, connections) in groups {
            commands.push(command(Arc::clone(&outgoing), connections));
        }
    }
}
