//! An upgrade: a new process takes everything over from the old one, and no client is disconnected.
//!
//! ```text
//! old                                  new
//!  │ start the program, Begin            │ read the configuration, open the listeners,
//!  │ ◀─────────────────────────── Ready  │ start the shards
//!  │ Log, Standings ───────────────────▶ │ restore
//!  │ ◀──────────────────────── Restored  │
//!  │ stop accepting, InStep ───────────▶ │
//!  │ streams, shard by shard ══════════▶ │ serve them
//!  │ Entries ──────────────────────────▶ │ append, deliver
//!  │ admin connections, Finish ────────▶ │ continue the engine, open the history
//!  │ ◀─────────────────────── TakenOver  │
//!  │ Commit ───────────────────────────▶ │
//!  │ ◀───────────────────────── Serving  │
//!  │ finish what is left, exit           │ accept
//! ```
//!
//! **The seam.** The old process alone decides what happens until `Finish`. It forwards what it has dispatched. Then it
//! holds all its shards after the same entry, forwards the little that has come up to there, and waits until the new
//! process's shards have carried it out, too. Streams leave for a moment, and the shards go on; and so on. So what a
//! stream has received when it moves, both processes have behind them, and what comes later reaches the stream in the
//! new one.
//!
//! **The store.** The directory of a history belongs to the old process until `Finish`, which says that it is closed. Only
//! then the new process opens it. So it is with the connections of a node that shares its log with others.
//!
//! **Failure.** Before `Commit`, the old process ends the new one and goes on. It still has all streams but those that
//! have left; these reconnect. If the old process is gone, the new one serves what it has, and reads from the store what
//! the old one had accepted and not forwarded. Without a store: from `InStep` on, the old one confirms an event to its
//! publisher only when the new one has it, too, so that none is lost then.
//!
//! | module | one purpose |
//! |---|---|
//! | [`protocol`] | the messages |
//! | [`peer`] | sending and receiving them |
//! | [`successor`] | the new process, as the old one talks to it |
//! | [`start`] | starting the new process |
//! | [`old`] | the old process's part: what happens before and after the hand-over |
//! | [`hand_over`] | the hand-over, step by step |
//! | [`moving`] | streams that move, and the entries that precede them |
//! | [`requests`] | requests that end here, and connections that are passed on between two |
//! | [`seam`] | the entries that the new process does not have yet |
//! | [`new`] | the new process's part |
//! | [`error`] | why an upgrade does not happen |

mod error;
mod hand_over;
mod moving;
mod new;
mod old;
mod peer;
mod protocol;
mod requests;
mod seam;
mod start;
mod successor;

pub(super) use hand_over::ProcessParts;
pub(super) use new::Predecessor;
pub(crate) use new::decline;
pub(super) use old::OldProcess;
pub(super) use start::Program;
