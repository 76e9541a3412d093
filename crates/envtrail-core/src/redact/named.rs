//! Whether a command may be one whose secret only the tables of `programs` tell.

use super::programs::{Takes, READERS, ROWS};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::sync::OnceLock;

/// The options of the rows that have one letter, or begin so.
const LETTERS: &[u8] = b"abfhkpstuvwAKPSUX";
/// The options that may be the last of several of curl's in one word.
const LAST_LETTERS: &[u8] = b"buU";
/// Words of rows whose secret is no option's.
const VERBS: [&[u8]; 9] = [
    b"login",
    b"alias",
    b"put",
    b"patch",
    b"unseal",
    b"add_user",
    b"obscure",
    b"add",
    b"register",
];

/// Whether a program of the tables is among the arguments, with what its row needs. Arguments without an option that a row has are passed
/// over, but for those that may hold commands.
///
/// `all`: the bytes of all of them.
pub(super) fn may_run_program<'a>(
    all: &[u8],
    arguments: impl Iterator<Item = &'a [u8]> + Clone,
) -> bool {
    // A program text may have commands in its literals.
    let is_text = |text: &[u8]| {
        memchr::memchr3(b' ', b'\n', b'\t', text).is_some()
            || memchr::memchr2(b'"', b'\'', text).is_some()
    };
    let names_sqlplus = memchr::memmem::find(all, b"sqlplus").is_some();
    let is_known = names_sqlplus || arguments.clone().any(is_of_a_row);
    let has_any = is_text(all);
    if !is_known && !has_any {
        return false;
    }
    let has_commands = |argument: &[u8]| has_any && is_text(argument);
    let may_name =
        |argument: &&[u8]| (is_known && may_be_program(argument)) || has_commands(argument);
    let mut shown = arguments.clone().filter(may_name);
    shown.any(|argument| names_program(argument, arguments.clone()))
}

/// Arguments joined by NUL.
#[derive(Clone)]
pub(super) struct Joined<'a>(pub Option<&'a [u8]>);

impl<'a> Iterator for Joined<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let end = memchr::memchr(0, text);
        self.0 = end.and_then(|end| text.get(end + 1..));
        text.get(..end.unwrap_or(text.len()))
    }
}

/// Whether an argument is an option or a word that one of the rows has.
fn is_of_a_row(argument: &[u8]) -> bool {
    match argument {
        [b'-', b'-', third, rest @ ..] => match third {
            b'u' | b'p' | b'o' => true,
            b's' | b'n' => matches!(rest, b"o-pin" | b"ew-pin"),
            _ => false,
        },
        [b'-', second, .., last] => LETTERS.contains(second) || LAST_LETTERS.contains(last),
        [b'-', second] => LETTERS.contains(second),
        [b'/', b'p', b':', ..] | [b'h', b't', b't', b'p', b'-', ..] => true,
        [b's', b'n', b'm', b'p', ..] => true,
        _ => VERBS.iter().any(|verb| argument.eq_ignore_ascii_case(verb)),
    }
}

/// Whether the last part of an argument begins as a program of a row does, and is as long.
fn may_be_program(argument: &[u8]) -> bool {
    let start = memchr::memrchr2(b'/', b'\\', argument).map_or(0, |at| at + 1);
    let name = argument.get(start..).unwrap_or_default();
    // An ending (`.py`, `.exe`) may follow.
    let name = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let (Some(known), Some(first)) = (known_programs(), name.first()) else {
        return false;
    };
    let lengths = known.lengths.get(*first as usize).copied().unwrap_or(0);
    lengths & (1 << name.len().min(31)) != 0
}

/// Whether a text names a program of the tables, with what its row needs.
pub(super) fn may_name_program(text: &[u8]) -> bool {
    names_program(text, std::iter::once(text))
}

fn names_program<'a>(text: &[u8], all: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
    let Some(known) = known_programs() else {
        return true;
    };
    let is_part = |at: usize| {
        let byte = text.get(at);
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'/')
    };
    known.names.find_iter(text).any(|found| {
        let before = found.start().checked_sub(1);
        let before = before.filter(|at| text.get(*at) != Some(&b'/'));
        let Some(rows) = known.rows.get(found.pattern().as_usize()) else {
            return false;
        };
        !before.is_some_and(is_part)
            && (rows.is_start || !is_part(found.end()))
            && rows.needs.iter().any(|needs| needs.are_met(all.clone()))
    })
}

/// What must be there besides the program.
#[derive(Clone)]
struct Needs {
    words: Vec<&'static str>,
    options: &'static [&'static str],
}

impl Needs {
    fn are_met<'a>(&self, texts: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let is_in = |word: &str| {
            let is_part = |text: &[u8]| memchr::memmem::find(text, word.as_bytes()).is_some();
            texts.clone().any(is_part)
        };
        // The words of a row may be written in any case, its options not.
        let is_word_in = |word: &&str| {
            is_in(word) || {
                let is_it = |part: &[u8]| part.eq_ignore_ascii_case(word.as_bytes());
                texts
                    .clone()
                    .any(|text| text.windows(word.len()).any(is_it))
            }
        };
        // `-u` in `-sSu`.
        let is_there = |option: &&str| is_in(option) || (*option == "-u" && is_in("curl"));
        self.words.iter().all(is_word_in)
            && (self.options.is_empty() || self.options.iter().any(is_there))
    }
}

/// The rows of a name.
#[derive(Default)]
struct Rows {
    needs: Vec<Needs>,
    /// Programs only begin so.
    is_start: bool,
}

struct Known {
    /// By the first letter: which lengths a name has.
    lengths: Vec<u32>,
    names: AhoCorasick,
    /// By the number of the name.
    rows: Vec<Rows>,
}

/// The programs of the tables, but for rows that the name of a secret decides.
fn known_programs() -> Option<&'static Known> {
    static KNOWN: OnceLock<Option<Known>> = OnceLock::new();
    KNOWN.get_or_init(read_tables).as_ref()
}

fn read_tables() -> Option<Known> {
    let mut names: Vec<&str> = Vec::new();
    let mut rows: Vec<Rows> = Vec::new();
    let mut add = |program: &'static str, needs: Needs| {
        let name = program.strip_suffix('*').unwrap_or(program);
        let known = names.iter().position(|known| *known == name);
        let at = known.unwrap_or(names.len());
        if known.is_none() {
            names.push(name);
            rows.push(Rows::default());
        }
        if let Some(known) = rows.get_mut(at) {
            known.needs.push(needs);
            known.is_start |= program.ends_with('*');
        }
    };
    for row in ROWS.iter().filter(|row| !matches!(row.takes, Takes::Named)) {
        for program in row.programs {
            let words = row.words.iter().map(|word| word.trim_end_matches('*'));
            let words = words.collect();
            let options = row.takes.options();
            add(program, Needs { words, options });
        }
    }
    for (program, option) in READERS {
        let words = vec![option];
        let options = &["|", "<<<"];
        add(program, Needs { words, options });
    }
    // A name that begins as others do is found instead of them.
    let starts: Vec<(usize, &str)> = names.iter().copied().enumerate().collect();
    for (at, name) in &starts {
        let is_other = |(other, start): &&(usize, &str)| {
            other != at
                && name.starts_with(start)
                && rows.get(*other).is_some_and(|rows| rows.is_start)
        };
        let others: Vec<usize> = starts
            .iter()
            .filter(is_other)
            .map(|(other, _)| *other)
            .collect();
        for other in others {
            let more = rows
                .get(other)
                .map(|rows| rows.needs.clone())
                .unwrap_or_default();
            if let Some(known) = rows.get_mut(*at) {
                known.needs.extend(more);
                known.is_start = true;
            }
        }
    }
    let mut lengths = vec![0; 256];
    for (name, rows) in names.iter().zip(&rows) {
        let first = name.as_bytes().first().copied().unwrap_or(0);
        if let Some(known) = lengths.get_mut(first as usize) {
            *known |= if rows.is_start {
                u32::MAX << name.len()
            } else {
                1 << name.len()
            };
        }
    }
    let mut builder = AhoCorasick::builder();
    let builder = builder
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .match_kind(MatchKind::LeftmostLongest);
    let names = builder.build(names).ok()?;
    Some(Known {
        lengths,
        names,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_what_its_rows_need() {
        let may_run =
            |text: &str| may_run_program(text.as_bytes(), text.split('^').map(str::as_bytes));
        for text in [
            "docker^run^-p^80:80",
            "pip^install^-r^x",
            "python^-m^twine^check",
            "/opt/mc/envs/x^alias^set",
            "bash^-c^docker run -p 80:80 x",
        ] {
            assert!(!may_run(text), "{text}");
        }
        for text in [
            "mysqladmin7^-u^root^-pHunter22",
            "x^docker^login^-p",
            "/usr/bin/curl^-sSu^a:b",
            "mc^alias^set",
            "bash^-c^curl -u a:b h",
            "bash^-c^echo x | sudo -S ls",
        ] {
            assert!(may_run(text), "{text}");
        }
    }

    #[test]
    fn the_options_and_words_of_the_rows_are_known() {
        // What is recognised by the name of a secret is found by that.
        let is_told = |text: &str| {
            let text = text.as_bytes();
            super::super::anchors::hold_word(text) || super::super::signs::hold_secret(text)
        };
        for row in ROWS.iter().filter(|row| {
            !matches!(
                row.takes,
                Takes::Named | Takes::Joined(_) | Takes::ArgumentPair(..)
            )
        }) {
            let needed = row.words.iter().map(|word| word.trim_end_matches('*'));
            for program in row.programs {
                let options = row.takes.options();
                let any = needed
                    .clone()
                    .chain([*program])
                    .any(|word| is_told(word) || is_of_a_row(word.as_bytes()));
                let options_known = options
                    .iter()
                    .all(|option| is_told(option) || is_of_a_row(option.as_bytes()));
                let text = match row.takes {
                    Takes::After(text) => text,
                    _ => "",
                };
                let is_text = is_told(text) || is_of_a_row(text.as_bytes());
                assert!(
                    any || (options_known && !options.is_empty()) || is_text,
                    "{program} {:?} {options:?}",
                    row.words
                );
            }
        }
    }
}
