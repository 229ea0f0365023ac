//! What the model checks at rest.

use super::*;

impl World {
    /// At rest, checks that clients have the fleeting events that were published while they were connected.
    pub(super) fn check_fleeting(&self) {
        for (n, device) in self.devices.iter().enumerate() {
            let Some(connection) = &device.connection else {
                continue;
            };
            if connection.is_complete || connection.is_over {
                continue;
            }
            let missing = device.missing_fleeting(&self.happened, connection.joined_at);
            assert_eq!(missing, None, "device {n} lacks a fleeting event");
        }
    }

    /// At rest, lets the time pass that clients have for answers.
    pub(super) fn check_deadlines(&mut self) {
        for connection in self.connections() {
            if let Some(speaker) = &connection.speaker {
                speaker.check(connection.is_complete);
            }
        }
        let before: Vec<bool> = self.devices.iter().map(Device::is_to_stay).collect();
        let mut had_end = Vec::new();
        // All get a ping, which some answer.
        for time in [HEARTBEAT + LATE, HEARTBEAT + STALL_TIMEOUT + LATE] {
            had_end = self.devices.iter().map(Device::has_end).collect();
            self.shared.clock.advance(time);
            for shard in &mut self.shards {
                let now = shard.connections.now();
                while shard.run_timers(now) {}
            }
            self.settle();
        }
        // The first of these pings may have been the last that a client's keys could seal. It got its end when time
        // passed again, so the answer to that may still come.
        let may_wait = |n: usize| {
            let connection = self.devices[n].connection.as_ref();
            !had_end[n] && connection.is_some_and(Connection::is_kept_after_its_end)
        };
        let waiting = (0..self.devices.len()).filter(|n| may_wait(*n)).count();
        assert_eq!(
            self.in_tables(),
            self.live() + waiting,
            "an end is waited for too long"
        );
        for (n, is_to_stay) in before.into_iter().enumerate() {
            let device = &self.devices[n];
            if may_wait(n) {
                let connection = device.connection.as_ref();
                assert!(
                    connection.is_some_and(Connection::is_worn),
                    "device {n} was ended"
                );
                continue;
            }
            let Some(connection) = &device.connection else {
                assert!(!is_to_stay || device.was_worn, "device {n} was closed");
                continue;
            };
            if connection.is_complete {
                assert!(connection.is_over, "device {n} may keep what was ended");
            } else if let Some(speaker) = &connection.speaker {
                assert!(speaker.answers_pings, "device {n} does not answer");
            }
        }
    }

    /// Checks that each client has everything, and that all parts agree on which clients are connected.
    pub(super) fn check(&mut self) {
        // Disconnected devices reconnect, unless their session has ended.
        for device in 0..self.devices.len() {
            let connection = &self.devices[device].connection;
            if connection.as_ref().is_none_or(|it| it.is_complete) {
                self.connect(
                    device,
                    device % usize::from(SHARDS),
                    false,
                    Speaker::new(true, false),
                );
            }
        }
        self.settle();
        let oldest = self.oldest();
        for (n, device) in self.devices.iter().enumerate() {
            let Some(connection) = &device.connection else {
                // It was refused, or disconnected again by events that arrived during its replay.
                continue;
            };
            assert_eq!(connection.received, b"", "an incomplete frame");
            let from = if connection.has_gap {
                device.seen.max(oldest)
            } else {
                device.seen
            };
            let missing = device.first_missing(&self.happened, from..self.happened.len());
            assert_eq!(missing, None, "device {n} has not received an entry");
        }
        let online = |device: &&Device| device.connection.is_some();
        assert_eq!(self.in_tables(), self.held());
        for who in 0..USERS {
            let mut of_user = 0;
            self.shared
                .hub
                .directory()
                .connections(&who.to_string(), |_| of_user += 1);
            let mine = self.devices.iter().filter(online);
            assert_eq!(of_user, mine.filter(|device| device.user == who).count());
        }
        let metrics = &self.shared.metrics;
        let told = metrics.sum(|shard| shard.replay_gaps.value());
        assert_eq!(told, self.gaps_told as u64);
        assert_eq!(metrics.sum(|shard| shard.backlogged.value()), 0);
        assert_eq!(metrics.sum(|shard| shard.backlog_bytes.value()), 0);
        for shard in &self.shards {
            shard.connections.check();
            assert!(shard.connections.catching_up.is_empty());
            assert!(shard.connections.newcomers.is_empty());
            for key in 0..shard.connections.table.end() {
                let slot = shard.connections.table.get(key);
                assert!(slot.is_none_or(|slot| !slot.is_behind()));
            }
        }
    }
}
