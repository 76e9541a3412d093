//! The tables of `programs` applied to a command.

use super::commands::{is_option, Program};
use super::names;
use super::programs::{is_listed, Takes, ROWS};
use super::shell::Word;
use super::spans::{is_marked, Spans};
use super::values::{self, Quoting};
use super::Kind;
use std::ops::Range;

/// Options without a value that curl takes in one word with others: `-sSu`.
const CLUSTER: &[u8] = b"sSfLkvigIGORnNqlj46#";
/// Options whose value is no argument of the kind that is looked for.
const WITH_VALUE: [&str; 12] = [
    "-m",
    "--method",
    "-S",
    "--salt",
    "-salt",
    "--host",
    "--namespace",
    "-in",
    "--profile",
    "--registry",
    "-R",
    "--entity",
];

/// Mark what the rows of this program say.
pub(super) fn apply(words: &[Word], program: &Program, spans: &mut Spans<'_>) {
    for row in ROWS
        .iter()
        .filter(|row| is_listed(row.programs, &program.name))
    {
        let rest = words.get(program.at + 1..).unwrap_or_default();
        let mut place = 0;
        let is_met = row.words.iter().all(|wanted| {
            let found = rest.iter().skip(place).position(|word| {
                is_listed(
                    &[wanted],
                    &spans.part(word.range.clone()).to_ascii_lowercase(),
                )
            });
            place += found.map_or(0, |found| found + 1);
            found.is_some()
        });
        if is_met {
            let behind = rest.get(place..).unwrap_or_default();
            take(row.takes, rest, behind, &program.name, spans);
        }
    }
}

/// `all`: the arguments of the program; `behind`: those behind the row's words.
fn take(takes: Takes, all: &[Word], behind: &[Word], program: &[u8], spans: &mut Spans<'_>) {
    match takes {
        Takes::Option(names) => {
            for value in values_of(all, names, program, spans) {
                secret(value, Kind::Option, spans);
            }
        }
        Takes::Pair(names, mark) => {
            for value in values_of(all, names, program, spans) {
                pair(value, mark, spans);
            }
        }
        Takes::OptionMembers(names) => {
            for value in values_of(all, names, program, spans) {
                member(value, spans);
            }
        }
        Takes::Cookies(names) => {
            for value in values_of(all, names, program, spans) {
                cookies(value, spans);
            }
        }
        Takes::Joined(name) => {
            for word in all {
                let rest = spans.part(word.range.clone()).strip_prefix(name.as_bytes());
                if rest.is_some_and(|rest| !rest.is_empty()) {
                    secret(
                        word.range.start + name.len()..word.range.end,
                        Kind::Option,
                        spans,
                    );
                }
            }
        }
        Takes::Prompted(names) => {
            for pair in all.windows(2) {
                let [option, next] = pair else { continue };
                if is_listed(names, spans.part(option.range.clone()))
                    && looks_like_password(spans.part(next.range.clone()))
                {
                    secret(next.range.clone(), Kind::Option, spans);
                }
            }
        }
        Takes::After(text) => {
            for word in all {
                if spans.part(word.range.clone()).starts_with(text.as_bytes()) {
                    secret(
                        word.range.start + text.len()..word.range.end,
                        Kind::Argument,
                        spans,
                    );
                }
            }
        }
        Takes::Argument(place) => {
            if let Some(value) = argument(behind, place, program, spans) {
                secret(value, Kind::Argument, spans);
            }
        }
        Takes::ArgumentPair(place, mark) => {
            if let Some(value) = argument(behind, place, program, spans) {
                log_on(value, mark, spans);
            }
        }
        Takes::Named => named(behind, spans),
        Takes::Members => behind
            .iter()
            .for_each(|word| member(word.range.clone(), spans)),
    }
}

fn secret(value: Range<usize>, kind: Kind, spans: &mut Spans<'_>) {
    let value = match spans.part(value.clone()) {
        [b'\'', _, .., b'\''] | [b'"', _, .., b'"'] => value.start + 1..value.end - 1,
        _ => value,
    };
    if values::is_secret(spans.part(value.clone()), Quoting::Whole) {
        spans.take(value, kind);
    }
}

/// The values of these options, whichever way they are given.
fn values_of(all: &[Word], names: &[&str], program: &[u8], spans: &Spans<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, word) in all.iter().enumerate() {
        let bytes = spans.part(word.range.clone());
        for name in names {
            let letter = name.strip_prefix('-').filter(|rest| rest.len() == 1);
            let is_last = letter
                .is_some_and(|letter| program == b"curl" && is_cluster(bytes, letter.as_bytes()));
            if bytes == name.as_bytes() || is_last {
                let next = all.get(at + 1).map(|next| next.range.clone());
                found.extend(next.filter(|next| !is_option(spans.part(next.clone()))));
                continue;
            }
            let Some(rest) = bytes.strip_prefix(name.as_bytes()) else {
                continue;
            };
            match rest.first() {
                Some(b'=') => found.push(word.range.end - rest.len() + 1..word.range.end),
                Some(_) if letter.is_some() => {
                    found.push(word.range.end - rest.len()..word.range.end)
                }
                _ => {}
            }
        }
    }
    found
}

/// `-sSu`: the letter is the last of several options.
fn is_cluster(word: &[u8], letter: &[u8]) -> bool {
    let inner = word
        .strip_prefix(b"-")
        .and_then(|rest| rest.strip_suffix(letter))
        .unwrap_or_default();
    !inner.is_empty() && inner.iter().all(|byte| CLUSTER.contains(byte))
}

/// `user:password`; a token stands alone, or before the mark.
fn pair(value: Range<usize>, mark: u8, spans: &mut Spans<'_>) {
    let bytes = spans.part(value.clone());
    let sign = bytes.iter().position(|byte| *byte == mark);
    let Some(at) = sign.filter(|_| !is_marked(bytes)) else {
        return;
    };
    let password = bytes.get(at + 1..).unwrap_or_default();
    let user = bytes.get(..at).unwrap_or_default();
    let is_token = user.len() >= 16 && user.iter().any(u8::is_ascii_digit);
    if matches!(password, b"" | b"x-oauth-basic" | b"api_token" | b"X") && is_token {
        return secret(value.start..value.start + at, Kind::Option, spans);
    }
    secret(value.start + at + 1..value.end, Kind::Option, spans);
}

/// `user/password@database`.
fn log_on(value: Range<usize>, mark: u8, spans: &mut Spans<'_>) {
    let bytes = spans.part(value.clone());
    let sign = bytes.iter().position(|byte| *byte == mark);
    let Some(at) = sign.filter(|at| *at > 0 && !is_marked(bytes)) else {
        return;
    };
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'@')
        .filter(|end| *end > at)
        .unwrap_or(bytes.len());
    if !bytes.starts_with(b"@") {
        secret(
            value.start + at + 1..value.start + end,
            Kind::Argument,
            spans,
        );
    }
}

/// The value of `NAME=value`.
fn member(word: Range<usize>, spans: &mut Spans<'_>) {
    let bytes = spans.part(word.clone());
    if let Some(sign) = bytes.iter().position(|byte| *byte == b'=') {
        let value = bytes.get(sign + 1..).unwrap_or_default();
        if !value.starts_with(b"@") {
            secret(word.start + sign + 1..word.end, Kind::Field, spans);
        }
    }
}

/// `name=value; name=value`: all behind the first sign. A name alone is that of a file.
fn cookies(value: Range<usize>, spans: &mut Spans<'_>) {
    let bytes = spans.part(value.clone());
    if let Some(sign) = bytes.iter().position(|byte| *byte == b'=') {
        if values::is_cookie(bytes.get(sign + 1..).unwrap_or_default()) {
            spans.take(value.start + sign + 1..value.end, Kind::Header);
        }
    }
}

/// The argument at this place, options not counted. The first one is the first that may be a secret.
fn argument(
    words: &[Word],
    place: usize,
    program: &[u8],
    spans: &Spans<'_>,
) -> Option<Range<usize>> {
    let mut count = 0;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let bytes = spans.part(word.range.clone());
        at += 1;
        if bytes.starts_with(b"-") && bytes.len() > 1 {
            at += usize::from(
                is_listed(&WITH_VALUE, bytes) && !matches!(program, b"htpasswd" | b"sqlplus"),
            );
            continue;
        }
        let is_other = place == 0
            && (bytes.contains(&b'=')
                && bytes.first().is_some_and(u8::is_ascii_lowercase)
                && !bytes.ends_with(b"=")
                || values::is_place(bytes));
        if is_other {
            continue;
        }
        if count == place {
            return Some(word.range.clone());
        }
        count += 1;
    }
    None
}

/// The argument behind the name of a secret.
fn named(words: &[Word], spans: &mut Spans<'_>) {
    for pair in words.windows(2) {
        let [word, next] = pair else { continue };
        let bytes = spans.part(word.range.clone());
        let name = bytes
            .rsplit(|byte| matches!(byte, b'/' | b':'))
            .next()
            .unwrap_or_default();
        let is_named = !bytes.starts_with(b"-")
            && !bytes.contains(&b'=')
            && (names::is_secret(name) || name == b"_auth");
        if is_named && !is_option(spans.part(next.range.clone())) {
            secret(next.range.clone(), Kind::Argument, spans);
        }
    }
}

/// `hunter2`, `S3cret!`; the name of a database has small letters alone.
fn looks_like_password(word: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_' || *byte == b'-';
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"./-".contains(byte);
    word.len() >= 4
        && word.iter().all(is_plain)
        && !word.iter().all(is_name)
        && !word.contains(&b'_')
}
