//! All that is read of one process, at its exec or later.

use crate::clock::realtime_ns;
use crate::deadline::within_deadline;
use crate::proc::{read_facts, read_file, read_link, split_line, split_zero};
use envtrail_core::files::Who;
use std::collections::HashSet;

/// Longest value of a variable that is kept: names and numbers are shorter.
const MAX_VALUE_BYTES: usize = 4096;

/// A process as it was at one moment.
#[derive(Clone, Debug)]
pub struct Seen {
    pub time_ms: u64,
    pub pid: u32,
    pub who: Who,
    pub cwd: Option<String>,
    pub cgroup: Option<String>,
    pub uid_map: Option<String>,
    pub variables: Vec<(String, String)>,
}

impl Seen {
    /// About the memory that it takes.
    pub fn size(&self) -> usize {
        let words = self.who.argv.iter().flatten().map(String::len);
        let values = self.variables.iter().map(|(_, value)| value.len());
        words.chain(values).map(|bytes| bytes + 32).sum::<usize>() + 1024
    }
}

/// What lies in a process's own memory.
#[derive(Default)]
pub struct Memory {
    pub line: Option<Vec<u8>>,
    pub environ: Vec<u8>,
}

pub fn now_ms() -> u64 {
    realtime_ns() / 1_000_000
}

/// A process as it is now, with these of its environment variables; None when it is gone.
pub fn see(pid: u32, variables: &HashSet<String>) -> Option<Seen> {
    let time_ms = now_ms();
    let memory = within_deadline(pid, move || {
        Some(Memory {
            line: read_file(pid, "cmdline"),
            environ: read_file(pid, "environ").unwrap_or_default(),
        })
    });
    let seen = seen_with(pid, time_ms, memory.unwrap_or_default(), variables);
    seen.who.ppid.is_some().then_some(seen)
}

/// A process with what was read of its memory; of one that has just gone, what can still be read.
pub fn seen_with(pid: u32, time_ms: u64, memory: Memory, variables: &HashSet<String>) -> Seen {
    let text =
        |name| read_file(pid, name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Seen {
        time_ms,
        pid,
        who: Who {
            argv: memory.line.and_then(|line| split_line(&line)),
            ..read_facts(pid).unwrap_or_default()
        },
        cwd: read_link(pid, "cwd"),
        cgroup: text("cgroup"),
        uid_map: text("uid_map"),
        variables: split_zero(&memory.environ, usize::MAX)
            .iter()
            .filter_map(|item| item.split_once('='))
            .filter(|(name, value)| variables.contains(*name) && value.len() <= MAX_VALUE_BYTES)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}
