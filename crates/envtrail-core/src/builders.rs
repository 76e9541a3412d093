//! Columns made of rows. A row is appended as a whole and its columns are made at once when the batch is done: Arrow's own builders
//! look closer at each value than its few bytes are worth.

use crate::event::{Range, Strings};
use crate::text::{append_piece, printable};
use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, ListArray, PrimitiveArray, StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field};
use std::mem::replace;
use std::sync::Arc;

/// A text of few distinct ones, with a number that no other text of its column has.
#[derive(Clone, Copy, Default)]
pub struct Word<'a> {
    pub number: u32,
    pub text: &'a str,
}

/// Where a row's text ends among the bytes of its column, or its list among the items; whether the row has one.
#[derive(Clone, Copy, Default)]
pub(crate) struct End {
    at: i32,
    pub(crate) is_valid: bool,
}

impl End {
    #[inline]
    pub(crate) fn new(at: usize, is_valid: bool) -> Self {
        End {
            at: at as i32,
            is_valid,
        }
    }
}

/// What was built; the next one gets as much room as this one took and a little more, and need not grow step by step.
pub(crate) fn take<T>(built: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(built.len() + built.len() / 4);
    replace(built, next)
}

/// A column of numbers, one in every row.
pub(crate) fn whole<T: ArrowPrimitiveType, R>(
    rows: &[R],
    of: impl Fn(&R) -> T::Native,
) -> PrimitiveArray<T> {
    PrimitiveArray::new(rows.iter().map(of).collect(), None)
}

/// A column of numbers that some rows have.
pub(crate) fn numbers<T: ArrowPrimitiveType, R>(
    rows: &[R],
    of: impl Fn(&R) -> Option<T::Native>,
) -> ArrayRef {
    let values = rows.iter().map(|row| of(row).unwrap_or_default());
    let nulls = nulls(rows, |row| of(row).is_some());
    Arc::new(PrimitiveArray::<T>::new(values.collect(), nulls))
}

/// A column of yes and no.
pub(crate) fn flags<R>(rows: &[R], of: impl Fn(&R) -> Option<bool>) -> ArrayRef {
    let bits = bits(rows, |row| of(row) == Some(true));
    Arc::new(BooleanArray::new(
        bits,
        nulls(rows, |row| of(row).is_some()),
    ))
}

/// None where all are there.
pub(crate) fn nulls<R>(rows: &[R], is_valid: impl Fn(&R) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(bits(rows, is_valid));
    (nulls.null_count() > 0).then_some(nulls)
}

fn bits<R>(rows: &[R], of: impl Fn(&R) -> bool) -> BooleanBuffer {
    let pack = |eight: &[R]| {
        let bits = eight.iter().rev();
        bits.fold(0, |byte, row| byte << 1 | u8::from(of(row)))
    };
    let mut packed = Vec::with_capacity(rows.len().div_ceil(8));
    let mut eights = rows.chunks_exact(8);
    // Of a fixed length: the compiler makes no loop of it.
    packed.extend(
        eights
            .by_ref()
            .map(|eight| eight.first_chunk::<8>().map_or(0, |eight| pack(eight))),
    );
    packed.extend((!eights.remainder().is_empty()).then(|| pack(eights.remainder())));
    BooleanBuffer::new(Buffer::from_vec(packed), 0, rows.len())
}

/// Where lists, or texts, end.
pub(crate) fn offsets<R>(rows: &[R], of: impl Fn(&R) -> End) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    offsets.push(0);
    offsets.extend(rows.iter().map(|row| of(row).at));
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

/// A column of few distinct texts, identified by their numbers.
#[derive(Default)]
pub(crate) struct Dictionary {
    known: Vec<u32>,
    /// Places among them, one more, by number; 0 for none.
    places: Vec<u16>,
    texts: Vec<String>,
    last: usize,
}

/// Numbers above it are looked for one by one.
const MOST_PLACES: usize = 4096;

impl Dictionary {
    /// The key that a word has in this batch.
    #[inline]
    pub(crate) fn key_of(&mut self, word: Word<'_>) -> i32 {
        if self.known.get(self.last) != Some(&word.number) {
            let place = self.places.get(word.number as usize).copied().unwrap_or(0);
            self.last = match usize::from(place).checked_sub(1) {
                Some(at) => at,
                None => self.find(word),
            };
        }
        self.last as i32
    }

    #[cold]
    fn find(&mut self, word: Word<'_>) -> usize {
        let found = self.known.iter().position(|known| *known == word.number);
        found.unwrap_or_else(|| {
            let at = self.known.len();
            self.known.push(word.number);
            self.texts.push(word.text.to_owned());
            let number = word.number as usize;
            if let (true, Ok(place)) = (number < MOST_PLACES, u16::try_from(at + 1)) {
                self.places.resize(self.places.len().max(number + 1), 0);
                if let Some(known) = self.places.get_mut(number) {
                    *known = place;
                }
            }
            at
        })
    }

    /// `of`: the key of a row.
    pub(crate) fn finish<R>(
        &mut self,
        rows: &[R],
        of: impl Fn(&R) -> Option<i32>,
    ) -> Result<ArrayRef, ArrowError> {
        self.known.clear();
        self.places.clear();
        let values = StringArray::from_iter_values(self.texts.drain(..));
        let keys = rows.iter().map(|row| of(row).unwrap_or_default());
        let nulls = nulls(rows, |row| of(row).is_some());
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
            PrimitiveArray::new(keys.collect(), nulls),
            Arc::new(values),
        )?))
    }
}

/// A column of texts.
#[derive(Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// Append a row's text: this range of a text.
    #[inline]
    pub(crate) fn push(&mut self, text: &[u8], range: Range) -> End {
        if let Some(range) = range {
            append_piece(text, range, &mut self.bytes);
        }
        End::new(self.bytes.len(), range.is_some())
    }

    /// A text in which NUL stands between words: there a blank is shown.
    pub(crate) fn push_words(&mut self, words: Option<&[u8]>) -> End {
        let blanked = |byte: &u8| if *byte == 0 { b' ' } else { *byte };
        self.bytes
            .extend(words.unwrap_or_default().iter().map(blanked));
        End::new(self.bytes.len(), words.is_some())
    }

    pub(crate) fn finish<R>(&mut self, rows: &[R], of: impl Fn(&R) -> End) -> ArrayRef {
        if self.bytes.is_empty() && !rows.iter().any(|row| of(row).is_valid) {
            return Arc::new(StringArray::new_null(rows.len()));
        }
        let nulls = nulls(rows, |row| of(row).is_valid);
        self.finish_with(offsets(rows, of), nulls)
    }

    /// What is not UTF-8 is shown as `printable` shows it: nearly always the whole column is UTF-8, and is checked as a whole.
    fn finish_with(&mut self, offsets: OffsetBuffer<i32>, nulls: Option<NullBuffer>) -> ArrayRef {
        let bytes = Buffer::from_vec(take(&mut self.bytes));
        let made = StringArray::try_new(offsets.clone(), bytes.clone(), nulls.clone());
        Arc::new(made.unwrap_or_else(|_| shown(&offsets, &bytes, nulls.as_ref())))
    }
}

fn shown(offsets: &OffsetBuffer<i32>, bytes: &[u8], nulls: Option<&NullBuffer>) -> StringArray {
    let ends = offsets.iter().zip(offsets.iter().skip(1)).enumerate();
    ends.map(|(row, (start, end))| {
        let text = bytes.get(*start as usize..*end as usize);
        let is_valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
        text.filter(|_| is_valid).map(printable)
    })
    .collect()
}

/// What the lists of a column hold.
pub(crate) struct Texts {
    text: Text,
    /// Where each begins and ends among the bytes.
    offsets: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Texts {
            text: Text::default(),
            offsets: first_offset(0),
        }
    }
}

/// The offsets of no text, with room for those of so many.
fn first_offset(count: usize) -> Vec<i32> {
    let mut offsets = Vec::with_capacity(count + count / 4);
    offsets.push(0);
    offsets
}

impl Texts {
    /// Append a row's list.
    #[inline]
    pub(crate) fn push(&mut self, texts: &Strings, is_valid: bool) -> End {
        if !texts.is_empty() {
            let before = self.text.bytes.len();
            self.text.bytes.extend_from_slice(&texts.bytes);
            // They are few: not worth the beginning and end of a loop over vectors.
            for end in &texts.ends {
                self.offsets.push((before + end) as i32);
            }
        }
        End::new(self.offsets.len() - 1, is_valid)
    }

    /// The items of all rows, one after another.
    pub(crate) fn finish_items(&mut self) -> ArrayRef {
        let next = first_offset(self.offsets.len());
        let offsets = replace(&mut self.offsets, next);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        self.text.finish_with(offsets, None)
    }

    pub(crate) fn finish<R>(
        &mut self,
        rows: &[R],
        of: impl Fn(&R) -> End,
    ) -> Result<ArrayRef, ArrowError> {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let nulls = nulls(rows, |row| of(row).is_valid);
        let items = self.finish_items();
        Ok(Arc::new(ListArray::try_new(
            item,
            offsets(rows, of),
            items,
            nulls,
        )?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;

    fn push(column: &mut Text, text: Option<&[u8]>) -> End {
        let range = text.map(|text| (0, text.len()));
        column.push(text.unwrap_or_default(), range)
    }

    #[test]
    fn texts_are_shown_whatever_their_bytes_are() {
        let mut column = Text::default();
        let texts = [
            Some(&b"plain"[..]),
            None,
            Some(b"\xc3"),
            Some(b"\xa9"),
            Some(b""),
            Some("é\\".as_bytes()),
            Some(b"\xff\\"),
        ];
        let rows = texts.map(|text| push(&mut column, text));
        let expected = StringArray::from(vec![
            Some("plain"),
            None,
            Some("\\xc3"),
            Some("\\xa9"),
            Some(""),
            Some("é\\"),
            Some("\\xff\\\\"),
        ]);
        assert_eq!(
            &column.finish(&rows, |end| *end),
            &(Arc::new(expected) as ArrayRef)
        );
        let rows = [push(&mut column, Some(b"next"))];
        let expected: ArrayRef = Arc::new(StringArray::from(vec!["next"]));
        assert_eq!(&column.finish(&rows, |end| *end), &expected);
    }

    #[test]
    fn every_row_keeps_its_bit() {
        for count in [0usize, 1, 7, 8, 9, 64, 1001] {
            let of = |row: &usize| (row % 3 != 1 && row % 7 != 2).then_some(*row as i32);
            let rows: Vec<usize> = (0..count).collect();
            let column = numbers::<Int32Type, _>(&rows, of);
            let expected: PrimitiveArray<Int32Type> = rows.iter().map(of).collect();
            assert_eq!(&column, &(Arc::new(expected) as ArrayRef));
            let empty = rows.iter().filter(|row| of(row).is_none()).count();
            assert_eq!(column.null_count(), empty);
        }
    }
}
