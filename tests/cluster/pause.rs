//! Processes that stand still.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::support::eventually;

/// Stops a child of this process without ending it. When this returns, none of its threads runs: the thread that gets
/// the signal stops the others, and on a busy machine they go on until it has its turn.
pub fn pause(child: Pid) {
    kill_process(child, Signal::STOP).unwrap();
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    eventually("the process stands still", || {
        waitid(WaitId::Pid(child), options).unwrap().is_some()
    });
}
