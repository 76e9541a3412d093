//! The parents that the core reports, against a machine whose pids are few: who forked whom is known for certain there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::{Array, RecordBatch, UInt64Array};
use envtrail_core::assembler::{image_id, Assembler, Options};
use envtrail_core::procevent::Frame;
use proptest::prelude::*;
use std::collections::BTreeMap;

const FEW: u32 = 40;
/// More than a test forks.
const MANY: u32 = 1000;
/// The kernel hands out every other pid before one comes again.
const REST_MS: u64 = 100;
const BOOT_MS: u64 = 1_764_000_000_000;
/// A record comes this much later than a frame of the same moment at most.
const LATE_MS: u64 = 20;
/// The kernel's coarse clock moves each 4 ms (CONFIG_HZ=250).
const TICK_MS: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Act {
    Fork,
    /// Another thread.
    Thread,
    /// A system call is entered, at a coarse time; it is left, and reported with the parent it has then, at `EndExec`.
    BeginExec,
    EndExec,
    /// Its children are given away at once; the connector reports it at `ReportExit`.
    Exit,
    ReportExit,
    /// The agent reads both sockets, the connector's after the records'.
    Read,
}

fn acts() -> impl Strategy<Value = Vec<(Act, usize, u64)>> {
    let act = prop_oneof![
        4 => Just(Act::Fork),
        1 => Just(Act::Thread),
        4 => Just(Act::BeginExec),
        4 => Just(Act::EndExec),
        3 => Just(Act::Exit),
        3 => Just(Act::ReportExit),
        1 => Just(Act::Read),
    ];
    prop::collection::vec((act, 0_usize..64, 0_u64..12), 1..300)
}

struct Task {
    parent: u32,
    is_reaper: bool,
    /// That it runs, or was forked from.
    image: Option<u64>,
    entered_ms: Option<u64>,
    forked_ms: u64,
    has_execed: bool,
    is_tracked: bool,
    /// Beside the first.
    threads: usize,
}

struct Machine {
    pids: u32,
    now_ms: u64,
    serial: u64,
    tasks: BTreeMap<u32, Task>,
    resting: BTreeMap<u32, u64>,
    ending: Vec<(u32, Task)>,
    /// Exit codes of those of tracked trees; the first that the core reported of each pid.
    ended: BTreeMap<u32, Option<i32>>,
    ends_reported: BTreeMap<u32, Option<i32>>,
    /// With the moment at which each was written.
    records: Vec<(u64, String)>,
    frames: Vec<Frame>,
    /// Of each image.
    parents: BTreeMap<u64, Option<u64>>,
    reported: BTreeMap<u64, Option<u64>>,
    /// Of each image of a tracked tree: itself and its ancestors, as known when its exec was reported.
    tracked: BTreeMap<u64, Vec<u64>>,
    assembler: Assembler,
    /// From the records, and what the first one passed on of processes.
    rebuilt: BTreeMap<u64, Vec<u64>>,
    rebuild: Assembler,
}

/// It has seen init in /proc.
fn assembler() -> Assembler {
    let mut assembler = Assembler::new(Options {
        hints: vec![("pip".to_owned(), vec!["pip".to_owned()])],
        ..Options::default()
    });
    let argv = ["init".to_owned()];
    assembler.seed_process(BOOT_MS, 1, 0, Some("/sbin/init"), &argv, None, None, None);
    assembler
}

/// Added to a pid: the number of a thread that is not the first.
const ANOTHER: u32 = 100_000;

/// As the connector frames them, see `procevent`.
fn framed(frame: &Frame) -> Vec<u8> {
    let (time_ms, what, data) = match *frame {
        Frame::Fork { time_ms, pid, ppid } => (time_ms, 0x1, [ppid, ppid, pid, pid]),
        Frame::Thread { time_ms, pid } => (time_ms, 0x1, [pid, pid, pid + ANOTHER, pid]),
        Frame::Exit {
            time_ms,
            pid,
            is_first,
            exit_code,
            ..
        } => {
            let thread = if is_first { pid } else { pid + ANOTHER };
            let status = exit_code.unwrap_or_default().unsigned_abs() << 8;
            (time_ms, 0x8000_0000_u32, [thread, pid, status, 17])
        }
        Frame::Other => unreachable!(),
    };
    let mut out = 40_u32.to_le_bytes().to_vec();
    out.extend_from_slice(&time_ms.to_le_bytes());
    for word in [what, 0, 0, 0].into_iter().chain(data) {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}

/// (image, its parent, whether it is of a tracked tree) of each event.
fn places(events: &RecordBatch) -> Vec<(u64, Option<u64>, bool)> {
    let column = |name: &str| {
        let column = events.column_by_name(name).unwrap();
        column.as_any().downcast_ref::<UInt64Array>().unwrap()
    };
    let (images, parents, tracked) = (
        column("image"),
        column("parent_image"),
        column("tracked_image"),
    );
    (0..events.num_rows())
        .map(|row| {
            let parent = parents.is_valid(row).then(|| parents.value(row));
            (images.value(row), parent, tracked.is_valid(row))
        })
        .collect()
}

fn lineage(assembler: &Assembler, image: u64) -> Vec<u64> {
    let lineage = assembler.lineage(image);
    lineage.iter().map(|image| image.id).collect()
}

impl Machine {
    fn new(pids: u32) -> Self {
        let init = Task {
            parent: 0,
            is_reaper: true,
            image: Some(image_id(BOOT_MS, 1)),
            entered_ms: None,
            forked_ms: 0,
            has_execed: false,
            is_tracked: false,
            threads: 0,
        };
        Machine {
            pids,
            now_ms: BOOT_MS,
            serial: 1,
            tasks: BTreeMap::from([(1, init)]),
            resting: BTreeMap::new(),
            ending: Vec::new(),
            ended: BTreeMap::new(),
            ends_reported: BTreeMap::new(),
            records: Vec::new(),
            frames: Vec::new(),
            parents: BTreeMap::new(),
            reported: BTreeMap::new(),
            tracked: BTreeMap::new(),
            assembler: assembler(),
            rebuilt: BTreeMap::new(),
            rebuild: assembler(),
        }
    }

    /// Of which everything has been read.
    fn after(pids: u32, acts: Vec<(Act, usize, u64)>) -> Self {
        let mut machine = Machine::new(pids);
        for (act, pick, after_ms) in acts {
            machine.act(act, pick, after_ms);
        }
        machine.read(true);
        machine
    }

    fn act(&mut self, act: Act, pick: usize, after_ms: u64) {
        self.now_ms += after_ms;
        match act {
            Act::Fork => self.fork(pick),
            Act::Thread => {
                if let Some((pid, task)) = self.pick(pick, |task| task.entered_ms.is_none()) {
                    task.threads += 1;
                    let time_ms = self.now_ms;
                    self.frames.push(Frame::Thread { time_ms, pid });
                }
            }
            Act::BeginExec => {
                let entered_ms = self.now_ms / TICK_MS * TICK_MS;
                // Nobody can say which came first, a fork or an exec that is stamped at its moment or before.
                let is_again = self.pids == FEW;
                let may = |task: &Task| {
                    task.entered_ms.is_none()
                        && task.forked_ms < entered_ms
                        && (is_again || task.is_tracked || !task.has_execed)
                };
                if let Some((_, task)) = self.pick(pick, may) {
                    task.entered_ms = Some(entered_ms);
                    task.has_execed = true;
                }
            }
            Act::EndExec => self.end_exec(pick),
            Act::Exit => self.exit(pick),
            Act::ReportExit => {
                if !self.ending.is_empty() {
                    let (pid, task) = self.ending.remove(pick % self.ending.len());
                    let rest_ms = if self.pids == FEW {
                        REST_MS
                    } else {
                        u64::MAX / 2
                    };
                    self.resting.insert(pid, self.now_ms + rest_ms);
                    let code = i32::from(pick as u8 % 4);
                    if task.is_tracked {
                        self.ended.insert(pid, Some(code));
                    }
                    // The first thread may be reported before the others.
                    let first = pick % (task.threads + 1);
                    for thread in 0..=task.threads {
                        self.end_thread(pid, thread == first, code);
                    }
                }
            }
            Act::Read => self.read(pick % 2 == 0),
        }
    }

    fn end_thread(&mut self, pid: u32, is_first: bool, code: i32) {
        self.frames.push(Frame::Exit {
            time_ms: self.now_ms,
            pid,
            is_first,
            exit_code: Some(code),
            signal: None,
        });
    }

    fn pick(&mut self, pick: usize, may: impl Fn(&Task) -> bool) -> Option<(u32, &mut Task)> {
        let mut able: Vec<_> = self
            .tasks
            .iter_mut()
            .filter(|(pid, task)| **pid != 1 && may(task))
            .collect();
        let at = pick.checked_rem(able.len())?;
        let (pid, task) = able.swap_remove(at);
        Some((*pid, task))
    }

    fn fork(&mut self, pick: usize) {
        let busy = |pid: &u32| {
            self.tasks.contains_key(pid)
                || self.ending.iter().any(|(ending, _)| ending == pid)
                || self
                    .resting
                    .get(pid)
                    .is_some_and(|until| *until > self.now_ms)
        };
        let Some(pid) = (2..self.pids).find(|pid| !busy(pid)) else {
            return;
        };
        let forking: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.entered_ms.is_none())
            .map(|(pid, task)| (*pid, task.image, task.is_tracked))
            .collect();
        let (parent, image, is_tracked) = forking[pick % forking.len()];
        self.tasks.get_mut(&parent).unwrap().forked_ms = self.now_ms;
        let task = Task {
            parent,
            is_reaper: pick % 3 == 0,
            image,
            entered_ms: None,
            forked_ms: 0,
            has_execed: false,
            is_tracked,
            threads: 0,
        };
        self.tasks.insert(pid, task);
        self.frames.push(Frame::Fork {
            time_ms: self.now_ms,
            pid,
            ppid: parent,
        });
    }

    fn end_exec(&mut self, pick: usize) {
        self.serial += 1;
        let serial = self.serial;
        let program = ["sh", "pip"][pick % 2];
        let Some((pid, task)) = self.pick(pick, |task| task.entered_ms.is_some()) else {
            return;
        };
        let time_ms = task.entered_ms.take().unwrap();
        let ppid = task.parent;
        let threads = std::mem::take(&mut task.threads);
        task.is_tracked |= program == "pip";
        let before = task.image.replace(image_id(time_ms, serial));
        self.parents.insert(image_id(time_ms, serial), before);
        // All threads end but the one that execs; where that is not the first it takes over its number.
        for thread in 0..threads {
            self.end_thread(pid, thread == 0 && pick % 3 > 0, 0);
        }
        let stamp = format!(
            "msg=audit({}.{:03}:{serial}):",
            time_ms / 1000,
            time_ms % 1000
        );
        let record = format!(
            "type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=0 ppid={ppid} pid={pid} auid=1001 uid=1001 ses=3 comm=\"{program}\" exe=\"/bin/{program}\"\n\
             type=EXECVE {stamp} argc=1 a0=\"{program}\"\n\
             type=EOE {stamp} \n"
        );
        self.records.push((self.now_ms, record));
    }

    fn exit(&mut self, pick: usize) {
        let Some((pid, _)) = self.pick(pick, |task| task.entered_ms.is_none()) else {
            return;
        };
        let task = self.tasks.remove(&pid).unwrap();
        let mut reaper = task.parent;
        while !self.tasks[&reaper].is_reaper {
            reaper = self.tasks[&reaper].parent;
        }
        for child in self.tasks.values_mut().filter(|child| child.parent == pid) {
            child.parent = reaper;
        }
        self.ending.push((pid, task));
    }

    fn read(&mut self, is_all: bool) {
        for frame in self.frames.drain(..) {
            self.assembler.push_process_events(&framed(&frame));
        }
        let read = self
            .records
            .iter()
            .filter(|(written_ms, _)| is_all || written_ms + LATE_MS < self.now_ms)
            .count();
        for (_, record) in self.records.drain(..read) {
            self.assembler.push(record.as_bytes());
        }
        if !is_all {
            self.assembler.tick(self.now_ms);
        }
        let batch = self.assembler.drain().unwrap();
        for (image, parent, is_tracked) in places(&batch.events) {
            self.reported.insert(image, parent);
            if is_tracked {
                self.tracked.insert(image, lineage(&self.assembler, image));
            }
        }
        for reported in &batch.processes {
            if reported.is_exit {
                self.ends_reported
                    .entry(reported.pid)
                    .or_insert(reported.exit_code);
            }
            self.rebuild.replay_process(if reported.is_exit {
                Frame::Exit {
                    time_ms: reported.time_ms,
                    pid: reported.pid,
                    is_first: true,
                    exit_code: reported.exit_code,
                    signal: reported.signal,
                }
            } else {
                Frame::Fork {
                    time_ms: reported.time_ms,
                    pid: reported.pid,
                    ppid: reported.ppid,
                }
            });
        }
        self.rebuild.push(&batch.records);
        for (image, _, is_tracked) in places(&self.rebuild.drain().unwrap().events) {
            if is_tracked {
                self.rebuilt.insert(image, lineage(&self.rebuild, image));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn every_exec_has_the_parent_that_it_was_forked_from(acts in acts()) {
        let machine = Machine::after(FEW, acts);
        prop_assert_eq!(machine.reported, machine.parents);
    }

    #[test]
    fn a_process_ends_when_its_last_thread_does_and_as_it_did(acts in acts()) {
        let machine = Machine::after(MANY, acts);
        for pid in machine.tasks.keys() {
            prop_assert!(!machine.ends_reported.contains_key(pid));
        }
        for (pid, code) in &machine.ended {
            prop_assert_eq!(machine.ends_reported.get(pid), Some(code));
        }
    }

    /// A pid that is used again is known to a rebuild by exit records (`exit_group`), of which there are none here.
    #[test]
    fn a_rebuild_tells_the_same_ancestors_of_what_is_tracked(acts in acts()) {
        let mut machine = Machine::after(MANY, acts);
        // Forks before the first exec of a tracked tree are reported where it descends from them, not where they ran beside it.
        machine.rebuilt.retain(|image, _| machine.tracked.contains_key(image));
        prop_assert_eq!(machine.rebuilt, machine.tracked);
    }
}

/// Both sockets are read, that of the records first, while a shell starts a program and ends, and its pid is given away.
#[test]
fn what_the_connector_reports_waits_for_the_records_of_what_was_before() {
    let at = |after_ms: u64| BOOT_MS + 1_000 + after_ms;
    let record = |after_ms: u64, serial: u64, pid: u32, ppid: u32| {
        let (s, ms) = (at(after_ms) / 1000, at(after_ms) % 1000);
        let stamp = format!("msg=audit({s}.{ms:03}:{serial}):");
        format!(
            "type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=0 ppid={ppid} pid={pid} auid=1001 uid=1001 ses=3 comm=\"sh\" exe=\"/bin/sh\"\n\
             type=EXECVE {stamp} argc=1 a0=\"sh\"\n\
             type=EOE {stamp} \n"
        )
    };
    let fork = |after_ms: u64, pid: u32, ppid: u32| {
        let time_ms = at(after_ms);
        Frame::Fork { time_ms, pid, ppid }
    };
    let end = Frame::Exit {
        time_ms: at(30),
        pid: 20,
        is_first: true,
        exit_code: Some(0),
        signal: None,
    };
    let mut assembler = assembler();
    for frame in [fork(0, 20, 1), fork(20, 21, 20), end, fork(40, 20, 1)] {
        assembler.push_process_events(&framed(&frame));
    }
    assembler.tick(at(41));
    assert_eq!(assembler.drain().unwrap().events.num_rows(), 0);
    for record in [record(10, 1, 20, 1), record(44, 2, 21, 1)] {
        assembler.push(record.as_bytes());
    }
    assembler.tick(at(60));
    let shell = image_id(at(10), 1);
    let reported = places(&assembler.drain().unwrap().events);
    assert_eq!(reported[1], (image_id(at(44), 2), Some(shell), false));
}

#[test]
fn what_is_replayed_of_one_moment_keeps_its_order_and_comes_before_what_was_later() {
    let time_ms = BOOT_MS + 10;
    let fork = |time_ms: u64, pid: u32| Frame::Fork {
        time_ms,
        pid,
        ppid: 1,
    };
    let end = |time_ms: u64, pid: u32| Frame::Exit {
        time_ms,
        pid,
        is_first: true,
        exit_code: Some(0),
        signal: None,
    };
    let mut assembler = assembler();
    // An end that was reported late stands before the fork that gave the pid away again.
    for frame in [
        fork(time_ms, 20),
        end(time_ms, 20),
        fork(time_ms, 21),
        fork(time_ms + 9_000, 21),
        end(time_ms + 5_000, 21),
    ] {
        assembler.replay_process(frame);
    }
    assembler.flush();
    assert_eq!(assembler.image_of(20), None);
    assert_eq!(assembler.image_of(21), assembler.image_of(1));
    assert!(assembler.image_of(1).is_some());
}

#[test]
fn what_a_program_was_started_with_is_known_by_its_image() {
    let mut assembler = assembler();
    for (serial, exe) in [(1, " exe=\"/bin/sh\""), (2, "")] {
        let stamp = format!("msg=audit(1764000001.000:{serial}):");
        assembler.push(
            format!(
                "type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=0 ppid=1 pid={serial}0 comm=\"sh\"{exe}\n\
                 type=EXECVE {stamp} argc=2 a0=\"sh\" a1=\"-x{serial}\"\n"
            )
            .as_bytes(),
        );
    }
    assembler.flush();
    let image = |serial: u64| image_id(BOOT_MS + 1_000, serial);
    for serial in [1, 2] {
        let words = vec!["sh".to_owned(), format!("-x{serial}")];
        assert_eq!(assembler.words_of(image(serial)), Some(words));
    }
    assert_eq!(assembler.program_of(image(1)).as_deref(), Some("/bin/sh"));
    assert_eq!(assembler.program_of(image(2)), None);
    assert_eq!(assembler.words_of(image(3)), None);
    assert_eq!(assembler.program_of(image(3)), None);
}
