//! `GET /v1/nodes`: the nodes that share the log.

use std::time::Duration;

use hyper::StatusCode;
use serde::Serialize;

use super::response::{ApiError, ApiResponse, json};
use crate::admin::service::Admin;
use crate::hub::engine::NodeStatus;
use crate::version;

#[derive(Serialize)]
struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    #[serde(rename = "node")]
    name: String,
    /// True for the node that answers.
    this: bool,
    age_s: f64,
    lag_s: f64,
    connections: u64,
    users: u64,
    version: String,
}

/// `GET /v1/nodes`
pub(crate) async fn response(admin: &Admin) -> Result<ApiResponse, ApiError> {
    let shared = admin.hub.engine().nodes().get().await?;
    let nodes = if shared.is_empty() {
        vec![only(admin)]
    } else {
        shared
    };
    let nodes = Nodes {
        nodes: nodes.into_iter().map(Node::from).collect(),
    };
    Ok(json(StatusCode::OK, &nodes))
}

/// This node, whose log nobody shares.
fn only(admin: &Admin) -> NodeStatus {
    NodeStatus {
        name: "this".to_owned(),
        is_self: true,
        age: Duration::from_millis(admin.hub.clock.now_ms()),
        lag: Duration::ZERO,
        connections: admin.hub.streams().used(),
        users: admin.hub.directory().users_online() as u64,
        version: version::VERSION.to_owned(),
    }
}

impl From<NodeStatus> for Node {
    fn from(status: NodeStatus) -> Self {
        Self {
            name: status.name,
            this: status.is_self,
            age_s: status.age.as_secs_f64(),
            lag_s: status.lag.as_secs_f64(),
            connections: status.connections,
            users: status.users,
            version: status.version,
        }
    }
}
