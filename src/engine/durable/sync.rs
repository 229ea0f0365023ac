//! Flushes what was written to the disk, once a second: `fsync = "interval"`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::spans;

/// Time between two flushes: what a crash of the machine may cost. Short in tests.
const INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1_000 });

/// Flushes on a thread of its own: a flush may wait for the disk's whole queue, and no answer should wait for
/// it.
#[derive(Debug)]
pub(super) struct Syncer {
    is_dirty: Arc<AtomicBool>,
    /// Dropping it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts to flush what is written from now on. `failed` gets the error of each flush that fails.
    pub(super) fn start(
        flush: impl Fn() -> io::Result<()> + Send + 'static,
        failed: impl Fn(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let is_dirty = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::<()>();
        let dirty = Arc::clone(&is_dirty);
        let run = move || {
            // Real time, whatever clock the server runs on: the disk uses it, too.
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if dirty.swap(false, Ordering::AcqRel) {
                    let span = spans::flush();
                    if let Err(error) = flush() {
                        spans::fail(&span, &error);
                        failed(error);
                    }
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

    /// Notes that something was written.
    pub(super) fn note_write(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The thread does not panic, and nothing could be done here if it did.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_was_written_is_flushed_once_and_a_failure_is_reported() {
        let (flushed, flushes) = channel();
        let (failed, failures) = channel();
        let flush = move || {
            flushed.send(()).unwrap();
            Err(io::Error::other("broken"))
        };
        let syncer = Syncer::start(flush, move |error| failed.send(error).unwrap()).unwrap();
        for _ in 0..2 {
            // Nothing is flushed before something is written, so the next flush belongs to the next write.
            assert!(flushes.try_recv().is_err());
            syncer.note_write();
            flushes.recv().unwrap();
            assert_eq!(failures.recv().unwrap().to_string(), "broken");
        }
        drop(syncer);
        assert!(flushes.recv().is_err(), "its thread has ended");
    }
}
