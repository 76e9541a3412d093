//! Command lines: which program runs, which of its arguments are secrets, and what the arguments hold.

use super::names;
use super::pairs::{self, Language};
use super::programs::{
    self, is_listed, ASSIGNERS, INTERPRETERS, READERS, RUNS, SHELLS, SWITCHES, WRAPPERS,
};
use super::rows;
use super::shell::{self, Command, Word};
use super::spans::{is_marked, Spans};
use super::values::{self, Quoting};
use super::Kind;
use rustc_hash::FxHashSet;
use std::ops::Range;
use std::sync::OnceLock;

/// A command in a text in a command in a text.
const DEEPEST: usize = 4;
const MOST_PROGRAMS: usize = 6;
/// Words behind a program that runs another, in which that one is looked for.
const FAR: usize = 24;

/// A program of a command: its place among the words, its name, and what its arguments may be.
#[derive(Clone, Default)]
pub(super) struct Program {
    pub at: usize,
    pub name: Vec<u8>,
    is_interpreter: bool,
    is_shell: bool,
    is_assigner: bool,
}

/// Arguments joined by NUL.
pub(super) fn scan_arguments(spans: &mut Spans<'_>) {
    let mut start = 0;
    let mut words = Vec::new();
    for argument in spans.text.split(|byte| *byte == 0) {
        words.push(Word {
            range: start..start + argument.len(),
            is_quoted: true,
        });
        start += argument.len() + 1;
    }
    walk(&words, 0, spans);
}

/// A text that is a command line, or quotes one.
pub(super) fn scan_text(spans: &mut Spans<'_>) {
    let whole = 0..spans.text.len();
    pairs::scan(whole.clone(), Language::Prose, spans);
    let words = spans
        .text
        .split(|byte| *byte == b' ')
        .scan(0, |start, word| {
            let range = *start..*start + word.len();
            *start = range.end + 1;
            Some(range)
        });
    let words: Vec<Range<usize>> = words.filter(|word| !word.is_empty()).collect();
    pairs::scan_bare_header(&words, spans);
    run(whole, 0, spans);
}

/// The commands of a part of the text.
fn run(part: Range<usize>, depth: usize, spans: &mut Spans<'_>) {
    let end = part.end;
    let commands = shell::split(spans.text, part);
    for (at, command) in commands.iter().enumerate() {
        feed(command, commands.get(at + 1), spans);
        if let Some(start) = bare_code(command, spans) {
            pairs::scan(start..end, Language::Code, spans);
            literals(start..end, depth + 1, spans);
        }
        walk(&command.words, depth, spans);
    }
}

/// Where the program of `python -c` begins, whose quotation marks are gone.
fn bare_code(command: &Command, spans: &Spans<'_>) -> Option<usize> {
    let [.., program, option, code] = command.words.get(..3)? else {
        return None;
    };
    let name = base_name(spans.part(program.range.clone()));
    let is_bare = is_listed(&INTERPRETERS, name) && is_evaluation(spans.part(option.range.clone()));
    (is_bare && !code.is_quoted).then_some(code.range.start)
}

/// `echo SECRET | sudo -S …`, `chpasswd <<< user:SECRET`.
fn feed(command: &Command, next: Option<&Command>, spans: &mut Spans<'_>) {
    // A shell's command whose quotation marks are gone.
    let is_bare = |word: &Word| !word.is_quoted && spans.part(word.range.clone()) == b"-c";
    let is_inner = command.words.get(1).is_some_and(is_bare);
    let lead = if is_inner { 2 } else { 0 };
    let name = command
        .words
        .get(lead)
        .map(|word| base_name(spans.part(word.range.clone())));
    if command.end == b'|' && matches!(name, Some(b"echo" | b"printf")) {
        if let Some(is_pair) = next.and_then(|next| reads_secret(next, spans)) {
            for word in command.words.iter().skip(lead + 1) {
                let bytes = spans.part(word.range.clone());
                if !bytes.starts_with(b"-") && !bytes.starts_with(b"%") {
                    take_fed(word.range.clone(), is_pair, spans);
                }
            }
        }
    }
    let Some(is_pair) = reads_secret(command, spans) else {
        return;
    };
    for (at, word) in command.words.iter().enumerate() {
        let Some(rest) = spans.part(word.range.clone()).strip_prefix(b"<<<") else {
            continue;
        };
        let quotes = usize::from(matches!(rest.first(), Some(b'\'' | b'"')));
        let inner = word.range.start + 3 + quotes..word.range.end.saturating_sub(quotes);
        let value = match command.words.get(at + 1) {
            Some(next) if rest.is_empty() => next.range.clone(),
            _ => inner,
        };
        take_fed(value, is_pair, spans);
    }
}

fn take_fed(value: Range<usize>, is_pair: bool, spans: &mut Spans<'_>) {
    let bytes = spans.part(value.clone());
    if is_marked(bytes) {
        return;
    }
    let colon = bytes
        .iter()
        .position(|byte| *byte == b':')
        .filter(|_| is_pair);
    let value = value.start + colon.map_or(0, |colon| colon + 1)..value.end;
    if values::is_secret(spans.part(value.clone()), Quoting::Whole) {
        spans.take(value, Kind::Argument);
    }
}

/// Whether a command reads a secret from its standard input, and whether a user's name stands before it.
fn reads_secret(command: &Command, spans: &Spans<'_>) -> Option<bool> {
    let words = || {
        command
            .words
            .iter()
            .map(|word| spans.part(word.range.clone()))
    };
    let names: Vec<&[u8]> = words().map(base_name).collect();
    let is_read = |(program, option): &&(&str, &str)| {
        let place = names.iter().position(|name| *name == program.as_bytes());
        let Some(place) = place else {
            return false;
        };
        let mut rest = words().skip(place + 1);
        option.is_empty() || rest.any(|word| word.starts_with(option.as_bytes()))
    };
    READERS
        .iter()
        .find(is_read)
        .map(|(program, _)| *program == "chpasswd")
}

/// The words of one command.
fn walk(words: &[Word], depth: usize, spans: &mut Spans<'_>) {
    let programs = programs_of(words, spans);
    for program in &programs {
        rows::apply(words, program, spans);
    }
    let none = Program::default();
    for at in 0..words.len() {
        let earlier = programs.iter().rev().find(|program| program.at < at);
        let program = earlier.unwrap_or(&none);
        option(words, at, &program.name, spans);
        look_into(words, at, program, depth, spans);
    }
}

/// `--password value`, for programs of which nothing is known too.
fn option(words: &[Word], at: usize, program: &[u8], spans: &mut Spans<'_>) {
    let (Some(word), Some(next)) = (words.get(at), words.get(at + 1)) else {
        return;
    };
    let name = spans.part(word.range.clone());
    if !name.starts_with(b"-")
        || name.len() < 3
        || name.contains(&b'=')
        || name.iter().any(|byte| matches!(byte, b' ' | b':'))
        || !names::is_secret(name)
    {
        return;
    }
    let is_switch = |(known, options): &(&[&str], &[&str])| {
        is_listed(known, program) && is_listed(options, name)
    };
    let value = spans.part(next.range.clone());
    if SWITCHES.iter().any(is_switch) || is_option(value) || pairs::is_manner(name, value) {
        return;
    }
    if values::is_secret(value, Quoting::Whole) {
        spans.take(next.range.clone(), Kind::Option);
    }
}

/// Whether a word is an option, and no value that begins with a dash.
pub(super) fn is_option(word: &[u8]) -> bool {
    matches!(word, [b'-', b'-', second, ..] if second.is_ascii_alphabetic())
        || matches!(word, [b'-', first, ..] if first.is_ascii_alphabetic())
}

/// What an argument holds: names with values, commands, a program.
fn look_into(words: &[Word], at: usize, program: &Program, depth: usize, spans: &mut Spans<'_>) {
    let Some(word) = words.get(at) else {
        return;
    };
    let part = word.range.clone();
    let bytes = spans.part(part.clone());
    let before = at.checked_sub(1).and_then(|at| words.get(at));
    let before = before
        .map(|word| spans.part(word.range.clone()))
        .unwrap_or_default();
    if program.is_interpreter && is_evaluation(before) {
        pairs::scan(part.clone(), Language::Code, spans);
        return literals(part, depth, spans);
    }
    let has_spaces = bytes
        .iter()
        .any(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
    if !has_spaces {
        return pairs::scan(part, Language::Word, spans);
    }
    if depth >= DEEPEST {
        return;
    }
    if program.is_shell && !before.is_empty() && !is_assigned_by(before) {
        return run(part, depth + 1, spans);
    }
    if is_assigned_by(before) || program.is_assigner || !word.is_quoted {
        return pairs::scan(part, Language::Word, spans);
    }
    pairs::scan(part.clone(), Language::Data, spans);
    run(part, depth + 1, spans);
}

fn is_evaluation(option: &[u8]) -> bool {
    matches!(
        option,
        b"-c"
            | b"-e"
            | b"-E"
            | b"-p"
            | b"-r"
            | b"-pe"
            | b"-ne"
            | b"-le"
            | b"-ce"
            | b"-Ec"
            | b"-Ic"
            | b"-Bc"
            | b"-uc"
            | b"-Sc"
            | b"-sc"
            | b"-ic"
            | b"--eval"
            | b"--print"
            | b"--execute"
    )
}

fn is_assigned_by(option: &[u8]) -> bool {
    matches!(
        option,
        b"-e"
            | b"--env"
            | b"--build-arg"
            | b"--set"
            | b"--set-string"
            | b"-var"
            | b"-D"
            | b"-E"
            | b"-o"
    )
}

/// The programs of a command: one that runs another, that one, …
fn programs_of(words: &[Word], spans: &Spans<'_>) -> Vec<Program> {
    let mut found: Vec<Program> = Vec::new();
    let mut at = 0;
    while found.len() < MOST_PROGRAMS {
        let Some(word) = words.get(at) else {
            break;
        };
        let bytes = spans.part(word.range.clone());
        if is_assignment(bytes) {
            at += 1;
            continue;
        }
        let name = base_name(bytes).to_vec();
        let next = next_program(words, at, &name, spans);
        found.push(Program {
            at,
            is_interpreter: is_listed(&INTERPRETERS, &name),
            is_shell: is_listed(&SHELLS, &name),
            is_assigner: is_listed(&ASSIGNERS, &name),
            name,
        });
        match next {
            Some(next) if next > at => at = next,
            _ => break,
        }
    }
    found
}

/// Where the program stands that this one runs.
fn next_program(words: &[Word], at: usize, name: &[u8], spans: &Spans<'_>) -> Option<usize> {
    if is_listed(&INTERPRETERS, name) {
        return script_of(words, at, spans);
    }
    let next = words.get(at + 1).map(|word| spans.part(word.range.clone()));
    let is_bare = words.get(at + 2).is_some_and(|word| !word.is_quoted);
    if is_listed(&SHELLS, name) && next == Some(b"-c".as_slice()) && is_bare {
        return Some(at + 2);
    }
    let run = RUNS.iter().find(|(programs, _)| is_listed(programs, name));
    let known = |place: &usize| {
        let word = words
            .get(*place)
            .map(|word| spans.part(word.range.clone()))
            .unwrap_or_default();
        !is_option(word) && is_program(base_name(word))
    };
    let end = words.len().min(at + FAR);
    match run {
        Some((_, verbs)) => {
            let is_verb = |place: &usize| {
                let word = words
                    .get(*place)
                    .map(|word| spans.part(word.range.clone()))
                    .unwrap_or_default();
                is_listed(verbs, word)
            };
            let verb = (at + 1..end).find(is_verb)?;
            (verb + 1..end).find(known)
        }
        None if is_listed(&WRAPPERS, name) => (at + 1..end).find(known),
        None => None,
    }
}

/// Whether it is one that the tables know.
fn is_program(name: &[u8]) -> bool {
    type Known = (FxHashSet<&'static [u8]>, Vec<&'static [u8]>);
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let (names, starts) = KNOWN.get_or_init(|| {
        let rows = programs::ROWS.iter().flat_map(|row| row.programs);
        let runs = RUNS.iter().flat_map(|(programs, _)| *programs);
        let lists = INTERPRETERS.iter().chain(&SHELLS).chain(&WRAPPERS);
        let all = rows.chain(runs).chain(lists);
        let (starts, names): (Vec<&str>, Vec<&str>) = all.partition(|name| name.ends_with('*'));
        let starts = starts
            .iter()
            .map(|start| start.trim_end_matches('*').as_bytes());
        (
            names.iter().map(|name| name.as_bytes()).collect(),
            starts.collect(),
        )
    });
    names.contains(name) || starts.iter().any(|start| name.starts_with(start))
}

/// The script or module that an interpreter runs.
fn script_of(words: &[Word], at: usize, spans: &Spans<'_>) -> Option<usize> {
    let mut place = at + 1;
    while let Some(word) = words.get(place) {
        let bytes = spans.part(word.range.clone());
        match bytes {
            b"-m" => return Some(place + 1),
            b"-W" | b"-X" | b"--require" => place += 2,
            _ if is_evaluation(bytes) => return None,
            [b'-', ..] => place += 1,
            _ => return Some(place),
        }
    }
    None
}

/// `NAME=value`.
fn is_assignment(word: &[u8]) -> bool {
    let sign = word.iter().position(|byte| *byte == b'=').unwrap_or(0);
    let name = word.get(..sign).unwrap_or_default();
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// The name of a program without its folder and ending.
pub(super) fn base_name(word: &[u8]) -> &[u8] {
    let start = word
        .iter()
        .rposition(|byte| *byte == b'/' || *byte == b'\\')
        .map_or(0, |at| at + 1);
    let name = word.get(start..).unwrap_or_default();
    [b".exe".as_slice(), b".py", b".sh", b".__main__"]
        .iter()
        .find_map(|end| name.strip_suffix(*end))
        .unwrap_or(name)
}

/// The literals of a program: commands among them, and lists that are one.
fn literals(part: Range<usize>, depth: usize, spans: &mut Spans<'_>) {
    let mut group: Vec<Word> = Vec::new();
    let mut place = part.start;
    let mut opened = part.start;
    while place < part.end {
        let here = spans.at(place);
        if matches!(here, b'"' | b'\'') {
            let close = end_of_literal(spans, place, part.end);
            if group.is_empty() {
                opened = place;
            }
            group.push(Word {
                range: place + 1..close,
                is_quoted: true,
            });
            place = close + 1;
            continue;
        }
        if !matches!(here, b',' | b' ' | b'\n' | b'\t') {
            end_group(&mut group, part.start..opened, depth, spans);
        }
        place += 1;
    }
    end_group(&mut group, part.start..opened, depth, spans);
}

fn end_group(group: &mut Vec<Word>, head: Range<usize>, depth: usize, spans: &mut Spans<'_>) {
    let words = std::mem::take(group);
    let head = spans.part(head).trim_ascii_end();
    let ends = |known: &[&str]| known.iter().any(|end| head.ends_with(end.as_bytes()));
    if let [first, second, ..] = words.as_slice() {
        let value = spans.part(second.range.clone());
        let is_set = ends(&programs::SETTERS) && names::is_secret(spans.part(first.range.clone()));
        if (is_set || ends(&programs::SIGN_INS)) && values::is_secret(value, Quoting::Literal) {
            spans.take(second.range.clone(), Kind::Field);
        }
        if depth < DEEPEST {
            walk(&words, depth + 1, spans);
        }
    } else if let [only] = words.as_slice() {
        let has_spaces = spans.part(only.range.clone()).contains(&b' ');
        if has_spaces && depth < DEEPEST {
            pairs::scan(only.range.clone(), Language::Data, spans);
            run(only.range.clone(), depth + 1, spans);
        } else {
            pairs::scan(only.range.clone(), Language::Word, spans);
        }
    }
}

fn end_of_literal(spans: &Spans<'_>, open: usize, limit: usize) -> usize {
    let mark = spans.at(open);
    let mut place = open + 1;
    while place < limit {
        match spans.at(place) {
            b'\\' => place += 2,
            here if here == mark => return place,
            _ => place += 1,
        }
    }
    limit
}
