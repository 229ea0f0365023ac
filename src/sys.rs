//! System calls and memory beyond what `std`, tokio and rustix do safely. The only module with `unsafe`:
//! its functions are safe to call, and each block says why it is sound.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};

/// Raises the soft limit of open descriptors to the hard one, and returns it.
///
/// # Errors
/// `setrlimit` fails.
pub fn raise_nofile() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Gives the calling thread its own descriptor table, a copy of the shared one without the descriptors in `unneeded`.
///
/// A descriptor that either side opens later is unknown to the other, or its number means another
/// descriptor there. So whatever threads share must exist before (docs/decisions.md, "Shards and threads").
///
/// # Errors
/// `unshare(CLONE_FILES)` fails: no memory, or a sandbox forbids it.
pub(crate) fn unshare_descriptor_table(unneeded: &[RawFd]) -> io::Result<()> {
    // SAFETY: the call copies the table, so every descriptor this thread owns stays valid at its
    // number. The callers (shard threads, before they accept anything) own only descriptors that
    // were made before and are never closed by another thread on their behalf.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?;
    for number in unneeded {
        // SAFETY: this closes the copy in this thread's table. The owners keep theirs in the shared table, open
        // until every shard has started, and never use them on this thread.
        unsafe { rustix::io::close(*number) };
    }
    Ok(())
}

/// Keeps the calling thread from running signal handlers. They write to a pipe whose descriptor may not
/// exist in a private table.
///
/// # Errors
/// `pthread_sigmask` fails.
pub(crate) fn block_signals() -> io::Result<()> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set it is given; the set outlives both calls; a null
    // old set is allowed.
    let error = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut())
    };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Takes the descriptors that a supervisor passed (`LISTEN_FDS`, `sd_listen_fds(3)`), with their names.
/// Later calls return none.
///
/// # Errors
/// The variables are invalid, or count descriptors that are not open.
pub(crate) fn passed_descriptors() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // If they were passed to another process, their names are still set here.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?.map(|(number, name)| {
        // SAFETY: the descriptor was open a moment ago. `LISTEN_PID` names this process, so it was made for
        // this process. Nothing else here uses it, and it is taken once.
        (unsafe { OwnedFd::from_raw_fd(number) }, name)
    });
    Ok(passed.collect())
}

/// Data that TCP has sent and that the peer has not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unacknowledged {
    /// Unacknowledged packets.
    pub packets: u32,
    /// Time since the peer's last acknowledgement.
    pub last_ack_ms: u32,
}

/// The unacknowledged data of a TCP socket (`TCP_INFO`, `tcp(7)`).
///
/// # Errors
/// The socket is not a TCP socket.
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<Unacknowledged> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `bytes` bytes, the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain numbers, zeroed above in case the kernel knows fewer of them.
    let info = unsafe { info.assume_init() };
    Ok(Unacknowledged {
        packets: info.tcpi_unacked,
        last_ack_ms: info.tcpi_last_ack_recv,
    })
}

/// mimalloc, which is fast for small objects and many threads, and returns memory on request ([`collect_memory`]).
///
/// Every request of Rust names an alignment. Where mimalloc's blocks have it anyway, the request must not name it to
/// mimalloc: unless the block's size is a power of two, it would reserve up to 15 bytes for the alignment, take a longer
/// way, and often a block of the next size.
#[derive(Debug)]
pub struct Allocator;

/// The alignment of each of mimalloc's blocks that is not smaller (`MI_MAX_ALIGN_SIZE`).
const BLOCK_ALIGN: usize = 16;
/// The alignment of every block.
const LEAST_ALIGN: usize = 8;

/// Returns true if every block for this layout is aligned as it asks for.
fn is_aligned_anyway(align: usize, bytes: usize) -> bool {
    align <= LEAST_ALIGN || (align <= BLOCK_ALIGN && bytes >= BLOCK_ALIGN)
}

// SAFETY: these are mimalloc's functions for the same purposes. Blocks of both kinds are moved and freed by the same
// functions, and do not unwind.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: any size is allowed, and an alignment is a power of two.
        let block = unsafe {
            if is_aligned_anyway(align, bytes) {
                libmimalloc_sys::mi_malloc(bytes)
            } else {
                libmimalloc_sys::mi_malloc_aligned(bytes, align)
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        let block = unsafe {
            if is_aligned_anyway(align, bytes) {
                libmimalloc_sys::mi_zalloc(bytes)
            } else {
                libmimalloc_sys::mi_zalloc_aligned(bytes, align)
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller passes a block of this allocator.
        unsafe { libmimalloc_sys::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller passes a block of this allocator.
        let block = unsafe {
            if is_aligned_anyway(layout.align(), bytes) {
                libmimalloc_sys::mi_realloc(block.cast(), bytes)
            } else {
                libmimalloc_sys::mi_realloc_aligned(block.cast(), bytes, layout.align())
            }
        };
        block.cast()
    }
}

/// Returns the calling thread's free memory to the kernel. It walks the thread's heap, so it is meant for
/// idle moments.
pub(crate) fn collect_memory() {
    // SAFETY: no preconditions; works on mimalloc's own state, used or not.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Returns the free memory of the libraries written in C to the kernel. They do not use our allocator: a TLS handshake
/// leaves some with the C library, which keeps it for each thread. It looks at the heaps of all threads, so it is meant
/// for idle moments.
pub(crate) fn collect_c_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; it locks each heap that it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// One of two values.
#[derive(Debug)]
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

/// A box of one of two types, or none, in one pointer. For places that have no room for a tag beside it.
pub(crate) struct EitherBox<A, B> {
    /// Points to a value of the first type, or to the second byte of one of the second type. The alignment of both types
    /// keeps these apart.
    tagged: Option<NonNull<u8>>,
    owned: PhantomData<(Box<A>, Box<B>)>,
}

impl<A, B> EitherBox<A, B> {
    pub(crate) const NONE: Self = Self {
        tagged: None,
        owned: PhantomData,
    };

    /// Takes a value of the first type.
    #[inline]
    pub(crate) fn first(value: Box<A>) -> Self {
        const { assert!(align_of::<A>() > 1, "an odd address could be a value's own") };
        Self {
            tagged: Some(NonNull::from(Box::leak(value)).cast()),
            owned: PhantomData,
        }
    }

    /// Takes a value of the second type.
    #[inline]
    pub(crate) fn second(value: Box<B>) -> Self {
        const { assert!(align_of::<B>() > 1, "an odd address could be a value's own") };
        const { assert!(size_of::<B>() > 1, "the odd address is inside the value") };
        let value = NonNull::from(Box::leak(value)).cast::<u8>();
        Self {
            // SAFETY: the value has more than one byte, so its second one is inside the allocation.
            tagged: Some(unsafe { value.byte_add(1) }),
            owned: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.tagged.is_none()
    }

    #[inline]
    fn value(&self) -> Option<Either<NonNull<A>, NonNull<B>>> {
        let tagged = self.tagged?;
        Some(if tagged.addr().get() % 2 == 0 {
            Either::First(tagged.cast())
        } else {
            // SAFETY: it is one byte behind a value's start.
            Either::Second(unsafe { tagged.byte_sub(1) }.cast())
        })
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Either<&A, &B>> {
        // SAFETY: the value is owned, is of the type that the tag says, and is borrowed as long as `self`.
        Some(match self.value()? {
            Either::First(value) => Either::First(unsafe { value.as_ref() }),
            Either::Second(value) => Either::Second(unsafe { value.as_ref() }),
        })
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> Option<Either<&mut A, &mut B>> {
        // SAFETY: as in `get`, and nobody else has access to `self`.
        Some(match self.value()? {
            Either::First(mut value) => Either::First(unsafe { value.as_mut() }),
            Either::Second(mut value) => Either::Second(unsafe { value.as_mut() }),
        })
    }

    /// The value of the first type, made from the other one or from nothing if there is none.
    pub(crate) fn make_first(&mut self, make: impl FnOnce(Option<Box<B>>) -> Box<A>) -> &mut A {
        let value = match self.take() {
            Some(Either::First(value)) => value,
            Some(Either::Second(value)) => make(Some(value)),
            None => make(None),
        };
        *self = Self::first(value);
        match self.get_mut() {
            Some(Either::First(value)) => value,
            _ => unreachable!("it was just set"),
        }
    }

    /// Takes the value out.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Either<Box<A>, Box<B>>> {
        let value = self.value()?;
        self.tagged = None;
        // SAFETY: the value comes from a box of that type, and `self` no longer refers to it.
        Some(match value {
            Either::First(value) => Either::First(unsafe { Box::from_raw(value.as_ptr()) }),
            Either::Second(value) => Either::Second(unsafe { Box::from_raw(value.as_ptr()) }),
        })
    }

    #[inline(never)] // so that an empty one costs a comparison where it is dropped
    fn drop_value(&mut self) {
        drop(self.take());
    }
}

// SAFETY: it owns an `A` or a `B` and nothing else, as a box of either does.
unsafe impl<A: Send, B: Send> Send for EitherBox<A, B> {}
// SAFETY: as above; through a shared reference there is only shared access to the value.
unsafe impl<A: Sync, B: Sync> Sync for EitherBox<A, B> {}

impl<A, B> Drop for EitherBox<A, B> {
    #[inline]
    fn drop(&mut self) {
        if self.tagged.is_some() {
            self.drop_value();
        }
    }
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Debug for EitherBox<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Registers a descriptor with the current runtime, to wait until it is readable.
///
/// # Errors
/// The runtime cannot register it.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its number and stays open until it is dropped, which the
    // `AsyncFd` that owns it does after deregistering.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
    Ok(watched)
}

/// A descriptor that the runtime watches from some moment on.
#[derive(Debug)]
pub(crate) struct Watchable {
    // Dropped first, while the descriptor is open.
    watch: Option<AsyncFd<RawFd>>,
    fd: OwnedFd,
}

impl Watchable {
    /// The runtime's view of it; `None` before [`Watchable::start_watch`].
    pub(crate) fn watch(&self) -> Option<&AsyncFd<RawFd>> {
        self.watch.as_ref()
    }

    /// Registers it with the current runtime, to wait until it is readable or writable.
    ///
    /// # Errors
    /// The runtime cannot register it.
    pub(crate) fn start_watch(&mut self) -> io::Result<()> {
        // SAFETY: `fd` keeps its number and stays open for as long as it is in this struct: it is private, never
        // replaced, and leaves the struct only after `watch` was dropped.
        let watch = unsafe { AsyncFd::register(self.fd.as_raw_fd()) }?;
        self.watch = Some(watch);
        Ok(())
    }
}

impl From<OwnedFd> for Watchable {
    fn from(fd: OwnedFd) -> Self {
        Self { watch: None, fd }
    }
}

impl From<Watchable> for OwnedFd {
    fn from(watchable: Watchable) -> Self {
        let Watchable { watch, fd } = watchable;
        drop(watch);
        fd
    }
}

impl AsFd for Watchable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Receives into the free part of `buffer`, and returns the number of bytes.
///
/// # Errors
/// `recv` fails.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: nothing here makes initialised bytes uninitialised: the kernel only writes bytes.
    let free = unsafe { buffer.unfilled_mut() };
    let ((received, _), _) = recv(fd, free, RecvFlags::DONTWAIT)?;
    let bytes = received.len();
    // SAFETY: the kernel has written the first `bytes` of the free part.
    unsafe { buffer.assume_init(bytes) };
    buffer.advance(bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn blocks_are_aligned_zeroed_and_moved_whatever_their_layout() {
        for (bytes, align) in (1..600).flat_map(|bytes| [1, 8, 16, 32, 4_096].map(|it| (bytes, it)))
        {
            let layout = Layout::from_size_align(bytes, align).unwrap();
            let more = Layout::from_size_align(bytes * 3, align).unwrap();
            // SAFETY: the layouts are not empty, each block is used within its size, and freed once.
            unsafe {
                let block = Allocator.alloc_zeroed(layout);
                assert!(block.addr().is_multiple_of(align), "{layout:?}");
                assert!((0..bytes).all(|at| *block.add(at) == 0));
                block.write_bytes(7, bytes);
                let block = Allocator.realloc(block, layout, more.size());
                assert!(block.addr().is_multiple_of(align), "{more:?}");
                assert!((0..bytes).all(|at| *block.add(at) == 7));
                Allocator.dealloc(block, more);
                let block = Allocator.alloc(layout);
                assert!(block.addr().is_multiple_of(align), "{layout:?}");
                Allocator.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn a_usual_layout_gets_the_smallest_block_that_it_fits_into() {
        for (bytes, align) in (16..2_000).flat_map(|bytes| [8, 16].map(|align| (bytes, align))) {
            let layout = Layout::from_size_align(bytes, align).unwrap();
            // SAFETY: the layout is not empty, and the block is freed once.
            let (usable, smallest) = unsafe {
                let block = Allocator.alloc(layout);
                let usable = libmimalloc_sys::mi_usable_size(block.cast());
                Allocator.dealloc(block, layout);
                (usable, libmimalloc_sys::mi_good_size(bytes))
            };
            assert_eq!(usable, smallest, "{layout:?}");
        }
    }

    #[test]
    fn an_either_box_holds_what_it_was_given_and_drops_it_once() {
        type Pair = EitherBox<Arc<u8>, (Arc<u8>, u64)>;
        let (first, second) = (Arc::new(1_u8), Arc::new(2_u8));
        assert_eq!(size_of::<Pair>(), size_of::<usize>());
        let counts = |said: &str| {
            let counted = [Arc::strong_count(&first), Arc::strong_count(&second)];
            format!("{said} {counted:?}")
        };

        let mut pair = Pair::NONE;
        assert!(pair.is_none() && pair.get().is_none() && pair.get_mut().is_none());
        assert!(pair.take().is_none());

        pair = Pair::first(Box::new(Arc::clone(&first)));
        assert!(matches!(pair.get(), Some(Either::First(it)) if **it == 1));
        assert_eq!(counts("first"), "first [2, 1]");
        // The former value is dropped.
        pair = Pair::second(Box::new((Arc::clone(&second), 7)));
        assert_eq!(counts("second"), "second [1, 2]");
        if let Some(Either::Second((_, number))) = pair.get_mut() {
            *number += 1;
        }
        assert!(matches!(pair.get(), Some(Either::Second((it, 8))) if **it == 2));

        let made = pair.make_first(|old| Box::new(old.unwrap().0));
        assert_eq!(**made, 2);
        pair.make_first(|_| unreachable!());
        pair = Pair::second(Box::new((Arc::clone(&second), 8)));

        let taken = pair.take();
        assert!(pair.is_none());
        drop(pair);
        assert_eq!(counts("taken"), "taken [1, 2]");
        assert!(matches!(&taken, Some(Either::Second(it)) if it.1 == 8));
        drop(taken);
        assert_eq!(counts("dropped"), "dropped [1, 1]");
        drop(Pair::first(Box::new(Arc::clone(&first))));
        assert_eq!(counts("dropped"), "dropped [1, 1]");
    }

    #[test]
    fn an_unshared_table_does_not_see_later_descriptors() {
        let (made, number) = std::sync::mpsc::channel::<i32>();
        let (unshared, go) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            unshare_descriptor_table(&[]).unwrap();
            unshared.send(()).unwrap();
            let number = number.recv().unwrap();
            // SAFETY: the number is only queried; the expected answer is "not open".
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_getfd(fd)
        });
        go.recv().unwrap();
        // The number is so high that no other test's descriptor has it in the copy.
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let high = rustix::io::fcntl_dupfd_cloexec(null.as_fd(), 900).unwrap();
        made.send(std::os::fd::AsRawFd::as_raw_fd(&high)).unwrap();
        assert!(rustix::io::fcntl_getfd(&high).is_ok());
        assert_eq!(thread.join().unwrap(), Err(rustix::io::Errno::BADF));
    }

    #[test]
    fn an_unshared_table_has_no_copies_of_what_is_not_needed() {
        let (kept, unneeded) = std::os::unix::net::UnixStream::pair().unwrap();
        let numbers = [kept.as_raw_fd(), unneeded.as_raw_fd()];
        let is_open = std::thread::spawn(move || {
            unshare_descriptor_table(&numbers[1..]).unwrap();
            // SAFETY: the numbers are only queried.
            numbers.map(|number| rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }))
        });
        let [kept_copy, unneeded_copy] = is_open.join().unwrap();
        assert!(kept_copy.is_ok());
        assert_eq!(unneeded_copy, Err(rustix::io::Errno::BADF));
        assert!(rustix::io::fcntl_getfd(&unneeded).is_ok());
    }

    #[test]
    fn the_descriptor_limit_is_raised_to_the_hard_one() {
        let hard = raise_nofile().unwrap();
        assert_eq!(
            getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            hard
        );
    }
}
