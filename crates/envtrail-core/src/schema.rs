//! The columns of every batch of events, in the order of `model/schema.py`.

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use std::sync::Arc;

pub(crate) fn path_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("nametype", DataType::Utf8, true),
        Field::new("inode", DataType::UInt64, true),
        Field::new("mode", DataType::UInt32, true),
        Field::new("ouid", DataType::UInt32, true),
    ])
}

pub(crate) fn map_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ])
}

pub(crate) fn map_entries() -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(map_fields()), false))
}

/// The schema of every batch.
pub fn schema() -> Arc<Schema> {
    let dictionary = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let texts = || DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let paths = DataType::List(Arc::new(Field::new(
        "item",
        DataType::Struct(path_fields()),
        true,
    )));
    let columns: Vec<(&str, DataType)> = vec![
        ("node", dictionary()),
        (
            "time",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        ),
        ("serial", DataType::UInt64),
        ("kind", dictionary()),
        ("type", dictionary()),
        ("keys", texts()),
        ("hint", dictionary()),
        ("arch", DataType::UInt32),
        ("syscall", DataType::UInt32),
        ("success", DataType::Boolean),
        ("exit", DataType::Int64),
        ("exit_code", DataType::Int32),
        ("pid", DataType::UInt32),
        ("ppid", DataType::UInt32),
        ("auid", DataType::UInt32),
        ("uid", DataType::UInt32),
        ("euid", DataType::UInt32),
        ("gid", DataType::UInt32),
        ("ses", DataType::UInt32),
        ("tty", DataType::Utf8),
        ("comm", DataType::Utf8),
        ("exe", DataType::Utf8),
        ("argc", DataType::UInt32),
        ("argv", texts()),
        ("argv_bytes", DataType::Utf8),
        ("cwd", DataType::Utf8),
        ("paths", paths),
        ("proctitle", DataType::Utf8),
        ("address", DataType::Utf8),
        ("fields", DataType::Map(map_entries(), false)),
        ("image", DataType::UInt64),
        ("parent_image", DataType::UInt64),
        ("tracked_image", DataType::UInt64),
        ("redactions", DataType::UInt16),
        ("complete", DataType::Boolean),
        ("missing", texts()),
        ("ended_by", dictionary()),
        ("records", DataType::UInt16),
        ("offset", DataType::UInt64),
        ("length", DataType::UInt32),
    ];
    Arc::new(Schema::new(
        columns
            .into_iter()
            .map(|(name, kind)| Field::new(name, kind, true))
            .collect::<Vec<_>>(),
    ))
}
