//! What a program was given at its start, read the moment the kernel tells of its exec: a tool may live for 50 ms only.

use crate::clock::realtime_ns;
use crate::connector::{ProcessConnector, EVENT_EXEC};
use crate::proc::{read_file, read_link, read_who, split_zero};
use crate::signal::{hurry, wait_for, Signal};
use envtrail_core::files::Who;
use envtrail_core::hints::{is_interpreter_of_any, without_version};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Execs remembered.
const KEPT: usize = 4096;
/// An exec of this pid this far from the moment that is asked for is another one.
const SAME_EXEC_MS: u64 = 1000;

/// A process as it was at its exec.
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

#[derive(Default)]
struct Execs {
    by_pid: HashMap<u32, Vec<Seen>>,
    order: VecDeque<u32>,
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
        let programs: HashSet<Vec<u8>> = programs.into_iter().map(String::into_bytes).collect();
        let variables: HashSet<String> = variables.into_iter().collect();
        let thread = std::thread::Builder::new()
            .name("exec-watch".into())
            .spawn(move || listen(&theirs, connector, &programs, &variables))?;
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

fn listen(
    shared: &Shared,
    mut connector: ProcessConnector,
    programs: &HashSet<Vec<u8>>,
    variables: &HashSet<String>,
) {
    hurry();
    while wait_for(connector.descriptor(), shared.stop.descriptor()) {
        let Ok(pids) = connector.read_execs() else {
            return;
        };
        for pid in pids {
            if let Some(seen) = read_seen(pid, programs, variables) {
                shared.execs().keep(seen);
            }
        }
    }
}

impl Execs {
    fn keep(&mut self, seen: Seen) {
        self.order.push_back(seen.pid);
        self.by_pid.entry(seen.pid).or_default().push(seen);
        while self.order.len() > KEPT {
            let Some(pid) = self.order.pop_front() else {
                return;
            };
            if let Some(execs) = self.by_pid.get_mut(&pid) {
                execs.remove(0);
                if execs.is_empty() {
                    self.by_pid.remove(&pid);
                }
            }
        }
    }
}

fn read_seen(pid: u32, programs: &HashSet<Vec<u8>>, variables: &HashSet<String>) -> Option<Seen> {
    let time_ms = realtime_ns() / 1_000_000;
    let is_wanted = |word: &[u8]| {
        let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        programs.contains(name) || programs.contains(without_version(name))
    };
    // One look at the program is all that most execs cost; only an interpreter's words say what it runs.
    let exe = read_link(pid, "exe")?;
    if !is_wanted(exe.as_bytes()) {
        let name = exe.rsplit('/').next().unwrap_or_default();
        let line = is_interpreter_of_any(name.as_bytes())
            .then(|| read_file(pid, "cmdline"))
            .flatten()?;
        if !line.split(|byte| *byte == 0).take(2).any(is_wanted) {
            return None;
        }
    }
    // The environment first: it is what is gone with the process.
    let environ = read_file(pid, "environ").unwrap_or_default();
    let text =
        |name| read_file(pid, name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Some(Seen {
        time_ms,
        pid,
        who: read_who(pid).unwrap_or_default(),
        cwd: read_link(pid, "cwd"),
        cgroup: text("cgroup"),
        uid_map: text("uid_map"),
        variables: split_zero(&environ, usize::MAX)
            .iter()
            .filter_map(|item| item.split_once('='))
            .filter(|(name, _)| variables.contains(*name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    })
}
