//! Frames of the process connector: `[u32 length][u64 realtime ms][struct proc_event]`, little-endian, length counting what follows it.
//!
//! Reference: include/uapi/linux/cn_proc.h (`what` u32, `cpu` u32, `timestamp_ns` u64, then the union).

const FORK: u32 = 0x0000_0001;
const EXIT: u32 = 0x8000_0000;

/// A process or a thread of one that began or ended; `pid` is the process's (the thread group's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Fork {
        time_ms: u64,
        pid: u32,
        ppid: u32,
    },
    Thread {
        time_ms: u64,
        pid: u32,
    },
    Exit {
        time_ms: u64,
        pid: u32,
        /// The thread whose number is the process's.
        is_first: bool,
        exit_code: Option<i32>,
        signal: Option<i32>,
    },
    Other,
}

impl Frame {
    /// When it happened; 0 for what is of no interest.
    pub fn time_ms(&self) -> u64 {
        match self {
            Frame::Fork { time_ms, .. }
            | Frame::Thread { time_ms, .. }
            | Frame::Exit { time_ms, .. } => *time_ms,
            Frame::Other => 0,
        }
    }
}

/// The frames of a block in order; ends with an error at the first malformed one.
pub fn frames(mut block: &[u8]) -> impl Iterator<Item = Result<Frame, ()>> + '_ {
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let Some((frame, rest)) = u32_at(block, 0).and_then(|length| {
            let end = 4usize.checked_add(length as usize)?;
            Some((block.get(4..end)?, block.get(end..)?))
        }) else {
            block = &[];
            return Some(Err(()));
        };
        block = rest;
        Some(read(frame).ok_or(()))
    })
}

fn read(frame: &[u8]) -> Option<Frame> {
    let time_ms = u64::from(u32_at(frame, 0)?) | u64::from(u32_at(frame, 4)?) << 32;
    let data = frame.get(24..)?;
    Some(match u32_at(frame, 8)? {
        FORK => {
            let (ppid, thread, pid) = (u32_at(data, 4)?, u32_at(data, 8)?, u32_at(data, 12)?);
            if thread == pid {
                Frame::Fork { time_ms, pid, ppid }
            } else {
                Frame::Thread { time_ms, pid }
            }
        }
        EXIT => {
            let (thread, pid, status) = (u32_at(data, 0)?, u32_at(data, 4)?, u32_at(data, 8)?);
            let signal = (status & 0x7f) as i32;
            let code = (status >> 8 & 0xff) as i32;
            Frame::Exit {
                time_ms,
                pid,
                is_first: thread == pid,
                exit_code: (signal == 0).then_some(code),
                signal: (signal != 0).then_some(signal),
            }
        }
        _ => Frame::Other,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
