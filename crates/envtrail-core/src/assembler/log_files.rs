//! Changes of files that a log records: who made them, by the process table of the time when the files no longer change.

use super::{name_of, Assembler};
use crate::coalesce::Gathered;
use crate::event::{Key, Kind};
use crate::file_events::{note_files, Source};
use crate::files::{EventPlace, FileGroup, Recorded};
use crate::process::{Image, Moment, ProcessTable};

impl Assembler {
    /// What an event changed: below the roots where it is of here and now, else wherever its paths show an environment.
    pub(super) fn note_files(&mut self, gathered: &Gathered, image: Option<u64>) {
        let is_here = self.tables.is_here(gathered.key.node);
        let source = Source {
            bytes: &gathered.bytes,
            records: &gathered.records,
            segment: self.segment,
        };
        match image.filter(|_| self.event.kind == Kind::Exec) {
            Some(image) if !is_here => {
                self.log_files.learn_exec(gathered.key.node, &self.event);
                if !self.coalescer.is_reread() {
                    self.log_files
                        .note_exec(gathered.key.node, image, &self.event);
                }
            }
            Some(image) => self.log_files.note_own_exec(image, &self.event),
            _ if !self.event.is_of_files() => {}
            _ if !is_here => self.note_log_files(gathered.key, &source, image),
            _ if self.roots.is_empty() => {}
            _ => note_files(&self.roots, &mut self.files, &self.event, &source),
        }
    }

    /// Note what a file event changed. Where its process was not seen to begin, its parent's image is what runs in it: a shell's own
    /// redirection.
    fn note_log_files(&mut self, key: Key, source: &Source<'_>, image: Option<u64>) {
        self.log_files.learn(key.node, &self.event);
        if self.coalescer.is_reread() {
            // What was made of them then is read again too.
            return;
        }
        let name = self.coalescer.node(key.node);
        let (table, _) = self.tables.of_node(key.node, name, &self.options.node);
        let parent = self.event.ppid.filter(|ppid| *ppid > 1);
        let at = Moment {
            time_ms: key.time_ms,
            serial: key.serial,
        };
        let image = image.or_else(|| table.image_at(parent?, at));
        let now_ms = self.coalescer.now_ms();
        self.log_files
            .note(key.node, &self.event, source, image, now_ms);
    }

    /// Hand out what an event finds at rest: what comes after it can no longer change what is said of it.
    pub(super) fn release_ripe(&mut self, key: Key) {
        for group in self.log_files.take_ripe(key.node, key.time_ms) {
            self.report(key.node, group);
        }
    }

    /// Hand out what has been quiet until now (wall clock), or all of it.
    pub(super) fn release_quiet(&mut self, now_ms: Option<u64>) {
        for (node, groups) in self.log_files.take_quiet(now_ms) {
            groups
                .into_iter()
                .for_each(|group| self.report(node, group));
        }
    }

    fn report(&mut self, node: u32, mut group: FileGroup) {
        let name = self.coalescer.node(node);
        let (table, _) = self.tables.of_node(node, name, &self.options.node);
        let images = lineage_of(table, &group);
        let first = images.first();
        let hint = match first.filter(|image| image.pid == group.pid) {
            Some(image) => image.hint,
            // Its exec was not recorded: its title is all there is.
            None => self.hints.of_words(
                group.who.exe.as_deref().unwrap_or_default(),
                group.who.argv.as_deref().unwrap_or_default(),
            ),
        };
        let words = first.and_then(|image| self.log_files.words_of(node, image.id));
        if let Some(words) = words {
            // Of a fork too: it has its parent's.
            (group.who.argv, group.who.is_argv_cut) = (Some(words), false);
        }
        group.recorded = Some(Recorded {
            node: name_of(node, &self.coalescer, &self.options).into_owned(),
            kind: self.log_files.kind_of(node, &group),
            hint: hint.and_then(|hint| Some(self.hints.label(hint)?.to_owned())),
            exec: first.map(|image| exec_of(image)),
            end: first.and_then(|image| Some((image.ended_ms?, image.end.0, image.end.1))),
            images: images.iter().map(|image| image.id).collect(),
        });
        self.reported_files.push(group);
    }
}

fn lineage_of<'a>(table: &'a ProcessTable, group: &FileGroup) -> Vec<&'a Image> {
    group
        .image
        .map_or_else(Vec::new, |image| table.lineage(image))
}

fn exec_of(image: &Image) -> EventPlace {
    EventPlace {
        segment: image.segment,
        time_ms: image.time_ms,
        serial: image.serial,
    }
}
