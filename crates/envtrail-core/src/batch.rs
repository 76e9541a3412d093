//! Events as Arrow columns, in the order of `model/schema.py`.

use crate::builders::{done, done_text, Dictionary, Ends, Texts, Word};
use crate::event::{Event, MISSING};
use crate::schema::{map_entries, map_fields, path_fields, schema};
use crate::text::{base64, printable};
use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMillisecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, ListArray, MapArray, RecordBatch, StructArray};
use arrow_schema::{ArrowError, DataType, Field};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// What the assembler adds to an event.
#[derive(Clone, Copy, Default)]
pub struct Facts<'a> {
    pub node: Word<'a>,
    pub type_name: Word<'a>,
    pub hint: Option<Word<'a>>,
    pub image: Option<u64>,
    pub parent_image: Option<u64>,
    pub tracked_image: Option<u64>,
    pub redactions: u32,
    pub missing: u8,
    pub ended_by: Word<'a>,
    pub records: u32,
    pub offset: u64,
    pub length: u32,
    pub exit_code: Option<i32>,
}

/// Builders of all columns.
#[derive(Default)]
pub struct Columns {
    rows: usize,
    node: Dictionary,
    time: PrimitiveBuilder<TimestampMillisecondType>,
    serial: PrimitiveBuilder<UInt64Type>,
    kind: Dictionary,
    type_name: Dictionary,
    keys: Texts,
    hint: Dictionary,
    arch: PrimitiveBuilder<UInt32Type>,
    syscall: PrimitiveBuilder<UInt32Type>,
    success: BooleanBuilder,
    exit: PrimitiveBuilder<Int64Type>,
    exit_code: PrimitiveBuilder<Int32Type>,
    people: [PrimitiveBuilder<UInt32Type>; 7],
    tty: StringBuilder,
    comm: StringBuilder,
    exe: StringBuilder,
    argc: PrimitiveBuilder<UInt32Type>,
    argv: Texts,
    argv_bytes: StringBuilder,
    cwd: StringBuilder,
    path_ends: Ends,
    path_name: StringBuilder,
    path_nametype: StringBuilder,
    path_inode: PrimitiveBuilder<UInt64Type>,
    path_mode: PrimitiveBuilder<UInt32Type>,
    path_ouid: PrimitiveBuilder<UInt32Type>,
    proctitle: StringBuilder,
    address: StringBuilder,
    field_ends: Ends,
    field_keys: StringBuilder,
    field_values: StringBuilder,
    image: PrimitiveBuilder<UInt64Type>,
    parent_image: PrimitiveBuilder<UInt64Type>,
    tracked_image: PrimitiveBuilder<UInt64Type>,
    redactions: PrimitiveBuilder<UInt16Type>,
    complete: BooleanBuilder,
    missing: Texts,
    ended_by: Dictionary,
    records: PrimitiveBuilder<UInt16Type>,
    offset: PrimitiveBuilder<UInt64Type>,
    length: PrimitiveBuilder<UInt32Type>,
}

impl Columns {
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn push(&mut self, event: &Event, facts: &Facts<'_>) {
        self.rows += 1;
        self.node.push(facts.node);
        self.time.append_value(event.time_ms as i64);
        self.serial.append_value(event.serial);
        self.kind.push(Word {
            number: event.kind as u32,
            text: event.kind.as_str(),
        });
        self.type_name.push(facts.type_name);
        for key in event.keys.iter() {
            self.keys.values.append_value(printable(key));
        }
        self.keys.ends.push(
            self.keys.values.offsets_slice().len() - 1,
            !event.keys.is_empty(),
        );
        match facts.hint {
            Some(hint) => self.hint.push(hint),
            None => self.hint.keys.append_null(),
        }
        self.arch.append_option(event.arch);
        self.syscall.append_option(event.syscall);
        self.success.append_option(event.success);
        self.exit.append_option(event.exit);
        self.exit_code.append_option(facts.exit_code);
        let numbers = [
            event.pid, event.ppid, event.auid, event.uid, event.euid, event.gid, event.ses,
        ];
        for (column, number) in self.people.iter_mut().zip(numbers) {
            column.append_option(number);
        }
        // Checked once: nearly always the whole is UTF-8, and a range in it only needs to begin and end between characters.
        let whole = std::str::from_utf8(&event.text).unwrap_or_default();
        let shown = |range| shown(event, whole, range);
        self.tty.append_option(shown(event.tty));
        self.comm.append_option(shown(event.comm));
        self.exe.append_option(shown(event.exe));
        self.argc.append_option(event.argc);
        self.push_argv(event);
        self.cwd.append_option(shown(event.cwd));
        for path in &event.paths {
            self.path_name.append_option(shown(path.name));
            self.path_nametype.append_option(shown(path.nametype));
            self.path_inode.append_option(path.inode);
            self.path_mode.append_option(path.mode);
            self.path_ouid.append_option(path.ouid);
        }
        self.path_ends.push(
            self.path_name.offsets_slice().len() - 1,
            !event.paths.is_empty(),
        );
        match shown(event.proctitle) {
            Some(title) => {
                // Writing into a builder of this kind cannot fail.
                let mut rest: &str = &title;
                while let Some((part, after)) = rest.split_once('\0') {
                    let _ = self.proctitle.write_str(part);
                    let _ = self.proctitle.write_char(' ');
                    rest = after;
                }
                let _ = self.proctitle.write_str(rest);
                self.proctitle.append_value("");
            }
            None => self.proctitle.append_null(),
        }
        self.address.append_option(shown(event.address));
        for (key, value) in &event.fields {
            self.field_keys
                .append_value(shown(Some(*key)).unwrap_or_default());
            self.field_values
                .append_value(shown(Some(*value)).unwrap_or_default());
        }
        self.field_ends.push(
            self.field_keys.offsets_slice().len() - 1,
            !event.fields.is_empty(),
        );
        self.image.append_option(facts.image);
        self.parent_image.append_option(facts.parent_image);
        self.tracked_image.append_option(facts.tracked_image);
        self.redactions
            .append_value(facts.redactions.min(u32::from(u16::MAX)) as u16);
        self.complete.append_value(facts.missing == 0);
        for (bit, name) in MISSING {
            if facts.missing & bit != 0 {
                self.missing.values.append_value(name);
            }
        }
        self.missing.ends.push(
            self.missing.values.offsets_slice().len() - 1,
            facts.missing != 0,
        );
        self.ended_by.push(facts.ended_by);
        self.records
            .append_value(facts.records.min(u32::from(u16::MAX)) as u16);
        self.offset.append_value(facts.offset);
        self.length.append_value(facts.length);
    }

    fn push_argv(&mut self, event: &Event) {
        let whole = std::str::from_utf8(&event.argv.bytes).ok();
        let mut is_text = true;
        let mut start = 0;
        for (argument, end) in event.argv.iter().zip(&event.argv.ends) {
            match whole.and_then(|whole| whole.get(start..*end)) {
                Some(shown) => self.argv.values.append_value(shown),
                None => {
                    let shown = printable(argument);
                    is_text &= matches!(shown, Cow::Borrowed(_));
                    self.argv.values.append_value(shown);
                }
            }
            start = *end;
        }
        self.argv.ends.push(
            self.argv.values.offsets_slice().len() - 1,
            event.argc.is_some() || !event.argv.is_empty(),
        );
        if is_text {
            self.argv_bytes.append_null();
        } else {
            let mut joined = Vec::with_capacity(event.argv.bytes.len() + event.argv.len());
            for (at, argument) in event.argv.iter().enumerate() {
                if at > 0 {
                    joined.push(0);
                }
                joined.extend_from_slice(argument);
            }
            self.argv_bytes.append_value(base64(&joined));
        }
    }

    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let (path_offsets, path_nulls) = self.path_ends.take();
        let paths = StructArray::try_new(
            path_fields(),
            vec![
                done_text(&mut self.path_name),
                done_text(&mut self.path_nametype),
                done(&mut self.path_inode),
                done(&mut self.path_mode),
                done(&mut self.path_ouid),
            ],
            None,
        )?;
        let path_item = Arc::new(Field::new("item", DataType::Struct(path_fields()), true));
        let (field_offsets, field_nulls) = self.field_ends.take();
        let entries = StructArray::try_new(
            map_fields(),
            vec![
                done_text(&mut self.field_keys),
                done_text(&mut self.field_values),
            ],
            None,
        )?;
        let [pid, ppid, auid, uid, euid, gid, ses] = &mut self.people;
        let columns: Vec<ArrayRef> = vec![
            self.node.finish()?,
            Arc::new(self.time.finish().with_timezone("UTC")),
            done(&mut self.serial),
            self.kind.finish()?,
            self.type_name.finish()?,
            self.keys.finish()?,
            self.hint.finish()?,
            done(&mut self.arch),
            done(&mut self.syscall),
            Arc::new(self.success.finish()),
            done(&mut self.exit),
            done(&mut self.exit_code),
            done(pid),
            done(ppid),
            done(auid),
            done(uid),
            done(euid),
            done(gid),
            done(ses),
            done_text(&mut self.tty),
            done_text(&mut self.comm),
            done_text(&mut self.exe),
            done(&mut self.argc),
            self.argv.finish()?,
            done_text(&mut self.argv_bytes),
            done_text(&mut self.cwd),
            Arc::new(ListArray::try_new(
                path_item,
                path_offsets,
                Arc::new(paths),
                path_nulls,
            )?),
            done_text(&mut self.proctitle),
            done_text(&mut self.address),
            Arc::new(MapArray::try_new(
                map_entries(),
                field_offsets,
                entries,
                field_nulls,
                false,
            )?),
            done(&mut self.image),
            done(&mut self.parent_image),
            done(&mut self.tracked_image),
            done(&mut self.redactions),
            Arc::new(self.complete.finish()),
            self.missing.finish()?,
            self.ended_by.finish()?,
            done(&mut self.records),
            done(&mut self.offset),
            done(&mut self.length),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}

/// A range of an event's text; `whole` is that text where all of it is UTF-8, else empty.
#[inline]
fn shown<'a>(
    event: &'a Event,
    whole: &'a str,
    range: Option<(usize, usize)>,
) -> Option<Cow<'a, str>> {
    let (start, end) = range?;
    match whole.get(start..end) {
        Some(text) => Some(Cow::Borrowed(text)),
        None => event.slice(range).map(printable),
    }
}
