//! Fields that auditd adds to a record (`log_format = ENRICHED`): names for numbers, in upper case, behind the byte 0x1d.
//! On its way here the byte may have become a blank, or be lost.
//!
//! No user can make one: they count only behind everything that the kernel wrote, and what a program says stands in `msg='…'`, which
//! ends with the last quote of the record.
//!
//! References: auditd.conf(5); `enrich_syscall()` and `add_simple_field()` in audit-userspace's src/auditd-event.c, auparse/auparse.c

use crate::parse::{Fields, Value, ENRICHMENT};
use memchr::{memchr, memchr_iter, memrchr};

/// Names that auditd writes, the longer before those they end with.
const NAMES: [&[u8]; 24] = [
    b"INODE_UID",
    b"INODE_GID",
    b"OLD-AUID",
    b"NEW_GID",
    b"SYSCALL",
    b"OBJ_UID",
    b"OBJ_GID",
    b"FSUID",
    b"FSGID",
    b"OAUID",
    b"SAUID",
    b"SADDR",
    b"AUID",
    b"EUID",
    b"SUID",
    b"OUID",
    b"EGID",
    b"SGID",
    b"OGID",
    b"IUID",
    b"ARCH",
    b"UID",
    b"GID",
    b"ID",
];

/// Whether a field of a kernel's record is one that was added: the kernel's are in lower case.
#[inline]
pub(super) fn is_added(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_uppercase)
}

/// Whether a field that a program wrote is named as one that auditd adds.
pub(super) fn is_named_as_added(key: &[u8]) -> bool {
    is_added(key) && NAMES.contains(&key)
}

/// Whether auditd found no account of a number: `unknown(1000)` is nobody's name.
///
/// Reference: `print_uid()` in audit-userspace's auparse/interpret.c
pub(super) fn is_unknown(value: Value<'_>) -> bool {
    let inner = value.raw.strip_prefix(b"unknown(");
    inner.is_some_and(|inner| inner.ends_with(b")"))
}

/// A record's body without what was added, and that.
pub(super) fn split_added(body: &[u8]) -> (&[u8], &[u8]) {
    let body = body.trim_ascii_end();
    let nothing = (body, b"".as_slice());
    let (head, tail) = split_message(body);
    let start = match memrchr(ENRICHMENT, tail) {
        Some(at) => Some(at + 1),
        None => trailing_added(tail),
    };
    let Some(at) = start else {
        return nothing;
    };
    let (before, added) = body.split_at(head + at);
    let is_sound = Fields::new(added).all(|field| is_added(field.key));
    if is_sound {
        (before, added)
    } else {
        nothing
    }
}

/// Where `msg='` ends.
pub(super) fn find_message(body: &[u8]) -> Option<usize> {
    let mut quotes = memchr_iter(b'\'', body);
    let is_begin = |quote: &usize| {
        body.get(..*quote)
            .is_some_and(|before| before.ends_with(b"msg="))
    };
    quotes.find(is_begin).map(|quote| quote + 1)
}

/// How long a body is up to the end of its `msg='…'` (0 without one), and what follows.
fn split_message(body: &[u8]) -> (usize, &[u8]) {
    let has_message = find_message(body).is_some();
    let end = memrchr(b'\'', body).filter(|_| has_message);
    let head = end.map_or(0, |at| at + 1);
    (head, body.get(head..).unwrap_or_default())
}

/// Where the fields in upper case begin with which a text ends.
fn trailing_added(text: &[u8]) -> Option<usize> {
    // Without a way out of the loop, the compiler makes vectors of it.
    let is_upper = |found, byte: &u8| found | byte.is_ascii_uppercase();
    if !text.iter().fold(false, is_upper) {
        return None;
    }
    let mut start = None;
    for field in Fields::new(text) {
        if is_added(field.key) {
            start = start.or(Some(offset_in(text, field.key)));
        } else {
            let inside = glued_at(field.value);
            start = inside.map(|at| offset_in(text, field.value.raw) + at);
        }
    }
    start
}

/// Where a bare value ends at which an added field was glued: `(null)ARCH=x86_64`.
pub(super) fn glued_at(value: Value<'_>) -> Option<usize> {
    if value.quoted {
        return None;
    }
    let at = match value.raw.len() {
        // A search by vectors costs more than that.
        ..16 => value.raw.iter().position(|byte| *byte == b'=')?,
        _ => memchr(b'=', value.raw)?,
    };
    let key = value.raw.get(..at)?;
    let name = NAMES.iter().find(|name| key.ends_with(name))?;
    Some(key.len() - name.len()).filter(|at| *at > 0)
}

/// Where `part` begins in `whole`, of which it is a part.
pub(super) fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(body: &str) -> String {
        let (before, added) = split_added(body.as_bytes());
        assert!(body.as_bytes().starts_with(before));
        String::from_utf8_lossy(added).into_owned()
    }

    #[test]
    fn what_auditd_added_is_found_with_the_byte_and_without() {
        let names = "UID=\"root\" AUID=\"alice b\"";
        for between in ["\u{1d}", " ", "", " \u{1d}"] {
            for before in [
                "pid=1 msg='op=x res=success'",
                "pid=1 res=1",
                "list=4 key=\"a\"",
            ] {
                assert_eq!(
                    added(&format!("{before}{between}{names}")),
                    names,
                    "{before}{between}"
                );
            }
        }
        assert_eq!(
            added("saddr=02000016\u{1d}SADDR={ saddr_fam=inet laddr=1.2.3.4 lport=22 }"),
            "SADDR={ saddr_fam=inet laddr=1.2.3.4 lport=22 }"
        );
    }

    #[test]
    fn what_a_user_wrote_is_no_name_of_auditds() {
        for body in [
            "pid=1 msg='op=x hostname=a AUID=\"root\" res=success'",
            "pid=1 msg='op=x hostname=a\u{1d}AUID=\"root\" res=success'",
            "pid=1 msg='op=x hostname=a'\u{1d}AUID=\"root\" res=success'",
            "pid=1 msg='op=x hostname=a'AUID=\"root\" res=success' ",
            "pid=1 subj=x AUID=\"root\" key=(null)",
            "pid=1 subj=x\u{1d}AUID=\"root\" key=(null)",
            "pid=1 comm=\"a AUID=\\\"root",
            "pid=1 res=success",
            "",
        ] {
            assert_eq!(added(body), "", "{body}");
        }
        let both = "pid=1 msg='hostname=a\u{1d}AUID=\"root\" res=1'\u{1d}AUID=\"alice\"";
        assert_eq!(added(both), "AUID=\"alice\"");
    }
}
