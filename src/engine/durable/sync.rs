//! Flushes what was written to the disk, once a second: `fsync = "interval"`.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a crash of the machine may cost.
const INTERVAL: Duration = Duration::from_secs(1);

/// A thread of its own: a flush may take a disk's whole queue, and nobody's answer waits for it.
#[derive(Debug)]
pub(super) struct Syncer {
    is_dirty: Arc<AtomicBool>,
    /// Dropped, it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Flushes `wal` from now on; `failed` is told what the disk says to that.
    pub(super) fn start(
        wal: File,
        failed: impl Fn(std::io::Error) + Send + 'static,
    ) -> std::io::Result<Self> {
        let is_dirty = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::<()>();
        let dirty = Arc::clone(&is_dirty);
        let run = move || {
            // Real time, whatever clock the server runs on: it is the disk's.
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if dirty.swap(false, Ordering::AcqRel)
                    && let Err(error) = wal.sync_data()
                {
                    failed(error);
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("history-sync".to_owned())
            .spawn(run)?;
        Ok(Self {
            is_dirty,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Something was written.
    pub(super) fn note_write(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; and if it did, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
