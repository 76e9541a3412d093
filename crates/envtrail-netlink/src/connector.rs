//! Forks and exits of every process (CN_IDX_PROC), framed for `envtrail_core::procevent`.

use crate::clock::{monotonic_ns, realtime_ns};
use crate::socket::{message, messages, NetlinkSocket};
use std::io;
use std::os::fd::RawFd;

const NETLINK_CONNECTOR: i32 = 11;
const CN_IDX_PROC: u32 = 1;
const NLMSG_DONE: u16 = 3;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const EVENT_FORK: u32 = 0x0000_0001;
pub const EVENT_EXEC: u32 = 0x0000_0002;
const EVENT_EXIT: u32 = 0x8000_0000;
/// `struct cn_msg` before the event.
const CN_MSG_BYTES: usize = 20;
const READ_BYTES: usize = 4 << 20;

/// The kernel's stream of process events.
pub struct ProcessConnector {
    socket: NetlinkSocket,
}

impl ProcessConnector {
    /// Open and subscribe; `EPERM` without CAP_NET_ADMIN, `ECONNREFUSED` where the kernel has no process connector.
    pub fn open(receive_buffer_bytes: usize) -> io::Result<Self> {
        Self::of_events(EVENT_FORK | EVENT_EXIT, receive_buffer_bytes)
    }

    /// Subscribe to these events alone, where the kernel can separate them.
    pub fn of_events(events: u32, receive_buffer_bytes: usize) -> io::Result<Self> {
        let socket = NetlinkSocket::open(NETLINK_CONNECTOR, CN_IDX_PROC, receive_buffer_bytes)?;
        // struct proc_input (6.6 and later): the kernel then sends these only. Older kernels take the first word.
        let mut input = PROC_CN_MCAST_LISTEN.to_le_bytes().to_vec();
        input.extend_from_slice(&events.to_le_bytes());
        for payload in [input.as_slice(), input.get(..4).unwrap_or_default()] {
            let mut request = Vec::new();
            for word in [CN_IDX_PROC, 1, 0, 0] {
                request.extend_from_slice(&word.to_le_bytes());
            }
            request.extend_from_slice(&(payload.len() as u16).to_le_bytes());
            request.extend_from_slice(&0u16.to_le_bytes());
            request.extend_from_slice(payload);
            match socket.send(&message(NLMSG_DONE, 0, &request)) {
                Ok(()) => return Ok(ProcessConnector { socket }),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Wait at most `timeout_ms`, then append frames of what is there to `out`. Gives their number.
    pub fn read(&mut self, timeout_ms: i32, out: &mut Vec<u8>) -> io::Result<usize> {
        if !self.socket.wait(timeout_ms)? {
            return Ok(0);
        }
        let (mut count, limit) = (0, out.len() + READ_BYTES);
        let monotonic_to_real_ns = realtime_ns().saturating_sub(monotonic_ns());
        while out.len() < limit {
            let Some(datagram) = self.socket.receive()? else {
                break;
            };
            for (_, _, payload) in messages(datagram) {
                let event = payload.get(CN_MSG_BYTES..).unwrap_or_default();
                let Some(what) = event
                    .get(..4)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(u32::from_le_bytes)
                else {
                    continue;
                };
                let Some(stamp) = event
                    .get(8..16)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(u64::from_le_bytes)
                else {
                    continue;
                };
                if what != EVENT_FORK && what != EVENT_EXIT {
                    continue;
                }
                let time_ms = stamp.saturating_add(monotonic_to_real_ns) / 1_000_000;
                out.extend_from_slice(&(8 + event.len() as u32).to_le_bytes());
                out.extend_from_slice(&time_ms.to_le_bytes());
                out.extend_from_slice(event);
                count += 1;
            }
        }
        Ok(count)
    }

    /// The processes that have exec'ed, as far as is reported now; never waits.
    pub fn read_execs(&mut self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        while let Some(datagram) = self.socket.receive()? {
            for (_, _, payload) in messages(datagram) {
                let event = payload.get(CN_MSG_BYTES..).unwrap_or_default();
                let word = |at: usize| {
                    let bytes = event.get(at..at + 4)?.try_into().ok()?;
                    Some(u32::from_le_bytes(bytes))
                };
                // struct exec_proc_event: process_pid, process_tgid.
                if let (Some(EVENT_EXEC), Some(pid)) = (word(0), word(20)) {
                    pids.push(pid);
                }
            }
        }
        Ok(pids)
    }

    pub fn take_overruns(&mut self) -> u64 {
        self.socket.take_overruns()
    }

    pub fn descriptor(&self) -> RawFd {
        self.socket.descriptor()
    }
}
