//! Two parts of one event become one: a file of a log ends with the first, the next file begins with the second.

use super::of_kernel;
use crate::coalesce::Gathered;
use crate::event::Record;
use crate::parse::{parse_stamp, LastStamp};
use crate::types;
use rustc_hash::FxHashSet;

/// Where a record stands in its event, as the kernel writes it: those that come before the system call, the call, what belongs to
/// it (of several PATHs by their number), the title, the end.
type Rank = (u8, u32);

struct Line<'a> {
    bytes: &'a [u8],
    record: Record,
    rank: Rank,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Whole,
    /// They are not parts of one event.
    Apart,
    /// The part adds nothing: what the trail lacks of it is a record that was cut where its file was.
    Nothing,
}

/// Put what the trail holds of an event (lines) to the records of another part of it. They are not parts of one event where they have
/// other content in records of which an event has one, or are messages of programs; or where the part is of another log (`is_anothers`).
pub(super) fn join(gathered: &mut Gathered, held: &[u8], is_anothers: bool) -> Joined {
    let Some(mut held) = lines_of(held) else {
        return Joined::Apart;
    };
    let own = own_lines(gathered);
    held.retain(|line| !own.iter().any(|whole| is_cut(line, whole)));
    let of_own: FxHashSet<&[u8]> = own.iter().map(|line| of_kernel(line.bytes)).collect();
    let of_held: FxHashSet<&[u8]> = held.iter().map(|line| of_kernel(line.bytes)).collect();
    let is_other = |line: &&Line<'_>| {
        !of_held.contains(of_kernel(line.bytes)) && !held.iter().any(|whole| is_cut(line, whole))
    };
    let added: Vec<&Line<'_>> = own.iter().filter(is_other).collect();
    if added
        .iter()
        .all(|line| line.record.record_type == types::EOE)
    {
        return Joined::Nothing;
    }
    if is_anothers {
        return Joined::Apart;
    }
    if of_held.is_subset(&of_own) {
        return Joined::Whole;
    }
    let is_at_odds = |line: &&Line<'_>| {
        let mut others = held.iter();
        comes_once(line.record.record_type)
            && others.any(|other| {
                other.record.record_type == line.record.record_type
                    || (is_message(other) && is_message(line))
            })
    };
    if added.iter().any(is_at_odds) {
        return Joined::Apart;
    }
    let first = added.iter().map(|line| line.rank).min();
    let at = held
        .iter()
        .position(|line| first.is_some_and(|first| line.rank > first))
        .unwrap_or(held.len());
    let (before, after) = held.split_at(at);
    let all = before.iter().chain(added).chain(after);
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    for line in all {
        let start = bytes.len() as u32;
        let Record {
            record_type,
            start: from,
            body,
            end,
        } = line.record;
        bytes.extend_from_slice(line.bytes);
        bytes.push(b'\n');
        records.push(Record {
            record_type,
            start,
            body: start + (body - from),
            end: start + (end - from),
        });
    }
    (gathered.bytes, gathered.records) = (bytes, records);
    Joined::Whole
}

/// Whether a record is the beginning of another one.
fn is_cut(line: &Line<'_>, whole: &Line<'_>) -> bool {
    let (cut, whole) = (of_kernel(line.bytes), of_kernel(whole.bytes));
    cut.len() < whole.len() && whole.starts_with(cut)
}

/// Records of which an event has one at most.
fn comes_once(record_type: u16) -> bool {
    types::is_single(record_type)
        || matches!(
            record_type,
            types::LOGIN | types::SYSCALL | types::CWD | types::PROCTITLE | types::URINGOP
        )
}

fn is_message(line: &Line<'_>) -> bool {
    types::is_single(line.record.record_type)
}

fn own_lines(gathered: &Gathered) -> Vec<Line<'_>> {
    let line = |record: &Record| {
        let bytes = gathered
            .bytes
            .get(record.start as usize..record.end as usize);
        line_of(bytes.unwrap_or_default(), *record)
    };
    gathered.records.iter().map(line).collect()
}

fn lines_of(text: &[u8]) -> Option<Vec<Line<'_>>> {
    let mut last = LastStamp::default();
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let stamp = parse_stamp(line, &mut last).ok()?;
            let record = Record {
                record_type: stamp.record_type,
                start: 0,
                body: (line.len() - stamp.body.len()) as u32,
                end: line.len() as u32,
            };
            Some(line_of(line, record))
        })
        .collect()
}

fn line_of(bytes: &[u8], record: Record) -> Line<'_> {
    let place = match record.record_type {
        types::SYSCALL | types::URINGOP => 1,
        types::CWD => 3,
        types::PATH => 4,
        types::PROCTITLE => 5,
        types::EOE => 6,
        other if types::follows_call(other) => 2,
        _ => 0,
    };
    let number = match record.record_type {
        types::PATH => item_of(bytes),
        _ => 0,
    };
    Line {
        bytes,
        record,
        rank: (place, number),
    }
}

/// Number of a PATH.
fn item_of(line: &[u8]) -> u32 {
    let at = memchr::memmem::find(line, b"item=").map_or(line.len(), |at| at + 5);
    let digits = line
        .iter()
        .skip(at)
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u32, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
    })
}
