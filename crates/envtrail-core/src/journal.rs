//! Entries of the systemd journal: the audit records that journald took from the kernel, and those that a program logged.
//!
//! References: systemd.journal-fields(7); journald-audit.c (`process_audit_string()`);
//! <https://systemd.io/JOURNAL_EXPORT_FORMATS/>

use crate::heads::{is_audit_name, push_node, push_record, trim, Form, NoRecord};
use crate::parse::{parse_stamp, LastStamp};
use crate::types::record_type_name;
use memchr::memchr;

/// Bytes of one field that are held; longer ones count as left out.
const MOST_FIELD_BYTES: u64 = 1 << 24;
const MOST_NAME_BYTES: usize = 1 << 16;

/// The fields of an entry that say what record it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub transport: Vec<u8>,
    pub audit_type: Vec<u8>,
    pub audit_id: Vec<u8>,
    pub source_us: Vec<u8>,
    pub host: Vec<u8>,
    pub uid: Vec<u8>,
    pub identifier: Vec<u8>,
    pub message: Option<Vec<u8>>,
}

impl Entry {
    /// The place of a field's value; None for a field that is not looked at.
    pub fn place(&mut self, name: &[u8]) -> Option<&mut Vec<u8>> {
        Some(match name {
            b"_TRANSPORT" => &mut self.transport,
            b"_AUDIT_TYPE" => &mut self.audit_type,
            b"_AUDIT_ID" => &mut self.audit_id,
            b"_SOURCE_REALTIME_TIMESTAMP" => &mut self.source_us,
            b"_HOSTNAME" => &mut self.host,
            b"_UID" => &mut self.uid,
            b"SYSLOG_IDENTIFIER" => &mut self.identifier,
            b"MESSAGE" => self.message.get_or_insert_default(),
            _ => return None,
        })
    }

    /// Append its record, with a newline.
    pub fn push(
        &self,
        host: &[u8],
        last: &mut LastStamp,
        out: &mut Vec<u8>,
    ) -> Result<Form, NoRecord> {
        let host = if self.host.is_empty() {
            host
        } else {
            &self.host
        };
        if self.transport == b"audit" {
            return self.push_audit(host, last, out);
        }
        let message = self.message.as_deref().unwrap_or_default();
        let is_audit = self.identifier.is_empty() || is_audit_name(&self.identifier);
        let is_trusted = matches!(self.uid.as_slice(), b"" | b"0") && is_audit;
        let start = out.len();
        let mut form = Err(NoRecord::Foreign);
        for line in message.split(|byte| *byte == b'\n') {
            form = push_record(line, host, last, out).or(form);
        }
        if form.is_ok() && !is_trusted {
            out.truncate(start);
            return Err(NoRecord::OtherWriter);
        }
        form.map(|_| Form::Journal)
    }

    fn push_audit(
        &self,
        host: &[u8],
        last: &mut LastStamp,
        out: &mut Vec<u8>,
    ) -> Result<Form, NoRecord> {
        let (Some(number), Some(us), Some(serial)) = (
            number(&self.audit_type),
            number(&self.source_us),
            number(&self.audit_id),
        ) else {
            return Err(NoRecord::Foreign);
        };
        let message = self.message.as_deref().ok_or(NoRecord::LeftOut)?;
        let kind = u16::try_from(number).map_err(|_| NoRecord::BadStamp)?;
        // The message is the name of the type, a blank, and the record without its stamp.
        let end = memchr(b' ', message).unwrap_or(message.len());
        let text = message.get(end..).unwrap_or_default();
        let start = out.len();
        push_node(host, b"", out);
        let (seconds, ms) = (us / 1_000_000, us / 1000 % 1000);
        out.extend_from_slice(
            format!(
                "type={} msg=audit({seconds}.{ms:03}:{serial}):",
                record_type_name(kind)
            )
            .as_bytes(),
        );
        // A line break inside a message must not begin another record.
        out.extend(text.iter().map(|byte| match byte {
            b'\n' | b'\r' | 0 => b' ',
            other => *other,
        }));
        if parse_stamp(out.get(start..).unwrap_or_default(), last).is_err() {
            out.truncate(start);
            return Err(NoRecord::BadStamp);
        }
        out.push(b'\n');
        Ok(Form::Journal)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

enum Awaited {
    /// `NAME=value`, `NAME` alone, or the end of the entry.
    Line,
    /// Eight bytes: how long the value is.
    Size { name: Vec<u8> },
    /// The value, and a newline.
    Value {
        name: Vec<u8>,
        left: u64,
        is_kept: bool,
    },
}

/// The export format: entries of lines, some of them binary.
pub struct ExportReader {
    entry: Entry,
    awaited: Awaited,
    held: Vec<u8>,
    too_long: bool,
    has_fields: bool,
    pub lines: u64,
}

impl Default for ExportReader {
    fn default() -> Self {
        ExportReader {
            entry: Entry::default(),
            awaited: Awaited::Line,
            held: Vec::new(),
            too_long: false,
            has_fields: false,
            lines: 0,
        }
    }
}

impl ExportReader {
    /// Take a block; each whole entry goes to `take`.
    pub fn read(&mut self, mut block: &[u8], take: &mut impl FnMut(&Entry, u64)) {
        while !block.is_empty() {
            let used = match &mut self.awaited {
                Awaited::Line => match memchr(b'\n', block) {
                    Some(end) => {
                        self.hold(block.get(..end).unwrap_or_default());
                        self.lines += 1;
                        self.take_line(take);
                        end + 1
                    }
                    None => {
                        self.hold(block);
                        block.len()
                    }
                },
                Awaited::Size { name } => {
                    let used = block.len().min(8 - self.held.len());
                    self.held
                        .extend_from_slice(block.get(..used).unwrap_or_default());
                    if let Some(size) = self.held.first_chunk::<8>() {
                        let size = u64::from_le_bytes(*size);
                        let name = std::mem::take(name);
                        let is_kept = size <= MOST_FIELD_BYTES && self.entry.place(&name).is_some();
                        self.awaited = Awaited::Value {
                            name,
                            left: size.saturating_add(1),
                            is_kept,
                        };
                        self.held.clear();
                    }
                    used
                }
                Awaited::Value { left, is_kept, .. } => {
                    let used = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(block.len());
                    if *is_kept {
                        self.held
                            .extend_from_slice(block.get(..used).unwrap_or_default());
                    }
                    *left -= used as u64;
                    if *left == 0 {
                        self.end_value();
                    }
                    used
                }
            };
            block = block.get(used..).unwrap_or_default();
        }
    }

    /// Nothing more will come.
    pub fn finish(&mut self, take: &mut impl FnMut(&Entry, u64)) {
        if matches!(self.awaited, Awaited::Line) {
            self.take_line(take);
        }
        self.end_entry(take);
    }

    fn hold(&mut self, bytes: &[u8]) {
        let most = MOST_FIELD_BYTES as usize;
        self.too_long |= self.held.len() + bytes.len() > most;
        if !self.too_long {
            self.held.extend_from_slice(bytes);
        }
    }

    fn take_line(&mut self, take: &mut impl FnMut(&Entry, u64)) {
        let line = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.too_long) {
            return;
        }
        if trim(&line).is_empty() {
            self.end_entry(take);
            return;
        }
        self.has_fields = true;
        match memchr(b'=', &line) {
            Some(at) => {
                let (name, value) = line.split_at(at);
                self.put(name, value.get(1..).unwrap_or_default());
            }
            None if line.len() <= MOST_NAME_BYTES => {
                self.awaited = Awaited::Size { name: line };
            }
            None => {}
        }
    }

    fn end_value(&mut self) {
        if let Awaited::Value { name, is_kept, .. } =
            std::mem::replace(&mut self.awaited, Awaited::Line)
        {
            let mut value = std::mem::take(&mut self.held);
            value.pop();
            self.lines += 1;
            if is_kept {
                self.put(&name, &value);
            }
        }
    }

    /// The first value of a field that stands several times.
    fn put(&mut self, name: &[u8], value: &[u8]) {
        if let Some(place) = self.entry.place(name).filter(|place| place.is_empty()) {
            place.extend_from_slice(value);
        }
    }

    fn end_entry(&mut self, take: &mut impl FnMut(&Entry, u64)) {
        let entry = std::mem::take(&mut self.entry);
        if std::mem::take(&mut self.has_fields) {
            take(&entry, self.lines);
        }
    }
}
