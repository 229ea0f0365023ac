//! One file per fault. Each starts what it needs and ends with the check.

mod away_at_start;
mod half_open;
mod hopping;
mod lost_replies;
mod one_node;
mod redis_forgets;
mod redis_restarts;
mod same_source_id;
