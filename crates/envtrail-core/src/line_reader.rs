//! Blocks of a log in, blocks of records out: whatever stands before the records goes, and what holds none is counted.
//!
//! A block of nothing but records is handed on as it is.

mod joined;

use crate::heads::{is_journal_text, push_record, trim, Form, NoRecord, FORMS, REASONS};
use crate::journal::{Entry, ExportReader};
use crate::json_line::push_json;
use crate::parse::{parse_stamp, LastStamp};
use crate::text::printable;
use memchr::memchr2;
use std::borrow::Cow;

/// Bytes of a line that are held; one that begins with its record is not held, and has no limit here.
const MOST_LINE_BYTES: usize = 1 << 24;
/// Lines without a record that are kept, of each kind.
const MOST_KEPT: u64 = 5;
const KINDS: usize = REASONS.len();

/// A line that holds no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    pub why: NoRecord,
    /// From 1.
    pub line: u64,
    /// At most 160 bytes of it.
    pub excerpt: String,
}

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub lines: u64,
    /// Lines that held records, by `FORMS`.
    pub forms: [u64; FORMS.len()],
    /// Lines that held none, by `NoRecord`; separators are among them.
    pub without: [u64; KINDS],
    /// Bytes that were never written (a crash, `copytruncate`).
    pub nul_bytes: u64,
    pub faults: Vec<LineFault>,
    /// Of the last record; 0 without one.
    pub last_ms: u64,
    /// Machine of that record; empty where it names none.
    pub node: Vec<u8>,
}

/// Reads one file.
#[derive(Default)]
pub struct LineReader {
    figures: Figures,
    last: LastStamp,
    /// The beginning of a line that has not ended, or not yet shown its stamp.
    partial: Vec<u8>,
    /// Within a line that began with its record: the rest of it is handed on.
    passing: bool,
    /// Within a line that is too long.
    skipping: bool,
    has_begun: bool,
    export: Option<ExportReader>,
    /// What may be the beginning of a record behind a CR, at the end of a block.
    tail: Vec<u8>,
    /// Within what is joined to a line by a CR.
    leaving_out: bool,
}

impl LineReader {
    pub fn figures(&self) -> Figures {
        let export = self.export.as_ref().map_or(0, |export| export.lines);
        Figures {
            lines: self.figures.lines + export,
            ..self.figures.clone()
        }
    }

    fn read_lines<'a>(&mut self, block: &'a [u8]) -> Cow<'a, [u8]> {
        let mut at = self.pass(block);
        if at == block.len() {
            return Cow::Borrowed(block);
        }
        let mut out = block.get(..at).unwrap_or_default().to_vec();
        while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.take(rest, &mut out);
            let rest = block.get(at..).unwrap_or_default();
            let passed = self.pass(rest);
            out.extend_from_slice(rest.get(..passed).unwrap_or_default());
            at += passed;
        }
        Cow::Owned(out)
    }

    /// Nothing more will come.
    pub fn finish(&mut self) -> Vec<u8> {
        let tail = std::mem::take(&mut self.tail);
        let mut out = self.read_lines(&tail).into_owned();
        if self.passing || self.skipping || !self.partial.is_empty() {
            self.end_line(&mut out);
            self.figures.lines += u64::from(self.export.is_none());
        }
        if let Some(mut export) = self.export.take() {
            export.finish(&mut |entry, line| self.take_entry(entry, line, &mut out));
            self.figures.lines += export.lines;
        }
        out
    }

    /// How many bytes at the beginning are lines that begin with their record, or empty.
    fn pass(&mut self, block: &[u8]) -> usize {
        if self.export.is_some() || self.skipping || !self.partial.is_empty() {
            return 0;
        }
        let mut records = 0;
        let mut latest = b"".as_slice();
        let mut at = 0;
        let passed = loop {
            let rest = block.get(at..).unwrap_or_default();
            let end = memchr2(b'\n', 0, rest);
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if !self.passing && !matches!(line, [] | [b'\r']) {
                if !is_record(line, &mut self.last) {
                    break at;
                }
                records += 1;
                latest = line;
                self.passing = true;
            }
            match end.and_then(|end| rest.get(end)) {
                Some(b'\n') => {
                    self.passing = false;
                    self.figures.lines += 1;
                    at += line.len() + 1;
                }
                // A byte that was never written ends the line, and is not handed on; nor is a CR before it.
                Some(_) if self.passing => break at + line.len(),
                Some(_) => break at,
                None if self.passing || line.is_empty() => break block.len(),
                None => break at,
            }
        };
        self.has_begun |= records > 0;
        self.count(Form::Plain, records, latest);
        passed
    }

    /// Take what `pass` does not: up to the end of a line, or all. How many bytes that was.
    fn take(&mut self, block: &[u8], out: &mut Vec<u8>) -> usize {
        if let Some(mut export) = self.export.take() {
            export.read(block, &mut |entry, line| self.take_entry(entry, line, out));
            self.export = Some(export);
            return block.len();
        }
        let end = memchr2(b'\n', 0, block);
        self.hold(block.get(..end.unwrap_or(block.len())).unwrap_or_default());
        let Some(end) = end else {
            if self.see_partial() {
                out.append(&mut self.partial);
                self.passing = true;
            }
            return block.len();
        };
        self.end_line(out);
        let rest = block.get(end..).unwrap_or_default();
        if rest.starts_with(b"\n") {
            self.figures.lines += u64::from(self.export.is_none());
            return end + 1;
        }
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        self.figures.nul_bytes += zeros as u64;
        end + zeros
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.skipping || self.passing {
            return;
        }
        if self.partial.len() + piece.len() > MOST_LINE_BYTES {
            let begun = if self.partial.is_empty() {
                piece.to_vec()
            } else {
                std::mem::take(&mut self.partial)
            };
            self.fault(NoRecord::TooLong, self.figures.lines + 1, &begun);
            self.partial.clear();
            self.skipping = true;
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    /// Whether the line that is held has shown by now that it begins with its record.
    fn see_partial(&mut self) -> bool {
        let line = std::mem::take(&mut self.partial);
        let is_plain = is_record(&line, &mut self.last);
        if is_plain {
            self.has_begun = true;
            self.count(Form::Plain, 1, &line);
        }
        self.partial = line;
        is_plain
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.passing {
            out.push(b'\n');
        } else if !self.skipping {
            let mut line = std::mem::take(&mut self.partial);
            self.take_line(&line, out);
            line.clear();
            self.partial = line;
        }
        (self.passing, self.skipping) = (false, false);
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let text = trim(line);
        if text.is_empty() {
            return;
        }
        if !self.has_begun && text.starts_with(b"__CURSOR=") {
            let export = self.export.insert(ExportReader::default());
            let nothing = &mut |_: &Entry, _: u64| {};
            export.read(text, nothing);
            export.read(b"\n", nothing);
            return;
        }
        self.has_begun = true;
        let start = out.len();
        let made = match json_of(text) {
            Some(json) => push_json(json, &mut self.last, out),
            None => push_record(text, b"", &mut self.last, out),
        };
        let made = match made {
            Err(NoRecord::Foreign) if is_journal_text(text) => Err(NoRecord::JournalText),
            other => other,
        };
        self.note(
            made,
            out.get(start..).unwrap_or_default(),
            self.figures.lines + 1,
            text,
        );
    }

    fn take_entry(&mut self, entry: &Entry, line: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let made = entry.push(b"", &mut self.last, out);
        let message = entry.message.as_deref().unwrap_or_default();
        self.note(
            made,
            out.get(start..).unwrap_or_default(),
            self.figures.lines + line,
            message,
        );
    }

    fn note(&mut self, made: Result<Form, NoRecord>, record: &[u8], line: u64, text: &[u8]) {
        match made {
            Ok(form) => self.count(form, 1, record),
            Err(why) => self.fault(why, line, text),
        }
    }

    fn count(&mut self, form: Form, records: u64, latest: &[u8]) {
        if let Some(count) = self.figures.forms.get_mut(form as usize) {
            *count += records;
        }
        if let Ok(stamp) = parse_stamp(latest, &mut self.last) {
            self.figures.last_ms = stamp.time_ms;
            if self.figures.node != stamp.node {
                self.figures.node = stamp.node.to_vec();
            }
        }
    }

    fn fault(&mut self, why: NoRecord, line: u64, text: &[u8]) {
        let Some(count) = self.figures.without.get_mut(why as usize) else {
            return;
        };
        *count += 1;
        if *count <= MOST_KEPT {
            let shown = text.get(..text.len().min(160)).unwrap_or_default();
            self.figures.faults.push(LineFault {
                why,
                line,
                excerpt: printable(shown).into_owned(),
            });
        }
    }
}

/// The JSON of a line: a document or a list of them; `data: ` before it is of `journalctl -o json-sse`.
fn json_of(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"data: ").unwrap_or(text);
    let first = text.strip_prefix(b"[").map_or(text, trim);
    first.starts_with(b"{").then_some(text)
}

/// Whether a line, or what there is of it, begins with a record: most have the stamp of the line before.
fn is_record(line: &[u8], last: &mut LastStamp) -> bool {
    last.repeated(line).is_some() || parse_stamp(line, last).is_ok()
}
