//! A netlink socket: open, send, wait, receive. The only unsafe code of this crate.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Largest datagram: `MAX_AUDIT_MESSAGE_LENGTH` is 8,970 bytes and a header.
const DATAGRAM_BYTES: usize = 16 * 1024;

pub struct NetlinkSocket {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
    overruns: u64,
}

impl NetlinkSocket {
    /// Open a netlink socket of a protocol, member of `groups` (a bit mask).
    pub fn open(protocol: i32, groups: u32, receive_buffer_bytes: usize) -> io::Result<Self> {
        // SAFETY: plain system calls on a descriptor that is owned from here on.
        let descriptor = unsafe {
            let raw = libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                protocol,
            );
            if raw < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(raw)
        };
        let size = i32::try_from(receive_buffer_bytes).unwrap_or(i32::MAX);
        for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
            // SAFETY: `size` outlives the call and its length is given.
            let done = unsafe {
                libc::setsockopt(
                    descriptor.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    (&raw const size).cast(),
                    size_of::<i32>() as u32,
                )
            };
            if done == 0 {
                break;
            }
        }
        // SAFETY: sockaddr_nl is plain data; the kernel reads the length that is given.
        unsafe {
            let mut address: libc::sockaddr_nl = zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_groups = groups;
            if libc::bind(
                descriptor.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as u32,
            ) != 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(NetlinkSocket {
            descriptor,
            buffer: vec![0; DATAGRAM_BYTES],
            overruns: 0,
        })
    }

    pub fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// How often the kernel said ENOBUFS since the last call: datagrams were dropped.
    pub fn take_overruns(&mut self) -> u64 {
        std::mem::take(&mut self.overruns)
    }

    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads `message` within its length.
        let sent =
            unsafe { libc::send(self.descriptor(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Wait until something can be read; false after `timeout_ms`.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<bool> {
        let mut entry = libc::pollfd {
            fd: self.descriptor(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, and the count says one.
        match unsafe { libc::poll(&raw mut entry, 1, timeout_ms) } {
            0 => Ok(false),
            found if found > 0 => Ok(true),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
        }
    }

    /// One datagram from the kernel; None when there is none now. Datagrams of other processes are passed over.
    pub fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            // SAFETY: the kernel writes at most the lengths that are given; both live through the call.
            let (length, sender) = unsafe {
                let mut address: libc::sockaddr_nl = zeroed();
                let mut address_length = size_of::<libc::sockaddr_nl>() as u32;
                let length = libc::recvfrom(
                    self.descriptor.as_raw_fd(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    0,
                    (&raw mut address).cast(),
                    &raw mut address_length,
                );
                (length, address.nl_pid)
            };
            if length >= 0 {
                if sender != 0 {
                    continue;
                }
                return Ok(self.buffer.get(..length as usize));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOBUFS) => self.overruns += 1,
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(None),
                _ => return Err(error),
            }
        }
    }
}

/// The messages of a datagram: (type, flags, payload).
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, u16, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(rest.get(0..4)?.try_into().ok()?) as usize;
        let kind = u16::from_le_bytes(rest.get(4..6)?.try_into().ok()?);
        let flags = u16::from_le_bytes(rest.get(6..8)?.try_into().ok()?);
        let end = length.clamp(16, rest.len().max(16));
        let payload = rest.get(16..end)?;
        rest = rest
            .get(((end + 3) & !3).min(rest.len())..)
            .unwrap_or_default();
        Some((kind, flags, payload))
    })
}

/// A message of one netlink header and a payload.
pub fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + payload.len());
    out.extend_from_slice(&(16 + payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lengths_end_the_walk() {
        for length in [0u32, 1, 15, 16, 17, 4096, u32::MAX] {
            let mut datagram = length.to_le_bytes().to_vec();
            datagram.extend_from_slice(&[7; 40]);
            assert!(messages(&datagram).count() <= 4);
        }
        assert_eq!(messages(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn what_is_written_is_read() {
        let datagram = [
            message(1300, 0, b"audit(1.0:1): a "),
            message(1320, 0, b"x"),
        ]
        .concat();
        let read: Vec<_> = messages(&datagram)
            .map(|(kind, _, payload)| (kind, payload.to_vec()))
            .collect();
        assert_eq!(
            read,
            vec![(1300, b"audit(1.0:1): a ".to_vec()), (1320, b"x".to_vec())]
        );
    }
}
