//! Runs the load generator against several nodes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Transport;
use crate::hub::{Faults, Hub, Request, header};
use crate::scenarios::run;
use crate::server::{API_KEY, Server};

/// Requests by node.
fn spread(requests: &[Request]) -> [usize; 3] {
    [0, 1, 2].map(|node| requests.iter().filter(|one| one.node == node).count())
}

/// The values of `key` of all nodes.
fn of_nodes(report: &Value, key: &str) -> Vec<u64> {
    let nodes = report["nodes"].as_array().expect("several nodes");
    nodes
        .iter()
        .map(|node| node[key].as_u64().unwrap())
        .collect()
}

#[test]
fn clients_are_spread_over_the_nodes_and_return_to_another_one_with_their_last_id() {
    Transport::each(|transport| {
        let hub = Hub::start_nodes(3, Faults::default());
        let line = format!(
            "storm -n 12 --events 5 --rate 200 --path /s/${{user}} --url {} --admin-url {} --api-key k --transport {}",
            hub.public_urls.join(" --url "),
            hub.admin_url,
            transport.name()
        );
        let (code, report, _) = run(&line);
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(
            (&report["received"], &report["back"]),
            (&(12 * 15).into(), &12.into()),
            "one sequence on all nodes"
        );
        assert_eq!(of_nodes(&report, "connected"), [4, 4, 4]);
        assert_eq!(of_nodes(&report, "received").iter().sum::<u64>(), 12 * 15);
        let addresses: Vec<String> = report["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| format!("http://{}", node["address"].as_str().unwrap()))
            .collect();
        assert_eq!(addresses, hub.public_urls);

        let requests: Vec<Request> = hub.requests.try_iter().collect();
        let (before, after) = requests.split_at(12);
        assert_eq!((spread(before), spread(after)), ([4, 4, 4], [4, 4, 4]));
        let path = |request: &Request| {
            let target = request.head.split(' ').nth(1).unwrap();
            target.split('?').next().unwrap().to_owned()
        };
        let left: BTreeMap<String, usize> =
            before.iter().map(|one| (path(one), one.node)).collect();
        for request in after {
            assert_ne!(
                left[&path(request)],
                request.node,
                "it has returned to its node"
            );
            let resumed = match transport {
                Transport::Sse => header(&request.head, "last-event-id") == Some("4"),
                Transport::Ws => request.head.contains("?last_event_id=4 HTTP/1.1"),
            };
            assert!(resumed, "{}", request.head);
        }
    });
}

#[test]
fn a_single_server_has_no_figures_of_nodes() {
    let hub = Hub::start(Faults::default());
    let line = format!(
        "broadcast -n 3 --events 2 --rate 100 --rounds 1 --path /s/${{user}} --url {} --admin-url {} --api-key k",
        hub.public_url, hub.admin_url
    );
    let (code, report, _) = run(&line);
    assert_eq!((code, report.get("nodes")), (Some(0), None));
}

/// Two servers that share nothing: each client gets only what was published on its own node.
#[test]
fn deliveries_and_memory_are_counted_for_each_of_two_servers() {
    let (one, two) = (Server::start("one"), Server::start("two"));
    let secret = Server::secret_file("nodes");
    let nodes = format!(
        "--url {} --url {} --secret-file {} --api-key {API_KEY}",
        one.public_url(),
        two.public_url(),
        secret.display()
    );
    let broadcast = "broadcast -n 10 --events 6 --rate 200 --rounds 1";

    // On one node only.
    let line = format!("{broadcast} {nodes} --admin-url {}", one.admin_url());
    let (code, report, _) = run(&line);
    assert_eq!(code, Some(1), "the clients of the other node have nothing");
    assert_eq!(of_nodes(&report, "received"), [30, 0]);
    assert_eq!(
        (&report["received"], &report["missed"]),
        (&30.into(), &30.into())
    );
    let published = || [&one, &two].map(|server| server.counter("idlewild_published_total"));
    assert_eq!(published(), [6, 0]);

    // On both in turn.
    let line = format!(
        "{broadcast} {nodes} --admin-url {} --admin-url {}",
        one.admin_url(),
        two.admin_url()
    );
    let (code, report, _) = run(&line);
    assert_eq!(code, Some(1));
    assert_eq!(of_nodes(&report, "received"), [15, 15]);
    assert_eq!(published(), [9, 3]);

    // Memory and connections, with a process for each node.
    let line = format!(
        "hold -n 60 --plateau 20 --warm-up 10 --rest 100ms {nodes} --server-pid {} --server-pid {}",
        one.pid(),
        two.pid()
    );
    let (code, report, _) = run(&line);
    std::fs::remove_file(&secret).unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(of_nodes(&report, "connected"), [30, 30]);
    let full = |figures: &Value| figures["pss_mib"]["full"].as_f64().unwrap();
    let nodes = report["nodes"].as_array().unwrap();
    let sum: f64 = nodes.iter().map(full).sum();
    assert!(full(&nodes[0]) > 0.0 && full(&nodes[1]) > 0.0);
    assert!((full(&report) - sum).abs() < 1e-6, "{report}");
    for figures in nodes.iter().chain([&report]) {
        assert!(figures["user_bytes_per_connection"].is_f64(), "{report}");
        assert!(figures["server_cpu_s"].is_f64(), "{report}");
    }
    let connects = [&one, &two].map(|server| server.counter("idlewild_connects_total"));
    // Five in each broadcast; in the hold five of the warm-up and thirty of the plateaus.
    assert_eq!(connects, [45, 45]);
}
