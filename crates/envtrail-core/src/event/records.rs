//! What each type of record says: its fields, decoded into the event.

use super::added::{glued_at, is_added, is_unknown};
use super::address::socket_address;
use super::kind::{HAS_CWD, HAS_PATH, HAS_SYSCALL};
use super::{repeated, Event, PathItem, Range, Record};
use crate::parse::{pack, take_value, Field, Fields, Value};
use crate::syscalls::{self, Role};
use crate::text::without_deleted;
use crate::types;

/// Field names as numbers (`pack`).
pub(super) mod name {
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
    /// Its name in kernels of RHEL 7.
    pub const OBJTYPE: u64 = pack(b"objtype");
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
                self.cwd = self.read_repeated(body, b"cwd", |process| &mut process.cwd);
                self.strip_deleted_cwd();
            }
            types::PROCTITLE => {
                let title = self.read_repeated(body, b"proctitle", |process| &mut process.title);
                self.proctitle = title;
            }
            types::EOE => {}
            types::SOCKADDR => self.read_sockaddr(body),
            types::BPRM_FCAPS => self.read_capabilities(body),
            other => self.read_other(other, body),
        }
    }

    fn read_syscall(&mut self, body: &[u8]) {
        self.has |= HAS_SYSCALL;
        let kept = self.fields.len();
        let rest = self.begin_syscall(body);
        let rest = self.begin_names(rest);
        self.read_syscall_fields(rest, kept);
    }

    /// `kept`: the fields that were there before this record.
    pub(super) fn read_syscall_fields(&mut self, body: &[u8], kept: usize) {
        let mut is_marked = false;
        for Field {
            key,
            name,
            value,
            enriched,
        } in Fields::new(body)
        {
            if is_added(key) {
                // Where there is a 0x1d, only what comes after it counts.
                if enriched && !is_marked {
                    is_marked = true;
                    self.fields.truncate(kept);
                }
                self.read_added(key, value);
                // The names of the other ids come after these.
                if enriched && key == b"EUID" && self.has_field(b"AUID") && self.has_field(b"UID") {
                    break;
                }
                continue;
            }
            // What the kernel goes on after was not added by auditd.
            self.fields.truncate(kept);
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

    /// What auditd added to a system call: names of who did it, and of the call where its number is not known.
    pub(super) fn read_added(&mut self, key: &[u8], value: Value<'_>) {
        match key {
            b"AUID" | b"UID" | b"EUID" if !is_unknown(value) => self.add_field(key, value),
            b"SYSCALL" if self.known_call().is_none() => self.add_field(key, value),
            _ => {}
        }
    }

    /// The name of the system call by its number.
    pub(super) fn known_call(&self) -> Option<&'static str> {
        syscalls::name(self.arch?, self.syscall?)
    }

    /// The name of the system call: by its number, else as auditd wrote it.
    pub(super) fn call(&self) -> Option<&[u8]> {
        let known = self.known_call().map(str::as_bytes);
        known.or_else(|| self.field(b"SYSCALL"))
    }

    /// What the system call does to the image of its process.
    pub(super) fn role(&self) -> Role {
        let by_number = self.arch.zip(self.syscall);
        match by_number.map(|(arch, number)| syscalls::role(arch, number)) {
            Some(Role::Other) | None if self.has & HAS_SYSCALL != 0 && !self.fields.is_empty() => {
                self.field(b"SYSCALL")
                    .map_or(Role::Other, syscalls::role_of_name)
            }
            known => known.unwrap_or(Role::Other),
        }
    }

    /// Fields that say who did it; the same in kernel and user records. False when it is another field.
    pub(super) fn read_subject(&mut self, name: u64, value: Value<'_>) -> bool {
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
            name::EXE if self.exe.is_none() => self.exe = self.executable(value),
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
        let raw = glued_at(value).and_then(|at| value.raw.get(..at));
        let value = Value {
            raw: raw.unwrap_or(value.raw),
            ..value
        };
        if value.is_none() {
            return;
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
                name::NAMETYPE | name::OBJTYPE => {
                    path.nametype = self.nametype(value);
                    // What follows are capabilities and names that auditd added.
                    break;
                }
                _ => {}
            }
        }
    }

    pub(super) fn executable(&mut self, value: Value<'_>) -> Range {
        let exe = self.string(value);
        self.without_deleted(exe)
    }

    pub(super) fn nametype(&mut self, value: Value<'_>) -> Range {
        let end = glued_at(value).unwrap_or(value.raw.len());
        value.raw.get(..end).map(|raw| self.keep_text(raw))
    }

    fn read_sockaddr(&mut self, body: &[u8]) {
        let Some(value) = find_value(body, b"saddr") else {
            return;
        };
        let end = glued_at(value).unwrap_or(value.raw.len());
        let mut raw = Vec::new();
        if crate::parse::decode_hex(value.raw.get(..end).unwrap_or_default(), &mut raw) {
            if let Some(address) = socket_address(&raw) {
                self.address = Some(self.keep_text(address.as_bytes()));
            }
        }
    }

    /// The first field of a name wins: a map has no two.
    pub(super) fn add_field(&mut self, key: &[u8], value: Value<'_>) {
        self.add_named(key, pack(key), value);
    }

    /// The same, where `pack` of the key is known.
    pub(super) fn add_named(&mut self, key: &[u8], name: u64, value: Value<'_>) {
        if self.fields.get(key, name).is_some() {
            return;
        }
        self.fields.push(key, name, |out| {
            let start = out.len();
            if is_untrusted(name) {
                value.decode_into(out);
            } else {
                out.extend_from_slice(value.raw);
            }
            if matches!(name, name::EXE | name::CWD) {
                let path = out.get(start..).unwrap_or_default();
                out.truncate(start + without_deleted(path).len());
            }
        });
    }

    /// The value of a field by its name.
    pub(super) fn field(&self, key: &[u8]) -> Option<&[u8]> {
        self.fields.get(key, pack(key))
    }

    fn has_field(&self, key: &[u8]) -> bool {
        self.field(key).is_some()
    }

    /// The text of the field that is wanted of a record, which is often the same as that of the process's record before.
    fn read_repeated(
        &mut self,
        body: &[u8],
        wanted: &[u8],
        part: fn(&mut repeated::Process) -> &mut repeated::Body,
    ) -> Range {
        let repeated = self.repeated.get_or_insert_default();
        let kept = part(repeated.process_mut(self.pid)?);
        let start = self.text.len();
        if let Some(text) = kept.find(body) {
            self.text.extend_from_slice(text);
            return Some((start, self.text.len()));
        }
        let value = find_value(body, wanted).filter(|value| !value.is_none())?;
        value.decode_into(&mut self.text);
        kept.keep(body, self.text.get(start..).unwrap_or_default());
        Some((start, self.text.len()))
    }

    pub(super) fn string(&mut self, value: Value<'_>) -> Range {
        if value.is_none() {
            return None;
        }
        let start = self.text.len();
        value.decode_into(&mut self.text);
        Some((start, self.text.len()))
    }

    pub(super) fn keep_text(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        (start, self.text.len())
    }
}

pub(super) fn find_value<'a>(body: &'a [u8], wanted: &[u8]) -> Option<Value<'a>> {
    // Most records of one field begin with it.
    if let Some([b'=', rest @ ..]) = body.strip_prefix(wanted) {
        return Some(take_value(rest).0);
    }
    let mut fields = Fields::new(body);
    Some(fields.find(|field| field.key == wanted)?.value)
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

pub(super) fn number(value: Value<'_>) -> Option<u32> {
    value
        .decimal()
        .and_then(|number| u32::try_from(number).ok())
}

pub(super) fn set_number(value: Value<'_>) -> Option<u32> {
    value
        .decimal()
        .filter(|number| *number != UNSET)
        .and_then(|number| u32::try_from(number).ok())
}

pub(super) fn yes_or_no(raw: &[u8]) -> Option<bool> {
    match raw {
        b"yes" | b"success" | b"Success" | b"1" => Some(true),
        b"no" | b"failed" | b"Failed" | b"failure" | b"0" => Some(false),
        _ => None,
    }
}

pub(super) fn octal(raw: &[u8]) -> Option<u32> {
    if raw.len() <= 8 && !raw.is_empty() && raw.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
        let digits = raw.iter().map(|digit| u32::from(digit - b'0'));
        return Some(digits.fold(0, |number, digit| number << 3 | digit));
    }
    u32::from_str_radix(std::str::from_utf8(raw).ok()?, 8).ok()
}
