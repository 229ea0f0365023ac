//! Calculates the cost of connections, and how many of them memory and descriptors allow. Arithmetic only.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::run::Run;

/// A small frame in the send queue. The kernel's `skb` and head take 1,216 bytes, the frame the rest. Idle
/// sockets have none; a broadcast adds one to each.
const FRAME_BYTES: f64 = 1_280.0;
/// The server's defaults of `max_handshakes` and `history.max_bytes`, and the size of a handshake.
pub(super) const MAX_HANDSHAKES: u64 = 1_024;
const HANDSHAKE_BYTES: u64 = 20_000;
const HISTORY_BYTES: u64 = 64 << 20;
/// Descriptors of a table besides streams and handshakes, by the server's own rule.
const OTHER_DESCRIPTORS: u64 = 256;
/// Limit of connections in calculations: more than any kernel has descriptors for.
const MOST_CONNECTIONS: u64 = 1 << 40;
/// Standard deviations by which a shard may exceed its share: connections are spread by hash.
const SPREAD: f64 = 4.0;

/// The values that a `hold` measured, and the server's defaults.
#[expect(
    clippy::struct_field_names,
    reason = "units in names, and these are keys of the JSON too"
)]
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Cost {
    pub(super) user_bytes: f64,
    /// Only the server's end.
    pub(super) kernel_bytes: f64,
    /// In each send queue during a broadcast.
    pub(super) frame_bytes: f64,
    /// The process without connections.
    pub(super) process_bytes: u64,
    pub(super) handshake_bytes: u64,
    pub(super) history_bytes: u64,
}

/// The machine's resources.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) memory_bytes: u64,
    /// Reserved for other purposes.
    pub(super) reserve_bytes: u64,
    /// Of one descriptor table.
    pub(super) descriptors: u64,
    pub(super) shards: u64,
}

/// How many connections each resource allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Capacity {
    pub(super) memory: u64,
    /// With `fd_tables = "shared"`.
    pub(super) descriptors_shared: u64,
    /// With `fd_tables = "per-shard"`.
    pub(super) descriptors_per_shard: u64,
}

/// The server's descriptor tables.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FdTables {
    Shared,
    PerShard,
}

impl Cost {
    /// Takes the values of a run.
    ///
    /// # Errors
    /// The run has no slope, or an impossible one.
    pub(super) fn of(run: &Run) -> Result<Self> {
        let slope = |key: &str| {
            let bytes = run.measured.figure(key).with_context(|| {
                format!("{}: no `{key}`; use the --json of a `hold` run as root, of a server whose process is known", run.file)
            })?;
            ensure!(
                bytes > 0.0,
                "{}: `{key}` is {bytes:.1}, which is impossible; hold more connections (-n), with a lower --plateau, on an idle machine",
                run.file
            );
            Ok(bytes)
        };
        let process_mib = run.measured.figure("pss_mib.warm").unwrap_or(0.0);
        Ok(Self {
            user_bytes: slope("user_bytes_per_connection")?,
            kernel_bytes: slope("kernel_bytes_per_connection")?,
            frame_bytes: FRAME_BYTES,
            process_bytes: whole(process_mib * 1_048_576.0),
            handshake_bytes: MAX_HANDSHAKES * HANDSHAKE_BYTES,
            history_bytes: HISTORY_BYTES,
        })
    }

    /// Memory per connection, including an event in its send queue.
    pub(super) fn connection_bytes(&self) -> f64 {
        self.user_bytes + self.kernel_bytes + self.frame_bytes
    }

    /// Memory for `connections` and everything else.
    pub(super) fn memory_bytes(&self, connections: u64, reserve_bytes: u64) -> u64 {
        let held = whole((real(connections) * self.connection_bytes()).ceil());
        held.saturating_add(self.fixed_bytes(reserve_bytes))
    }

    fn fixed_bytes(&self, reserve_bytes: u64) -> u64 {
        [self.process_bytes, self.handshake_bytes, self.history_bytes]
            .into_iter()
            .fold(reserve_bytes, u64::saturating_add)
    }
}

impl Machine {
    /// The number of connections that this memory allows.
    pub(super) fn capacity(&self, cost: &Cost) -> Capacity {
        let left = self
            .memory_bytes
            .saturating_sub(cost.fixed_bytes(self.reserve_bytes));
        Capacity {
            memory: whole(real(left) / cost.connection_bytes()),
            descriptors_shared: self.held_by_descriptors(FdTables::Shared),
            descriptors_per_shard: self.held_by_descriptors(FdTables::PerShard),
        }
    }

    /// Descriptors of a table with its share of `connections`: the server's own rule, and an allowance for an
    /// uneven hash.
    pub(super) fn descriptors_for(&self, connections: u64, tables: FdTables) -> u64 {
        let (tables, uneven) = match tables {
            FdTables::PerShard if self.shards > 1 => {
                let share = real(connections) / real(self.shards);
                (self.shards, whole((SPREAD * share.sqrt()).ceil()))
            }
            FdTables::PerShard | FdTables::Shared => (1, 0),
        };
        connections.div_ceil(tables) + uneven + MAX_HANDSHAKES.div_ceil(tables) + OTHER_DESCRIPTORS
    }

    /// The largest number of connections whose descriptors fit.
    fn held_by_descriptors(&self, tables: FdTables) -> u64 {
        let (mut fits, mut too_many) = (0, MOST_CONNECTIONS);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.descriptors_for(middle, tables) <= self.descriptors {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        fits
    }
}

/// A count as a floating-point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and connections of a machine, far below 2^53"
)]
fn real(count: u64) -> f64 {
    count as f64
}

/// A floating-point number as a count; negative numbers become 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates at both ends"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// 146 + 3,974 + 1,280 = 5,400 bytes per connection.
    pub(in crate::plan) const COST: Cost = Cost {
        user_bytes: 146.0,
        kernel_bytes: 3_974.0,
        frame_bytes: FRAME_BYTES,
        process_bytes: 7_000_000,
        handshake_bytes: 20_480_000,
        history_bytes: 67_108_864,
    };

    fn machine(descriptors: u64, shards: u64) -> Machine {
        Machine {
            memory_bytes: 17_179_869_184,
            reserve_bytes: 1_073_741_824,
            descriptors,
            shards,
        }
    }

    #[test]
    fn memory_is_divided_after_the_fixed_costs() {
        // 17,179,869,184 − 1,073,741,824 − 7,000,000 − 20,480,000 − 67,108,864 = 16,011,538,496
        assert_eq!(machine(1, 1).capacity(&COST).memory, 2_965_099);
        // 1,000 × 5,400 + 1,073,741,824 + 94,588,864
        assert_eq!(COST.memory_bytes(1_000, 1_073_741_824), 1_173_730_688);
    }

    #[test]
    fn completely_reserved_memory_allows_no_connection() {
        let small = Machine {
            memory_bytes: 1_000_000_000,
            ..machine(1, 1)
        };
        assert_eq!(small.capacity(&COST).memory, 0);
    }

    #[test]
    fn a_shared_table_has_room_for_streams_besides_handshakes_and_other_descriptors() {
        // 20,000 − 1,024 − 256
        assert_eq!(
            machine(20_000, 2).capacity(&COST).descriptors_shared,
            18_720
        );
        assert_eq!(machine(1_280, 2).capacity(&COST).descriptors_shared, 0);
    }

    #[test]
    fn a_table_per_shard_has_room_for_an_uneven_share() {
        let machine = machine(20_000, 4);
        // 40,000 / 4 + 4 × √10,000 + 1,024 / 4 + 256
        assert_eq!(machine.descriptors_for(40_000, FdTables::PerShard), 10_912);
        let held = machine.capacity(&COST).descriptors_per_shard;
        assert!(machine.descriptors_for(held, FdTables::PerShard) <= 20_000);
        assert!(machine.descriptors_for(held + 1, FdTables::PerShard) > 20_000);
        assert!((75_000..78_000).contains(&held), "{held}");
    }

    #[test]
    fn one_shard_has_one_table_with_either_setting() {
        let capacity = machine(20_000, 1).capacity(&COST);
        assert_eq!(capacity.descriptors_shared, capacity.descriptors_per_shard);
    }

    #[test]
    fn a_huge_descriptor_limit_is_capped() {
        let endless = machine(u64::MAX, 1_024).capacity(&COST);
        assert_eq!(endless.descriptors_shared, MOST_CONNECTIONS - 1);
    }
}
