//! One file per fault. Each starts what it needs and ends with the check.

mod away_at_start;
mod failover;
mod full_redis;
mod half_open;
mod hopping;
mod login;
mod lost_connection;
mod lost_replies;
mod one_node;
mod redis_cluster;
mod redis_forgets;
mod redis_restarts;
mod rolling_restart;
mod same_source_id;
mod sessions;
mod trimmed;
