//! What each type of record says: its fields, decoded into the event.

use super::kind::{HAS_CWD, HAS_EXECVE, HAS_PATH, HAS_SYSCALL};
use super::{Event, PathItem, Range, Record};
use crate::parse::{digits, pack, Field, Fields, Value};
use crate::types;

/// Field names as numbers (`pack`).
mod name {
    use crate::parse::pack;
    pub const ARCH: u64 = pack(b"arch");
    pub const SYSCALL: u64 = pack(b"syscall");
    pub const SUCCESS: u64 = pack(b"success");
    pub const EXIT: u64 = pack(b"exit");
    pub const A0: u64 = pack(b"a0");
    pub const ITEMS: u64 = pack(b"items");
    pub const KEY: u64 = pack(b"key");
    pub const PID: u64 = pack(b"pid");
    pub const PPID: u64 = pack(b"ppid");
    pub const AUID: u64 = pack(b"auid");
    pub const UID: u64 = pack(b"uid");
    pub const EUID: u64 = pack(b"euid");
    pub const GID: u64 = pack(b"gid");
    pub const SES: u64 = pack(b"ses");
    pub const TTY: u64 = pack(b"tty");
    pub const TERMINAL: u64 = pack(b"terminal");
    pub const COMM: u64 = pack(b"comm");
    pub const EXE: u64 = pack(b"exe");
    pub const ADDR: u64 = pack(b"addr");
    pub const ITEM: u64 = pack(b"item");
    pub const NAME: u64 = pack(b"name");
    pub const INODE: u64 = pack(b"inode");
    pub const MODE: u64 = pack(b"mode");
    pub const OUID: u64 = pack(b"ouid");
    pub const NAMETYPE: u64 = pack(b"nametype");
    pub const ACCT: u64 = pack(b"acct");
    pub const CMD: u64 = pack(b"cmd");
    pub const CWD: u64 = pack(b"cwd");
    pub const DATA: u64 = pack(b"data");
    pub const PATH: u64 = pack(b"path");
    pub const HOSTNAME: u64 = pack(b"hostname");
}

/// `4294967295`: an auid or a session that was never set.
pub(super) const UNSET: u64 = 0xFFFF_FFFF;

impl Event {
    pub(super) fn read_record(&mut self, bytes: &[u8], record: &Record) {
        let body = bytes
            .get(record.body as usize..record.end as usize)
            .unwrap_or_default();
        match record.record_type {
            types::SYSCALL => self.read_syscall(body),
            types::EXECVE => self.read_execve(bytes, body),
            types::PATH => self.read_path(body),
            types::CWD => {
                self.has |= HAS_CWD;
                self.cwd = self.find_string(body, b"cwd");
            }
            types::PROCTITLE => self.proctitle = self.find_string(body, b"proctitle"),
            types::EOE => {}
            types::SOCKADDR => self.read_sockaddr(body),
            _ => self.read_other(Fields::new(body)),
        }
    }

    fn read_syscall(&mut self, body: &[u8]) {
        self.has |= HAS_SYSCALL;
        let rest = self.begin_syscall(body);
        self.read_syscall_fields(rest);
    }

    pub(super) fn read_syscall_fields(&mut self, body: &[u8]) {
        for Field {
            key,
            name,
            value,
            enriched,
        } in Fields::new(body)
        {
            if enriched {
                if matches!(key, b"AUID" | b"UID" | b"EUID") {
                    self.add_field(key, value);
                }
                // The names of the other ids come after these.
                if key == b"EUID" && self.has_field(b"AUID") && self.has_field(b"UID") {
                    break;
                }
                continue;
            }
            match name {
                name::ARCH => self.arch = value.hexadecimal().map(|number| number as u32),
                name::SYSCALL => self.syscall = value.decimal().map(|number| number as u32),
                name::SUCCESS => self.success = yes_or_no(value.raw),
                name::EXIT => self.exit = value.decimal().map(|number| number as i64),
                name::A0 => self.a0 = value.hexadecimal(),
                name::ITEMS => self.items = value.decimal().map(|number| number as u32),
                name::KEY => self.read_keys(value),
                _ => {
                    self.read_subject(name, value);
                }
            }
        }
    }

    /// Fields that say who did it; the same in kernel and user records. False when it is another field.
    fn read_subject(&mut self, name: u64, value: Value<'_>) -> bool {
        match name {
            name::PID => keep(&mut self.pid, number(value)),
            name::PPID => keep(&mut self.ppid, number(value)),
            name::AUID => keep(&mut self.auid, set_number(value)),
            name::UID => keep(&mut self.uid, set_number(value)),
            name::EUID => keep(&mut self.euid, set_number(value)),
            name::GID => keep(&mut self.gid, set_number(value)),
            name::SES => keep(&mut self.ses, set_number(value)),
            name::TTY | name::TERMINAL if self.tty.is_none() => self.tty = self.string(value),
            name::COMM if self.comm.is_none() => self.comm = self.string(value),
            name::EXE if self.exe.is_none() => self.exe = self.string(value),
            name::ADDR if self.address.is_none() => self.address = self.string(value),
            _ => return false,
        }
        true
    }

    pub(super) fn read_keys(&mut self, value: Value<'_>) {
        if value.is_none() {
            return;
        }
        if value.quoted {
            return self.keys.push(value.raw);
        }
        // Several keys are joined by 0x01, which makes the kernel write them in hexadecimal.
        let mut joined = Vec::new();
        value.decode_into(&mut joined);
        for key in joined.split(|byte| *byte == 1) {
            self.keys.push(key);
        }
    }

    fn read_path(&mut self, body: &[u8]) {
        self.has |= HAS_PATH;
        let mut path = PathItem::default();
        let rest = self.begin_path(&mut path, body);
        self.read_path_fields(&mut path, rest);
        self.paths.push(path);
    }

    pub(super) fn read_path_fields(&mut self, path: &mut PathItem, body: &[u8]) {
        for Field {
            name,
            value,
            enriched,
            ..
        } in Fields::new(body)
        {
            if enriched {
                break;
            }
            match name {
                name::ITEM => path.item = value.decimal().unwrap_or(0) as u32,
                name::NAME => path.name = self.string(value),
                name::INODE => path.inode = value.decimal(),
                name::MODE => path.mode = octal(value.raw),
                name::OUID => path.ouid = number(value),
                name::NAMETYPE => {
                    path.nametype = self.string_as_is(value);
                    // What follows are capabilities and names that auditd added.
                    break;
                }
                _ => {}
            }
        }
    }

    /// `body` is part of `bytes`: an argument is kept as its place there.
    fn read_execve(&mut self, bytes: &[u8], body: &[u8]) {
        self.has |= HAS_EXECVE;
        let base = bytes.as_ptr() as usize;
        for Field {
            key,
            value,
            enriched,
            ..
        } in Fields::new(body)
        {
            if enriched {
                break;
            }
            if key == b"argc" {
                self.argc = number(value);
            } else if let Some((index, part)) = argument_position(key) {
                let start = value.raw.as_ptr() as usize - base;
                self.arguments
                    .push((index, part, value.quoted, (start, start + value.raw.len())));
            }
        }
    }

    /// Put the parts of the arguments in order and decode them.
    pub(super) fn order_arguments(&mut self, bytes: &[u8]) {
        let mut arguments = std::mem::take(&mut self.arguments);
        if arguments
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if (a.0, a.1) >= (b.0, b.1)))
        {
            arguments.sort_by_key(|argument| (argument.0, argument.1));
            arguments.dedup_by_key(|argument| (argument.0, argument.1));
        }
        let mut expected = (0, 0);
        for (at, (index, part, quoted, (start, end))) in arguments.iter().enumerate() {
            if (*index, *part) != expected {
                self.missing |= HAS_EXECVE;
            }
            let raw = bytes.get(*start..*end).unwrap_or_default();
            Value {
                raw,
                quoted: *quoted,
            }
            .decode_into(&mut self.argv.bytes);
            let continues = arguments.get(at + 1).is_some_and(|next| next.0 == *index);
            if continues {
                expected = (*index, part + 1);
            } else {
                self.argv.close();
                expected = (index + 1, 0);
            }
        }
        if self.has & HAS_EXECVE != 0
            && self
                .argc
                .is_some_and(|argc| argc as usize != self.argv.len())
        {
            self.missing |= HAS_EXECVE;
        }
        self.arguments = arguments;
    }

    fn read_sockaddr(&mut self, body: &[u8]) {
        for Field { key, value, .. } in Fields::new(body) {
            if key == b"saddr" {
                let mut raw = Vec::new();
                if crate::parse::decode_hex(value.raw, &mut raw) {
                    if let Some(address) = socket_address(&raw) {
                        self.address = Some(self.keep_text(address.as_bytes()));
                    }
                }
                return;
            }
        }
    }

    fn read_other(&mut self, fields: Fields<'_>) {
        for Field {
            key, name, value, ..
        } in fields
        {
            if key == b"msg" && value.quoted {
                self.read_other(Fields::new(value.raw));
                continue;
            }
            self.read_subject(name, value);
            if key == b"key" {
                self.read_keys(value);
            }
            if key == b"res" || key == b"success" {
                keep(&mut self.success, yes_or_no(value.raw));
            }
            self.add_field(key, value);
        }
    }

    /// The first field of a name wins: a map has no two.
    fn add_field(&mut self, key: &[u8], value: Value<'_>) {
        if self.has_field(key) {
            return;
        }
        let name = pack(key);
        let key = self.keep_text(key);
        let start = self.text.len();
        if is_untrusted(name) {
            value.decode_into(&mut self.text);
        } else {
            self.text.extend_from_slice(value.raw);
        }
        self.fields.push((key, (start, self.text.len())));
    }

    fn has_field(&self, key: &[u8]) -> bool {
        let mut known = self.fields.iter().map(|(known, _)| *known);
        known.any(|known| self.slice(Some(known)) == Some(key))
    }

    fn find_string(&mut self, body: &[u8], wanted: &[u8]) -> Range {
        let value = Fields::new(body).find(|field| field.key == wanted)?.value;
        self.string(value)
    }

    pub(super) fn string(&mut self, value: Value<'_>) -> Range {
        if value.is_none() {
            return None;
        }
        let start = self.text.len();
        value.decode_into(&mut self.text);
        Some((start, self.text.len()))
    }

    pub(super) fn string_as_is(&mut self, value: Value<'_>) -> Range {
        Some(self.keep_text(value.raw))
    }

    fn keep_text(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        (start, self.text.len())
    }
}

/// Whether the kernel, or who sent it, may have written it in hexadecimal.
fn is_untrusted(name: u64) -> bool {
    matches!(
        name,
        name::ACCT
            | name::CMD
            | name::EXE
            | name::COMM
            | name::CWD
            | name::NAME
            | name::DATA
            | name::PATH
            | name::KEY
            | name::HOSTNAME
    )
}

pub(super) fn keep<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn number(value: Value<'_>) -> Option<u32> {
    value
        .decimal()
        .and_then(|number| u32::try_from(number).ok())
}

fn set_number(value: Value<'_>) -> Option<u32> {
    value
        .decimal()
        .filter(|number| *number != UNSET)
        .and_then(|number| u32::try_from(number).ok())
}

pub(super) fn yes_or_no(raw: &[u8]) -> Option<bool> {
    match raw {
        b"yes" | b"success" | b"1" => Some(true),
        b"no" | b"failed" | b"0" => Some(false),
        _ => None,
    }
}

pub(super) fn octal(raw: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(raw).ok()?, 8).ok()
}

/// `a12` → (12, 0), `a12[3]` → (12, 3); None for `a12_len` and anything else.
fn argument_position(key: &[u8]) -> Option<(u32, u32)> {
    let (index, rest) = digits(key.strip_prefix(b"a")?)?;
    let part = match rest {
        [] => 0,
        [b'[', part @ .., b']'] => digits(part).filter(|(_, rest)| rest.is_empty())?.0,
        _ => return None,
    };
    Some((u32::try_from(index).ok()?, u32::try_from(part).ok()?))
}

/// `struct sockaddr` as text: an address for IPv4 and IPv6, a path for a Unix socket.
fn socket_address(raw: &[u8]) -> Option<String> {
    let family = u16::from_le_bytes([*raw.first()?, *raw.get(1)?]);
    match family {
        1 => {
            let path: Vec<u8> = raw
                .get(2..)?
                .iter()
                .copied()
                .take_while(|byte| *byte != 0)
                .collect();
            Some(String::from_utf8_lossy(&path).into_owned())
        }
        2 => {
            let octets: [u8; 4] = raw.get(4..8)?.try_into().ok()?;
            Some(std::net::Ipv4Addr::from(octets).to_string())
        }
        10 => {
            let octets: [u8; 16] = raw.get(8..24)?.try_into().ok()?;
            Some(std::net::Ipv6Addr::from(octets).to_string())
        }
        _ => None,
    }
}
