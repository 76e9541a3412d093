//! What is to be replaced in a text.

use super::{Counts, Kind, KINDS};
use std::cmp::Reverse;
use std::ops::Range;

pub(super) const MARK: &[u8] = b"<redacted:";

/// A text, and what was found in it.
pub(super) struct Spans<'a> {
    pub text: &'a [u8],
    found: Vec<(Range<usize>, Kind)>,
}

impl<'a> Spans<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Spans {
            text,
            found: Vec::new(),
        }
    }

    /// The bytes of a range; empty where it lies outside.
    pub fn part(&self, range: Range<usize>) -> &'a [u8] {
        self.text.get(range).unwrap_or_default()
    }

    /// The byte at a place; NUL outside.
    pub fn at(&self, place: usize) -> u8 {
        self.text.get(place).copied().unwrap_or(0)
    }

    /// Replace this range, unless it is a marker or a part of one.
    pub fn take(&mut self, range: Range<usize>, kind: Kind) {
        if !range.is_empty() && !is_marked(self.part(range.clone())) {
            self.found.push((range, kind));
        }
    }

    /// Replace all of it, unless it is the marker and nothing else.
    pub fn take_whole(&mut self, kind: Kind) {
        let name = KINDS.get(kind as usize).unwrap_or(&"").as_bytes();
        if self.text != [MARK, name, b">"].concat() {
            self.found.push((0..self.text.len(), kind));
        }
    }

    /// The text with markers; what overlaps becomes one.
    pub fn replace(mut self, counts: &mut Counts) -> Option<Vec<u8>> {
        if self.found.is_empty() {
            return None;
        }
        self.found
            .sort_by_key(|(range, _)| (range.start, Reverse(range.end)));
        let mut merged: Vec<(Range<usize>, Kind)> = Vec::with_capacity(self.found.len());
        for (range, kind) in self.found {
            match merged.last_mut() {
                Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push((range, kind)),
            }
        }
        let mut out = Vec::with_capacity(self.text.len());
        let mut copied = 0;
        for (range, kind) in merged {
            out.extend_from_slice(self.text.get(copied..range.start).unwrap_or_default());
            out.extend_from_slice(MARK);
            out.extend_from_slice(KINDS.get(kind as usize).unwrap_or(&"").as_bytes());
            out.push(b'>');
            copied = range.end;
            if let Some(count) = counts.get_mut(kind as usize) {
                *count += 1;
            }
        }
        out.extend_from_slice(self.text.get(copied..).unwrap_or_default());
        Some(out)
    }
}

/// Whether a place lies within the name of a kind in a marker.
pub(super) fn is_in_marker(text: &[u8], place: usize) -> bool {
    const LONGEST: usize = 32;
    let floor = place.saturating_sub(LONGEST);
    let head = text.get(floor..place).unwrap_or_default();
    let open = memchr::memrchr(b'<', head).map(|open| floor + open);
    let marker = open.and_then(|open| text.get(open..)).unwrap_or_default();
    let length = open.map_or(0, |open| place - open);
    let inner = marker.strip_prefix(MARK).unwrap_or_default();
    KINDS.iter().any(|kind| {
        let end = inner.strip_prefix(kind.as_bytes());
        end.is_some_and(|end| end.starts_with(b">")) && length < MARK.len() + kind.len()
    })
}

/// Whether something was replaced in it before; a cut title may end within a marker.
pub(super) fn is_marked(value: &[u8]) -> bool {
    memchr::memmem::find(value, MARK).is_some() || value.starts_with(b"<redac")
}
