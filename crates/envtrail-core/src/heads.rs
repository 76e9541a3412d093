//! The record of a line that something else wrote before it: syslog, the kernel log, `dmesg`.
//!
//! A record must follow the head at once, and a tag must be one of the audit system's: what another program logs (the command
//! of a `sudo`, say) may quote a record, and a quotation is none.
//!
//! References: RFC 3164, section 4.1; RFC 5424, section 6; `audit_printk_skb()` in kernel/audit.c; dmesg(1); journalctl(1) `-o short*`.

mod split;

pub use split::{is_audit_name, is_journal_text};

use crate::fault::FaultKind;
use crate::parse::{digits, parse_stamp, LastStamp};
use crate::types::record_type_name;
use memchr::memmem;
use split::{split_head, strip_kernel_time};

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
    /// Another record follows behind a CR: its end of line was lost.
    Joined,
}

pub const REASONS: [NoRecord; 10] = [
    NoRecord::Foreign,
    NoRecord::Separator,
    NoRecord::BadStamp,
    NoRecord::Interpreted,
    NoRecord::JournalText,
    NoRecord::LeftOut,
    NoRecord::OtherWriter,
    NoRecord::TooLong,
    NoRecord::BadJson,
    NoRecord::Joined,
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
            NoRecord::Joined => "joined",
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
