//! Names with values in a word or a text: `NAME=value`, `--name=value`, `"name": "value"`, `Header: value`, `environ['NAME'] = 'value'`.

use super::names;
use super::shell::closing;
use super::spans::Spans;
use super::values::{self, Quoting, LONGEST};
use super::Kind;
use std::ops::Range;

/// What the part of a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// One word of a command.
    Word,
    /// Text outside any quotation marks: only members of documents are names.
    Prose,
    /// An argument with spaces in it that is no command: a header, a document, a sentence.
    Data,
    /// A program: only its literals are values.
    Code,
}

const LONGEST_NAME: usize = 80;
const MOST_SPACES: usize = 3;
const SCHEMES: [&str; 10] = [
    "bearer",
    "basic",
    "token",
    "digest",
    "apikey",
    "api-key",
    "negotiate",
    "key",
    "bot",
    "splunk",
];

/// Where values end, by what ends them: of all that begin before such a place it is the same. Without it, a word of nothing but names and
/// signs would be read once for each of them, and whoever executes it could stop the reader.
#[derive(Default)]
struct Ends {
    value: usize,
    parameter: usize,
    header: usize,
    word: usize,
}

impl Ends {
    fn known_or(known: &mut usize, start: usize, find: impl FnOnce(usize) -> usize) -> usize {
        if *known <= start {
            *known = find(start);
        }
        *known
    }
}

pub(super) struct Name {
    pub range: Range<usize>,
    is_quoted: bool,
    is_item: bool,
}

/// Mark the secrets of a part.
pub(super) fn scan(part: Range<usize>, language: Language, spans: &mut Spans<'_>) {
    let mut from = part.start;
    let mut ends = Ends::default();
    while let Some(offset) = memchr::memchr2(b'=', b':', spans.part(from..part.end)) {
        let sign = from + offset;
        from = sign + 1;
        let next = spans.at(sign + 1);
        let is_compared = next == b'='
            || (spans.at(sign) == b'=' && from > part.start + 1 && spans.at(sign - 1) == b'=');
        if is_compared && !(spans.at(sign) == b':' && next == b'=') {
            continue;
        }
        let Some(name) = name_before(spans, &part, sign, language) else {
            continue;
        };
        if language == Language::Prose && !name.is_quoted {
            continue;
        }
        let found = if spans.at(sign) == b'=' {
            assigned(spans, &part, &name, sign, language, &mut ends)
        } else {
            described(spans, &part, &name, sign, language, &mut ends)
        };
        if let Some((value, kind)) = found {
            from = value.end.max(from);
            spans.take(value, kind);
        }
    }
}

/// The name that ends before a sign.
pub(super) fn name_before(
    spans: &Spans<'_>,
    part: &Range<usize>,
    sign: usize,
    language: Language,
) -> Option<Name> {
    let mut end = sign;
    if spans.at(sign) == b'=' && end > part.start && spans.at(end - 1) == b':' {
        end -= 1;
    }
    if language != Language::Word || matches!(before(spans, part, end), b' ') {
        let spaces = (0..MOST_SPACES)
            .take_while(|count| end > part.start + count && spans.at(end - 1 - count) == b' ');
        end -= spaces.count();
    }
    let is_item = before(spans, part, end) == b']';
    end -= usize::from(is_item);
    let is_quoted = matches!(before(spans, part, end), b'"' | b'\'');
    if is_item && !is_quoted {
        return None;
    }
    if is_quoted {
        end -= 1;
        end -= usize::from(before(spans, part, end) == b'\\');
    }
    let floor = part.start.max(end.saturating_sub(LONGEST_NAME));
    let letters = spans.part(floor..end);
    let start = letters
        .iter()
        .rposition(|byte| !names::is_letter(*byte))
        .map_or(floor, |at| floor + at + 1);
    (start < end).then_some(Name {
        range: start..end,
        is_quoted,
        is_item,
    })
}

fn before(spans: &Spans<'_>, part: &Range<usize>, place: usize) -> u8 {
    match place.checked_sub(1) {
        Some(at) if at >= part.start => spans.at(at),
        _ => 0,
    }
}

/// `name=value`.
fn assigned(
    spans: &Spans<'_>,
    part: &Range<usize>,
    name: &Name,
    sign: usize,
    language: Language,
    ends: &mut Ends,
) -> Option<(Range<usize>, Kind)> {
    let text = spans.part(name.range.clone());
    let lead = before(spans, part, name.range.start);
    let is_parameter = matches!(lead, b'?' | b'&' | b'#');
    let is_header = text.eq_ignore_ascii_case(b"authorization");
    let is_known = match is_parameter {
        true => names::is_parameter(text) || is_keyed(spans, part, name),
        false => names::is_secret(text) || is_npm(text) || is_header || is_login(spans, part, name),
    };
    if !is_known {
        return None;
    }
    let is_spaced = spans.at(sign - 1) == b' ' || language != Language::Word || name.is_item;
    let start = skip_spaces(
        spans,
        part,
        sign + 1,
        if is_spaced { MOST_SPACES } else { 0 },
    );
    let kind = match (is_parameter, text.first()) {
        (true, _) => Kind::Url,
        (_, Some(b'-')) => Kind::Option,
        _ if name.is_quoted && !name.is_item => Kind::Field,
        _ => Kind::Env,
    };
    if let Some((value, quoting)) = quoted(spans, part, start, language) {
        let value = if is_header {
            without_scheme(spans, value)
        } else {
            value
        };
        let is_secret = values::is_secret(spans.part(value.clone()), quoting)
            && !is_option(spans, name, &value);
        return is_secret.then_some((value, kind));
    }
    if language == Language::Code && !is_parameter {
        return None;
    }
    if is_header {
        let end = end_of_header(spans, part, name, start, language, ends);
        let value = without_scheme(spans, start..end);
        return values::is_secret(spans.part(value.clone()), Quoting::Whole)
            .then_some((value, Kind::Header));
    }
    let is_first = name.range.start == part.start;
    let value = start..end_of_value(spans, part, start, (is_parameter, is_first, language), ends);
    let quoting = if is_first && value.end == part.end {
        Quoting::Whole
    } else {
        Quoting::Bare
    };
    let bytes = spans.part(value.clone());
    if values::is_secret(bytes, quoting) && !is_option(spans, name, &value) {
        return Some((value, kind));
    }
    // A command behind the value: the value alone.
    let word = start..word_end(spans, part, start, value.end, ends);
    let has_more = bytes.len() > LONGEST || bytes.contains(&b' ');
    let is_secret = has_more && values::is_secret(spans.part(word.clone()), Quoting::Bare);
    (is_secret && !is_option(spans, name, &word)).then_some((word, kind))
}

/// Whether the value says how a secret is given rather than what it is: `--secret id=npm,src=…`, `--pwd=/work`, `-pass 1`.
pub(super) fn is_manner(name: &[u8], value: &[u8]) -> bool {
    let starts = |start: &[u8]| value.starts_with(start);
    let last = name
        .rsplit(|byte| !byte.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    match last.to_ascii_lowercase().as_slice() {
        b"secret" => starts(b"id=") || starts(b"src=") || starts(b"type=") || starts(b"source="),
        b"pwd" => starts(b"/") || starts(b"."),
        b"pass" => value.len() < 3 && value.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_option(spans: &Spans<'_>, name: &Name, value: &Range<usize>) -> bool {
    is_manner(spans.part(name.range.clone()), spans.part(value.clone()))
}

fn is_npm(name: &[u8]) -> bool {
    name == b"_auth"
}

/// `login(key="…")`, `init(key=…)`: the key of a service.
fn is_login(spans: &Spans<'_>, part: &Range<usize>, name: &Name) -> bool {
    let head = spans.part(part.start..name.range.start);
    spans.part(name.range.clone()) == b"key"
        && (head.ends_with(b"login(") || head.ends_with(b"relogin("))
}

/// `?key=` of hosts that take a secret by that name.
fn is_keyed(spans: &Spans<'_>, part: &Range<usize>, name: &Name) -> bool {
    const HOSTS: [&[u8]; 4] = [
        b"googleapis.com",
        b"qyapi.weixin.qq.com",
        b"webhook",
        b"maps.google",
    ];
    let floor = part.start.max(name.range.start.saturating_sub(LONGEST));
    let head = spans.part(floor..name.range.start);
    let text = spans.part(name.range.clone());
    let is_url = |host: &[u8]| memchr::memmem::find(head, host).is_some();
    match text {
        b"key" => HOSTS.iter().any(|host| is_url(host)),
        _ => false,
    }
}

/// `name: value`.
fn described(
    spans: &Spans<'_>,
    part: &Range<usize>,
    name: &Name,
    sign: usize,
    language: Language,
    ends: &mut Ends,
) -> Option<(Range<usize>, Kind)> {
    let text = spans.part(name.range.clone());
    // curl takes a header joined to its option.
    let text = text.strip_prefix(b"-H").unwrap_or(text);
    let is_header = names::is_header(text);
    if !is_header && !names::is_secret(text) || before(spans, part, name.range.start) == b'/' {
        return None;
    }
    let start = skip_spaces(spans, part, sign + 1, MOST_SPACES);
    let kind = if is_header && text.contains(&b'-')
        || text.eq_ignore_ascii_case(b"authorization")
        || text.eq_ignore_ascii_case(b"cookie")
    {
        Kind::Header
    } else {
        Kind::Field
    };
    if let Some((value, quoting)) = quoted(spans, part, start, language) {
        let value = if is_header {
            without_scheme(spans, value)
        } else {
            value
        };
        return values::is_secret(spans.part(value.clone()), quoting).then_some((value, kind));
    }
    if name.is_quoted {
        // A number of a document.
        let digits = spans.part(start..part.end);
        let count = digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let is_number = count >= 4 && !text.to_ascii_lowercase().ends_with(b"token");
        return (language != Language::Code && is_number)
            .then_some((start..start + count, Kind::Field));
    }
    if language == Language::Code && kind != Kind::Header {
        return None;
    }
    let is_spaced = start > sign + 1;
    if !is_header && !is_spaced || language == Language::Word && is_header && kind != Kind::Header {
        return None;
    }
    let end = match kind {
        Kind::Header => end_of_header(spans, part, name, start, language, ends),
        _ => end_of_value(spans, part, start, (false, false, language), ends),
    };
    let value = if is_header {
        without_scheme(spans, start..end)
    } else {
        start..end
    };
    let bytes = spans.part(value.clone());
    let quoting = if kind == Kind::Header {
        Quoting::Whole
    } else {
        Quoting::Bare
    };
    let is_cookie = kind == Kind::Header && text.to_ascii_lowercase().ends_with(b"cookie");
    let is_secret = match is_cookie {
        true => values::is_cookie(bytes),
        false if is_scheme(bytes) => return None,
        false => values::is_secret(bytes, quoting),
    };
    if is_secret {
        return Some((value, kind));
    }
    let word = value.start..word_end(spans, part, value.start, value.end, ends);
    (kind == Kind::Header && values::is_secret(spans.part(word.clone()), Quoting::Bare))
        .then_some((word, kind))
}

/// Headers of a command line whose quotation marks are gone (`sudo` logs it so): `-H Authorization: Bearer value`.
pub(super) fn scan_bare_header(words: &[Range<usize>], spans: &mut Spans<'_>) {
    for (at, word) in words.iter().enumerate() {
        let bytes = spans.part(word.clone());
        let Some(name) = bytes.strip_suffix(b":") else {
            continue;
        };
        // Where the quotation marks are left, the word is looked at as one.
        if !names::is_header(name) || !name.first().is_some_and(u8::is_ascii_alphabetic) {
            continue;
        }
        let is_cookie = name.to_ascii_lowercase().ends_with(b"cookie");
        let mut rest = words.iter().skip(at + 1).cloned();
        let mut next = rest.next();
        if next.clone().is_some_and(|word| is_scheme(spans.part(word))) {
            next = rest.next();
        }
        while let Some(value) = next {
            let is_more = is_cookie && spans.part(value.clone()).ends_with(b";");
            if values::is_secret(spans.part(value.clone()), Quoting::Bare) {
                spans.take(value, Kind::Header);
            }
            next = if is_more { rest.next() } else { None };
        }
    }
}

fn is_scheme(word: &[u8]) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// `Bearer value` → `value`.
fn without_scheme(spans: &Spans<'_>, value: Range<usize>) -> Range<usize> {
    let bytes = spans.part(value.clone());
    const LONGEST_SCHEME: usize = 16;
    let mut first = bytes.iter().take(LONGEST_SCHEME);
    match first.position(|byte| *byte == b' ') {
        Some(space) if is_scheme(bytes.get(..space).unwrap_or_default()) => {
            let spaces = bytes
                .iter()
                .skip(space)
                .take_while(|byte| **byte == b' ')
                .count();
            value.start + space + spaces..value.end
        }
        _ => value,
    }
}

fn skip_spaces(spans: &Spans<'_>, part: &Range<usize>, start: usize, most: usize) -> usize {
    let spaces =
        (0..most).take_while(|count| start + count < part.end && spans.at(start + count) == b' ');
    start + spaces.count()
}

/// What stands between quotation marks that begin here.
fn quoted(
    spans: &Spans<'_>,
    part: &Range<usize>,
    start: usize,
    language: Language,
) -> Option<(Range<usize>, Quoting)> {
    let quoting = if language == Language::Code {
        Quoting::Literal
    } else {
        Quoting::Whole
    };
    let prefix = spans.part(start..part.end.min(start + 2));
    let is_prefixed =
        matches!(prefix, [b'b' | b'f' | b'r' | b'u', b'\'' | b'"']) && language == Language::Code;
    let open = start + usize::from(is_prefixed);
    let limit = part.end.min(open + LONGEST + 2);
    if open >= part.end {
        return None;
    }
    match spans.at(open) {
        b'\\' if matches!(spans.at(open + 1), b'"' | b'\'') => {
            let mark = [b'\\', spans.at(open + 1)];
            let inner = spans.part(open + 2..limit);
            let end = memchr::memmem::find(inner, &mark)?;
            Some((open + 2..open + 2 + end, quoting))
        }
        b'"' | b'\'' => {
            let close = closing(spans.text, open, limit)?;
            Some((open + 1..close, quoting))
        }
        _ => None,
    }
}

/// A header that is an argument goes to its end, one within a text to a quotation mark.
fn end_of_header(
    spans: &Spans<'_>,
    part: &Range<usize>,
    name: &Name,
    start: usize,
    language: Language,
    ends: &mut Ends,
) -> usize {
    let lead = spans.part(part.start..name.range.start);
    let is_first = lead.is_empty() || lead == b"--header=";
    let is_whole = is_first && matches!(language, Language::Word | Language::Data);
    let is_end =
        |byte: &u8| matches!(byte, b'\n' | b'\r' | 0) || (!is_whole && b"\"'".contains(byte));
    let find = |from: usize| {
        let found = spans.part(from..part.end).iter().position(is_end);
        found.map_or(part.end, |at| from + at)
    };
    match is_whole {
        true => find(start),
        false => Ends::known_or(&mut ends.header, start, find),
    }
}

fn word_end(
    spans: &Spans<'_>,
    part: &Range<usize>,
    start: usize,
    limit: usize,
    ends: &mut Ends,
) -> usize {
    let is_end = |byte: &u8| b" \t\r\n\0;|&\"'".contains(byte);
    let find = |from: usize| {
        let found = spans.part(from..part.end).iter().position(is_end);
        found.map_or(part.end, |at| from + at)
    };
    Ends::known_or(&mut ends.word, start, find).min(limit)
}

/// Where an unquoted value ends: of a query at what parts its parameters, of a first name of a word with the word, else with the word in the text.
fn end_of_value(
    spans: &Spans<'_>,
    part: &Range<usize>,
    start: usize,
    (is_parameter, is_first, language): (bool, bool, Language),
    ends: &mut Ends,
) -> usize {
    let rest = spans.part(start..part.end);
    let find = |is_end: &dyn Fn(usize, u8) -> bool| {
        let found = rest
            .iter()
            .enumerate()
            .find(|(at, byte)| is_end(*at, **byte));
        found.map_or(part.end, |(at, _)| start + at)
    };
    if is_parameter {
        return Ends::known_or(&mut ends.parameter, start, |_| {
            find(&|_, byte| b"&#; \t\r\n\0\"'<>|)`\\".contains(&byte))
        });
    }
    let is_next = |at: usize| is_next_name(rest.get(at + 1..).unwrap_or_default());
    let is_last = |at: usize| at + 1 == rest.len();
    let ends_member = |at: usize, byte: u8| {
        b"&;,".contains(&byte) && (is_next(at) || (byte == b';' && is_last(at)))
    };
    let is_option = spans.part(part.clone()).starts_with(b"-");
    match language {
        Language::Word if is_first && is_option => part.end,
        Language::Word if is_first => find(&ends_member),
        Language::Word => Ends::known_or(&mut ends.value, start, |_| {
            find(&|at, byte| {
                ends_member(at, byte) || b"\"'".contains(&byte) || (byte == b'}' && is_last(at))
            })
        }),
        _ if is_first => find(&|at, byte| ends_member(at, byte) || byte == b'\n'),
        _ => Ends::known_or(&mut ends.value, start, |_| {
            find(&|at, byte| {
                ends_member(at, byte)
                    || b" \t\r\n\0\"'&;|)}]".contains(&byte)
                    || (byte == b',' && rest.get(at + 1).is_none_or(|next| *next == b' '))
            })
        }),
    }
}

/// Whether a name and a sign come next: `;Name=`, `&name=`.
fn is_next_name(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-[] ".contains(byte);
    let count = rest
        .iter()
        .take(LONGEST_NAME)
        .take_while(|byte| is_letter(byte))
        .count();
    count > 0 && rest.get(count) == Some(&b'=')
}
