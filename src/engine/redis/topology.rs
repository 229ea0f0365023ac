//! What one server of a Redis Cluster says about all of them.

use redis::{RedisError, Value};

use super::link::ServerAddress;

/// The slot of the log: of all keys with the hash tag `{log}`.
pub(super) const LOG_SLOT: u16 = 10_591;

/// Most servers of a cluster that are remembered, as many as Redis recommends at most.
const MAX_SERVERS: usize = 1_000;

/// What one server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Who has the log; `None` if nobody has its slot.
    pub(super) owner: Option<LogOwner>,
    /// The servers with slots, and their replicas. The masters come first.
    pub(super) servers: Vec<ServerAddress>,
    /// How many of them are masters.
    pub(super) masters: usize,
}

/// The master that has the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogOwner {
    /// Rises with each takeover of a slot. A replica gets a new one by the votes of most masters, so of two claims to
    /// a slot, the one with the higher epoch is right. A server that was cut off or paused has an old one.
    pub(super) epoch: u64,
    pub(super) id: String,
    pub(super) address: ServerAddress,
}

impl LogOwner {
    /// Returns true if this server has taken the log over from `other`.
    pub(super) fn has_taken_over(&self, other: &Self) -> bool {
        self.epoch > other.epoch && self.id != other.id
    }
}

impl View {
    /// Reads the answers of the server at `asked` to `CLUSTER SLOTS` and `CLUSTER NODES`. Only the first has the
    /// addresses that clients should use, and only the second has the epochs.
    pub(super) fn read(
        slots: Value,
        nodes: &str,
        asked: &ServerAddress,
    ) -> Result<Self, RedisError> {
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(slots)?;
        let mut owner = None;
        let (mut masters, mut replicas) = (Vec::new(), Vec::new());
        for range in ranges {
            let mut fields = range.into_iter();
            let (Some(Value::Int(first)), Some(Value::Int(last))) = (fields.next(), fields.next())
            else {
                return Err(unexpected("has a range without bounds"));
            };
            let mut servers = fields.map(|server| SlotServer::read(server, asked));
            let Some(master) = servers.next().transpose()? else {
                continue;
            };
            if (first..=last).contains(&i64::from(LOG_SLOT)) {
                let epoch = epoch(nodes, &master.id)
                    .ok_or_else(|| unexpected("lacks the epoch of a master"))?;
                owner = master.address.clone().map(|address| LogOwner {
                    epoch,
                    id: master.id.clone(),
                    address,
                });
            }
            add(&mut masters, master.address);
            for replica in servers {
                add(&mut replicas, replica?.address);
            }
        }
        let mut view = Self {
            owner,
            masters: masters.len(),
            servers: masters,
        };
        view.servers.append(&mut replicas);
        view.servers.truncate(MAX_SERVERS);
        Ok(view)
    }
}

fn add(all: &mut Vec<ServerAddress>, address: Option<ServerAddress>) {
    if let Some(address) = address
        && !all.contains(&address)
    {
        all.push(address);
    }
}

/// One server of a range of slots.
struct SlotServer {
    id: String,
    /// `None` if the server that was asked does not know it.
    address: Option<ServerAddress>,
}

impl SlotServer {
    fn read(value: Value, asked: &ServerAddress) -> Result<Self, RedisError> {
        let (host, port, id): (Option<String>, u16, String) = match value {
            // More about the addresses may follow.
            Value::Array(mut fields) if fields.len() >= 3 => {
                fields.truncate(3);
                redis::from_redis_value(Value::Array(fields))?
            }
            _ => return Err(unexpected("has a server of another form")),
        };
        let ServerAddress::Tcp {
            host: asked_host,
            is_tls,
            ..
        } = asked
        else {
            return Err(unexpected("came over a Unix socket"));
        };
        let host = match host.as_deref() {
            // The server has no better name for itself than the one by which it was reached.
            None | Some("") => Some(asked_host),
            // It has to announce a host name, but has none.
            Some("?") => None,
            Some(_) => host.as_ref(),
        };
        let address = host.map(|host| ServerAddress::Tcp {
            host: host.clone(),
            port,
            is_tls: *is_tls,
        });
        Ok(Self { id, address })
    }
}

/// The epoch in the line `<id> <address> <flags> <master> <ping> <pong> <epoch> …`.
fn epoch(nodes: &str, id: &str) -> Option<u64> {
    let mut lines = nodes.lines().map(|line| line.split(' '));
    let mut fields = lines.find_map(|mut fields| (fields.next() == Some(id)).then_some(fields))?;
    fields.nth(5)?.parse().ok()
}

fn unexpected(problem: &'static str) -> RedisError {
    (
        redis::ErrorKind::UnexpectedReturnType,
        "the cluster's description of itself cannot be read",
        problem.to_owned(),
    )
        .into()
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    fn tcp(host: &str, port: u16) -> ServerAddress {
        ServerAddress::Tcp {
            host: host.to_owned(),
            port,
            is_tls: true,
        }
    }

    fn server(host: Option<&str>, port: i64, id: &str) -> Value {
        let text = |text: &str| Value::BulkString(text.into());
        Value::Array(vec![
            host.map_or(Value::Nil, text),
            Value::Int(port),
            text(id),
            Value::Array(vec![]),
        ])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
    }

    const NODES: &str = "\
        aa 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-8191\n\
        bb 10.0.0.2:7000@17000,b.example master - 0 1426238316232 12 connected 8192-16383 [93-<-aa]\n\
        cc 10.0.0.3:7000@17000 slave bb 0 1426238317741 12 connected\n";

    #[test]
    fn the_slot_is_that_of_the_keys_of_the_log() {
        let keys = super::super::keys::Keys::new("app:");
        let slot = Slot::new(LOG_SLOT);
        assert_eq!(Some(Slot::for_key(&keys.log)), slot);
        assert_eq!(Some(Slot::for_key(&keys.standings)), slot);
    }

    #[test]
    fn the_master_of_the_logs_slot_is_found_with_its_epoch_and_all_servers_are() {
        let slots = Value::Array(vec![
            range(
                8_192,
                16_383,
                vec![
                    server(Some("b.example"), 7000, "bb"),
                    server(Some("10.0.0.3"), 7000, "cc"),
                ],
            ),
            // It reports itself without a host.
            range(0, 8_191, vec![server(None, 7000, "aa")]),
        ]);
        let view = View::read(slots, NODES, &tcp("seed", 7000)).unwrap();
        let owner = view.owner.unwrap();
        assert_eq!((owner.epoch, &*owner.id), (12, "bb"));
        assert_eq!(owner.address, tcp("b.example", 7000));
        let all = [
            tcp("b.example", 7000),
            tcp("seed", 7000),
            tcp("10.0.0.3", 7000),
        ];
        assert_eq!((view.servers.as_slice(), view.masters), (all.as_slice(), 2));
    }

    #[test]
    fn a_slot_without_a_server_and_an_unknown_address_are_no_owner() {
        for slots in [
            vec![],
            vec![range(0, 8_191, vec![server(Some("a"), 1, "aa")])],
            vec![range(0, 16_383, vec![server(Some("?"), 1, "aa")])],
        ] {
            let view = View::read(Value::Array(slots), NODES, &tcp("seed", 7000));
            assert_eq!(view.unwrap().owner, None);
        }
    }

    #[test]
    fn an_answer_of_another_form_is_an_error() {
        let odd = Value::Array(vec![Value::Int(0), Value::Int(16_383), Value::Int(1)]);
        let unknown = range(0, 16_383, vec![server(Some("d"), 1, "dd")]);
        for slots in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![odd]),
            Value::Array(vec![range(0, 16_383, vec![Value::Array(vec![])])]),
            Value::Array(vec![unknown]),
        ] {
            let text = format!("{slots:?}");
            let view = View::read(slots, NODES, &tcp("seed", 7000));
            assert!(view.is_err() || view.unwrap().owner.is_none(), "{text}");
        }
    }

    #[test]
    fn only_another_server_with_a_higher_epoch_has_taken_over() {
        let owner = |id: &str, epoch| LogOwner {
            epoch,
            id: id.to_owned(),
            address: tcp("h", 1),
        };
        let old = owner("a", 5);
        for (other, expected) in [
            (owner("b", 6), true),
            (owner("b", 5), false),
            (owner("b", 4), false),
            (owner("a", 6), false),
        ] {
            assert_eq!(other.has_taken_over(&old), expected, "{other:?}");
        }
    }
}
