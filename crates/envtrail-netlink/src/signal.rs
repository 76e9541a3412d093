//! A flag that one thread sets and another can poll: an eventfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub struct Signal(OwnedFd);

impl Signal {
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor is owned from here on.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us.
        Ok(Signal(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    pub fn set(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that live through the call. A counter that is full is set all the same.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: the kernel writes eight bytes.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Let this thread be served before the programs it watches: it reads a process that may end in a moment, and is done soon after.
/// Not by a real-time class, which in a storm of events would keep others from running. Without the right it stays as it is.
pub fn hurry() {
    const NICE: i32 = -15;
    // SAFETY: plain system calls; the thread's own id.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
        libc::setpriority(libc::PRIO_PROCESS, thread, NICE);
    }
}

/// Wait until `source` can be read; false when `stop` was set.
pub fn wait_for(source: RawFd, stop: RawFd) -> bool {
    let mut entries = [source, stop].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: two entries, and the count says two.
    unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) };
    let [_, stop] = entries;
    stop.revents == 0
}
