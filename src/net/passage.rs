//! A way into another thread's descriptor table.
//!
//! A socket that is made after threads have split their tables is known to one of them only. A passage is made before
//! that. A descriptor that is sent over it (`SCM_RIGHTS`, unix(7)) is a descriptor of the receiver's table, whatever its
//! number was. It works as well where the threads share one table.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::descriptor_stream::{receive_some, send_first};

/// The bytes that carry one descriptor: the kernel passes none without.
const CARRIER: [u8; 1] = [0];

/// The end that descriptors enter. The kernel's buffer holds more than a hundred of them.
#[derive(Debug)]
pub(crate) struct Passage(UnixStream);

/// The end that they leave.
#[derive(Debug)]
pub(crate) struct PassageExit(UnixStream);

/// Makes a passage.
///
/// # Errors
/// The process has no descriptors left.
pub(crate) fn passage() -> io::Result<(Passage, PassageExit)> {
    let (entrance, exit) = UnixStream::pair()?;
    entrance.set_nonblocking(true)?;
    exit.set_nonblocking(true)?;
    Ok((Passage(entrance), PassageExit(exit)))
}

impl Passage {
    /// Sends a descriptor. When this returns, it can be [taken](PassageExit::take).
    ///
    /// # Errors
    /// The other end is closed, or too many descriptors wait there.
    pub(crate) fn pass(&self, socket: impl AsFd) -> io::Result<()> {
        send_first(&self.0, &CARRIER, &[], &[socket.as_fd()])?;
        Ok(())
    }
}

impl PassageExit {
    /// Takes the next descriptor. Does not wait for one.
    ///
    /// # Errors
    /// There is none, or this thread's table is full. In the latter case, it is lost.
    pub(crate) fn take(&self) -> io::Result<OwnedFd> {
        let mut descriptors = VecDeque::new();
        receive_some(&self.0, &mut CARRIER.clone(), &mut descriptors)?;
        let taken = descriptors.pop_front();
        taken.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl AsRawFd for Passage {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsRawFd for PassageExit {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_arrive_one_by_one_and_in_order() {
        let (passage, exit) = passage().unwrap();
        let mut clients: Vec<_> = (0..64)
            .map(|_| {
                let (client, server) = UnixStream::pair().unwrap();
                passage.pass(server).unwrap();
                client
            })
            .collect();
        for (number, client) in (0..).zip(&mut clients) {
            client.write_all(&[number]).unwrap();
            let mut received = [0];
            UnixStream::from(exit.take().unwrap())
                .read_exact(&mut received)
                .unwrap();
            assert_eq!(received, [number]);
        }
        let nothing = exit.take().unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_end_that_is_gone_is_an_error() {
        let (passage, exit) = passage().unwrap();
        drop(exit);
        assert!(passage.pass(io::stdin()).is_err());
        let (passage, exit) = super::passage().unwrap();
        drop(passage);
        assert!(exit.take().is_err());
    }
}
