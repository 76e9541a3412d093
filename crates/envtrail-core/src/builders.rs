//! Columns while they are built, where Arrow's own builders cost more than what they hold.

use arrow_array::builder::{ArrayBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{ArrayRef, DictionaryArray, ListArray, StringArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field};
use std::sync::Arc;

/// A text of few distinct ones, with a number that no other text of its column has.
#[derive(Clone, Copy, Default)]
pub struct Word<'a> {
    pub number: u32,
    pub text: &'a str,
}

/// A column of few distinct texts, told apart by their numbers.
#[derive(Default)]
pub(crate) struct Dictionary {
    known: Vec<u32>,
    texts: Vec<String>,
    last: usize,
    pub(crate) keys: PrimitiveBuilder<Int32Type>,
}

impl Dictionary {
    pub(crate) fn push(&mut self, word: Word<'_>) {
        if self.known.get(self.last) != Some(&word.number) {
            let found = self.known.iter().position(|known| *known == word.number);
            self.last = found.unwrap_or_else(|| {
                self.known.push(word.number);
                self.texts.push(word.text.to_owned());
                self.known.len() - 1
            });
        }
        self.keys.append_value(self.last as i32);
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.known.clear();
        let values = StringArray::from_iter_values(self.texts.drain(..));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
            self.keys.finish(),
            Arc::new(values),
        )?))
    }
}

/// Where the lists of a column end.
pub(crate) struct Ends {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Default for Ends {
    fn default() -> Self {
        Ends {
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
        }
    }
}

impl Ends {
    pub(crate) fn push(&mut self, end: usize, is_valid: bool) {
        self.offsets.push(end as i32);
        self.nulls.append(is_valid);
    }

    pub(crate) fn take(&mut self) -> (OffsetBuffer<i32>, Option<arrow_buffer::NullBuffer>) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            self.nulls.finish(),
        )
    }
}

#[derive(Default)]
pub(crate) struct Texts {
    pub(crate) values: StringBuilder,
    pub(crate) ends: Ends,
}

impl Texts {
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, nulls) = self.ends.take();
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        Ok(Arc::new(ListArray::try_new(
            item,
            offsets,
            done_text(&mut self.values),
            nulls,
        )?))
    }
}

/// The column; the next one gets as much room as this one took, and need not grow step by step.
pub(crate) fn done<T: ArrowPrimitiveType>(builder: &mut PrimitiveBuilder<T>) -> ArrayRef {
    let next = PrimitiveBuilder::with_capacity(builder.len());
    Arc::new(std::mem::replace(builder, next).finish())
}

pub(crate) fn done_text(builder: &mut StringBuilder) -> ArrayRef {
    let next = StringBuilder::with_capacity(builder.len(), builder.values_slice().len());
    Arc::new(std::mem::replace(builder, next).finish())
}
