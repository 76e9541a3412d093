//! The head of a line: priority, time, host and tag.
//!
//! References: https://fedoraproject.org/wiki/Anaconda/Logging ("H:M:S,ms LOGLEVEL facility:message").

use super::{is_begun, trim};
use crate::parse::digits;
use memchr::{memchr, memmem};

/// Of rsyslog's `syslogseverity-text`, in capitals.
const LEVELS: [&[u8]; 8] = [
    b"EMERG", b"ALERT", b"CRIT", b"ERR", b"WARNING", b"NOTICE", b"INFO", b"DEBUG",
];

/// What a head says, and what follows it.
pub struct Head<'a> {
    /// Empty where it names none.
    pub host: &'a [u8],
    pub message: &'a [u8],
}

/// Take the head off a line; None where it is not of the audit system or the kernel.
pub fn split_head(line: &[u8]) -> Option<Head<'_>> {
    if let Some(rest) = line.strip_prefix(b"host=") {
        // As setroubleshoot has it among its "raw audit messages".
        let (host, message) = word(rest);
        return is_begun(message).then_some(Head { host, message });
    }
    let rest = strip_priority(line);
    if let Some(rest) = rest.strip_prefix(b"1 ") {
        if let Some(head) = split_5424(rest) {
            return Some(head);
        }
    }
    if let Some(head) = split_installer(rest) {
        return Some(head);
    }
    let rest = strip_facility(rest);
    if rest.starts_with(b"[") {
        let message = strip_kernel_time(rest);
        return Some(split_tag(message, b""));
    }
    let Some(rest) = strip_time(rest) else {
        return is_tag(word(rest).0).then(|| split_tag(rest, b""));
    };
    let rest = strip_stream(rest);
    if is_begun(rest) || is_tag(word(rest).0) || rest.starts_with(b"audit: ") {
        return Some(split_tag(rest, b""));
    }
    let (host, rest) = word(rest);
    let head = split_tag(rest, host);
    (head.message.len() < rest.len() || is_begun(trim(rest)) || rest.starts_with(b"["))
        .then_some(head)
}

/// `TAG: ` or `TAG[PID]: `, where it is of the audit system or the kernel; rsyslog's imfile writes a tag as it is set, often bare.
fn split_tag<'a>(text: &'a [u8], host: &'a [u8]) -> Head<'a> {
    let text = trim(text);
    let (tag, rest) = word(text);
    let is_ours = is_tag(tag) || (is_audit_name(tag) && is_begun(trim(rest)));
    Head {
        host,
        message: if is_ours { trim(rest) } else { text },
    }
}

fn is_tag(word: &[u8]) -> bool {
    let Some(tag) = word.strip_suffix(b":") else {
        return false;
    };
    is_audit_name(tag.split(|byte| *byte == b'[').next().unwrap_or_default())
}

/// Names under which the audit system and the kernel log: `audispd`, `audisp-syslog`, `tag_audit_log`, `kernel`.
pub fn is_audit_name(name: &[u8]) -> bool {
    name == b"kernel" || memmem::find(&name.to_ascii_lowercase(), b"audi").is_some()
}

/// Whether journald wrote the record as text (`… audit[PID]: SYSCALL arch=…`).
pub fn is_journal_text(line: &[u8]) -> bool {
    let Some(at) = memmem::find(line, b" audit[") else {
        return false;
    };
    let rest = line.get(at + 7..).unwrap_or_default();
    digits(rest).is_some_and(|(_, rest)| {
        rest.strip_prefix(b"]: ")
            .and_then(|rest| rest.first())
            .is_some_and(u8::is_ascii_uppercase)
    })
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b' ', text).unwrap_or(text.len());
    let rest = text.get(end..).unwrap_or_default();
    (
        text.get(..end).unwrap_or_default(),
        rest.strip_prefix(b" ").unwrap_or(rest),
    )
}

fn strip_priority(line: &[u8]) -> &[u8] {
    let inner = line.strip_prefix(b"<").and_then(digits);
    match inner {
        Some((number, rest)) if number < 192 => rest.strip_prefix(b">").unwrap_or(line),
        _ => line,
    }
}

/// `09:56:43,208 NOTICE kernel:`, as the installer of Fedora and its like writes its log, with nothing between tag and message.
fn split_installer(text: &[u8]) -> Option<Head<'_>> {
    let (time, rest) = word(text);
    let (level, rest) = word(rest);
    let colon = memchr(b':', rest)?;
    let tag = rest.get(..=colon)?;
    (is_clock(time) && LEVELS.contains(&level) && !tag.contains(&b' ') && is_tag(tag))
        .then_some(())?;
    let message = trim(rest.get(colon + 1..)?);
    Some(Head { host: b"", message })
}

/// `TIME HOST APP PROCID MSGID DATA MESSAGE`.
fn split_5424(text: &[u8]) -> Option<Head<'_>> {
    let (_, rest) = word(text);
    let (host, rest) = word(rest);
    let (app, rest) = word(rest);
    let (_, rest) = word(rest);
    let (_, rest) = word(rest);
    let message = trim(strip_data(rest)?);
    (app == b"-" || is_audit_name(app)).then_some(())?;
    Some(split_tag(message, host))
}

/// Structured data: `-`, or elements in brackets whose values may hold escaped ones.
fn strip_data(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"-") {
        return Some(rest);
    }
    let mut rest = text;
    while let Some(mut inner) = rest.strip_prefix(b"[") {
        let mut quoted = false;
        loop {
            match inner {
                [b'\\', _, after @ ..] if quoted => inner = after,
                [b'"', after @ ..] => {
                    quoted = !quoted;
                    inner = after;
                }
                [b']', after @ ..] if !quoted => {
                    rest = after;
                    break;
                }
                [_, after @ ..] => inner = after,
                [] => return None,
            }
        }
    }
    (rest.len() < text.len()).then_some(rest)
}

/// `kern  :notice: `, as `dmesg -x` writes it.
fn strip_facility(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b"kern") else {
        return text;
    };
    let rest = trim(rest);
    let level = rest.strip_prefix(b":").and_then(|level| {
        let end = memchr(b':', level).filter(|end| *end < 10)?;
        level.get(end + 1..)
    });
    level.map_or(text, trim)
}

/// `[   12.345678] `, or a date in the brackets.
pub fn strip_kernel_time(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b"[") else {
        return text;
    };
    let is_time = |inner: &[u8]| {
        let is_count = inner
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b' '));
        inner.len() < 40 && (is_count || inner.contains(&b':'))
    };
    match memchr(b']', rest) {
        Some(end) if rest.get(..end).is_some_and(is_time) => {
            let after = rest.get(end + 1..).unwrap_or_default();
            after.strip_prefix(b" ").unwrap_or(after)
        }
        _ => text,
    }
}

/// What a container runtime says of a line: `stdout F `.
fn strip_stream(text: &[u8]) -> &[u8] {
    let (stream, rest) = word(text);
    let (tag, message) = word(rest);
    let is_stream = stream == b"stdout" || stream == b"stderr";
    if is_stream && (tag == b"F" || tag == b"P") {
        message
    } else {
        text
    }
}

/// The time of RFC 3164 (a year or fractions may be with it), of RFC 3339, in seconds, or as `journalctl -o short-full` has it.
fn strip_time(text: &[u8]) -> Option<&[u8]> {
    let (first, rest) = word(text);
    let rest = trim(rest);
    if first.len() == 3 && first.iter().all(u8::is_ascii_alphabetic) {
        let (day, mut rest) = word(rest);
        if day.len() == 10 && digits(day).is_some() {
            // Tue 2023-11-14 22:13:20 UTC
            let (time, after) = word(rest);
            let (zone, after) = word(after);
            return (is_clock(time) && !zone.is_empty()).then_some(after);
        }
        if day.is_empty() || day.len() > 2 || digits(day).is_none() {
            return None;
        }
        rest = trim(rest);
        let (mut time, mut after) = word(rest);
        if time.len() == 4 && time.iter().all(u8::is_ascii_digit) {
            (time, after) = word(after);
        }
        return is_clock(time.strip_suffix(b":").unwrap_or(time)).then_some(after);
    }
    let (year, after) = digits(first)?;
    let is_date = (1970..=9999).contains(&year) && after.starts_with(b"-") && first.contains(&b'T');
    let is_seconds =
        after.starts_with(b".") && first.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
    (is_date || is_seconds).then_some(rest)
}

fn is_clock(word: &[u8]) -> bool {
    word.len() >= 7
        && word
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.' | b','))
        && word.contains(&b':')
}
