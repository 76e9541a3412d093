//! Columns of a batch of events, read by row. Whatever a row holds, reading it does not panic: what is not there is absent.

use crate::json::{push_number, push_text};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int32Type, Int64Type, TimestampMillisecondType, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, BooleanArray, Int32Array, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray,
    StructArray,
};
use std::ops::Range;

/// Numbers of any width; a moment is its milliseconds.
pub trait Numbers: Send + Sync {
    /// Null where the row has none.
    fn at(&self, row: usize) -> Option<i128>;
}

impl<T: ArrowPrimitiveType> Numbers for PrimitiveArray<T>
where
    T::Native: Into<i128>,
{
    fn at(&self, row: usize) -> Option<i128> {
        self.is_valid(row).then(|| self.value(row).into())
    }
}

/// One column, of a type that `schema::schema` has.
pub enum Column {
    /// The batch has no such column.
    Absent,
    /// Yes or no.
    Flags(BooleanArray),
    /// Numbers and moments.
    Numbers(Box<dyn Numbers>),
    /// Texts.
    Text(StringArray),
    /// Texts of few distinct ones.
    Words(Int32Array, StringArray),
    /// Lists.
    List(ListArray, Box<Column>),
    /// Values with members, by name.
    Struct(StructArray, Vec<(String, Column)>),
    /// Texts by text.
    Map(Box<Entries>),
}

/// Texts by text, with their names and values at hand.
pub struct Entries {
    map: MapArray,
    keys: StringArray,
    values: StringArray,
}

static ABSENT: Column = Column::Absent;

impl Column {
    /// Null where the type is none that events have.
    fn of(array: &dyn Array) -> Option<Column> {
        if let Some(flags) = array.as_boolean_opt() {
            return Some(Column::Flags(flags.clone()));
        }
        if let Some(text) = array.as_string_opt::<i32>() {
            return Some(Column::Text(text.clone()));
        }
        if let Some(words) = array.as_dictionary_opt::<Int32Type>() {
            let texts = words.values().as_string_opt::<i32>()?;
            return Some(Column::Words(words.keys().clone(), texts.clone()));
        }
        if let Some(list) = array.as_list_opt::<i32>() {
            let items = Column::of(list.values())?;
            return Some(Column::List(list.clone(), Box::new(items)));
        }
        if let Some(whole) = array.as_struct_opt() {
            let members = whole.fields().iter().zip(whole.columns());
            let members =
                members.map(|(field, array)| Some((field.name().clone(), Column::of(array)?)));
            return Some(Column::Struct(
                whole.clone(),
                members.collect::<Option<_>>()?,
            ));
        }
        if let Some(map) = array.as_map_opt() {
            let keys = map.keys().as_string_opt::<i32>()?.clone();
            let values = map.values().as_string_opt::<i32>()?.clone();
            let map = map.clone();
            return Some(Column::Map(Box::new(Entries { map, keys, values })));
        }
        numbers_of::<UInt16Type>(array)
            .or_else(|| numbers_of::<UInt32Type>(array))
            .or_else(|| numbers_of::<UInt64Type>(array))
            .or_else(|| numbers_of::<Int32Type>(array))
            .or_else(|| numbers_of::<Int64Type>(array))
            .or_else(|| numbers_of::<TimestampMillisecondType>(array))
    }

    /// Whether the row has a value, be it an empty one.
    pub fn is_valid(&self, row: usize) -> bool {
        match self {
            Column::Absent => false,
            Column::Flags(flags) => flags.is_valid(row),
            Column::Numbers(numbers) => numbers.at(row).is_some(),
            Column::Text(_) | Column::Words(..) => self.text(row).is_some(),
            Column::List(list, _) => list.is_valid(row),
            Column::Struct(whole, _) => whole.is_valid(row),
            Column::Map(entries) => entries.map.is_valid(row),
        }
    }

    /// Whether the row has a value that is no empty list or map.
    pub fn is_there(&self, row: usize) -> bool {
        self.is_valid(row)
            && (!matches!(self, Column::List(..) | Column::Map(..)) || !self.span(row).is_empty())
    }

    /// Write a row's value as JSON.
    pub fn push(&self, out: &mut Vec<u8>, row: usize) {
        if !self.is_valid(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Column::Absent => {}
            Column::Flags(flags) => {
                out.extend_from_slice(if flags.value(row) { b"true" } else { b"false" })
            }
            Column::Numbers(numbers) => push_number(out, numbers.at(row).unwrap_or_default()),
            Column::Text(_) | Column::Words(..) => {
                push_text(out, self.text(row).unwrap_or_default());
            }
            Column::List(_, items) => {
                out.push(b'[');
                for at in self.span(row) {
                    items.push(out, at);
                    out.push(b',');
                }
                close(out, b'[', b']');
            }
            Column::Struct(_, members) => {
                out.push(b'{');
                for (name, member) in members {
                    push_text(out, name);
                    out.push(b':');
                    member.push(out, row);
                    out.push(b',');
                }
                close(out, b'{', b'}');
            }
            Column::Map(entries) => {
                let Entries { keys, values, .. } = entries.as_ref();
                out.push(b'{');
                let span = self.span(row);
                for at in span.clone() {
                    let name = keys.value(at);
                    // Of a name that is there twice the last one counts.
                    if !(at + 1..span.end).any(|later| keys.value(later) == name) {
                        push_text(out, name);
                        out.push(b':');
                        push_optional(out, values, at);
                        out.push(b',');
                    }
                }
                close(out, b'{', b'}');
            }
        }
    }

    /// A row's text.
    pub fn text(&self, row: usize) -> Option<&str> {
        match self {
            Column::Text(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Column::Words(keys, texts) => {
                let key = keys.is_valid(row).then(|| keys.value(row))?;
                let at = usize::try_from(key).ok()?;
                (at < texts.len() && texts.is_valid(at)).then(|| texts.value(at))
            }
            _ => None,
        }
    }

    /// A row's number.
    pub fn number(&self, row: usize) -> Option<i128> {
        match self {
            Column::Numbers(numbers) => numbers.at(row),
            _ => None,
        }
    }

    /// What a row says: yes, no, or nothing.
    pub fn flag(&self, row: usize) -> Option<bool> {
        match self {
            Column::Flags(flags) => flags.is_valid(row).then(|| flags.value(row)),
            _ => None,
        }
    }

    /// Where the items of a row's list or map are.
    pub fn span(&self, row: usize) -> Range<usize> {
        let (offsets, most) = match self {
            Column::List(list, _) => (list.value_offsets(), list.values().len()),
            Column::Map(entries) => (entries.map.value_offsets(), entries.keys.len()),
            _ => return 0..0,
        };
        let end_of = |at: usize| offsets.get(at).and_then(|end| usize::try_from(*end).ok());
        match (self.is_valid(row), end_of(row), end_of(row + 1)) {
            (true, Some(start), Some(end)) if end <= most => start..end,
            _ => 0..0,
        }
    }

    /// What the lists of this column hold.
    pub fn items(&self) -> &Column {
        match self {
            Column::List(_, items) => items,
            _ => &ABSENT,
        }
    }

    /// A member by its name.
    pub fn member(&self, name: &str) -> &Column {
        match self {
            Column::Struct(_, members) => find(members, name),
            _ => &ABSENT,
        }
    }

    /// The values of a row's map.
    pub fn values(&self, row: usize) -> impl Iterator<Item = Option<&str>> {
        let values = match self {
            Column::Map(entries) => Some(&entries.values),
            _ => None,
        };
        let texts = values.map(|values| {
            self.span(row)
                .map(|at| values.is_valid(at).then(|| values.value(at)))
        });
        texts.into_iter().flatten()
    }

    /// What a row's map has under a name.
    pub fn value_of(&self, row: usize, name: &str) -> Option<&str> {
        match self {
            Column::Map(entries) => {
                let Entries { keys, values, .. } = entries.as_ref();
                let found = self.span(row).rev().find(|at| keys.value(*at) == name)?;
                values.is_valid(found).then(|| values.value(found))
            }
            _ => None,
        }
    }
}

/// The columns of a batch, by name, in their order.
pub struct Columns(Vec<(String, Column)>);

impl Columns {
    /// A column of a type that events have none of counts as absent.
    pub fn of(batch: &RecordBatch) -> Self {
        let schema = batch.schema();
        let named = schema.fields().iter().zip(batch.columns());
        Columns(
            named
                .map(|(field, array)| {
                    (
                        field.name().clone(),
                        Column::of(array).unwrap_or(Column::Absent),
                    )
                })
                .collect(),
        )
    }

    /// A column by its name.
    pub fn get(&self, name: &str) -> &Column {
        find(&self.0, name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Column)> {
        self.0.iter().map(|(name, column)| (name.as_str(), column))
    }
}

fn find<'a>(named: &'a [(String, Column)], name: &str) -> &'a Column {
    let found = named.iter().find(|(known, _)| known == name);
    found.map_or(&ABSENT, |(_, column)| column)
}

fn numbers_of<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<Column>
where
    T::Native: Into<i128>,
{
    let numbers = array.as_primitive_opt::<T>()?;
    Some(Column::Numbers(Box::new(numbers.clone())))
}

fn push_optional(out: &mut Vec<u8>, texts: &StringArray, at: usize) {
    if texts.is_valid(at) {
        push_text(out, texts.value(at));
    } else {
        out.extend_from_slice(b"null");
    }
}

/// End a list or an object whose members each have a comma behind them.
pub fn close(out: &mut Vec<u8>, begin: u8, end: u8) {
    if out.last() != Some(&begin) {
        out.pop();
    }
    out.push(end);
}
