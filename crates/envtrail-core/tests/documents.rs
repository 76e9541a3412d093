//! Whatever the columns hold, their documents are JSON, and those of a slice are those of its rows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::builder::{
    BooleanBuilder, ListBuilder, MapBuilder, PrimitiveBuilder, StringBuilder,
    StringDictionaryBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Int32Type, Int64Type, TimestampMillisecondType, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{make_array, Array, ArrayRef, ListArray, RecordBatch, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema};
use envtrail_core::documents::{event_documents, Tables};
use envtrail_core::schema::schema;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

const TEXTS: [&str; 10] = [
    "",
    "SYSCALL",
    "exec",
    "CREATE",
    "op",
    "10.0.0.7",
    "fe80::1%eth0",
    "a\"\\\n\u{1}\u{2028}é😀",
    "x",
    "::",
];

/// A source of numbers (xorshift); every third value is null.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn text(&mut self) -> Option<&'static str> {
        (self.roll(3) > 0).then(|| TEXTS[self.roll(TEXTS.len())])
    }

    fn numbers<T: ArrowPrimitiveType>(&mut self, rows: usize, ends: [T::Native; 3]) -> ArrayRef
    where
        PrimitiveBuilder<T>: Default,
    {
        let mut built = PrimitiveBuilder::<T>::default();
        for _ in 0..rows {
            let number = ends[self.roll(3)];
            built.append_option((self.roll(3) > 0).then_some(number));
        }
        Arc::new(built.finish())
    }

    fn column(&mut self, kind: &DataType, rows: usize) -> ArrayRef {
        match kind {
            DataType::Boolean => {
                let mut built = BooleanBuilder::new();
                for _ in 0..rows {
                    built.append_option([None, Some(false), Some(true)][self.roll(3)]);
                }
                Arc::new(built.finish())
            }
            DataType::UInt16 => self.numbers::<UInt16Type>(rows, [0, 1, u16::MAX]),
            DataType::UInt32 => self.numbers::<UInt32Type>(rows, [0, 1, u32::MAX]),
            DataType::UInt64 => self.numbers::<UInt64Type>(rows, [0, 1, u64::MAX]),
            DataType::Int32 => self.numbers::<Int32Type>(rows, [i32::MIN, 0, i32::MAX]),
            DataType::Int64 => self.numbers::<Int64Type>(rows, [i64::MIN, 0, i64::MAX]),
            DataType::Timestamp(..) => {
                let ends = [i64::MIN, 1_764_000_000_123, i64::MAX];
                let plain = self.numbers::<TimestampMillisecondType>(rows, ends);
                make_array(
                    plain
                        .to_data()
                        .into_builder()
                        .data_type(kind.clone())
                        .build()
                        .unwrap(),
                )
            }
            DataType::Utf8 => {
                let mut built = StringBuilder::new();
                (0..rows).for_each(|_| built.append_option(self.text()));
                Arc::new(built.finish())
            }
            DataType::Dictionary(..) => {
                let mut built = StringDictionaryBuilder::<Int32Type>::new();
                (0..rows).for_each(|_| built.append_option(self.text()));
                Arc::new(built.finish())
            }
            DataType::List(item) if item.data_type() == &DataType::Utf8 => {
                let mut built = ListBuilder::new(StringBuilder::new());
                for _ in 0..rows {
                    (0..self.roll(4)).for_each(|_| built.values().append_option(self.text()));
                    built.append(self.roll(3) > 0);
                }
                Arc::new(built.finish())
            }
            DataType::List(item) => {
                let lengths: Vec<usize> = (0..rows).map(|_| self.roll(4)).collect();
                let items = self.column(item.data_type(), lengths.iter().sum());
                let nulls: NullBuffer = (0..rows).map(|_| self.roll(3) > 0).collect();
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::new(item.clone(), offsets, items, Some(nulls)))
            }
            DataType::Struct(fields) => {
                let members = fields
                    .iter()
                    .map(|field| self.column(field.data_type(), rows))
                    .collect();
                let nulls: NullBuffer = (0..rows).map(|_| self.roll(3) > 0).collect();
                Arc::new(StructArray::new(fields.clone(), members, Some(nulls)))
            }
            DataType::Map(..) => {
                let mut built = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
                for _ in 0..rows {
                    for _ in 0..self.roll(4) {
                        built.keys().append_value(self.text().unwrap_or("op"));
                        built.values().append_option(self.text());
                    }
                    built.append(self.roll(3) > 0).unwrap();
                }
                Arc::new(built.finish())
            }
            other => panic!("no column is {other}"),
        }
    }

    /// Every column with nulls; `certain` ones have a value in each row.
    fn batch(&mut self, rows: usize, certain: &[&str]) -> RecordBatch {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for field in schema().fields() {
            let mut column = self.column(field.data_type(), rows);
            while certain.contains(&field.name().as_str()) && column.logical_null_count() > 0 {
                column = self.column(field.data_type(), rows);
            }
            fields.push(Field::new(field.name(), column.data_type().clone(), true));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }
}

fn tables() -> Tables {
    let pairs = |given: &[(&str, &str)]| {
        given
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect()
    };
    Tables {
        constants: pairs(&[("ecs.version", "\"8\""), ("event.module", "\"envtrail\"")]),
        fields: pairs(&[
            ("auid", "user.audit.id"),
            ("argv", "process.args"),
            ("ppid", "process.parent.pid"),
        ]),
        numbers_as_text: vec!["auid".to_owned()],
        record_fields: vec!["op".to_owned(), String::new()],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_row_is_a_document_and_a_slice_gives_the_same(seed in 1u64.., rows in 1usize..6, cut in 0usize..6) {
        let batch = Dice(seed).batch(rows, &["node", "time", "serial"]);
        let made = event_documents(&batch, seed, &tables()).unwrap();
        prop_assert_eq!(made.len(), rows);
        for document in &made {
            let body: Value = serde_json::from_slice(&document.body).unwrap();
            prop_assert!(!document.body.contains(&b'\n'));
            prop_assert_eq!(document.id.len(), 26);
            prop_assert_eq!(&body["envtrail"]["event"]["segment"], &Value::from(seed));
            prop_assert_eq!(&body["host"]["name"], &body["related"]["hosts"][0]);
            prop_assert_eq!(&body["event"]["module"], "envtrail");
        }
        let cut = cut.min(rows);
        let rest = event_documents(&batch.slice(cut, rows - cut), seed, &tables()).unwrap();
        prop_assert_eq!(&rest[..], &made[cut..]);
    }

    #[test]
    fn what_has_no_identity_is_an_error(seed in 1u64.., rows in 0usize..6) {
        let batch = Dice(seed).batch(rows, &[]);
        let is_whole = ["node", "time", "serial"].iter().all(|name| {
            batch.column_by_name(name).unwrap().logical_null_count() == 0
        });
        prop_assert_eq!(event_documents(&batch, 1, &tables()).is_ok(), is_whole);
    }
}

#[test]
fn of_a_name_that_is_reported_twice_the_last_value_counts() {
    let mut built = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for value in ["first", "last"] {
        built.keys().append_value("op");
        built.values().append_value(value);
    }
    built.append(true).unwrap();
    let batch = Dice(7).batch(1, &["node", "time", "serial"]);
    let at = batch.schema().index_of("fields").unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(built.finish());
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    fields[at] = Field::new("fields", columns[at].data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let made = event_documents(&batch, 1, &tables()).unwrap();
    let text = String::from_utf8(made[0].body.clone()).unwrap();
    assert!(text.contains(r#""fields":{"op":"last"}"#), "{text}");
    assert!(text.contains(r#""data":{"op":"last"}"#), "{text}");
}
