//! The whole way: bytes in, batches out.

mod options;
mod places;
mod type_names;
mod waiting;

pub use options::Options;
pub use places::image_id;

use crate::batch::{Columns, Facts};
use crate::builders::Word;
use crate::coalesce::{Coalescer, Counters, EndedBy, Gathered};
use crate::event::{Event, Kind};
use crate::fault::{Fault, FaultKind};
use crate::file_events::note_files;
use crate::files::{FileGroup, FileGroups, Roots};
use crate::gaps::{SerialGap, SerialWatch};
use crate::hints::Hints;
use crate::parse::is_daemon_line;
use crate::process::{Exec, Image, ProcessEvent, ProcessTable};
use crate::procevent::{frames, Frame};
use crate::redact::Counts;
use crate::rewrite::redact_event;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use places::{exit_code_of, place_of};
use std::borrow::Cow;
use type_names::TypeNames;
use waiting::Waiting;

/// Faults kept between two drains; more are only counted.
const MAX_FAULTS: usize = 256;

/// What one drain hands out.
pub struct Batch {
    pub events: RecordBatch,
    pub records: Vec<u8>,
    pub processes: Vec<ProcessEvent>,
    pub faults: Vec<Fault>,
    pub redactions: Counts,
    /// Changes below the roots, as the records told them.
    pub files: Vec<FileGroup>,
}

/// Lines of the audit log in, events as Arrow out; holds the process table.
pub struct Assembler {
    options: Options,
    hints: Hints,
    coalescer: Coalescer,
    serials: SerialWatch,
    processes: ProcessTable,
    columns: Columns,
    roots: Roots,
    files: FileGroups,
    type_names: TypeNames,
    renames: u32,
    event: Event,
    ended: Vec<Gathered>,
    partial: Vec<u8>,
    records: Vec<u8>,
    process_events: Vec<ProcessEvent>,
    waiting: Waiting,
    faults: Vec<Fault>,
    redactions: Counts,
    complete: u64,
    fault_count: u64,
}

impl Assembler {
    pub fn new(options: Options) -> Self {
        Assembler {
            hints: Hints::new(&options.hints),
            coalescer: Coalescer::new(options.limits),
            options,
            serials: SerialWatch::default(),
            processes: ProcessTable::default(),
            columns: Columns::default(),
            roots: Roots::default(),
            files: FileGroups::default(),
            type_names: TypeNames::default(),
            renames: 0,
            event: Event::default(),
            ended: Vec::new(),
            partial: Vec::new(),
            records: Vec::new(),
            process_events: Vec::new(),
            waiting: Waiting::default(),
            faults: Vec::new(),
            redactions: Counts::default(),
            complete: 0,
            fault_count: 0,
        }
    }

    /// Take a block of lines; it may end inside one.
    pub fn push(&mut self, mut block: &[u8]) {
        if !self.partial.is_empty() {
            let Some(end) = memchr::memchr(b'\n', block) else {
                if self.partial.len() + block.len() <= self.options.limits.max_event_bytes {
                    self.partial.extend_from_slice(block);
                }
                return;
            };
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(block.get(..end).unwrap_or_default());
            self.take_line(&line);
            line.clear();
            self.partial = line;
            block = block.get(end + 1..).unwrap_or_default();
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            self.take_line(block.get(start..end).unwrap_or_default());
            start = end + 1;
        }
        self.partial
            .extend_from_slice(block.get(start..).unwrap_or_default());
    }

    /// Take frames of the process connector (`procevent`): each takes its place in time among the events of the next `push`.
    pub fn push_process_events(&mut self, block: &[u8]) {
        for frame in frames(block) {
            match frame {
                Ok(Frame::Other) => {}
                Ok(frame) => self.waiting.push(frame),
                Err(()) => self.fault(FaultKind::BadFrame, b""),
            }
        }
    }

    /// A fork or exit that was observed before (rebuild); not told again. Some were told late.
    pub fn replay_process(&mut self, frame: Frame) {
        self.waiting.replay(frame);
    }

    /// Let so many of the frames that wait take effect.
    fn apply(&mut self, count: usize) {
        let told = self.waiting.apply(count, &mut self.processes);
        self.process_events.extend(told);
    }

    /// A process that was there before (from /proc).
    #[allow(clippy::too_many_arguments)]
    pub fn seed_process(
        &mut self,
        time_ms: u64,
        pid: u32,
        ppid: u32,
        exe: Option<&str>,
        argv: &[String],
        uid: Option<u32>,
        auid: Option<u32>,
        ses: Option<u32>,
    ) {
        let mut event = Event::default();
        event.kind = Kind::Exec;
        for argument in argv {
            event.argv.push(argument.as_bytes());
        }
        if let Some(exe) = exe {
            event.text.extend_from_slice(exe.as_bytes());
            event.exe = Some((0, exe.len()));
        }
        let hint = self.hints.of(&event);
        self.processes.seed(&Exec {
            comm: exe
                .and_then(|exe| exe.rsplit('/').next())
                .unwrap_or_default()
                .as_bytes(),
            id: image_id(time_ms, u64::from(pid)),
            pid,
            ppid,
            hint,
            time_ms,
            serial: 0,
            uid,
            auid,
            ses,
        });
    }

    /// Between these moments forks and exits may have been missed.
    pub fn doubt_forks(&mut self, since_ms: u64, until_ms: u64) {
        self.processes.doubt(since_ms, until_ms);
    }

    pub fn forget_processes(&mut self) {
        self.waiting.clear();
        self.processes.forget();
    }

    /// The wall clock says `now_ms`.
    pub fn tick(&mut self, now_ms: u64) {
        let mut ended = std::mem::take(&mut self.ended);
        self.coalescer.tick(now_ms, &mut ended);
        self.emit(ended);
    }

    /// Nothing more will come: let everything in flight go.
    pub fn flush(&mut self) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.take_line(&line);
        }
        let mut ended = std::mem::take(&mut self.ended);
        self.coalescer.flush(&mut ended);
        self.emit(ended);
        self.apply(self.waiting.len());
    }

    /// Hand out what has ended since the last drain.
    pub fn drain(&mut self) -> Result<Batch, ArrowError> {
        self.apply(self.waiting.len());
        Ok(Batch {
            events: self.columns.finish()?,
            records: {
                let next = Vec::with_capacity(self.records.len());
                std::mem::replace(&mut self.records, next)
            },
            processes: std::mem::take(&mut self.process_events),
            faults: std::mem::take(&mut self.faults),
            redactions: std::mem::take(&mut self.redactions),
            files: self.files.take(),
        })
    }

    pub fn pending(&self) -> usize {
        self.columns.len()
    }

    /// Name this machine: records that carry no node are its own from now on.
    pub fn set_node(&mut self, node: &str) {
        node.clone_into(&mut self.options.node);
        self.renames += 1;
    }

    /// Group what records tell of changes below these folders (rules of the profile `full` make them).
    pub fn set_roots(&mut self, roots: Vec<String>) {
        self.roots = Roots::new(roots);
    }

    pub fn take_serial_gaps(&mut self) -> Vec<(String, SerialGap)> {
        let gaps = self.serials.take();
        gaps.into_iter()
            .map(|gap| {
                let name = name_of(gap.node, &self.coalescer, &self.options);
                (name.into_owned(), gap)
            })
            .collect()
    }

    pub fn counters(&self) -> Counters {
        Counters {
            complete: self.complete,
            lost: self.serials.lost,
            faults: self.fault_count + self.coalescer.counters.faults,
            in_flight: self.coalescer.in_flight() as u64,
            ..self.coalescer.counters
        }
    }

    pub fn lineage(&self, image: u64) -> Vec<&Image> {
        self.processes.lineage(image)
    }

    /// The image of the pid's only holder within the time before a moment, also after it has ended.
    pub fn holder_of(&self, pid: u32, until_ms: u64, within_ms: u64) -> Option<u64> {
        self.processes.holder_of(pid, until_ms, within_ms)
    }

    pub fn image_of(&self, pid: u32) -> Option<u64> {
        self.processes.image_of(pid)
    }

    pub fn descendants(&self, image: u64) -> u32 {
        self.processes.descendants(image)
    }

    pub fn hint_label(&self, hint: Option<u16>) -> Option<&str> {
        self.hints.label(hint?)
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        match self.coalescer.take_line(line, &mut self.ended) {
            Ok(Some(key)) if !is_daemon_line(line) => {
                self.serials.see(
                    key.node,
                    key.time_ms,
                    key.serial,
                    self.options.limits.timeout_ms,
                );
            }
            Ok(_) => {}
            Err(kind) => self.fault(kind, line),
        }
        if !self.ended.is_empty() {
            let ended = std::mem::take(&mut self.ended);
            self.emit(ended);
        }
    }

    fn emit(&mut self, mut ended: Vec<Gathered>) {
        for gathered in ended.drain(..) {
            self.emit_one(gathered);
        }
        self.ended = ended;
    }

    fn emit_one(&mut self, mut gathered: Gathered) {
        self.event
            .read(gathered.key, &gathered.bytes, &gathered.records);
        self.apply(self.waiting.due(gathered.key.time_ms, self.event.pid));
        let event = &mut self.event;
        let mut redactions = 0;
        if self.options.redact && event.may_hold_secret() {
            redactions = redact_event(
                &mut gathered.bytes,
                &mut gathered.records,
                &mut event.argv,
                &mut self.redactions,
            );
            if redactions > 0 {
                let argc = event.argc;
                event.read(gathered.key, &gathered.bytes, &gathered.records);
                event.argc = argc;
            }
        }
        if event.kind == Kind::File && !self.roots.is_empty() {
            note_files(&self.roots, &mut self.files, event);
        }
        let hint = self.hints.of(event);
        let (place, told) = place_of(&mut self.processes, event, hint);
        self.process_events.extend(told);
        let missing = event.missing | if gathered.truncated { 2 } else { 0 };
        if missing == 0 {
            self.complete += 1;
        }
        let offset = self.records.len() as u64;
        self.records.extend_from_slice(&gathered.bytes);
        let node = name_of(gathered.key.node, &self.coalescer, &self.options);
        let ended_by = gathered.ended_by.unwrap_or(EndedBy::Flush);
        let facts = Facts {
            node: Word {
                number: self.renames << 16 | gathered.key.node,
                text: &node,
            },
            type_name: self.type_names.word_of(event.lead_type, &gathered),
            hint: hint.map(|hint| Word {
                number: u32::from(hint),
                text: self.hints.label(hint).unwrap_or_default(),
            }),
            image: place.image,
            parent_image: place.parent,
            tracked_image: place.tracked,
            redactions,
            missing,
            ended_by: Word {
                number: ended_by as u32,
                text: ended_by.as_str(),
            },
            records: gathered.records.len() as u32,
            offset,
            length: gathered.bytes.len() as u32,
            exit_code: exit_code_of(event),
        };
        self.columns.push(event, &facts);
        self.coalescer.recycle(gathered);
    }

    fn fault(&mut self, kind: FaultKind, line: &[u8]) {
        self.fault_count += 1;
        if self.faults.len() < MAX_FAULTS {
            let shown = line.get(..line.len().min(160)).unwrap_or_default();
            let excerpt = crate::text::printable(shown).into_owned();
            self.faults.push(Fault {
                kind,
                line: self.coalescer.counters.lines,
                excerpt,
            });
        }
    }
}

/// Name of a record's machine; this one's where the record names none.
fn name_of<'a>(node: u32, coalescer: &'a Coalescer, options: &'a Options) -> Cow<'a, str> {
    match coalescer.node(node) {
        [] => options.node.as_str().into(),
        name => crate::text::printable(name),
    }
}
