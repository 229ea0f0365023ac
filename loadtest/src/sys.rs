//! System calls beyond those of `std`, `rustix` and `socket2`. The only module of this crate with `unsafe`.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, setrlimit, waitpid};

/// Descriptors of a thread besides its connections: epoll, eventfd, inherited ones.
pub(crate) const SPARE_DESCRIPTORS: u64 = 64;

/// Raises the soft descriptor limit to the hard one and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// The limit of open files for all processes together.
pub(crate) fn file_max() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/fs/file-max").ok()?;
    text.trim().parse().ok()
}

/// Gives the calling thread its own descriptor table, so that the limit applies per thread and no lock is
/// shared. Of the open descriptors only stdio and `kept` remain in it.
pub(crate) fn own_descriptor_table(kept: BorrowedFd<'_>) -> io::Result<()> {
    copy_descriptor_table()?;
    let kept = kept.as_raw_fd();
    close_all(libc::STDERR_FILENO + 1, kept - 1)?;
    close_all(kept + 1, RawFd::MAX)
}

/// Gives the calling thread its own copy of the descriptor table.
pub(crate) fn copy_descriptor_table() -> io::Result<()> {
    // SAFETY: in the copy every descriptor stays valid at its number. The callers are threads at their
    // start. They use only descriptors made before, which no other thread closes for them.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?;
    Ok(())
}

fn close_all(first: RawFd, last: RawFd) -> io::Result<()> {
    if last < first {
        return Ok(());
    }
    // SAFETY: only reached from `own_descriptor_table`, whose table is private to a thread that uses no
    // descriptor of this range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets `IP_BIND_ADDRESS_NO_PORT`: binding chooses only the source address. The port is chosen at
/// `connect`, where it need be unique for one destination only.
pub(crate) fn bind_address_no_port(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("an int is four bytes");
    // SAFETY: the descriptor is borrowed, hence open; the value points to a live `c_int` and `length` is its
    // size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the kernel send SIGTERM to the child when the thread that spawns it ends. So no server survives
/// a run that was killed, except after an upgrade: the child's own children do not inherit this.
pub(crate) fn end_with_parent(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec, and only calls `prctl`: no allocation, no lock.
    unsafe {
        command.pre_exec(|| {
            Ok(rustix::process::set_parent_process_death_signal(Some(
                Signal::TERM,
            ))?)
        });
    }
}

/// Makes this process the parent of descendants whose own parent ends, so that it can wait for them.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    let this = rustix::process::getpid();
    Ok(rustix::process::set_child_subreaper(Some(this))?)
}

/// The process id as the kernel's interfaces need it.
pub(crate) fn pid(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Sends SIGTERM to a process.
pub(crate) fn terminate(pid: Pid) -> io::Result<()> {
    Ok(rustix::process::kill_process(pid, Signal::TERM)?)
}

/// How a child ended; `None` if it has not. Afterwards the id means nothing.
pub(crate) fn ended(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let ended = waitpid(Some(pid), WaitOptions::NOHANG)?;
    Ok(ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

/// Kills a child that has not ended, and waits until it has.
pub(crate) fn kill(pid: Pid) {
    // Errors would mean that it has ended.
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let _ = waitpid(Some(pid), WaitOptions::empty());
}

/// `N` bytes from the kernel's random source.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(
        read,
        Ok(N),
        "getrandom fills up to 256 bytes whole once the machine is up"
    );
    bytes
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        })
}
