//! The record of a line that something else wrote before it: syslog, the kernel log, `dmesg`.
//!
//! A record must follow the head at once, and a tag must be one of the audit system's: what another program logs (the command
//! of a `sudo`, say) may quote a record, and a quotation is none.
//!
//! References: RFC 3164, section 4.1; RFC 5424, section 6; `audit_printk_skb()` in kernel/audit.c; dmesg(1); journalctl(1) `-o short*`.

use crate::fault::FaultKind;
use crate::parse::{digits, parse_stamp, LastStamp};
use crate::types::record_type_name;
use memchr::{memchr, memmem};

/// What stood before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    Plain,
    /// Of syslog, from a program.
    Syslog,
    /// Of the kernel log: the type is a number.
    Kernel,
    /// An entry of the journal, from the kernel's audit.
    Journal,
    /// A document of a log collector.
    Json,
}

pub const FORMS: [Form; 5] = [
    Form::Plain,
    Form::Syslog,
    Form::Kernel,
    Form::Journal,
    Form::Json,
];

impl Form {
    /// Stable name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Plain => "audit",
            Form::Syslog => "syslog",
            Form::Kernel => "kernel",
            Form::Journal => "journal",
            Form::Json => "json",
        }
    }
}

/// Why a line holds no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// Nothing in it says that it should.
    Foreign,
    /// It separates events in the output of `ausearch`.
    Separator,
    /// It begins as a record does, and its stamp is missing or malformed.
    BadStamp,
    /// `ausearch -i` wrote it: the stamp is a date.
    Interpreted,
    /// `journalctl` wrote it as text: neither time nor serial of the record are in it.
    JournalText,
    /// The journal's text was left out because it is long.
    LeftOut,
    /// A person, not the audit system, wrote it into the journal.
    OtherWriter,
    /// It is longer than is held.
    TooLong,
    /// It begins as JSON does, and is none.
    BadJson,
}

pub const REASONS: [NoRecord; 9] = [
    NoRecord::Foreign,
    NoRecord::Separator,
    NoRecord::BadStamp,
    NoRecord::Interpreted,
    NoRecord::JournalText,
    NoRecord::LeftOut,
    NoRecord::OtherWriter,
    NoRecord::TooLong,
    NoRecord::BadJson,
];

impl NoRecord {
    /// Stable name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            NoRecord::Foreign => "not_a_record",
            NoRecord::Separator => "separator",
            NoRecord::BadStamp => "bad_stamp",
            NoRecord::Interpreted => "interpreted",
            NoRecord::JournalText => "journal_text",
            NoRecord::LeftOut => "left_out",
            NoRecord::OtherWriter => "other_writer",
            NoRecord::TooLong => "too_long",
            NoRecord::BadJson => "bad_json",
        }
    }
}

/// Append the record of a line (without its newline) to `out`, with a newline.
///
/// `host` is the machine where neither record nor head names one; empty where that is unknown too.
pub fn push_record(
    line: &[u8],
    host: &[u8],
    last: &mut LastStamp,
    out: &mut Vec<u8>,
) -> Result<Form, NoRecord> {
    let line = trim(line);
    match push_message(line, host, false, last, out) {
        Err(NoRecord::Foreign) => {}
        done => return done,
    }
    if line == b"----" || line.starts_with(b"time->") {
        return Err(NoRecord::Separator);
    }
    let head = split_head(line).ok_or(NoRecord::Foreign)?;
    let named = if head.host.is_empty() {
        host
    } else {
        head.host
    };
    push_message(head.message, named, true, last, out)
}

/// A byte order mark (of files joined together), a record separator (RFC 7464), blanks and the end of a CRLF go.
pub fn trim(mut line: &[u8]) -> &[u8] {
    loop {
        line = match line {
            [0xef, 0xbb, 0xbf, rest @ ..] | [b' ' | b'\t' | 0x1e, rest @ ..] => rest,
            [rest @ .., b'\r'] => rest,
            _ => return line,
        };
    }
}

/// Append a message that is a record, as auditd or as the kernel log writes it.
fn push_message(
    text: &[u8],
    host: &[u8],
    has_head: bool,
    last: &mut LastStamp,
    out: &mut Vec<u8>,
) -> Result<Form, NoRecord> {
    let text = trim(strip_kernel_time(trim(text)));
    let text = text.strip_prefix(b"audit: ").unwrap_or(text);
    if !is_begun(text) {
        return Err(NoRecord::Foreign);
    }
    let start = out.len();
    let form = match parse_stamp(text, last) {
        Ok(stamp) => {
            push_node(host, stamp.node, out);
            push_unescaped(text, has_head, out);
            if has_head {
                Form::Syslog
            } else {
                Form::Plain
            }
        }
        Err(fault) => {
            let (number, rest) = numbered(text).ok_or_else(|| reason(text, fault))?;
            push_node(host, b"", out);
            out.extend_from_slice(b"type=");
            out.extend_from_slice(record_type_name(number).as_bytes());
            out.extend_from_slice(b" msg=");
            push_unescaped(rest, has_head, out);
            Form::Kernel
        }
    };
    if form == Form::Kernel && parse_stamp(out.get(start..).unwrap_or_default(), last).is_err() {
        out.truncate(start);
        return Err(NoRecord::BadStamp);
    }
    out.push(b'\n');
    Ok(form)
}

fn is_begun(text: &[u8]) -> bool {
    text.starts_with(b"type=") || text.starts_with(b"node=")
}

/// `type=N audit(…`, as the kernel log has it.
fn numbered(text: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = digits(text.strip_prefix(b"type=")?)?;
    let rest = rest.strip_prefix(b" ")?;
    rest.starts_with(b"audit(")
        .then_some((u16::try_from(number).ok()?, rest))
}

fn reason(text: &[u8], fault: FaultKind) -> NoRecord {
    let is_date = memmem::find(text, b" msg=audit(").is_some_and(|at| {
        let stamp = text.get(at + 11..).unwrap_or_default();
        let stamp = stamp.get(..stamp.len().min(11)).unwrap_or_default();
        stamp.contains(&b'/') || stamp.contains(&b'-')
    });
    match fault {
        _ if is_date => NoRecord::Interpreted,
        FaultKind::BadStamp => NoRecord::BadStamp,
        _ => NoRecord::Foreign,
    }
}

/// Append `node=` where the record has none.
pub fn push_node(host: &[u8], own: &[u8], out: &mut Vec<u8>) {
    if own.is_empty() && is_host(host) {
        out.extend_from_slice(b"node=");
        out.extend_from_slice(host);
        out.push(b' ');
    }
}

fn is_host(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"-"
        && name.len() <= 255
        && name.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// rsyslog writes a control character as `#NNN` (octal): the one that auditd puts before what it adds is made itself again.
fn push_unescaped(text: &[u8], has_head: bool, out: &mut Vec<u8>) {
    let escaped = if has_head {
        memmem::rfind(text, b"#035")
    } else {
        None
    };
    match escaped {
        Some(at) if text.get(at + 4).is_some_and(u8::is_ascii_uppercase) => {
            out.extend_from_slice(text.get(..at).unwrap_or_default());
            out.push(crate::parse::ENRICHMENT);
            out.extend_from_slice(text.get(at + 4..).unwrap_or_default());
        }
        _ => out.extend_from_slice(text),
    }
}

struct Head<'a> {
    host: &'a [u8],
    message: &'a [u8],
}

/// Take the head off a line; None where it is not of the audit system or the kernel.
fn split_head(line: &[u8]) -> Option<Head<'_>> {
    let rest = strip_priority(line);
    if let Some(rest) = rest.strip_prefix(b"1 ") {
        if let Some(head) = split_5424(rest) {
            return Some(head);
        }
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

/// `TAG: ` or `TAG[PID]: `, where it is of the audit system or the kernel.
fn split_tag<'a>(text: &'a [u8], host: &'a [u8]) -> Head<'a> {
    let text = trim(text);
    let (tag, rest) = word(text);
    Head {
        host,
        message: if is_tag(tag) { trim(rest) } else { text },
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
fn strip_kernel_time(text: &[u8]) -> &[u8] {
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
