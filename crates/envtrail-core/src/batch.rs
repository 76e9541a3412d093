//! Events as Arrow columns, in the order of `model/schema.py`.

use crate::builders::{flags, nulls, numbers, offsets, whole, Dictionary, End, Text, Texts, Word};
use crate::event::{Event, Strings, MISSING};
use crate::schema::{map_entries, map_fields, path_fields, schema};
use crate::text::base64;
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMillisecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, ListArray, MapArray, RecordBatch, StructArray};
use arrow_schema::{ArrowError, DataType, Field};
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

/// What a row has in columns of numbers, and where it ends in the others.
struct Row {
    node: i32,
    time: i64,
    serial: u64,
    kind: i32,
    type_name: i32,
    keys: End,
    hint: Option<i32>,
    arch: Option<u32>,
    syscall: Option<u32>,
    success: Option<bool>,
    exit: Option<i64>,
    exit_code: Option<i32>,
    pid: Option<u32>,
    ppid: Option<u32>,
    auid: Option<u32>,
    uid: Option<u32>,
    euid: Option<u32>,
    gid: Option<u32>,
    ses: Option<u32>,
    tty: End,
    comm: End,
    exe: End,
    argc: Option<u32>,
    argv: End,
    argv_bytes: End,
    cwd: End,
    paths: End,
    proctitle: End,
    address: End,
    fields: End,
    image: Option<u64>,
    parent_image: Option<u64>,
    tracked_image: Option<u64>,
    redactions: u16,
    complete: bool,
    missing: End,
    ended_by: i32,
    records: u16,
    offset: u64,
    length: u32,
}

/// The same of a PATH record.
struct PathRow {
    name: End,
    nametype: End,
    inode: Option<u64>,
    mode: Option<u32>,
    ouid: Option<u32>,
}

/// Rows, and what they are of.
#[derive(Default)]
pub struct Columns {
    rows: Vec<Row>,
    path_rows: Vec<PathRow>,
    node: Dictionary,
    kind: Dictionary,
    type_name: Dictionary,
    keys: Texts,
    hint: Dictionary,
    tty: Text,
    comm: Text,
    exe: Text,
    argv: Texts,
    argv_bytes: Text,
    cwd: Text,
    path_name: Text,
    path_nametype: Text,
    proctitle: Text,
    address: Text,
    field_keys: Texts,
    field_values: Texts,
    missing: Texts,
    ended_by: Dictionary,
}

impl Columns {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn newest_ms(&self) -> Option<i64> {
        self.rows.iter().map(|row| row.time).max()
    }

    pub fn push(&mut self, event: &Event, facts: &Facts<'_>) {
        let text = event.text.as_slice();
        self.push_paths(event);
        let has_fields = !event.fields.is_empty();
        self.field_values.push(&event.fields.values, has_fields);
        let missing = self.push_missing(facts.missing);
        let argv_bytes = self.push_exact_argv(event);
        self.rows.push(Row {
            node: self.node.key_of(facts.node),
            time: event.time_ms as i64,
            serial: event.serial,
            kind: self.kind.key_of(Word {
                number: event.kind as u32,
                text: event.kind.as_str(),
            }),
            type_name: self.type_name.key_of(facts.type_name),
            keys: self.keys.push(&event.keys, !event.keys.is_empty()),
            hint: facts.hint.map(|hint| self.hint.key_of(hint)),
            arch: event.arch,
            syscall: event.syscall,
            success: event.success,
            exit: event.exit,
            exit_code: facts.exit_code,
            pid: event.pid,
            ppid: event.ppid,
            auid: event.auid,
            uid: event.uid,
            euid: event.euid,
            gid: event.gid,
            ses: event.ses,
            tty: self.tty.push(text, event.tty),
            comm: self.comm.push(text, event.comm),
            exe: self.exe.push(text, event.exe),
            argc: event.argc,
            argv: self
                .argv
                .push(&event.argv, event.argc.is_some() || !event.argv.is_empty()),
            argv_bytes,
            cwd: self.cwd.push(text, event.cwd),
            paths: End::new(self.path_rows.len(), !event.paths.is_empty()),
            proctitle: self.proctitle.push_words(event.slice(event.proctitle)),
            address: self.address.push(text, event.address),
            fields: self.field_keys.push(&event.fields.keys, has_fields),
            image: facts.image,
            parent_image: facts.parent_image,
            tracked_image: facts.tracked_image,
            redactions: short(facts.redactions),
            complete: facts.missing == 0,
            missing,
            ended_by: self.ended_by.key_of(facts.ended_by),
            records: short(facts.records),
            offset: facts.offset,
            length: facts.length,
        });
    }

    fn push_paths(&mut self, event: &Event) {
        for path in &event.paths {
            self.path_rows.push(PathRow {
                name: self.path_name.push(&event.text, path.name),
                nametype: self.path_nametype.push(&event.text, path.nametype),
                inode: path.inode,
                mode: path.mode,
                ouid: path.ouid,
            });
        }
    }

    fn push_exact_argv(&mut self, event: &Event) -> End {
        match exact_argv(event) {
            Some(exact) => self.argv_bytes.push(&exact, Some((0, exact.len()))),
            None => self.argv_bytes.push(b"", None),
        }
    }

    fn push_missing(&mut self, missing: u8) -> End {
        if missing == 0 {
            return self.missing.push(&Strings::default(), false);
        }
        let mut names = Strings::default();
        for (bit, name) in MISSING {
            if missing & bit != 0 {
                names.push(name.as_bytes());
            }
        }
        self.missing.push(&names, true)
    }

    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let paths = self.finish_paths()?;
        let fields = self.finish_fields()?;
        let rows = &self.rows;
        let time = whole::<TimestampMillisecondType, _>(rows, |row| row.time);
        let columns: Vec<ArrayRef> = vec![
            self.node.finish(rows, |row| Some(row.node))?,
            Arc::new(time.with_timezone("UTC")),
            Arc::new(whole::<UInt64Type, _>(rows, |row| row.serial)),
            self.kind.finish(rows, |row| Some(row.kind))?,
            self.type_name.finish(rows, |row| Some(row.type_name))?,
            self.keys.finish(rows, |row| row.keys)?,
            self.hint.finish(rows, |row| row.hint)?,
            numbers::<UInt32Type, _>(rows, |row| row.arch),
            numbers::<UInt32Type, _>(rows, |row| row.syscall),
            flags(rows, |row| row.success),
            numbers::<Int64Type, _>(rows, |row| row.exit),
            numbers::<Int32Type, _>(rows, |row| row.exit_code),
            numbers::<UInt32Type, _>(rows, |row| row.pid),
            numbers::<UInt32Type, _>(rows, |row| row.ppid),
            numbers::<UInt32Type, _>(rows, |row| row.auid),
            numbers::<UInt32Type, _>(rows, |row| row.uid),
            numbers::<UInt32Type, _>(rows, |row| row.euid),
            numbers::<UInt32Type, _>(rows, |row| row.gid),
            numbers::<UInt32Type, _>(rows, |row| row.ses),
            self.tty.finish(rows, |row| row.tty),
            self.comm.finish(rows, |row| row.comm),
            self.exe.finish(rows, |row| row.exe),
            numbers::<UInt32Type, _>(rows, |row| row.argc),
            self.argv.finish(rows, |row| row.argv)?,
            self.argv_bytes.finish(rows, |row| row.argv_bytes),
            self.cwd.finish(rows, |row| row.cwd),
            paths,
            self.proctitle.finish(rows, |row| row.proctitle),
            self.address.finish(rows, |row| row.address),
            fields,
            numbers::<UInt64Type, _>(rows, |row| row.image),
            numbers::<UInt64Type, _>(rows, |row| row.parent_image),
            numbers::<UInt64Type, _>(rows, |row| row.tracked_image),
            Arc::new(whole::<UInt16Type, _>(rows, |row| row.redactions)),
            flags(rows, |row| Some(row.complete)),
            self.missing.finish(rows, |row| row.missing)?,
            self.ended_by.finish(rows, |row| Some(row.ended_by))?,
            Arc::new(whole::<UInt16Type, _>(rows, |row| row.records)),
            Arc::new(whole::<UInt64Type, _>(rows, |row| row.offset)),
            Arc::new(whole::<UInt32Type, _>(rows, |row| row.length)),
        ];
        self.rows.clear();
        RecordBatch::try_new(schema(), columns)
    }

    fn finish_paths(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = &self.path_rows;
        let columns = vec![
            self.path_name.finish(rows, |row| row.name),
            self.path_nametype.finish(rows, |row| row.nametype),
            numbers::<UInt64Type, _>(rows, |row| row.inode),
            numbers::<UInt32Type, _>(rows, |row| row.mode),
            numbers::<UInt32Type, _>(rows, |row| row.ouid),
        ];
        self.path_rows.clear();
        let paths = StructArray::try_new(path_fields(), columns, None)?;
        Ok(Arc::new(ListArray::try_new(
            Arc::new(Field::new("item", DataType::Struct(path_fields()), true)),
            offsets(&self.rows, |row| row.paths),
            Arc::new(paths),
            nulls(&self.rows, |row| row.paths.is_valid),
        )?))
    }

    fn finish_fields(&mut self) -> Result<ArrayRef, ArrowError> {
        let columns = vec![
            self.field_keys.finish_items(),
            self.field_values.finish_items(),
        ];
        let entries = StructArray::try_new(map_fields(), columns, None)?;
        Ok(Arc::new(MapArray::try_new(
            map_entries(),
            offsets(&self.rows, |row| row.fields),
            entries,
            nulls(&self.rows, |row| row.fields.is_valid),
            false,
        )?))
    }
}

/// The arguments in base64, where they are not text.
fn exact_argv(event: &Event) -> Option<Vec<u8>> {
    let is_text = |argument: &[u8]| std::str::from_utf8(argument).is_ok();
    if event.argv.bytes.is_ascii() || event.argv.iter().all(is_text) {
        return None;
    }
    Some(base64(&joined(event)).into_bytes())
}

/// The arguments with a NUL between each two.
fn joined(event: &Event) -> Vec<u8> {
    let arguments: Vec<&[u8]> = event.argv.iter().collect();
    arguments.join(&0)
}

fn short(number: u32) -> u16 {
    number.min(u32::from(u16::MAX)) as u16
}
