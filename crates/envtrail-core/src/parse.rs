//! One line of the audit log: its stamp and its fields, without copying.
//!
//! References: `audit_log_format()` and `audit_log_n_untrustedstring()` in kernel/audit.c; auditd.conf(5)
//! `log_format = ENRICHED` (0x1d separates what auditd added).

mod number;
mod value;

pub use number::digits;
pub(crate) use number::hexadecimal;
pub use value::{decode_hex, take_value, Value};
pub(crate) use value::{take_bare, take_quoted};

use crate::fault::FaultKind;
use crate::types;
use memchr::memchr;

/// Byte between what the kernel wrote and what auditd added.
pub const ENRICHMENT: u8 = 0x1d;

/// No key holds a byte below this one: blanks, commas, quotes, 0x1d.
const END_OF_WORD: u8 = b'-';

/// Where a record belongs, and what is left of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<'a> {
    pub node: &'a [u8],
    pub record_type: u16,
    pub time_ms: u64,
    pub serial: u64,
    pub body: &'a [u8],
}

/// `msg=audit(…)` of the last line: the records of an event share it.
#[derive(Default)]
pub struct LastStamp {
    text: Vec<u8>,
    second_ms: u64,
    time_ms: u64,
    serial: u64,
}

impl LastStamp {
    /// Type and body of a line that names no node and has the stamp of the last line; what follows the line is taken for a part of its body.
    #[inline(always)]
    pub(crate) fn repeated<'a>(&self, line: &'a [u8]) -> Option<(u16, &'a [u8])> {
        let (record_type, rest) = take_type(line.strip_prefix(b"type=")?)?;
        let rest = self.strip(rest)?;
        Some((record_type, rest.strip_prefix(b": ")?))
    }

    /// What follows the stamp of the last line, if that is what a text begins with.
    #[inline(always)]
    fn strip<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        const HEAD: usize = 24;
        const TAIL: usize = 16;
        let (stamp, rest) = text.split_at_checked(self.text.len())?;
        let is_same = match self.text.len() {
            // Two compares of a fixed length, which overlap: nearly all stamps have 32 bytes.
            HEAD..=40 => {
                stamp.first_chunk::<HEAD>() == self.text.first_chunk()
                    && stamp.last_chunk::<TAIL>() == self.text.last_chunk()
            }
            0 => false,
            _ => stamp == self.text,
        };
        is_same.then_some(rest)
    }

    /// What follows `msg=audit(seconds.`, where it is that of the last line: of ten digits, for 250 years more.
    #[inline(always)]
    fn strip_second<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        const LENGTH: usize = b"msg=audit(1234567890.".len();
        let (begin, rest) = text.split_first_chunk::<LENGTH>()?;
        (self.text.first_chunk() == Some(begin) && begin.ends_with(b".")).then_some(rest)
    }

    /// The moment and the serial that it says.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.time_ms, self.serial)
    }
}

/// Read the beginning of a line (without its newline).
pub fn parse_stamp<'a>(line: &'a [u8], last: &mut LastStamp) -> Result<Stamp<'a>, FaultKind> {
    let (node, rest) = match line.strip_prefix(b"node=") {
        Some(rest) => {
            let end = memchr(b' ', rest).ok_or(FaultKind::NotARecord)?;
            split(rest, end)
        }
        None => (b"".as_slice(), line),
    };
    let rest = rest.strip_prefix(b"type=").ok_or(FaultKind::NotARecord)?;
    let (record_type, rest) = take_type(rest).ok_or(FaultKind::NotARecord)?;
    let rest = match last.strip(rest) {
        Some(rest) => rest,
        None => parse_moment(rest, last).ok_or(FaultKind::BadStamp)?,
    };
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let body = rest.strip_prefix(b" ").unwrap_or(rest);
    Ok(Stamp {
        node,
        record_type,
        time_ms: last.time_ms,
        serial: last.serial,
        body,
    })
}

/// The record type at the beginning, and what follows the blank behind it. Of the most frequent ones the first eight bytes tell.
#[inline(always)]
fn take_type(text: &[u8]) -> Option<(u16, &[u8])> {
    const SYSCALL: u64 = pack(b"SYSCALL ");
    const PATH: u64 = pack(b"PATH msg");
    const PROCTITLE: u64 = pack(b"PROCTITL");
    const CWD: u64 = pack(b"CWD msg=");
    const EXECVE: u64 = pack(b"EXECVE m");
    const EOE: u64 = pack(b"EOE msg=");
    let (record_type, length) = match first_eight(text).unwrap_or_default() {
        SYSCALL => (types::SYSCALL, 8),
        PATH => (types::PATH, 5),
        PROCTITLE if text.get(8..10) == Some(b"E ") => (types::PROCTITLE, 10),
        CWD => (types::CWD, 4),
        EXECVE => (types::EXECVE, 7),
        EOE => (types::EOE, 4),
        _ => {
            let (name, rest) = split(text, memchr(b' ', text)?);
            return Some((types::record_type_number(name)?, rest));
        }
    };
    Some((record_type, text.get(length..)?))
}

/// `msg=audit(seconds.milliseconds:serial)`; gives what follows.
fn parse_moment<'a>(text: &'a [u8], last: &mut LastStamp) -> Option<&'a [u8]> {
    let (second_ms, rest) = match last.strip_second(text) {
        Some(rest) => (last.second_ms, rest),
        None => parse_second(text)?,
    };
    let (ms, rest) = digits(rest)?;
    let (serial, rest) = digits(rest.strip_prefix(b":")?)?;
    let time_ms = second_ms.checked_add(ms)?;
    let after = rest.strip_prefix(b")")?;
    if ms > 999 || time_ms >= 1 << 43 {
        return None;
    }
    last.text.clear();
    last.text
        .extend_from_slice(text.get(..text.len() - after.len())?);
    (last.second_ms, last.time_ms, last.serial) = (second_ms, time_ms, serial);
    Some(after)
}

/// `msg=audit(seconds.` in milliseconds; gives what follows.
fn parse_second(text: &[u8]) -> Option<(u64, &[u8])> {
    let rest = text.strip_prefix(b"msg=audit")?;
    let rest = rest.strip_prefix(b"d").unwrap_or(rest);
    let (seconds, rest) = digits(rest.strip_prefix(b"(")?)?;
    Some((seconds.checked_mul(1000)?, rest.strip_prefix(b".")?))
}

/// auditd's own records have their own serials.
pub fn is_daemon_line(line: &[u8]) -> bool {
    let rest = if line.starts_with(b"node=") {
        memchr::memchr(b' ', line)
            .and_then(|at| line.get(at + 1..))
            .unwrap_or_default()
    } else {
        line
    };
    rest.starts_with(b"type=DAEMON_")
}

/// `bytes[..at]` and what follows the byte at `at`.
#[inline(always)]
pub(crate) fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    (
        bytes.get(..at).unwrap_or_default(),
        bytes.get(at + 1..).unwrap_or_default(),
    )
}

/// A field: key, value, and whether auditd added it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub key: &'a [u8],
    /// `pack` of the key.
    pub name: u64,
    pub value: Value<'a>,
    pub enriched: bool,
}

/// The fields of a record in order. Words without `=` are passed over.
pub struct Fields<'a> {
    rest: &'a [u8],
    enriched: bool,
}

impl<'a> Fields<'a> {
    /// Read the fields of a record's body.
    pub fn new(body: &'a [u8]) -> Self {
        Fields {
            rest: body,
            enriched: false,
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            if let [b' ', rest @ ..] = self.rest {
                self.rest = rest;
            }
            let (at, name) = self.find_end()?;
            let (key, rest) = split(self.rest, at);
            match self.rest.get(at) {
                Some(b'=') => {
                    let (value, rest) = take_value(rest);
                    self.rest = rest;
                    return Some(Field {
                        key,
                        name,
                        value,
                        enriched: self.enriched,
                    });
                }
                Some(&ENRICHMENT) => self.enriched = true,
                _ => {}
            }
            self.rest = rest;
        }
    }
}

impl Fields<'_> {
    /// Where the word at the beginning ends (at `=` or what separates words), and the word as a number.
    #[inline]
    fn find_end(&self) -> Option<(usize, u64)> {
        if let Some(word) = first_eight(self.rest) {
            let ends = same(word, b'=') | below(word, END_OF_WORD);
            if ends != 0 {
                let at = ends.trailing_zeros() / 8;
                return Some((at as usize, word & ((1 << (8 * at)) - 1)));
            }
        }
        let at = self
            .rest
            .iter()
            .position(|byte| *byte == b'=' || *byte < END_OF_WORD)?;
        Some((at, pack(self.rest.get(..at)?)))
    }
}

/// The first eight bytes as one number, the first byte lowest.
#[inline]
fn first_eight(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// The highest bit of each byte of `word` that is `byte`: the lowest bit set is always right, those above it may err
/// (H. S. Warren, Hacker's Delight, 6-1).
#[inline]
fn same(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero = word ^ (ONES * byte as u64);
    zero.wrapping_sub(ONES) & !zero & (ONES << 7)
}

/// The highest bit of each byte of `word` that is less than `limit` (of at most 128), as right as `same`.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    word.wrapping_sub(ONES * limit as u64) & !word & (ONES << 7)
}

/// A key of at most eight bytes as one number, so that choosing among many is a table and not a row of comparisons; 0 for longer ones.
#[inline]
pub const fn pack(key: &[u8]) -> u64 {
    if key.len() > 8 {
        return 0;
    }
    let mut packed = 0u64;
    let mut rest = key;
    while let [head @ .., last] = rest {
        packed = packed << 8 | *last as u64;
        rest = head;
    }
    packed
}
