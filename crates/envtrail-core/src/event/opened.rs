//! Whether a file was opened to be changed: a rule may select reading too (`-p rwxa`).

use super::records::find_value;
use super::{Event, Record};
use crate::types;

const ACCESS_MODE: u64 = 3;

impl Event {
    /// Whether this is a call that changes the content of the file it names. What the records do not show is no change.
    ///
    /// References: open(2) (`O_ACCMODE`), openat2(2); `audit_openat2_how()` in kernel/auditsc.c (`oflag=` is octal)
    pub fn writes_content(&self, bytes: &[u8], records: &[Record]) -> bool {
        let flags = match self.call() {
            Some(b"creat") => return true,
            Some(b"truncate" | b"truncate64" | b"ftruncate" | b"ftruncate64") => return true,
            Some(b"open") => hexadecimal(bytes, records, b"a1"),
            Some(b"openat" | b"open_by_handle_at") => hexadecimal(bytes, records, b"a2"),
            Some(b"openat2") => how(bytes, records),
            _ => None,
        };
        flags.is_some_and(|flags| flags & ACCESS_MODE != 0)
    }
}

fn body<'a>(bytes: &'a [u8], records: &[Record], kind: u16) -> Option<&'a [u8]> {
    let record = records.iter().find(|record| record.record_type == kind)?;
    bytes.get(record.body as usize..record.end as usize)
}

fn hexadecimal(bytes: &[u8], records: &[Record], register: &[u8]) -> Option<u64> {
    find_value(body(bytes, records, types::SYSCALL)?, register)?.hexadecimal()
}

fn how(bytes: &[u8], records: &[Record]) -> Option<u64> {
    let flags = find_value(body(bytes, records, types::OPENAT2)?, b"oflag")?.raw;
    u64::from_str_radix(std::str::from_utf8(flags).ok()?, 8).ok()
}
