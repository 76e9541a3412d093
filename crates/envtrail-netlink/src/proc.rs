//! What /proc says of a process, read at once: it may be gone a moment later.
//!
//! Reference: proc(5): stat fields 4 (ppid) and 22 (start, in clock ticks since boot), status (Uid), loginuid, sessionid, cgroup.

use envtrail_core::files::Who;
use envtrail_core::text::{printable, without_deleted};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

const UNSET: u32 = u32::MAX;
/// Most bytes read of a file. A process can make its arguments and its environment as long as its address space (PR_SET_MM_MAP).
const MAX_BYTES: u64 = 256 << 10;
/// Most bytes read of its arguments.
const MAX_LINE_BYTES: u64 = 32 << 10;
const MAX_ARGUMENTS: usize = 256;

/// Who a process is, but for its arguments, which lie in its own memory; None when it is gone or cannot be read.
pub fn read_facts(pid: u32) -> Option<Who> {
    let stat = read_file(pid, "stat")?;
    // The name in parentheses may hold anything.
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&[u8]> = stat.get(after + 2..)?.split(|byte| *byte == b' ').collect();
    let comm = stat
        .iter()
        .position(|byte| *byte == b'(')
        .and_then(|start| stat.get(start + 1..after));
    let uid = read_uid(pid);
    Some(Who {
        exe: read_link(pid, "exe"),
        comm: comm.map(|name| printable(name).into_owned()),
        ppid: fields.get(1).and_then(|field| number(field)),
        uid,
        auid: read_number(pid, "loginuid").filter(|auid| *auid != UNSET),
        ses: read_number(pid, "sessionid").filter(|ses| *ses != UNSET),
        started_ms: fields
            .get(19)
            .and_then(|field| std::str::from_utf8(field).ok()?.parse().ok())
            .map(started_ms),
        ..Who::default()
    })
}

/// Whose a process is: its login uid is kept where its uid is not (a user namespace has many).
pub fn owner_of(pid: u32) -> Option<u32> {
    read_number(pid, "loginuid")
        .filter(|auid| *auid != UNSET)
        .or_else(|| read_uid(pid))
}

fn read_uid(pid: u32) -> Option<u32> {
    read_file(pid, "status")?
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))
        .and_then(|rest| rest.split(u8::is_ascii_whitespace).find(|w| !w.is_empty()))
        .and_then(number)
}

/// The whole of `/proc/PID/NAME`, up to a bound. `cmdline` and `environ` may keep the reader waiting for ever (`deadline`).
pub fn read_file(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = if name == "cmdline" {
        MAX_LINE_BYTES
    } else {
        MAX_BYTES
    };
    fs::File::open(format!("/proc/{pid}/{name}"))
        .ok()?
        .take(most)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// Where `exe` or `cwd` of a process leads, or led.
pub fn read_link(pid: u32, name: &str) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/{name}")).ok()?;
    Some(printable(without_deleted(path.as_os_str().as_bytes())).into_owned())
}

/// The arguments in `cmdline`; None where there are none.
pub fn split_line(line: &[u8]) -> Option<Vec<String>> {
    (!line.is_empty()).then(|| split_zero(line, MAX_ARGUMENTS))
}

/// Texts that end in NUL.
pub fn split_zero(bytes: &[u8], most: usize) -> Vec<String> {
    let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    whole
        .split(|byte| *byte == 0)
        .take(most)
        .map(|part| printable(part).into_owned())
        .collect()
}

fn read_number(pid: u32, name: &str) -> Option<u32> {
    number(&read_file(pid, name)?)
}

fn number(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

fn started_ms(ticks: u64) -> u64 {
    // SAFETY: no memory is handed over.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let boot_ns = crate::clock::realtime_ns().saturating_sub(crate::clock::boottime_ns());
    boot_ns / 1_000_000 + ticks * 1000 / per_second
}
