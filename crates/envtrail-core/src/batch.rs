//! Events as Arrow columns, in the order of `model/schema.py`.

use crate::builders::{Dictionary, Ends, Flags, Numbers, Text, Texts, Word};
use crate::event::{Event, MISSING};
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

/// Builders of all columns.
#[derive(Default)]
pub struct Columns {
    rows: usize,
    node: Dictionary,
    time: Numbers<TimestampMillisecondType>,
    serial: Numbers<UInt64Type>,
    kind: Dictionary,
    type_name: Dictionary,
    keys: Texts,
    hint: Dictionary,
    arch: Numbers<UInt32Type>,
    syscall: Numbers<UInt32Type>,
    success: Flags,
    exit: Numbers<Int64Type>,
    exit_code: Numbers<Int32Type>,
    people: [Numbers<UInt32Type>; 7],
    tty: Text,
    comm: Text,
    exe: Text,
    argc: Numbers<UInt32Type>,
    argv: Texts,
    argv_bytes: Text,
    cwd: Text,
    path_ends: Ends,
    path_name: Text,
    path_nametype: Text,
    path_inode: Numbers<UInt64Type>,
    path_mode: Numbers<UInt32Type>,
    path_ouid: Numbers<UInt32Type>,
    proctitle: Text,
    address: Text,
    field_ends: Ends,
    field_keys: Text,
    field_values: Text,
    image: Numbers<UInt64Type>,
    parent_image: Numbers<UInt64Type>,
    tracked_image: Numbers<UInt64Type>,
    redactions: Numbers<UInt16Type>,
    complete: Flags,
    missing: Texts,
    ended_by: Dictionary,
    records: Numbers<UInt16Type>,
    offset: Numbers<UInt64Type>,
    length: Numbers<UInt32Type>,
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
        self.node.add(facts.node);
        self.time.add(event.time_ms as i64);
        self.serial.add(event.serial);
        self.kind.add(Word {
            number: event.kind as u32,
            text: event.kind.as_str(),
        });
        self.type_name.add(facts.type_name);
        self.keys.add(&event.keys);
        self.keys.close(!event.keys.is_empty());
        self.hint.push(facts.hint);
        self.arch.push(event.arch);
        self.syscall.push(event.syscall);
        self.success.push(event.success);
        self.exit.push(event.exit);
        self.exit_code.push(facts.exit_code);
        let numbers = [
            event.pid, event.ppid, event.auid, event.uid, event.euid, event.gid, event.ses,
        ];
        for (column, number) in self.people.iter_mut().zip(numbers) {
            column.push(number);
        }
        self.tty.push(event.slice(event.tty));
        self.comm.push(event.slice(event.comm));
        self.exe.push(event.slice(event.exe));
        self.argc.push(event.argc);
        self.push_argv(event);
        self.cwd.push(event.slice(event.cwd));
        for path in &event.paths {
            self.path_name.push(event.slice(path.name));
            self.path_nametype.push(event.slice(path.nametype));
            self.path_inode.push(path.inode);
            self.path_mode.push(path.mode);
            self.path_ouid.push(path.ouid);
        }
        self.path_ends
            .push(self.path_name.len(), !event.paths.is_empty());
        self.proctitle.push_words(event.slice(event.proctitle));
        self.address.push(event.slice(event.address));
        self.field_keys.extend(&event.fields.keys);
        self.field_values.extend(&event.fields.values);
        self.field_ends
            .push(self.field_keys.len(), !event.fields.is_empty());
        self.image.push(facts.image);
        self.parent_image.push(facts.parent_image);
        self.tracked_image.push(facts.tracked_image);
        self.redactions.add(short(facts.redactions));
        self.complete.add(facts.missing == 0);
        for (bit, name) in MISSING {
            if facts.missing & bit != 0 {
                self.missing.add_one(name.as_bytes());
            }
        }
        self.missing.close(facts.missing != 0);
        self.ended_by.add(facts.ended_by);
        self.records.add(short(facts.records));
        self.offset.add(facts.offset);
        self.length.add(facts.length);
    }

    fn push_argv(&mut self, event: &Event) {
        self.argv.add(&event.argv);
        self.argv
            .close(event.argc.is_some() || !event.argv.is_empty());
        let is_text = event.argv.bytes.is_ascii()
            || event
                .argv
                .iter()
                .all(|argument| std::str::from_utf8(argument).is_ok());
        let exact = (!is_text).then(|| base64(&joined(event)));
        self.argv_bytes.push(exact.as_ref().map(String::as_bytes));
    }

    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let (path_offsets, path_nulls) = self.path_ends.take();
        let paths = StructArray::try_new(
            path_fields(),
            vec![
                self.path_name.done(),
                self.path_nametype.done(),
                self.path_inode.done(),
                self.path_mode.done(),
                self.path_ouid.done(),
            ],
            None,
        )?;
        let path_item = Arc::new(Field::new("item", DataType::Struct(path_fields()), true));
        let (field_offsets, field_nulls) = self.field_ends.take();
        let entries = StructArray::try_new(
            map_fields(),
            vec![self.field_keys.done(), self.field_values.done()],
            None,
        )?;
        let [pid, ppid, auid, uid, euid, gid, ses] = &mut self.people;
        let columns: Vec<ArrayRef> = vec![
            self.node.finish()?,
            Arc::new(self.time.finish().with_timezone("UTC")),
            self.serial.done(),
            self.kind.finish()?,
            self.type_name.finish()?,
            self.keys.finish()?,
            self.hint.finish()?,
            self.arch.done(),
            self.syscall.done(),
            self.success.finish(),
            self.exit.done(),
            self.exit_code.done(),
            pid.done(),
            ppid.done(),
            auid.done(),
            uid.done(),
            euid.done(),
            gid.done(),
            ses.done(),
            self.tty.done(),
            self.comm.done(),
            self.exe.done(),
            self.argc.done(),
            self.argv.finish()?,
            self.argv_bytes.done(),
            self.cwd.done(),
            Arc::new(ListArray::try_new(
                path_item,
                path_offsets,
                Arc::new(paths),
                path_nulls,
            )?),
            self.proctitle.done(),
            self.address.done(),
            Arc::new(MapArray::try_new(
                map_entries(),
                field_offsets,
                entries,
                field_nulls,
                false,
            )?),
            self.image.done(),
            self.parent_image.done(),
            self.tracked_image.done(),
            self.redactions.done(),
            self.complete.finish(),
            self.missing.finish()?,
            self.ended_by.finish()?,
            self.records.done(),
            self.offset.done(),
            self.length.done(),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}

/// The arguments with a NUL between each two.
fn joined(event: &Event) -> Vec<u8> {
    let arguments: Vec<&[u8]> = event.argv.iter().collect();
    arguments.join(&0)
}

fn short(number: u32) -> u16 {
    number.min(u32::from(u16::MAX)) as u16
}
