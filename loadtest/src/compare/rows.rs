//! The figures of each server, from the names and figures of its runs.

use crate::run::{Run, Side};

/// The floor, which has no runs of its own.
pub(super) const FLOOR: &str = "floor";
/// The server whose runs have the floor's figures, too.
const BESIDE_FLOOR: &str = "idlewild";
/// How pages name the servers, in reading order; others follow under their own names.
const LABELS: [(&str, &str); 11] = [
    ("idlewild", "Idlewild"),
    ("idlewild-gzip", "Idlewild, gzip"),
    ("nchan", "nchan"),
    ("nchan-open", "nchan, unauthorized"),
    ("pushpin", "Pushpin"),
    ("go", "Go net/http"),
    ("node", "Node node:http"),
    ("idlewild-ws", "Idlewild, WebSocket"),
    ("channels", "Django Channels, WebSocket"),
    ("ws", "Node ws, WebSocket"),
    (FLOOR, "the floor"),
];

/// A server. What was not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// The name of its files.
    pub(super) name: String,
    /// Clients that it held.
    pub(super) clients: Option<f64>,
    pub(super) user_bytes: Option<f64>,
    pub(super) kernel_bytes: Option<f64>,
    /// All processes without clients, in MiB.
    pub(super) empty_mib: Option<f64>,
    /// All processes with all clients, in MiB.
    pub(super) full_mib: Option<f64>,
    pub(super) connects_per_s: Option<f64>,
    /// From an event's scheduled time to its last client: the median of the rounds' medians.
    pub(super) last_ms: Option<f64>,
    /// The same, the slowest event of all rounds.
    pub(super) last_ms_max: Option<f64>,
    /// CPU time of the server per event and client, of broadcasts.
    pub(super) delivery_us: Option<f64>,
    /// Bytes that a client reads for an event of 1 KiB.
    pub(super) wire_bytes: Option<f64>,
    /// From the scheduled time of an event to one user.
    pub(super) unicast_ms: Option<f64>,
    pub(super) unicast_ms_p99: Option<f64>,
    /// CPU time of the server per event to one user, with its publishing.
    pub(super) unicast_us: Option<f64>,
}

impl Row {
    /// Its name on a page.
    pub(super) fn label(&self) -> &str {
        LABELS
            .iter()
            .find(|(name, _)| *name == self.name)
            .map_or(&self.name, |(_, label)| label)
    }
}

/// A row for each server, in reading order.
pub(super) fn rows(runs: &[Run]) -> Vec<Row> {
    let mut names: Vec<&str> = runs.iter().filter_map(|run| Some(split(run)?.1)).collect();
    if runs.iter().any(|run| floor(run).is_some()) {
        names.push(FLOOR);
    }
    names.sort_unstable();
    names.dedup();
    names.sort_by_key(|name| {
        let place = LABELS.iter().position(|(known, _)| known == name);
        place.unwrap_or(LABELS.len())
    });
    names.into_iter().map(|name| row(name, runs)).collect()
}

/// The scenario and the server that a run's file is named after.
fn split(run: &Run) -> Option<(&str, &str)> {
    let stem = run.file.strip_suffix(".json")?;
    let (scenario, server) = stem.split_once('-')?;
    let round = server.rsplit_once('-');
    let server = match round {
        Some((server, round)) if round.bytes().all(|byte| byte.is_ascii_digit()) => server,
        _ => server,
    };
    Some((scenario, server))
}

/// The floor's figures, if the run is one of those that count: over SSE, as most servers are measured.
fn floor(run: &Run) -> Option<&Side> {
    let (_, server) = split(run)?;
    run.floor.as_ref().filter(|_| server == BESIDE_FLOOR)
}

fn row(name: &str, runs: &[Run]) -> Row {
    let of = |scenario: &str| -> Vec<&Side> {
        let side = |run| {
            let (of, server) = split(run)?;
            let side = match name {
                FLOOR => floor(run),
                _ => (server == name).then_some(&run.measured),
            };
            side.filter(|_| of == scenario)
        };
        runs.iter().filter_map(side).collect()
    };
    let (hold, broadcasts) = (of("hold"), of("broadcast"));
    let (unicast, wire) = (of("unicast"), of("wire"));
    let first = |sides: &[&Side], key| sides.first()?.figure(key);
    Row {
        name: name.to_owned(),
        clients: first(&hold, "connected").or(first(&broadcasts, "connected")),
        user_bytes: first(&hold, "user_bytes_per_connection"),
        kernel_bytes: first(&hold, "kernel_bytes_per_connection"),
        empty_mib: first(&hold, "pss_mib.warm"),
        full_mib: first(&hold, "pss_mib.full"),
        connects_per_s: first(&hold, "connects_per_s"),
        last_ms: median(figures(&broadcasts, "time_to_last_ms.p50")),
        last_ms_max: figures(&broadcasts, "time_to_last_ms.max").reduce(f64::max),
        delivery_us: cpu_us(&broadcasts),
        wire_bytes: first(&wire, "wire_bytes_per_delivery"),
        unicast_ms: first(&unicast, "latency_ms.p50"),
        unicast_ms_p99: first(&unicast, "latency_ms.p99"),
        unicast_us: cpu_us(&unicast),
    }
}

fn figures<'a>(sides: &'a [&'a Side], key: &'a str) -> impl Iterator<Item = f64> + 'a {
    sides.iter().filter_map(move |side| side.figure(key))
}

/// CPU time of the server per event that a client received, in microseconds, over all rounds.
fn cpu_us(sides: &[&Side]) -> Option<f64> {
    let used_s: f64 = figures(sides, "server_cpu_s").sum();
    let received: f64 = figures(sides, "received").sum();
    (used_s > 0.0 && received > 0.0).then(|| used_s / received * 1e6)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    /// Runs by the names of their files.
    pub(in super::super) fn runs(files: &[(&str, &str)]) -> Vec<Run> {
        let scratch = Scratch::new();
        let read = |(name, json): &(&str, &str)| Run::read(&scratch.put(name, json)).unwrap();
        files.iter().map(read).collect()
    }

    #[test]
    fn the_rounds_of_a_server_are_one_row() {
        let round = |last: u32, max: u32| {
            format!(
                r#"{{"scenario": "broadcast", "server_cpu_s": 0.3, "received": 50000,
                    "time_to_last_ms": {{"p50": {last}, "max": {max}}}}}"#
            )
        };
        let (one, two, three) = (round(30, 90), round(20, 40), round(70, 80));
        let hold = r#"{"scenario": "hold", "connected": 900, "pss_mib": {"warm": 5, "full": 7}}"#;
        let rows = rows(&runs(&[
            ("broadcast-nchan-open-1.json", &one),
            ("broadcast-nchan-open-2.json", &two),
            ("broadcast-nchan-open-3.json", &three),
            ("hold-nchan-open.json", hold),
        ]));
        let [row] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!(
            (row.label(), row.clients),
            ("nchan, unauthorized", Some(900.0))
        );
        assert_eq!((row.last_ms, row.last_ms_max), (Some(30.0), Some(90.0)));
        assert_eq!((row.empty_mib, row.full_mib), (Some(5.0), Some(7.0)));
        assert!((row.delivery_us.unwrap() - 6.0).abs() < 1e-9);
        assert_eq!(row.wire_bytes, None);
    }

    #[test]
    fn idlewild_is_first_and_the_floor_last() {
        let run = r#"{"scenario": "hold", "connected": 9, "floor": {"connected": 8}}"#;
        let rows = rows(&runs(&[
            ("hold-idlewild-ws.json", run),
            ("hold-idlewild.json", run),
            ("hold-go.json", r#"{"scenario": "hold"}"#),
        ]));
        let shown: Vec<_> = rows.iter().map(|row| (row.label(), row.clients)).collect();
        let expected = [
            ("Idlewild", Some(9.0)),
            ("Go net/http", None),
            ("Idlewild, WebSocket", Some(9.0)),
            ("the floor", Some(8.0)),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }
}
