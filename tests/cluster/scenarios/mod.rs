//! One file per fault. Each starts what it needs and ends with the check.

mod away_at_start;
mod chaos;
mod dead_node;
mod failed_logins;
mod failover;
mod full_redis;
mod half_open;
mod hopping;
mod limit;
mod login;
mod lost_connection;
mod lost_replies;
mod node_clocks;
mod one_node;
mod presence;
mod redis_cluster;
mod redis_forgets;
mod redis_restarts;
mod refused;
mod rolling_restart;
mod same_source_id;
mod session_races;
mod sessions;
mod slow_node;
mod tickets;
mod trimmed;
