//! What the process table holds and receives.

use serde::{Deserialize, Serialize};

/// How a process ended: exit code, signal.
pub type End = (Option<i32>, Option<i32>);

/// One exec in a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub id: u64,
    pub pid: u32,
    pub ppid: u32,
    pub parent: Option<u64>,
    pub tracked: Option<u64>,
    pub hint: Option<u16>,
    pub time_ms: u64,
    pub serial: u64,
    /// In which the records of its exec lie.
    #[serde(default)]
    pub segment: u64,
    /// In which its exec was read.
    #[serde(default)]
    pub reading: u32,
    pub uid: Option<u32>,
    pub auid: Option<u32>,
    pub ses: Option<u32>,
    /// Processes seen at or below it.
    pub processes: u32,
    /// When its process ended.
    pub ended_ms: Option<u64>,
    pub end: End,
    /// `comm` of the task (TASK_COMM_LEN).
    pub comm: [u8; 16],
}

/// The holder of a pid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Process {
    /// That forked it, whoever has taken it in since.
    pub(super) ppid: u32,
    pub(super) born_ms: u64,
    pub(super) image: Option<u64>,
    /// Image that it was forked from.
    pub(super) parent: Option<u64>,
    pub(super) ended_ms: Option<u64>,
    pub(super) end: End,
    /// When the pid's holder before it was last known to be there.
    pub(super) before_ms: Option<u64>,
    /// The process connector reported its fork; it reports its end as well.
    #[serde(rename = "is_told")]
    pub(super) is_reported: bool,
    /// Its fork was passed on: its end is as well.
    pub(super) is_kept: bool,
    /// That live; 0 where it is not known. Only the agent that counted them knows.
    #[serde(skip)]
    pub(super) threads: u32,
    /// Its newest fork.
    pub(super) forked_ms: u64,
    /// In which its newest record was read, and the serial of that; 0: of none.
    #[serde(default)]
    pub(super) reading: u32,
    #[serde(default)]
    pub(super) serial: u64,
    /// Of its exit's record; 0: of none.
    #[serde(default)]
    pub(super) ended_serial: u64,
}

/// What is reported of a process of a tracked tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEvent {
    pub is_exit: bool,
    pub time_ms: u64,
    pub pid: u32,
    pub ppid: u32,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub image: Option<u64>,
}

/// Where an exec stands in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub image: Option<u64>,
    pub parent: Option<u64>,
    pub tracked: Option<u64>,
}

/// What an exec event says.
pub struct Exec<'a> {
    pub comm: &'a [u8],
    pub id: u64,
    pub pid: u32,
    pub ppid: u32,
    pub hint: Option<u16>,
    pub time_ms: u64,
    pub serial: u64,
    pub segment: u64,
    pub uid: Option<u32>,
    pub auid: Option<u32>,
    pub ses: Option<u32>,
}

/// What is reported of its fork.
pub(super) fn fork_of(pid: u32, process: &Process) -> ProcessEvent {
    ProcessEvent {
        is_exit: false,
        time_ms: process.born_ms,
        pid,
        ppid: process.ppid,
        exit_code: None,
        signal: None,
        image: process.parent,
    }
}

/// What is reported of its end where that was before its fork was reported.
pub(super) fn end_of(pid: u32, process: &Process) -> Option<ProcessEvent> {
    Some(ProcessEvent {
        is_exit: true,
        time_ms: process.ended_ms?,
        exit_code: process.end.0,
        signal: process.end.1,
        ..fork_of(pid, process)
    })
}

/// TASK_COMM_LEN.
pub(super) fn short(comm: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(comm) {
        *to = *from;
    }
    out
}
