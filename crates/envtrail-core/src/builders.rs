//! Columns while they are built. Arrow's own builders look closer at each value than its few bytes are worth: here a value is appended
//! as it is, and a column is looked at once, as a whole, when it is done.

use crate::event::Strings;
use crate::parse::gather;
use crate::text::printable;
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

/// What was built; the next one gets as much room as this one took and a little more, and need not grow step by step.
pub(crate) fn take<T>(built: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(built.len() + built.len() / 4);
    replace(built, next)
}

/// Yes or no, row by row.
#[derive(Default)]
pub(crate) struct Bits(Vec<bool>);

impl Bits {
    pub(crate) fn push(&mut self, bit: bool) {
        self.0.push(bit);
    }

    fn finish(&mut self) -> BooleanBuffer {
        let bits = take(&mut self.0);
        let mut packed = Vec::with_capacity(bits.len().div_ceil(8));
        let mut eights = bits.chunks_exact(8);
        packed.extend(eights.by_ref().map(pack_eight));
        let mut last = [false; 8];
        for (to, from) in last.iter_mut().zip(eights.remainder()) {
            *to = *from;
        }
        packed.push(pack_eight(&last));
        BooleanBuffer::new(Buffer::from_vec(packed), 0, bits.len())
    }

    /// None where all are there, or nothing was said of any.
    pub(crate) fn finish_nulls(&mut self) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.finish());
        (nulls.null_count() > 0).then_some(nulls)
    }
}

/// Eight of them, the first one lowest.
fn pack_eight(bits: &[bool]) -> u8 {
    let Some(bits) = bits.first_chunk::<8>() else {
        return 0;
    };
    let bytes = bits.map(u8::from);
    gather(u64::from_le_bytes(bytes) << 7)
}

/// A column of yes and no.
#[derive(Default)]
pub(crate) struct Flags {
    bits: Bits,
    valid: Bits,
}

impl Flags {
    pub(crate) fn push(&mut self, flag: Option<bool>) {
        self.bits.push(flag == Some(true));
        self.valid.push(flag.is_some());
    }

    /// The same, of a column that has one in every row.
    pub(crate) fn add(&mut self, flag: bool) {
        self.bits.push(flag);
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        let nulls = self.valid.finish_nulls();
        Arc::new(BooleanArray::new(self.bits.finish(), nulls))
    }
}

/// A column of numbers.
pub(crate) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    valid: Bits,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Numbers {
            values: Vec::new(),
            valid: Bits::default(),
        }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    #[inline]
    pub(crate) fn push(&mut self, number: Option<T::Native>) {
        self.values.push(number.unwrap_or_default());
        self.valid.push(number.is_some());
    }

    /// The same, of a column that has one in every row.
    #[inline]
    pub(crate) fn add(&mut self, number: T::Native) {
        self.values.push(number);
    }

    pub(crate) fn finish(&mut self) -> PrimitiveArray<T> {
        let values = ScalarBuffer::from(take(&mut self.values));
        PrimitiveArray::new(values, self.valid.finish_nulls())
    }

    pub(crate) fn done(&mut self) -> ArrayRef {
        Arc::new(self.finish())
    }
}

/// A column of few distinct texts, told apart by their numbers.
#[derive(Default)]
pub(crate) struct Dictionary {
    known: Vec<u32>,
    /// Places among them, one more, by number; 0 for none.
    places: Vec<u16>,
    texts: Vec<String>,
    last: usize,
    keys: Numbers<Int32Type>,
}

/// Numbers above it are looked for one by one.
const MOST_PLACES: usize = 4096;

impl Dictionary {
    pub(crate) fn push(&mut self, word: Option<Word<'_>>) {
        let place = word.map(|word| self.place_of(word));
        self.keys.push(place);
    }

    /// The same, of a column that has one in every row.
    pub(crate) fn add(&mut self, word: Word<'_>) {
        let place = self.place_of(word);
        self.keys.add(place);
    }

    #[inline]
    fn place_of(&mut self, word: Word<'_>) -> i32 {
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

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.known.clear();
        self.places.clear();
        let values = StringArray::from_iter_values(self.texts.drain(..));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
            self.keys.finish(),
            Arc::new(values),
        )?))
    }
}

/// Where the lists, or the texts, of a column end.
pub(crate) struct Ends {
    offsets: Vec<i32>,
    valid: Bits,
}

impl Default for Ends {
    fn default() -> Self {
        Ends {
            offsets: vec![0],
            valid: Bits::default(),
        }
    }
}

impl Ends {
    #[inline]
    pub(crate) fn push(&mut self, end: usize, is_valid: bool) {
        self.offsets.push(end as i32);
        self.valid.push(is_valid);
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn take(&mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let offsets = take(&mut self.offsets);
        self.offsets.push(0);
        (
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            self.valid.finish_nulls(),
        )
    }
}

/// A column of texts.
#[derive(Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    ends: Ends,
}

impl Text {
    #[inline]
    pub(crate) fn push(&mut self, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.bytes.extend_from_slice(text);
        }
        self.ends.push(self.bytes.len(), text.is_some());
    }

    /// A text in which NUL stands between words: there a blank is shown.
    pub(crate) fn push_words(&mut self, words: Option<&[u8]>) {
        let blanked = |byte: &u8| if *byte == 0 { b' ' } else { *byte };
        self.bytes
            .extend(words.unwrap_or_default().iter().map(blanked));
        self.ends.push(self.bytes.len(), words.is_some());
    }

    /// Append texts that are all there: of a column of which none is not.
    pub(crate) fn extend(&mut self, texts: &Strings) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&texts.bytes);
        let ends = texts.ends.iter().map(|end| (before + end) as i32);
        self.ends.offsets.extend(ends);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// What is not UTF-8 is shown as `printable` shows it: nearly always the whole column is UTF-8, and is checked as a whole.
    pub(crate) fn finish(&mut self) -> StringArray {
        let (offsets, nulls) = self.ends.take();
        let bytes = Buffer::from_vec(take(&mut self.bytes));
        StringArray::try_new(offsets.clone(), bytes.clone(), nulls.clone())
            .unwrap_or_else(|_| shown(&offsets, &bytes, nulls.as_ref()))
    }

    pub(crate) fn done(&mut self) -> ArrayRef {
        Arc::new(self.finish())
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

/// A column of lists of texts.
#[derive(Default)]
pub(crate) struct Texts {
    values: Text,
    ends: Ends,
}

impl Texts {
    pub(crate) fn add(&mut self, texts: &Strings) {
        self.values.extend(texts);
    }

    pub(crate) fn add_one(&mut self, text: &[u8]) {
        self.values.push(Some(text));
    }

    /// End a row's list.
    pub(crate) fn close(&mut self, is_valid: bool) {
        self.ends.push(self.values.len(), is_valid);
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, nulls) = self.ends.take();
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        Ok(Arc::new(ListArray::try_new(
            item,
            offsets,
            self.values.done(),
            nulls,
        )?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;

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
        for text in texts {
            column.push(text);
        }
        let shown = column.finish();
        let expected = StringArray::from(vec![
            Some("plain"),
            None,
            Some("\\xc3"),
            Some("\\xa9"),
            Some(""),
            Some("é\\"),
            Some("\\xff\\\\"),
        ]);
        assert_eq!(shown, expected);
        column.push(Some(b"next"));
        assert_eq!(column.finish(), StringArray::from(vec!["next"]));
    }

    #[test]
    fn every_row_keeps_its_bit() {
        for count in [0usize, 1, 7, 8, 9, 64, 1001] {
            let mut column = Numbers::<Int32Type>::default();
            let of = |row: usize| (row % 3 != 1 && row % 7 != 2).then_some(row as i32);
            (0..count).for_each(|row| column.push(of(row)));
            let numbers = column.finish();
            assert_eq!(numbers, (0..count).map(of).collect());
            assert_eq!(
                numbers.null_count(),
                (0..count).filter(|row| of(*row).is_none()).count()
            );
        }
    }
}
