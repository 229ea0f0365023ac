//! Flushes what was written to the disk, once a second: `fsync = "interval"`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::spans;

/// What a crash of the machine may cost. Short in tests.
const INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1_000 });

/// A thread of its own: a flush may take a disk's whole queue, and nobody's answer waits for it.
#[derive(Debug)]
pub(super) struct Syncer {
    is_dirty: Arc<AtomicBool>,
    /// Dropped, it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Flushes what was written from now on; `failed` is told what the disk says to that.
    pub(super) fn start(
        flush: impl Fn() -> io::Result<()> + Send + 'static,
        failed: impl Fn(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let is_dirty = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::<()>();
        let dirty = Arc::clone(&is_dirty);
        let run = move || {
            // Real time, whatever clock the server runs on: it is the disk's.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_was_written_is_flushed_once_and_a_failure_is_told() {
        let (flushed, flushes) = channel();
        let (failed, failures) = channel();
        let flush = move || {
            flushed.send(()).unwrap();
            Err(io::Error::other("broken"))
        };
        let syncer = Syncer::start(flush, move |error| failed.send(error).unwrap()).unwrap();
        for _ in 0..2 {
            // Nothing written, nothing flushed: whatever comes is of the write behind it.
            assert!(flushes.try_recv().is_err());
            syncer.note_write();
            flushes.recv().unwrap();
            assert_eq!(failures.recv().unwrap().to_string(), "broken");
        }
        drop(syncer);
        assert!(flushes.recv().is_err(), "its thread has ended");
    }
}
