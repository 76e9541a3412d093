//! The records of an event after redaction: those that repeat a secret are written again, the others stay byte for byte.

use crate::event::{Record, Strings};
use crate::parse::{Field, Fields, Value};
use crate::redact::{redact, Counts, Form};
use crate::types;

/// Fields that the kernel or a program may have hex-encoded.
const UNTRUSTED: [&[u8]; 12] = [
    b"name",
    b"cwd",
    b"cmd",
    b"comm",
    b"exe",
    b"acct",
    b"data",
    b"path",
    b"proctitle",
    b"key",
    b"hostname",
    b"unit",
];

/// Redact a list of arguments that was not in a record.
pub fn redact_arguments(argv: &[String], counts: &mut Counts) -> Vec<String> {
    let mut strings = Strings::default();
    for argument in argv {
        strings.push(argument.replace('\0', " ").as_bytes());
    }
    let mut bytes = Vec::new();
    redact_event(&mut bytes, &mut [], &mut strings, counts);
    strings
        .iter()
        .map(|argument| crate::text::printable(argument).into_owned())
        .collect()
}

/// Redact an event's arguments and records in place. Gives the number of values replaced.
pub fn redact_event(
    bytes: &mut Vec<u8>,
    records: &mut [Record],
    argv: &mut Strings,
    counts: &mut Counts,
) -> u32 {
    let before: u32 = counts.iter().sum();
    let title = joined(argv);
    let clean = if argv.is_empty() {
        None
    } else {
        redact(&title, Form::Arguments, counts)
    };
    let mut repeated = Counts::default();
    let mut out = Vec::with_capacity(bytes.len());
    let clean_argv = clean.as_deref().map(split_arguments);
    let places = match &clean_argv {
        Some(_) => places_of_arguments(bytes, records, argv),
        None => Vec::new(),
    };
    for record in records.iter_mut() {
        let head = bytes
            .get(record.start as usize..record.body as usize)
            .unwrap_or_default();
        let body = bytes
            .get(record.body as usize..record.end as usize)
            .unwrap_or_default();
        let start = out.len();
        out.extend_from_slice(head);
        let body_start = out.len();
        match (&clean_argv, record.record_type) {
            (Some(clean_argv), types::EXECVE) => {
                rewrite_execve(body, &places, (argv, clean_argv), &mut out)
            }
            (Some(clean_argv), types::PROCTITLE) => {
                rewrite_title(body, &title, &joined(clean_argv), counts, &mut out)
            }
            (_, types::EXECVE) if clean_argv.is_none() => out.extend_from_slice(body),
            (_, record_type) => rewrite_fields(body, record_type, &mut repeated, &mut out),
        }
        record.start = start as u32;
        record.body = body_start as u32;
        record.end = out.len() as u32;
        out.push(b'\n');
    }
    // What only a record says (a path, a sudo command) counts too; what repeats the arguments was counted with them.
    if clean_argv.is_none() {
        for (total, more) in counts.iter_mut().zip(repeated) {
            *total += more;
        }
    }
    if let Some(clean_argv) = clean_argv {
        *argv = clean_argv;
    }
    *bytes = out;
    let after: u32 = counts.iter().sum();
    after - before
}

fn joined(argv: &Strings) -> Vec<u8> {
    let mut out = Vec::with_capacity(argv.bytes.len() + argv.len());
    for (at, argument) in argv.iter().enumerate() {
        if at > 0 {
            out.push(0);
        }
        out.extend_from_slice(argument);
    }
    out
}

fn split_arguments(text: &[u8]) -> Strings {
    let mut out = Strings::default();
    for argument in text.split(|byte| *byte == 0) {
        out.push(argument);
    }
    out
}

/// An argument of the records: its index, its first part, its place among the event's arguments.
type Place = (usize, usize, Option<usize>);

/// Where each argument stands among the event's, sorted by index. Records that were lost, and empty arguments that the kernel left out,
/// make indexes and places differ: an argument is found behind the one before it, by what it begins with.
fn places_of_arguments(bytes: &[u8], records: &[Record], argv: &Strings) -> Vec<Place> {
    let execve = records
        .iter()
        .filter(|record| record.record_type == types::EXECVE);
    let bodies = execve.filter_map(|record| bytes.get(record.body as usize..record.end as usize));
    let mut parts: Vec<(usize, usize, Value<'_>)> = bodies
        .flat_map(|body| Fields::new(body).take_while(|field| !field.enriched))
        .filter_map(|field| match argument_of(field.key)? {
            (index, Part::Number(part)) => Some((index, part, field.value)),
            (_, Part::Length) => None,
        })
        .collect();
    parts.sort_by_key(|(index, part, _)| (*index, *part));
    parts.dedup_by_key(|(index, ..)| *index);
    let mut next = 0;
    let mut decoded = Vec::new();
    let find = |(index, part, value): (usize, usize, Value<'_>)| {
        decoded.clear();
        value.decode_into(&mut decoded);
        let begins = |at: &usize| {
            let argument = argv.get(*at).unwrap_or_default();
            argument.starts_with(&decoded) && (decoded.is_empty() == argument.is_empty())
        };
        let place = (next..argv.len()).find(begins);
        next = place.map_or(next, |place| place + 1);
        (index, part, place)
    };
    parts.into_iter().map(find).collect()
}

/// Arguments that changed are written again, those without a place left out: nobody looked at them.
fn rewrite_execve(
    body: &[u8],
    places: &[Place],
    (argv, clean): (&Strings, &Strings),
    out: &mut Vec<u8>,
) {
    let limit = memchr::memchr(crate::parse::ENRICHMENT, body).unwrap_or(body.len());
    let first = out.len();
    for Field { key, value, .. } in Fields::new(body.get(..limit).unwrap_or_default()) {
        let Some((index, part)) = argument_of(key) else {
            separate(out, first);
            copy_field(key, value, out);
            continue;
        };
        let known = places.binary_search_by_key(&index, |(index, ..)| *index);
        let Some((_, first_part, Some(place))) = known.ok().and_then(|at| places.get(at)) else {
            continue;
        };
        if argv.get(*place) == clean.get(*place) {
            separate(out, first);
            copy_field(key, value, out);
        } else if part == Part::Number(*first_part) {
            separate(out, first);
            out.extend_from_slice(format!("a{index}=").as_bytes());
            write_value(clean.get(*place).unwrap_or_default(), out);
        }
    }
    out.extend_from_slice(body.get(limit..).unwrap_or_default());
}

fn separate(out: &mut Vec<u8>, first: usize) {
    if out.len() > first {
        out.push(b' ');
    }
}

#[derive(PartialEq)]
enum Part {
    Length,
    Number(usize),
}

fn argument_of(key: &[u8]) -> Option<(usize, Part)> {
    let text = std::str::from_utf8(key.strip_prefix(b"a")?).ok()?;
    if let Some(index) = text.strip_suffix("_len") {
        return Some((index.parse().ok()?, Part::Length));
    }
    match text.split_once('[') {
        None => Some((text.parse().ok()?, Part::Number(0))),
        Some((index, part)) => Some((
            index.parse().ok()?,
            Part::Number(part.strip_suffix(']')?.parse().ok()?),
        )),
    }
}

/// A title that is the beginning of the arguments becomes the beginning of the redacted ones: also where it is cut inside a secret.
/// Any other is the title of the image before an exec, with its own secrets.
fn rewrite_title(body: &[u8], title: &[u8], clean: &[u8], counts: &mut Counts, out: &mut Vec<u8>) {
    let Some(field) = Fields::new(body).find(|field| field.key == b"proctitle") else {
        return rewrite_fields(body, types::PROCTITLE, counts, out);
    };
    let mut decoded = Vec::new();
    field.value.decode_into(&mut decoded);
    let shown = decoded.strip_suffix(b"\0").unwrap_or(&decoded);
    // Auditbeat joins the arguments by spaces.
    let spaced = |text: &[u8]| {
        text.iter()
            .map(|byte| if *byte == 0 { b' ' } else { *byte })
            .collect()
    };
    let (title, clean): (Vec<u8>, Vec<u8>) = match title.starts_with(shown) {
        true => (title.to_vec(), clean.to_vec()),
        false => (spaced(title), spaced(clean)),
    };
    if !title.starts_with(shown) {
        return rewrite_fields(body, types::PROCTITLE, counts, out);
    }
    let cut = if decoded.len() < title.len() {
        clean
            .get(..decoded.len().min(clean.len()))
            .unwrap_or_default()
    } else {
        &clean
    };
    if decoded.starts_with(cut) {
        return out.extend_from_slice(body);
    }
    out.extend_from_slice(b"proctitle=");
    write_value(cut, out);
    let limit = memchr::memchr(crate::parse::ENRICHMENT, body).unwrap_or(body.len());
    out.extend_from_slice(body.get(limit..).unwrap_or_default());
}

/// Redact the values of a record, decoded where they are hex; untouched when nothing is found.
fn rewrite_fields(body: &[u8], record_type: u16, counts: &mut Counts, out: &mut Vec<u8>) {
    let start = out.len();
    let mut copied = 0;
    let base = body.as_ptr() as usize;
    for Field { key, value, .. } in Fields::new(body) {
        let untrusted = UNTRUSTED.contains(&key);
        let mut decoded = Vec::new();
        if key == b"msg" && value.quoted {
            rewrite_fields(value.raw, record_type, counts, &mut decoded);
            if decoded == value.raw {
                continue;
            }
        } else {
            let form = form_of(key, record_type);
            let is_number = || value.raw.iter().all(|byte| byte.is_ascii_hexdigit());
            let is_short = || value.raw.len() < 4 && form != Form::Keystrokes;
            if is_short() || (!untrusted && is_number()) {
                continue;
            }
            let mut plain = Vec::new();
            if untrusted {
                value.decode_into(&mut plain);
            } else {
                plain.extend_from_slice(value.raw);
            }
            let Some(clean) = redact(&plain, form, counts) else {
                continue;
            };
            decoded = clean;
        }
        let at = value.raw.as_ptr() as usize - base;
        let quote = usize::from(value.quoted);
        out.extend_from_slice(body.get(copied..at - quote).unwrap_or_default());
        if key == b"msg" {
            out.push(b'\'');
            out.extend_from_slice(&decoded);
            out.push(b'\'');
        } else {
            write_value(&decoded, out);
        }
        copied = (at + value.raw.len() + quote).min(body.len());
    }
    if copied == 0 {
        out.truncate(start);
        out.extend_from_slice(body);
    } else {
        out.extend_from_slice(body.get(copied..).unwrap_or_default());
    }
}

/// Whether any of an event's records says what somebody typed.
pub fn hold_keystrokes(records: &[Record]) -> bool {
    records.iter().any(|record| is_typed(record.record_type))
}

fn is_typed(record_type: u16) -> bool {
    matches!(record_type, types::TTY | types::USER_TTY)
}

fn form_of(key: &[u8], record_type: u16) -> Form {
    match key {
        b"data" if is_typed(record_type) => Form::Keystrokes,
        b"proctitle" => Form::Title,
        b"cmd" | b"data" => Form::Text,
        _ => Form::Path,
    }
}

fn copy_field(key: &[u8], value: Value<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.push(b'=');
    if value.quoted {
        out.push(b'"');
    }
    out.extend_from_slice(value.raw);
    if value.quoted {
        out.push(b'"');
    }
}

/// Quoted, or in hexadecimal where the kernel would do so (`audit_string_contains_control()`).
fn write_value(value: &[u8], out: &mut Vec<u8>) {
    if value
        .iter()
        .any(|byte| *byte == b'"' || *byte < 0x21 || *byte > 0x7e)
    {
        for byte in value {
            for nibble in [byte >> 4, byte & 15] {
                out.push(
                    b"0123456789ABCDEF"
                        .get(nibble as usize)
                        .copied()
                        .unwrap_or(b'0'),
                );
            }
        }
    } else {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    }
}
