//! What the records of one event say, gathered into columns' shape. Scratch space: one value is used for every event.

use crate::parse::{digits, Field, Fields, Value};
use crate::redact::may_hold_secret;
use crate::types;
use std::mem::take;

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
}

/// `4294967295`: an auid or a session that was never set.
const UNSET: u64 = 0xFFFF_FFFF;

/// Identity of an event; `node` is a number of the coalescer's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub node: u32,
    pub time_ms: u64,
    pub serial: u64,
}

/// One record inside an event's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub record_type: u16,
    /// Offsets in the event's bytes: of the line, of its body, of its end (before the newline).
    pub start: u32,
    pub body: u32,
    pub end: u32,
}

/// A list of byte strings in one allocation.
#[derive(Default, Debug, Clone)]
pub struct Strings {
    pub bytes: Vec<u8>,
    pub ends: Vec<usize>,
}

impl Strings {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.close();
    }

    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.bytes.get(start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

/// One PATH record.
#[derive(Default, Debug, Clone, Copy)]
pub struct PathItem {
    pub item: u32,
    /// Range in `Event::text`; None when there is no name.
    pub name: Option<(usize, usize)>,
    pub nametype: Option<(usize, usize)>,
    pub inode: Option<u64>,
    pub mode: Option<u32>,
    pub ouid: Option<u32>,
}

/// Which kind of event it is.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Exec,
    Exit,
    File,
    User,
    Config,
    Daemon,
    Anomaly,
    Mac,
    #[default]
    Other,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Exec => "exec",
            Kind::Exit => "exit",
            Kind::File => "file",
            Kind::User => "user",
            Kind::Config => "config",
            Kind::Daemon => "daemon",
            Kind::Anomaly => "anomaly",
            Kind::Mac => "mac",
            Kind::Other => "other",
        }
    }
}

type Range = Option<(usize, usize)>;

/// The event under the lens.
#[derive(Default, Debug)]
pub struct Event {
    pub time_ms: u64,
    pub serial: u64,
    pub kind: Kind,
    pub lead_type: u16,
    pub arch: Option<u32>,
    pub syscall: Option<u32>,
    pub success: Option<bool>,
    pub exit: Option<i64>,
    pub a0: Option<u64>,
    pub pid: Option<u32>,
    pub ppid: Option<u32>,
    pub auid: Option<u32>,
    pub uid: Option<u32>,
    pub euid: Option<u32>,
    pub gid: Option<u32>,
    pub ses: Option<u32>,
    pub items: Option<u32>,
    pub argc: Option<u32>,
    pub argv: Strings,
    pub keys: Strings,
    pub paths: Vec<PathItem>,
    pub fields: Vec<((usize, usize), (usize, usize))>,
    /// Decoded strings; the ranges point here.
    pub text: Vec<u8>,
    pub tty: Range,
    pub comm: Range,
    pub exe: Range,
    pub cwd: Range,
    pub proctitle: Range,
    pub address: Range,
    pub missing: u8,
    has: u8,
    arguments: Vec<(u32, u32, bool, (usize, usize))>,
}

const HAS_SYSCALL: u8 = 1;
const HAS_EXECVE: u8 = 2;
const HAS_CWD: u8 = 4;
const HAS_PATH: u8 = 8;

/// Bits of `missing`, with the record type that each names.
pub const MISSING: [(u8, &str); 4] = [
    (HAS_SYSCALL, "SYSCALL"),
    (HAS_EXECVE, "EXECVE"),
    (HAS_CWD, "CWD"),
    (HAS_PATH, "PATH"),
];

impl Event {
    /// Forget the last event, keep the allocations.
    fn clear(&mut self) {
        *self = Event {
            argv: take(&mut self.argv),
            keys: take(&mut self.keys),
            paths: take(&mut self.paths),
            fields: take(&mut self.fields),
            text: take(&mut self.text),
            arguments: take(&mut self.arguments),
            ..Event::default()
        };
        self.argv.clear();
        self.keys.clear();
        self.paths.clear();
        self.fields.clear();
        self.text.clear();
        self.arguments.clear();
    }

    pub fn slice(&self, range: Range) -> Option<&[u8]> {
        let (start, end) = range?;
        self.text.get(start..end)
    }

    /// Whether a closer look for secrets is worth it. A title repeats the arguments: with those, it is passed over.
    pub fn may_hold_secret(&self) -> bool {
        let repeats = self.proctitle.filter(|_| !self.argv.is_empty());
        let (before, after) = match repeats {
            Some((start, end)) => (self.text.get(..start), self.text.get(end..)),
            None => (Some(self.text.as_slice()), None),
        };
        may_hold_secret(&self.argv.bytes)
            || before.is_some_and(may_hold_secret)
            || after.is_some_and(may_hold_secret)
    }

    /// Read all records of an event; what was read before is forgotten.
    pub fn read(&mut self, key: Key, bytes: &[u8], records: &[Record]) {
        self.clear();
        self.time_ms = key.time_ms;
        self.serial = key.serial;
        self.lead_type = records
            .iter()
            .map(|record| record.record_type)
            .filter(|kind| !is_companion(*kind))
            .min()
            .or_else(|| records.iter().map(|record| record.record_type).min())
            .unwrap_or(types::UNNAMED);
        for record in records {
            let body = bytes
                .get(record.body as usize..record.end as usize)
                .unwrap_or_default();
            match record.record_type {
                types::SYSCALL => self.read_syscall(body),
                types::EXECVE => self.read_execve(bytes, record),
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
        self.order_arguments(bytes);
        if self
            .paths
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.item > b.item))
        {
            self.paths.sort_by_key(|path| path.item);
        }
        self.kind = self.decide_kind(records);
        self.missing = self.find_missing();
    }

    fn read_syscall(&mut self, body: &[u8]) {
        self.has |= HAS_SYSCALL;
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

    fn read_keys(&mut self, value: Value<'_>) {
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
        self.paths.push(path);
    }

    fn read_execve(&mut self, bytes: &[u8], record: &Record) {
        self.has |= HAS_EXECVE;
        let body = bytes
            .get(record.body as usize..record.end as usize)
            .unwrap_or_default();
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
    fn order_arguments(&mut self, bytes: &[u8]) {
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
        if self
            .fields
            .iter()
            .any(|(known, _)| self.slice(Some(*known)) == Some(key))
        {
            return;
        }
        let key = self.keep_text(key);
        let untrusted = matches!(
            self.text.get(key.0..key.1),
            Some(
                b"acct"
                    | b"cmd"
                    | b"exe"
                    | b"comm"
                    | b"cwd"
                    | b"name"
                    | b"data"
                    | b"path"
                    | b"key"
                    | b"hostname"
            )
        );
        let start = self.text.len();
        if untrusted {
            value.decode_into(&mut self.text);
        } else {
            self.text.extend_from_slice(value.raw);
        }
        self.fields.push((key, (start, self.text.len())));
    }

    fn find_string(&mut self, body: &[u8], wanted: &[u8]) -> Range {
        let value = Fields::new(body).find(|field| field.key == wanted)?.value;
        self.string(value)
    }

    fn string(&mut self, value: Value<'_>) -> Range {
        if value.is_none() {
            return None;
        }
        let start = self.text.len();
        value.decode_into(&mut self.text);
        Some((start, self.text.len()))
    }

    fn string_as_is(&mut self, value: Value<'_>) -> Range {
        Some(self.keep_text(value.raw))
    }

    fn keep_text(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        (start, self.text.len())
    }

    fn decide_kind(&self, records: &[Record]) -> Kind {
        let has = |wanted: fn(u16) -> bool| records.iter().any(|record| wanted(record.record_type));
        if has(|kind| kind == types::LOGIN) {
            return Kind::User;
        }
        if self.has & HAS_EXECVE != 0 || self.is_syscall(&[59, 322], &[11, 358], &[221, 281]) {
            return Kind::Exec;
        }
        // exit_group alone: exit ends a thread, and the record names the whole process.
        if self.is_syscall(&[231], &[252], &[94]) {
            return Kind::Exit;
        }
        match records
            .iter()
            .map(|record| record.record_type)
            .find(|kind| !matches!(*kind, 1300 | 1302 | 1306 | 1307 | 1320 | 1327))
        {
            Some(1305 | 1328 | 1111) => Kind::Config,
            Some(1005 | 1006 | 1100..=1199 | 2300..=2499) => Kind::User,
            Some(1200..=1299) => Kind::Daemon,
            Some(1700..=1799 | 2100..=2299) => Kind::Anomaly,
            Some(1400..=1599) => Kind::Mac,
            Some(types::URINGOP) => Kind::File,
            _ if self.has & HAS_SYSCALL != 0
                && (self.has & HAS_PATH != 0 || !self.keys.is_empty()) =>
            {
                Kind::File
            }
            _ => Kind::Other,
        }
    }

    /// Whether it is one of these system calls (x86-64, i386, aarch64).
    fn is_syscall(&self, x86_64: &[u32], i386: &[u32], aarch64: &[u32]) -> bool {
        let table = match self.arch {
            Some(0xc000_003e) => x86_64,
            Some(0x4000_0003) => i386,
            Some(0xc000_00b7) => aarch64,
            _ => return false,
        };
        self.syscall.is_some_and(|number| table.contains(&number))
    }

    fn find_missing(&self) -> u8 {
        let needed = match self.kind {
            Kind::Exec if self.success != Some(false) => {
                HAS_SYSCALL | HAS_EXECVE | HAS_CWD | HAS_PATH
            }
            Kind::Exec | Kind::Exit => HAS_SYSCALL,
            Kind::File
                if self
                    .items
                    .is_some_and(|items| items as usize > self.paths.len()) =>
            {
                HAS_SYSCALL | HAS_PATH
            }
            Kind::File => HAS_SYSCALL,
            _ => 0,
        };
        let lacks_paths = self
            .items
            .is_some_and(|items| items as usize > self.paths.len());
        (needed & !self.has) | self.missing | if lacks_paths { HAS_PATH } else { 0 }
    }
}

/// Types that say more of a system call, and never lead where another type is there.
fn is_companion(kind: u16) -> bool {
    matches!(
        kind,
        types::SYSCALL
            | types::PATH
            | types::SOCKADDR
            | types::CWD
            | types::EXECVE
            | types::EOE
            | types::PROCTITLE
            | 1321
    )
}

fn keep<T>(slot: &mut Option<T>, value: Option<T>) {
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

fn yes_or_no(raw: &[u8]) -> Option<bool> {
    match raw {
        b"yes" | b"success" | b"1" => Some(true),
        b"no" | b"failed" | b"0" => Some(false),
        _ => None,
    }
}

fn octal(raw: &[u8]) -> Option<u32> {
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
