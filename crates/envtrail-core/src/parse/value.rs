//! Values of fields: where each ends, and what it says.

use super::{digits, first_eight, same, split, ENRICHMENT};
use memchr::{memchr, memchr2, memrchr};

/// A field's value as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    pub raw: &'a [u8],
    /// It stood in double or single quotes (which `raw` leaves out).
    pub quoted: bool,
}

/// The value at the beginning, and what follows it.
#[inline]
pub fn take_value(rest: &[u8]) -> (Value<'_>, &[u8]) {
    take_quoted(rest)
        .or_else(|| take_bare(rest))
        .unwrap_or_else(|| take_nested(rest))
}

/// The same, of a value in double quotes.
#[inline(always)]
pub(crate) fn take_quoted(rest: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let inner = rest.strip_prefix(b"\"")?;
    let (raw, rest) = split(inner, find_quote(inner));
    Some((Value { raw, quoted: true }, rest))
}

/// The same, of a value that ends where a blank or 0x1d is.
#[inline(always)]
pub(crate) fn take_bare(rest: &[u8]) -> Option<(Value<'_>, &[u8])> {
    if let [b'"' | b'\'' | b'{', ..] = rest {
        return None;
    }
    let (raw, rest) = rest.split_at_checked(find_separator(rest))?;
    Some((Value { raw, quoted: false }, rest))
}

/// The same, of the nested msg of a user record, which ends with the last quote before the enrichment, or of a list in braces.
fn take_nested(rest: &[u8]) -> (Value<'_>, &[u8]) {
    if let [b'\'', inner @ ..] = rest {
        let limit = memchr(ENRICHMENT, inner).unwrap_or(inner.len());
        let end = memrchr(b'\'', inner.get(..limit).unwrap_or_default()).unwrap_or(limit);
        let (raw, rest) = split(inner, end);
        return (Value { raw, quoted: true }, rest);
    }
    let end = memchr(b'}', rest).map_or(rest.len(), |at| at + 1);
    let (raw, rest) = rest.split_at_checked(end).unwrap_or_default();
    (Value { raw, quoted: true }, rest)
}

/// Where a bare value ends.
#[inline(always)]
fn find_separator(rest: &[u8]) -> usize {
    find_near::<2>(rest, |word| same(word, b' ') | same(word, ENRICHMENT))
        .or_else(|| memchr2(b' ', ENRICHMENT, rest))
        .unwrap_or(rest.len())
}

/// Where a quoted value ends.
#[inline(always)]
fn find_quote(rest: &[u8]) -> usize {
    find_near::<4>(rest, |word| same(word, b'"'))
        .or_else(|| memchr(b'"', rest))
        .unwrap_or(rest.len())
}

/// The first byte that `ends` marks among so many words of eight bytes: most values are short, and only what is longer is worth a
/// search by vectors.
#[inline(always)]
fn find_near<const WORDS: usize>(rest: &[u8], ends: impl Fn(u64) -> u64) -> Option<usize> {
    for at in 0..WORDS {
        let found = ends(first_eight(rest.get(8 * at..)?)?);
        if found != 0 {
            return Some(8 * at + found.trailing_zeros() as usize / 8);
        }
    }
    None
}

impl<'a> Value<'a> {
    /// A whole number in decimal; None for anything else.
    #[inline]
    pub fn decimal(self) -> Option<u64> {
        let (negative, raw) = match self.raw.strip_prefix(b"-") {
            Some(raw) => (true, raw),
            None => (false, self.raw),
        };
        let (number, rest) = digits(raw)?;
        if !rest.is_empty() {
            return None;
        }
        Some(if negative {
            number.wrapping_neg()
        } else {
            number
        })
    }

    /// A whole number in hexadecimal without a prefix.
    #[inline]
    pub fn hexadecimal(self) -> Option<u64> {
        if self.raw.is_empty() || self.raw.len() > 16 {
            return None;
        }
        let mut number = 0u64;
        for &byte in self.raw {
            number = number << 4 | u64::from(nibble(byte)?);
        }
        Some(number)
    }

    /// Append the text of an untrusted string: quoted as it is, else decoded from hexadecimal, else as it is.
    #[inline]
    pub fn decode_into(self, out: &mut Vec<u8>) {
        if self.quoted || !decode_hex(self.raw, out) {
            out.extend_from_slice(self.raw);
        }
    }

    /// The kernel's words for "there is none".
    pub fn is_none(self) -> bool {
        !self.quoted && (self.raw == b"(null)" || self.raw == b"(none)" || self.raw == b"?")
    }
}

/// Append the bytes that `raw` spells in hexadecimal; false, and nothing appended, when it does not.
pub fn decode_hex(raw: &[u8], out: &mut Vec<u8>) -> bool {
    if raw.is_empty() || raw.len() % 2 != 0 {
        return false;
    }
    let start = out.len();
    let mut wrong = 0;
    let mut blocks = raw.chunks_exact(HEX_BLOCK);
    for block in blocks.by_ref() {
        out.extend_from_slice(&decode_block(block, &mut wrong));
    }
    let rest = blocks.remainder();
    let mut last = [b'0'; HEX_BLOCK];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let decoded = decode_block(&last, &mut wrong);
    out.extend_from_slice(decoded.get(..rest.len() / 2).unwrap_or_default());
    if wrong != 0 {
        out.truncate(start);
    }
    wrong == 0
}

const HEX_BLOCK: usize = 32;

/// Plain loops over blocks of one length: the compiler makes vectors of them.
#[inline(always)]
fn decode_block(block: &[u8], wrong: &mut u8) -> [u8; HEX_BLOCK / 2] {
    let mut nibbles = [0; HEX_BLOCK];
    for (nibble, byte) in nibbles.iter_mut().zip(block) {
        let digit = byte.wrapping_sub(b'0');
        let letter = (byte | 0x20).wrapping_sub(b'a');
        *wrong |= u8::from((digit > 9) & (letter > 5));
        *nibble = if digit > 9 {
            letter.wrapping_add(10)
        } else {
            digit
        };
    }
    let mut bytes = [0; HEX_BLOCK / 2];
    for (byte, pair) in bytes.iter_mut().zip(nibbles.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = high << 4 | low;
        }
    }
    bytes
}

const NO_NIBBLE: u8 = 0x80;

/// Value of a hexadecimal digit.
#[inline(always)]
fn nibble(byte: u8) -> Option<u8> {
    let nibble = NIBBLES.get(usize::from(byte)).copied();
    nibble.filter(|nibble| nibble & NO_NIBBLE == 0)
}

static NIBBLES: [u8; 256] = nibbles();

// Evaluated when compiled: an index out of bounds is a build error.
#[allow(clippy::indexing_slicing)]
const fn nibbles() -> [u8; 256] {
    let mut table = [NO_NIBBLE; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
}
