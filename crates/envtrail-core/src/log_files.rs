//! Changes of files as a log records them, of machines that cannot be queried: where environments are is read from the paths, what ran in a
//! process is known at once, and time is that of the events.

use crate::event::{Event, Strings};
use crate::file_events::{items_of, who_of, Source};
use crate::files::{Change, FileGroup, FileGroups, What};
use crate::log_places::LogPlaces;
use rustc_hash::FxHashMap;

/// A process's changes of one environment are one thing as long as they follow each other within this time.
const REST_MS: u64 = 3_000;
/// But no longer than this.
const MOST_MS: u64 = 600_000;
/// Of command lines that are remembered of a machine, twice.
const MAX_WORDS_BYTES: usize = 8 << 20;
const MIN_WORDS_BYTES: usize = 64;
const FOLDER: u32 = 0o040_000;
const FILE_TYPE: u32 = 0o170_000;

/// Of one machine.
#[derive(Default)]
struct NodeFiles {
    places: LogPlaces,
    groups: FileGroups,
    /// No group is ripe before this (event time).
    due_ms: u64,
    /// When the newest of its changes was read (wall clock; 0 in an import).
    read_ms: u64,
    words: Words,
}

/// What is being gathered, by the coalescer's number of the machine.
#[derive(Default)]
pub struct LogFiles {
    nodes: Vec<NodeFiles>,
    /// Of the other logs that name no machine: what is known there.
    others: FxHashMap<usize, NodeFiles>,
    /// The log that is read.
    log: Option<usize>,
    /// Of this machine, where a process may end before it can be queried.
    own_words: Words,
    own_programs: Words,
}

impl LogFiles {
    /// Groups of a machine that an event of this time finds at rest.
    pub fn take_ripe(&mut self, node: u32, time_ms: u64) -> Vec<FileGroup> {
        let Some(files) = self.nodes.get_mut(node as usize) else {
            return Vec::new();
        };
        if files.groups.is_empty() || time_ms <= files.due_ms {
            return Vec::new();
        }
        let ripe = files.groups.take_if(|group| time_ms > due_of(group));
        files.due_ms = files.groups.iter().map(due_of).min().unwrap_or_default();
        ripe
    }

    /// Groups of which nothing more was read for a while; all of them at the end.
    pub fn take_quiet(&mut self, now_ms: Option<u64>) -> Vec<(u32, Vec<FileGroup>)> {
        let is_quiet =
            |files: &NodeFiles| now_ms.is_none_or(|now_ms| now_ms > files.read_ms + REST_MS);
        let nodes = (0..).zip(&mut self.nodes);
        nodes
            .filter(|(_, files)| !files.groups.is_empty() && is_quiet(files))
            .map(|(node, files)| (node, files.groups.take()))
            .collect()
    }

    /// Learn where environments are from an event of a machine.
    pub fn learn(&mut self, node: u32, event: &Event) {
        if event.success == Some(false) {
            return;
        }
        let places = &mut self.at(node).places;
        let names = event.paths.iter().filter_map(|path| event.slice(path.name));
        names.for_each(|name| places.learn(name));
    }

    /// Learn where environments are from the programs that were started on a machine: by the name that was executed, and by the first
    /// word, which the interpreter's own name is where a script was executed.
    pub fn learn_exec(&mut self, node: u32, event: &Event) {
        let places = &mut self.at(node).places;
        let names = event.paths.iter().filter_map(|path| event.slice(path.name));
        names.for_each(|name| places.learn_program(name));
        if let Some(word) = event.argv.iter().next() {
            places.learn_program(word);
        }
    }

    /// Note what an event of a machine changed, by the image that ran in its process.
    pub fn note(
        &mut self,
        node: u32,
        event: &Event,
        source: &Source<'_>,
        image: Option<u64>,
        now_ms: u64,
    ) {
        let Some(pid) = event.pid else {
            return;
        };
        let files = self.at(node);
        let mut moved_from = None;
        for (path, name, what) in items_of(event, source) {
            let is_folder = path.mode.is_some_and(|mode| mode & FILE_TYPE == FOLDER);
            let place = match (what, moved_from) {
                (What::MovedTo, Some(from)) => {
                    files.places.learn_move(from, name);
                    // An environment that was moved: that is one change, of the place where it was.
                    let left = files.places.place_of(from, is_folder);
                    left.filter(|(prefix, _)| *prefix == from)
                        .or_else(|| files.places.place_of(name, is_folder))
                }
                _ => files.places.place_of(name, is_folder),
            };
            if what == What::MovedFrom && moved_from.is_none() {
                moved_from = Some(name);
            }
            let Some((prefix, _)) = place else {
                continue;
            };
            let root = crate::text::printable(prefix);
            let change = Change {
                pid,
                image,
                root: &root,
                path: name,
                what,
                time_ms: event.time_ms,
                event: Some(source.place_of(event)),
            };
            files.groups.note(&change, || Some(who_of(event)));
            let due_ms = event.time_ms + REST_MS;
            files.due_ms = match files.due_ms {
                0 => due_ms,
                known => known.min(due_ms),
            };
            files.read_ms = now_ms;
        }
    }

    /// Remember what an image of a machine was started with.
    pub fn note_exec(&mut self, node: u32, image: u64, event: &Event) {
        self.at(node).words.add(image, &event.argv);
    }

    /// As `note_exec`, for this machine, now.
    pub fn note_own_exec(&mut self, image: u64, event: &Event) {
        self.own_words.add(image, &event.argv);
        let mut program = Strings::default();
        program.push(event.slice(event.exe).unwrap_or_default());
        self.own_programs.add(image, &program);
    }

    /// The program of an image of this machine, where that was not long ago.
    pub fn own_program_of(&self, image: u64) -> Option<String> {
        let program = self.own_programs.get(image)?.pop()?;
        (!program.is_empty()).then_some(program)
    }

    /// What an image of this machine was started with, where that was not long ago.
    pub fn own_words_of(&self, image: u64) -> Option<Vec<String>> {
        self.own_words.get(image)
    }

    /// What an image of a machine was started with, where that was not long ago.
    pub fn words_of(&self, node: u32, image: u64) -> Option<Vec<String>> {
        self.nodes.get(node as usize)?.words.get(image)
    }

    /// What an environment of a machine is, as far as paths have shown it.
    pub fn kind_of(&self, node: u32, group: &FileGroup) -> &'static str {
        let files = self.nodes.get(node as usize);
        let places = files.map(|files| &files.places);
        let known = places.and_then(|places| places.kind_of(group.root.as_bytes()));
        let shown = places.and_then(|places| {
            let (path, _) = group.files.first()?;
            Some(places.place_of(path.as_bytes(), true)?.1)
        });
        known.or(shown).map_or("unknown", |kind| kind.as_str())
    }

    /// The records that follow, where they name no machine, are of this log. `is_new`: nothing is known of it.
    pub fn turn_to(&mut self, log: usize, is_new: bool) {
        if self.log.is_some_and(|known| known != log) {
            let next = self.others.remove(&log).unwrap_or_default();
            let before = std::mem::replace(self.at(0), next);
            self.log.map(|left| self.others.insert(left, before));
        }
        self.log = Some(log);
        if is_new {
            *self.at(0) = NodeFiles::default();
        }
    }

    fn at(&mut self, node: u32) -> &mut NodeFiles {
        let at = node as usize;
        if self.nodes.len() <= at {
            self.nodes.resize_with(at + 1, NodeFiles::default);
        }
        #[allow(clippy::indexing_slicing)] // It was made large enough.
        &mut self.nodes[at]
    }
}

/// The command lines of the newest images, as they were recorded: few are read.
#[derive(Default)]
struct Words {
    newest: FxHashMap<u64, Strings>,
    before: FxHashMap<u64, Strings>,
    bytes: usize,
}

impl Words {
    fn add(&mut self, image: u64, words: &Strings) {
        self.bytes += words.bytes.len() + MIN_WORDS_BYTES;
        if self.bytes > MAX_WORDS_BYTES {
            self.bytes = 0;
            self.before = std::mem::take(&mut self.newest);
        }
        self.newest.insert(image, words.clone());
    }

    fn get(&self, image: u64) -> Option<Vec<String>> {
        let found = self.newest.get(&image);
        let words = found.or_else(|| self.before.get(&image))?.iter();
        Some(
            words
                .map(|word| crate::text::printable(word).into_owned())
                .collect(),
        )
    }
}

/// From when on a group is at rest (event time).
fn due_of(group: &FileGroup) -> u64 {
    (group.until_ms + REST_MS).min(group.time_ms + MOST_MS)
}
