//! The whole way: bytes in, batches out.

mod blocks;
mod known;
mod log_files;
mod options;
mod places;
mod processes;
mod tables;
mod type_names;
mod waiting;

pub use known::ReadHeld;
pub use options::Options;
pub use places::image_id;

use crate::batch::{Columns, Facts};
use crate::builders::Word;
use crate::coalesce::{Coalescer, Counters, Gathered};
use crate::event::{Event, Key, Kind};
use crate::fault::{Fault, FaultKind};
use crate::files::{FileGroup, FileGroups, Roots};
use crate::gaps::{SerialGap, SerialWatch};
use crate::hints::Hints;
use crate::log_files::LogFiles;
use crate::process::{Place, ProcessEvent};
use crate::redact::{Counts, Search};
use crate::rewrite::{hold_keystrokes, redact_event};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use known::{Known, Novelty};
use places::{exit_code_of, place_of};
use std::borrow::Cow;
use tables::Tables;
use type_names::TypeNames;
use waiting::Waiting;

/// Faults kept between two drains; more are only counted.
const MAX_FAULTS: usize = 256;

/// What one drain hands out.
pub struct Batch {
    pub events: RecordBatch,
    /// The latest moment of the events.
    pub newest_ms: Option<i64>,
    pub records: Vec<u8>,
    pub processes: Vec<ProcessEvent>,
    pub faults: Vec<Fault>,
    pub redactions: Counts,
    /// Changes of environments, as the records report them.
    pub files: Vec<FileGroup>,
}

/// Lines of the audit log in, events as Arrow out; holds the process tables.
pub struct Assembler {
    options: Options,
    hints: Hints,
    coalescer: Coalescer,
    serials: SerialWatch,
    tables: Tables,
    known: Option<Known>,
    /// The event whose records were given out last.
    newest: Key,
    columns: Columns,
    roots: Roots,
    files: FileGroups,
    log_files: LogFiles,
    reported_files: Vec<FileGroup>,
    /// In which the records that are given out next will lie.
    segment: u64,
    /// Bytes of its records that were given out before.
    segment_bytes: u64,
    type_names: TypeNames,
    renames: u32,
    event: Event,
    ended: Vec<Gathered>,
    partial: Vec<u8>,
    /// Bytes of that line which were not held: it is too long.
    cut: u64,
    /// Bytes of the lines taken.
    consumed: u64,
    records: Vec<u8>,
    process_events: Vec<ProcessEvent>,
    waiting: Waiting,
    /// What the wall clock said since the last drain; None while the records are not of now.
    ticked_ms: Option<u64>,
    faults: Vec<Fault>,
    search: Search,
    redactions: Counts,
    complete: u64,
    repeated: u64,
    supplemented: u64,
    fault_count: u64,
}

impl Assembler {
    pub fn new(options: Options) -> Self {
        Assembler {
            hints: Hints::new(&options.hints),
            coalescer: Coalescer::new(options.limits),
            options,
            serials: SerialWatch::default(),
            tables: Tables::default(),
            known: None,
            newest: Key::default(),
            columns: Columns::default(),
            roots: Roots::default(),
            files: FileGroups::default(),
            log_files: LogFiles::default(),
            reported_files: Vec::new(),
            segment: 0,
            segment_bytes: 0,
            type_names: TypeNames::default(),
            renames: 0,
            event: Event::default(),
            ended: Vec::new(),
            partial: Vec::new(),
            cut: 0,
            consumed: 0,
            records: Vec::new(),
            process_events: Vec::new(),
            waiting: Waiting::default(),
            ticked_ms: None,
            faults: Vec::new(),
            search: Search::default(),
            redactions: Counts::default(),
            complete: 0,
            repeated: 0,
            supplemented: 0,
            fault_count: 0,
        }
    }

    /// Take records that were given out before (those of a segment), whole lines: an event ends where the next one begins, or with
    /// an empty line. `offset` of its events counts from the beginning of all that is read again.
    pub fn reread(&mut self, records: &[u8]) {
        self.coalescer.set_reread(true);
        self.push(records);
        self.flush();
        self.coalescer.set_reread(false);
    }

    /// Let so many of the frames that wait take effect.
    fn apply(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let reported = self.waiting.apply(count, self.tables.own());
        self.process_events.extend(reported);
    }

    /// The records of the next `push` are read at this moment of the wall clock.
    pub fn set_clock(&mut self, now_ms: u64) {
        self.coalescer.set_clock(now_ms);
    }

    /// The wall clock says `now_ms`, and what had arrived by then was pushed.
    pub fn tick(&mut self, now_ms: u64) {
        self.ticked_ms = Some(now_ms);
        let mut ended = std::mem::take(&mut self.ended);
        self.coalescer.tick(now_ms, &mut ended);
        self.serials.tick(now_ms, self.options.limits.timeout_ms);
        self.emit(ended);
        self.release_quiet(Some(now_ms));
    }

    /// Nothing more will come: let everything in flight go.
    pub fn flush(&mut self) {
        if !self.partial.is_empty() {
            self.take_partial();
        }
        let mut ended = std::mem::take(&mut self.ended);
        self.coalescer.flush(&mut ended);
        self.emit(ended);
        self.apply(self.waiting.len());
        self.release_quiet(None);
    }

    /// Hand out what has ended since the last drain.
    pub fn drain(&mut self) -> Result<Batch, ArrowError> {
        let ticked_ms = self.ticked_ms.take();
        if self.coalescer.in_flight() == 0 {
            // An event that is still read, or about to be, comes before what its process did later.
            self.apply(ticked_ms.map_or(self.waiting.len(), |now_ms| self.waiting.settled(now_ms)));
        }
        Ok(Batch {
            newest_ms: self.columns.newest_ms(),
            events: self.columns.finish()?,
            records: crate::builders::take(&mut self.records),
            processes: std::mem::take(&mut self.process_events),
            faults: std::mem::take(&mut self.faults),
            redactions: std::mem::take(&mut self.redactions),
            files: {
                let mut files = std::mem::take(&mut self.reported_files);
                files.extend(self.files.take());
                files
            },
        })
    }

    pub fn pending(&self) -> usize {
        self.columns.len()
    }

    /// Name this machine: records that carry no node are its own from now on.
    pub fn set_node(&mut self, node: &str) {
        node.clone_into(&mut self.options.node);
        self.renames += 1;
        self.tables.forget_names();
    }

    /// Group what records report of changes below these folders (rules of the profile `full` make them).
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
            repeated: self.repeated,
            supplemented: self.supplemented,
            ..self.coalescer.counters
        }
    }

    pub fn hint_label(&self, hint: Option<u16>) -> Option<&str> {
        self.hints.label(hint?)
    }

    fn emit_ended(&mut self) {
        if !self.ended.is_empty() {
            let ended = std::mem::take(&mut self.ended);
            self.emit(ended);
        }
    }

    fn emit(&mut self, mut ended: Vec<Gathered>) {
        for gathered in &mut ended {
            self.emit_one(gathered);
            self.coalescer.recycle(gathered);
        }
        ended.clear();
        self.ended = ended;
    }

    fn emit_one(&mut self, gathered: &mut Gathered) {
        self.event
            .read(gathered.key, &gathered.bytes, &gathered.records);
        self.apply(self.waiting.due(gathered.key.time_ms, self.event.pid));
        let mut redactions = self.redact(gathered);
        match self.compare_with_known(gathered) {
            Novelty::First => {}
            Novelty::Nothing => {
                self.repeated += 1;
                return;
            }
            Novelty::More => {
                self.event
                    .read(gathered.key, &gathered.bytes, &gathered.records);
                redactions += self.redact(gathered);
            }
        }
        let offset = self.keep_records(gathered);
        self.release_ripe(gathered.key);
        let hint = self.hints.of(&self.event);
        let place = self.find_place(gathered.key, hint);
        self.note_files(gathered, place.image);
        let event = &self.event;
        let missing = event.missing | if gathered.truncated { 2 } else { 0 };
        if gathered.is_supplemented {
            self.supplemented += 1;
        } else if missing == 0 {
            self.complete += 1;
        }
        let node = name_of(gathered.key.node, &self.coalescer, &self.options);
        let ended_by = gathered.ended_by();
        let facts = Facts {
            node: Word {
                number: self.renames << 16 | gathered.key.node,
                text: &node,
            },
            type_name: self.type_names.word_of(event.lead_type, gathered),
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
    }

    /// Where the event that was read stands in the process table of its machine.
    fn find_place(&mut self, key: Key, hint: Option<u16>) -> Place {
        let (node, event) = (key.node, &self.event);
        let name = self.coalescer.node(node);
        let id = match event.kind {
            Kind::Exec => self.tables.image_for(node, event, name, &self.options.node),
            _ => 0,
        };
        let (table, _) = self.tables.of_node(node, name, &self.options.node);
        table.note_serial(key.serial);
        let (place, reported) = place_of(table, event, id, self.segment, hint);
        self.process_events.extend(reported);
        place
    }

    /// Where an event's records lie: among those given out by this drain, or among those read again since the beginning.
    fn keep_records(&mut self, gathered: &Gathered) -> u64 {
        if self.coalescer.is_reread() {
            return gathered.position;
        }
        let follows = std::mem::replace(&mut self.newest, gathered.key) == gathered.key;
        if gathered.is_supplemented {
            self.records.extend_from_slice(b"\n\n");
        } else if gathered.is_late || follows {
            self.records.push(b'\n');
        }
        let offset = self.records.len() as u64;
        self.records.extend_from_slice(&gathered.bytes);
        self.note_place(gathered, self.segment_bytes + offset);
        offset
    }

    /// Take the secrets out of the event that was read; how many there were.
    fn redact(&mut self, gathered: &mut Gathered) -> u32 {
        let event = &mut self.event;
        if !self.options.redact
            || !(event.may_hold_secret(&mut self.search) || hold_keystrokes(&gathered.records))
        {
            return 0;
        }
        let redactions = redact_event(
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
        redactions
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
