//! Text as a shell reads it: commands of words, roughly.

use std::ops::Range;

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without the quotation marks, where they are around all of it.
    pub range: Range<usize>,
    pub is_quoted: bool,
}

/// The words of a command, and what stands behind it: `|`, `;`, `&`, a bracket or the end of a line.
pub(super) struct Command {
    pub words: Vec<Word>,
    pub end: u8,
}

/// The commands of a part of a text.
pub(super) fn split(text: &[u8], range: Range<usize>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut words = Vec::new();
    let mut place = range.start;
    let byte = |place: usize| text.get(place).copied().filter(|_| place < range.end);
    while let Some(here) = byte(place) {
        match here {
            b' ' | b'\t' | b'\r' | 0 => place += 1,
            b'\n' | b';' | b'|' | b'&' | b'(' | b')' => {
                if !words.is_empty() {
                    commands.push(Command {
                        words: std::mem::take(&mut words),
                        end: here,
                    });
                }
                place += 1;
            }
            _ => {
                let word = word_at(text, place, range.end);
                place = word.1;
                words.push(word.0);
            }
        }
    }
    if !words.is_empty() {
        commands.push(Command { words, end: 0 });
    }
    commands
}

fn word_at(text: &[u8], start: usize, limit: usize) -> (Word, usize) {
    let mut place = start;
    let mut is_whole = false;
    while let Some(here) = text.get(place).copied().filter(|_| place < limit) {
        match here {
            // Between two parameters of an address.
            b'&' if text.get(place + 1).is_some_and(u8::is_ascii_alphanumeric) => place += 1,
            b' ' | b'\t' | b'\r' | b'\n' | 0 | b';' | b'|' | b'&' | b')' => break,
            b'(' if place == start => break,
            b'\\' => place += 2,
            b'\'' | b'"' => {
                let close = closing(text, place, limit);
                is_whole = place == start;
                place = close.map_or(limit, |close| close + 1);
                is_whole &= close.is_some()
                    && text
                        .get(place)
                        .is_none_or(|next| place >= limit || b" \t\r\n\0;|&),]".contains(next));
                if is_whole {
                    break;
                }
            }
            _ => place += 1,
        }
    }
    let end = place.min(limit).max(start + 1);
    let range = if is_whole {
        start + 1..end - 1
    } else {
        start..end
    };
    (
        Word {
            range,
            is_quoted: is_whole,
        },
        end,
    )
}

/// Where the quotation that begins at `open` ends.
pub(super) fn closing(text: &[u8], open: usize, limit: usize) -> Option<usize> {
    let mark = *text.get(open)?;
    let mut place = open + 1;
    while place < limit {
        match *text.get(place)? {
            b'\\' if mark == b'"' => place += 2,
            here if here == mark => return Some(place),
            _ => place += 1,
        }
    }
    None
}
