//! A private connection between two processes of one server, which carries messages and, with them, descriptors
//! (`SCM_RIGHTS`, unix(7)).
//!
//! Each message has a header: its length and the number of its descriptors, four bytes each. The descriptors travel
//! with the first bytes of their message, so the receiver has them before it has the whole message.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncWriteExt, Interest};
use zeroize::{Zeroize, Zeroizing};

use crate::wiped::WipedBytes;

/// Most descriptors of one message. The kernel's limit is 253 (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 128;
/// Most bytes of one message: far above a batch of connections with the largest backlogs. A longer one is an error
/// of the other end.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
const HEADER_BYTES: usize = 8;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// One end of the connection. What was sent and received is wiped from its memory: it can contain secrets.
#[derive(Debug)]
pub(crate) struct DescriptorStream {
    stream: tokio::net::UnixStream,
    /// Bytes that were received and belong to no returned message yet.
    received: WipedBytes,
    descriptors: VecDeque<OwnedFd>,
}

/// A received message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl DescriptorStream {
    /// Takes over one end. Must be called in the context of the runtime that uses it.
    ///
    /// # Errors
    /// If the socket cannot be made non-blocking, or the runtime does not accept it.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: tokio::net::UnixStream::from_std(stream)?,
            received: WipedBytes::default(),
            descriptors: VecDeque::new(),
        })
    }

    /// Sends a message with up to [`MAX_DESCRIPTORS`] descriptors, which stay open here.
    ///
    /// # Errors
    /// If the other end is closed. Part of the message may have been received then.
    pub(crate) async fn send(
        &mut self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let too_many = |_| io::Error::other("the message is too large");
        let lengths = [bytes.len(), descriptors.len()].map(u32::try_from);
        let [length, count] = lengths;
        let mut header = [0; HEADER_BYTES];
        let (first, second) = header.split_at_mut(HEADER_BYTES / 2);
        first.copy_from_slice(&length.map_err(too_many)?.to_le_bytes());
        second.copy_from_slice(&count.map_err(too_many)?.to_le_bytes());
        let sent = self
            .stream
            .async_io(Interest::WRITABLE, || {
                send_first(&self.stream, &header, bytes, descriptors)
            })
            .await?;
        let in_header = sent.min(HEADER_BYTES);
        self.stream
            .write_all(header.get(in_header..).unwrap_or_default())
            .await?;
        let in_bytes = sent - in_header;
        self.stream
            .write_all(bytes.get(in_bytes..).unwrap_or_default())
            .await
    }

    /// Receives the next message; `None` if the other end was closed after a whole message. If this is cancelled, nothing is
    /// lost.
    ///
    /// # Errors
    /// If the other end was closed in the middle of a message, or sent something else.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        while self.received.0.len() < HEADER_BYTES {
            if self.read().await? == 0 {
                return if self.received.0.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
        let (length, count) = self.header();
        if length > MAX_MESSAGE_BYTES || count > MAX_DESCRIPTORS {
            return Err(io::Error::other(
                "the other process does not follow the protocol",
            ));
        }
        while self.received.0.len() < HEADER_BYTES + length || self.descriptors.len() < count {
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut rest = WipedBytes::default();
        rest.extend(
            self.received
                .0
                .get(HEADER_BYTES + length..)
                .unwrap_or_default(),
        );
        let mut bytes = std::mem::replace(&mut self.received, rest).0;
        // What is behind the new end stays in the memory until that is wiped.
        bytes.truncate(HEADER_BYTES + length);
        bytes.drain(..HEADER_BYTES);
        Ok(Some(Message {
            bytes,
            descriptors: self.descriptors.drain(..count).collect(),
        }))
    }

    fn header(&self) -> (usize, usize) {
        let number = |from: usize| {
            let bytes = self.received.0.get(from..from + HEADER_BYTES / 2);
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default()) as usize
        };
        (number(0), number(HEADER_BYTES / 2))
    }

    async fn read(&mut self) -> io::Result<usize> {
        let (stream, descriptors) = (&self.stream, &mut self.descriptors);
        let received = &mut self.received;
        stream
            .async_io(Interest::READABLE, || {
                // Not before there is something: whoever waits for nothing would wipe it each time.
                let mut buffer = vec![0; READ_BYTES];
                let read = receive_some(stream, &mut buffer, descriptors)?;
                let filled = buffer.get_mut(..read).unwrap_or_default();
                received.extend(filled);
                filled.zeroize();
                Ok(read)
            })
            .await
    }
}

/// Sends as much as the kernel takes at once, and the descriptors with it. Returns the number of bytes.
pub(super) fn send_first(
    stream: impl AsFd,
    header: &[u8],
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let parts = [IoSlice::new(header), IoSlice::new(bytes)];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(stream, &parts, &mut ancillary, flags)?)
}

/// Receives what is there, and puts descriptors behind `descriptors`. Returns the number of bytes.
pub(super) fn receive_some(
    stream: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        flags,
    )?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "descriptors were lost: the process has reached its limit (nofile)",
        ));
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn pair() -> (DescriptorStream, DescriptorStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (
            DescriptorStream::new(one).unwrap(),
            DescriptorStream::new(other).unwrap(),
        )
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_with_their_own_descriptors() {
        let (mut sender, mut receiver) = pair();
        let pipes: Vec<_> = (0..MAX_DESCRIPTORS)
            .map(|_| UnixStream::pair().unwrap())
            .collect();
        let lengths = [0, 1, 3 * READ_BYTES + 7, 5];
        let counts = [0, 3, MAX_DESCRIPTORS, 1];
        let send = async {
            for (length, count) in lengths.into_iter().zip(counts) {
                let descriptors: Vec<_> = pipes[..count].iter().map(|(it, _)| it.as_fd()).collect();
                let bytes = vec![u8::try_from(count).unwrap(); length];
                sender.send(&bytes, &descriptors).await.unwrap();
            }
        };
        let receive = async {
            for (length, count) in lengths.into_iter().zip(counts) {
                let message = receiver.receive().await.unwrap().unwrap();
                assert_eq!(message.bytes.len(), length);
                assert!(message.bytes.iter().all(|byte| usize::from(*byte) == count));
                assert_eq!(message.descriptors.len(), count);
                for (fd, (_, other)) in message.descriptors.into_iter().zip(&pipes) {
                    UnixStream::from(fd).write_all(b"x").unwrap();
                    (&mut &*other).read_exact(&mut [0]).unwrap();
                }
            }
        };
        tokio::join!(send, receive);
        drop(sender);
        assert!(receiver.receive().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_message_that_ends_early_is_an_error() {
        for bytes in [
            &b"\x05\0\0\0\0\0\0\0abcd"[..],
            b"\x05\0\0\0\x01\0\0\0abcde",
            b"\x01",
        ] {
            let (one, mut other) = UnixStream::pair().unwrap();
            let mut receiver = DescriptorStream::new(one).unwrap();
            other.write_all(bytes).unwrap();
            drop(other);
            assert!(receiver.receive().await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_an_error() {
        for bytes in [b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0\xff\0\0\0"] {
            let (one, mut other) = UnixStream::pair().unwrap();
            let mut receiver = DescriptorStream::new(one).unwrap();
            other.write_all(bytes).unwrap();
            assert!(receiver.receive().await.is_err(), "{bytes:?}");
        }
    }
}
