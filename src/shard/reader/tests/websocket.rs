//! WebSocket clients of a shard, over real sockets.

mod ends;
mod floods;
mod input;
mod scene;
