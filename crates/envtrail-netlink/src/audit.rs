//! Audit records, rendered as the lines that auditd would write.

use crate::socket::{message, messages, NetlinkSocket};
use envtrail_core::types::record_type_name;
use std::io;
use std::os::fd::RawFd;

const NETLINK_AUDIT: i32 = 9;
const GROUP_READLOG: u32 = 1;
const AUDIT_GET: u16 = 1000;
const AUDIT_SET: u16 = 1001;
const NLMSG_ERROR: u16 = 2;
const REQUEST_WITH_ACK: u16 = 1 | 4;
const STATUS_ENABLED: u32 = 1;
const STATUS_PID: u32 = 4;
/// First number of records; below are answers to requests.
const FIRST_RECORD: u16 = 1005;
/// At most this much is read at once, so that a flood is handed on in portions.
const READ_BYTES: usize = 4 << 20;

/// How the records are had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the machine's audit daemon; there is one.
    Unicast,
    /// Beside the audit daemon.
    Multicast,
}

/// The kernel's stream of audit records.
pub struct AuditSocket {
    socket: NetlinkSocket,
}

impl AuditSocket {
    /// Open the stream. `EEXIST` when another audit daemon is there (unicast), `EPERM` without CAP_AUDIT_CONTROL or CAP_AUDIT_READ.
    pub fn open(mode: Mode, receive_buffer_bytes: usize) -> io::Result<Self> {
        let groups = if mode == Mode::Multicast {
            GROUP_READLOG
        } else {
            0
        };
        let mut opened = AuditSocket {
            socket: NetlinkSocket::open(NETLINK_AUDIT, groups, receive_buffer_bytes)?,
        };
        if mode == Mode::Unicast {
            opened.become_daemon()?;
        }
        Ok(opened)
    }

    /// Wait at most `timeout_ms`, then append what is there to `out`, a line a record. Gives the number of records.
    pub fn read(&mut self, timeout_ms: i32, out: &mut Vec<u8>) -> io::Result<usize> {
        if !self.socket.wait(timeout_ms)? {
            return Ok(0);
        }
        let (mut records, limit) = (0, out.len() + READ_BYTES);
        while out.len() < limit {
            let Some(datagram) = self.socket.receive()? else {
                break;
            };
            // A datagram holds one record; its length field leaves out the header in unicast (audit_log_end(), for old daemons).
            let kind = datagram
                .get(4..6)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u16::from_le_bytes);
            if kind >= FIRST_RECORD {
                render(kind, datagram.get(16..).unwrap_or_default(), out);
                records += 1;
            }
        }
        Ok(records)
    }

    pub fn take_overruns(&mut self) -> u64 {
        self.socket.take_overruns()
    }

    pub fn descriptor(&self) -> RawFd {
        self.socket.descriptor()
    }

    /// `AUDIT_SET` of pid and enabled on this very socket: the kernel sends to the requesting port.
    fn become_daemon(&mut self) -> io::Result<()> {
        self.socket
            .send(&message(AUDIT_GET, REQUEST_WITH_ACK, &[]))?;
        let status = self.answer(AUDIT_GET)?;
        let word = |at: usize| {
            status
                .get(at * 4..at * 4 + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u32::from_le_bytes)
        };
        let (enabled, holder) = (word(1), word(3));
        if holder != 0 && std::path::Path::new(&format!("/proc/{holder}")).exists() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let mask = if enabled == 0 {
            STATUS_PID | STATUS_ENABLED
        } else {
            STATUS_PID
        };
        let mut wanted = [0u8; 40];
        for (at, value) in [mask, 1, 0, std::process::id()].into_iter().enumerate() {
            if let Some(place) = wanted.get_mut(at * 4..at * 4 + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        self.socket
            .send(&message(AUDIT_SET, REQUEST_WITH_ACK, &wanted))?;
        self.answer(AUDIT_SET).map(|_| ())
    }

    /// Wait for the acknowledgement of a request; gives the payload of the answer that arrived with it.
    fn answer(&mut self, request: u16) -> io::Result<Vec<u8>> {
        let mut payload_of_answer = Vec::new();
        for _ in 0..64 {
            if !self.socket.wait(2000)? {
                break;
            }
            while let Some(datagram) = self.socket.receive()? {
                for (kind, _, payload) in messages(datagram) {
                    if kind == request {
                        payload_of_answer = payload.to_vec();
                    } else if kind == NLMSG_ERROR {
                        let code = payload
                            .get(..4)
                            .and_then(|bytes| bytes.try_into().ok())
                            .map_or(0, i32::from_le_bytes);
                        if code != 0 {
                            return Err(io::Error::from_raw_os_error(-code));
                        }
                        return Ok(payload_of_answer);
                    }
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }
}

/// `type=NAME msg=` and the payload. A line break in a user-space message must not begin another record.
fn render(kind: u16, payload: &[u8], out: &mut Vec<u8>) {
    let end = payload
        .iter()
        .rposition(|byte| !matches!(byte, 0 | b'\n'))
        .map_or(0, |at| at + 1);
    out.extend_from_slice(b"type=");
    out.extend_from_slice(record_type_name(kind).as_bytes());
    out.extend_from_slice(b" msg=");
    out.extend(payload.iter().take(end).map(|byte| {
        if matches!(byte, b'\n' | b'\r' | 0) {
            b' '
        } else {
            *byte
        }
    }));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_inside_a_message_forges_no_record() {
        let mut out = Vec::new();
        render(
            1112,
            b"audit(1.000:2): pid=1 msg='x\ntype=SYSCALL msg=audit(1.000:3): uid=0'\0",
            &mut out,
        );
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(out.starts_with(b"type=USER_LOGIN msg=audit(1.000:2): "));
    }

    #[test]
    fn a_type_without_a_name_keeps_its_number() {
        let mut out = Vec::new();
        render(1999, b"audit(1.000:2): x=1", &mut out);
        assert_eq!(out, b"type=UNKNOWN[1999] msg=audit(1.000:2): x=1\n");
    }
}
