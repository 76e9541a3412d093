//! What a program was given at its start, read the moment the kernel reports its exec: a tool may live for 50 ms only.

use crate::connector::{ProcessConnector, EVENT_EXEC};
use crate::deadline::within_deadline;
use crate::proc::{read_file, read_link};
use crate::seen::{now_ms, seen_with, Memory, Seen};
use crate::signal::{hurry, wait_for, Signal};
use envtrail_core::hints::{is_interpreter_of_any, without_version};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Execs remembered.
const KEPT: usize = 4096;
/// Of all that is remembered.
const KEPT_BYTES: usize = 8 << 20;
/// An exec of this pid this far from the requested moment is another one.
const SAME_EXEC_MS: u64 = 1000;

#[derive(Default)]
struct Execs {
    by_pid: HashMap<u32, Vec<Seen>>,
    order: VecDeque<u32>,
    bytes: usize,
}

struct Shared {
    execs: Mutex<Execs>,
    stop: Signal,
}

impl Shared {
    fn execs(&self) -> MutexGuard<'_, Execs> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener. Dropping it ends its thread.
pub struct ExecWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ExecWatch {
    /// Listen for programs of these base names (versions cut); keep these environment variables and no others.
    pub fn open(programs: Vec<String>, variables: Vec<String>) -> io::Result<Self> {
        let connector = ProcessConnector::of_events(EVENT_EXEC, 4 << 20)?;
        let shared = Arc::new(Shared {
            execs: Mutex::default(),
            stop: Signal::new()?,
        });
        let theirs = shared.clone();
        let wanted = Arc::new(Wanted {
            programs: programs.into_iter().map(String::into_bytes).collect(),
            variables: variables.into_iter().collect(),
        });
        let thread = std::thread::Builder::new()
            .name("exec-watch".into())
            .spawn(move || listen(&theirs, connector, &wanted))?;
        Ok(ExecWatch {
            shared,
            thread: Some(thread),
        })
    }

    /// The exec of this process that lies nearest to `time_ms`.
    pub fn find(&self, pid: u32, time_ms: u64) -> Option<Seen> {
        let execs = self.shared.execs();
        let seen = execs.by_pid.get(&pid)?.iter();
        seen.filter(|seen| seen.time_ms.abs_diff(time_ms) <= SAME_EXEC_MS)
            .min_by_key(|seen| seen.time_ms.abs_diff(time_ms))
            .cloned()
    }
}

impl Drop for ExecWatch {
    fn drop(&mut self) {
        self.shared.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The programs whose execs are remembered, and the variables that are kept of them.
struct Wanted {
    programs: HashSet<Vec<u8>>,
    variables: HashSet<String>,
}

impl Wanted {
    fn has(&self, word: &[u8]) -> bool {
        let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        self.programs.contains(name) || self.programs.contains(without_version(name))
    }
}

fn listen(shared: &Shared, mut connector: ProcessConnector, wanted: &Arc<Wanted>) {
    hurry();
    while wait_for(connector.descriptor(), shared.stop.descriptor()) {
        let Ok(pids) = connector.read_execs() else {
            return;
        };
        for pid in pids {
            if let Some(seen) = look(pid, wanted) {
                shared.execs().keep(seen);
            }
        }
    }
}

impl Execs {
    fn keep(&mut self, seen: Seen) {
        self.bytes += seen.size();
        self.order.push_back(seen.pid);
        self.by_pid.entry(seen.pid).or_default().push(seen);
        while self.order.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(pid) = self.order.pop_front() else {
                return;
            };
            if let Some(execs) = self.by_pid.get_mut(&pid) {
                self.bytes -= execs.remove(0).size();
                if execs.is_empty() {
                    self.by_pid.remove(&pid);
                }
            }
        }
    }
}

fn look(pid: u32, wanted: &Arc<Wanted>) -> Option<Seen> {
    let time_ms = now_ms();
    // One look at the program is all that most execs cost; only an interpreter's words say what it runs.
    let exe = read_link(pid, "exe")?;
    let is_wanted = wanted.has(exe.as_bytes());
    let name = exe.rsplit('/').next().unwrap_or_default();
    if !is_wanted && !is_interpreter_of_any(name.as_bytes()) {
        return None;
    }
    let theirs = wanted.clone();
    let memory = within_deadline(pid, move || {
        let line = read_file(pid, "cmdline")?;
        let words = || line.split(|byte| *byte == 0).take(2);
        (is_wanted || words().any(|word| theirs.has(word))).then(|| Memory {
            environ: read_file(pid, "environ").unwrap_or_default(),
            line: Some(line.clone()),
        })
    });
    (is_wanted || memory.is_some())
        .then(|| seen_with(pid, time_ms, memory.unwrap_or_default(), &wanted.variables))
}

#[cfg(test)]
mod tests {
    use super::*;
    use envtrail_core::files::Who;

    #[test]
    fn what_is_remembered_is_bounded_by_its_bytes() {
        let mut execs = Execs::default();
        for pid in 0..2000 {
            execs.keep(Seen {
                time_ms: 1,
                pid: pid % 1500,
                who: Who {
                    argv: Some(vec!["x".repeat(30_000)]),
                    ..Who::default()
                },
                cwd: None,
                cgroup: None,
                uid_map: None,
                variables: Vec::new(),
            });
        }
        let kept: Vec<_> = execs.by_pid.values().flatten().collect();
        assert!(kept.len() > 200, "{}", kept.len());
        assert_eq!(kept.len(), execs.order.len());
        assert_eq!(
            kept.iter().map(|one| one.size()).sum::<usize>(),
            execs.bytes
        );
        assert!(execs.bytes <= KEPT_BYTES);
    }
}
