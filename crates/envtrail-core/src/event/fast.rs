//! SYSCALL and PATH records as the kernel writes them: always the same fields in the same order. Each step reads the field that comes
//! next if it is the one expected, as the general reader would; from the first that is another one on, the general reader goes on.
//!
//! Reference: `audit_log_exit()`, `audit_log_task_info()` and `audit_log_name()` in kernel/auditsc.c and kernel/audit.c.

#[cfg(test)]
mod tests;

use super::records::{keep, octal, yes_or_no, UNSET};
use super::{Event, PathItem, Range};
use crate::parse::{digits, hexadecimal, split, take_bare, take_quoted, take_value, Value};
use crate::syscalls;
use memchr::memchr;

/// What is left of a record; it moves on only over fields that were read.
struct Ahead<'a>(&'a [u8]);

impl<'a> Ahead<'a> {
    /// The value of the field with this key (and the blank before it), if that is what comes next.
    #[inline(always)]
    fn value<const N: usize>(&mut self, key: &[u8; N]) -> Option<Value<'a>> {
        let (value, rest) = take_value(self.after(key)?);
        self.0 = rest;
        Some(value)
    }

    /// Pass over the same, where it is not quoted.
    #[inline(always)]
    fn skip<const N: usize>(&mut self, key: &[u8; N]) -> Option<()> {
        let (_, rest) = take_bare(self.after(key)?)?;
        self.0 = rest;
        Some(())
    }

    /// The same, where it is a name: nearly always in quotes.
    #[inline(always)]
    fn name<const N: usize>(&mut self, key: &[u8; N]) -> Option<Value<'a>> {
        let text = self.after(key)?;
        let (value, rest) = take_quoted(text).unwrap_or_else(|| take_value(text));
        self.0 = rest;
        Some(value)
    }

    /// The same, where it is a path: longer than is worth a look at the next bytes.
    #[inline(always)]
    fn path<const N: usize>(&mut self, key: &[u8; N]) -> Option<Value<'a>> {
        let text = self.after(key)?;
        let [b'"', inner @ ..] = text else {
            return self.name(key);
        };
        let (raw, rest) = split(inner, memchr(b'"', inner)?);
        self.0 = rest;
        Some(Value { raw, quoted: true })
    }

    /// The same, only in quotes.
    #[inline(always)]
    fn quoted<const N: usize>(&mut self, key: &[u8; N]) -> Option<Value<'a>> {
        let (value, rest) = take_quoted(self.after(key)?)?;
        self.0 = rest;
        Some(value)
    }

    /// The same, where it is a whole number without a sign and a blank follows.
    #[inline(always)]
    fn decimal<const N: usize>(&mut self, key: &[u8; N]) -> Option<u64> {
        let (number, rest) = digits(self.after(key)?)?;
        self.pass(rest).map(|()| number)
    }

    /// The same in hexadecimal.
    #[inline(always)]
    fn hexadecimal<const N: usize>(&mut self, key: &[u8; N]) -> Option<u64> {
        let (number, rest) = hexadecimal(self.after(key)?)?;
        self.pass(rest).map(|()| number)
    }

    #[inline(always)]
    fn after<const N: usize>(&self, key: &[u8; N]) -> Option<&'a [u8]> {
        let (begin, rest) = self.0.split_first_chunk()?;
        (begin == key).then_some(rest)
    }

    /// Move on to the blank that ends a number.
    #[inline(always)]
    fn pass(&mut self, rest: &'a [u8]) -> Option<()> {
        if let [b' ', ..] = rest {
            self.0 = rest;
            return Some(());
        }
        None
    }
}

impl Event {
    /// Read the beginning of a SYSCALL record; gives what is left for the general reader.
    pub(super) fn begin_syscall<'a>(&mut self, body: &'a [u8]) -> &'a [u8] {
        let mut ahead = Ahead(body);
        self.read_syscall_in_order(&mut ahead);
        ahead.0
    }

    /// None where a field was another one.
    fn read_syscall_in_order(&mut self, ahead: &mut Ahead<'_>) -> Option<()> {
        // The usual words are compared as one.
        if let Some(number) = ahead.decimal(b"arch=c000003e syscall=") {
            (self.arch, self.syscall) = (Some(syscalls::X86_64), Some(number as u32));
        } else {
            self.arch = Some(ahead.hexadecimal(b"arch=")? as u32);
            self.syscall = Some(ahead.decimal(b" syscall=")? as u32);
        }
        // A call that never returns has none of the two.
        if let Some(exit) = ahead.decimal(b" success=yes exit=") {
            (self.success, self.exit) = (Some(true), Some(exit as i64));
        } else if let Some(success) = ahead.value(b" success=") {
            self.success = yes_or_no(success.raw);
            let exit = ahead.value(b" exit=")?.decimal();
            self.exit = exit.map(|number| number as i64);
        }
        self.a0 = Some(ahead.hexadecimal(b" a0=")?);
        ahead.skip(b" a1=")?;
        ahead.skip(b" a2=")?;
        ahead.skip(b" a3=")?;
        self.items = Some(ahead.decimal(b" items=")? as u32);
        keep(&mut self.ppid, narrow(ahead.decimal(b" ppid=")?));
        keep(&mut self.pid, narrow(ahead.decimal(b" pid=")?));
        self.read_task_in_order(ahead)?;
        // Of a security module; without one there is none.
        let _ = ahead.skip(b" subj=");
        self.read_keys(ahead.name(b" key=")?);
        Some(())
    }

    fn read_task_in_order(&mut self, ahead: &mut Ahead<'_>) -> Option<()> {
        let words = ahead.0;
        let is_first = !self.has_subject();
        if is_first && self.repeat_task(ahead) {
            return Some(());
        }
        let start = self.text.len();
        self.read_subject_in_order(ahead, is_first)?;
        self.comm = self.string(ahead.name(b" comm=")?);
        let exe = ahead.name(b" exe=")?;
        self.exe = self.executable(exe);
        if is_first {
            self.keep_task(words, words.len() - ahead.0.len(), start);
        }
        Some(())
    }

    /// Keep what so many bytes say; its texts begin at `start`.
    fn keep_task(&mut self, words: &[u8], length: usize, start: usize) {
        let mut repeated = self.repeated.take().unwrap_or_default();
        if let Some(process) = repeated.process_mut(self.pid) {
            process.task.keep(words, length, |task| {
                task.ids = [self.auid, self.uid, self.gid, self.euid, self.ses];
                let texts = [self.tty, self.comm, self.exe];
                task.ranges = texts.map(|range| Some((range?.0 - start, range?.1 - start)));
                task.text.clear();
                let text = self.text.get(start..).unwrap_or_default();
                task.text.extend_from_slice(text);
            });
        }
        self.repeated = Some(repeated);
    }

    /// False where it is another one than that of the process's record before.
    fn repeat_task(&mut self, ahead: &mut Ahead<'_>) -> bool {
        let process = self
            .repeated
            .as_deref()
            .and_then(|repeated| repeated.process(self.pid));
        let Some((task, length)) = process.and_then(|process| process.task.find(ahead.0)) else {
            return false;
        };
        let start = self.text.len();
        [self.auid, self.uid, self.gid, self.euid, self.ses] = task.ids;
        let place = |range: Range| Some((range?.0 + start, range?.1 + start));
        [self.tty, self.comm, self.exe] = task.ranges.map(place);
        self.text.extend_from_slice(&task.text);
        ahead.0 = ahead.0.get(length..).unwrap_or_default();
        true
    }

    fn read_subject_in_order(&mut self, ahead: &mut Ahead<'_>, is_first: bool) -> Option<()> {
        let words = ahead.0;
        if is_first && self.repeat_subject(ahead) {
            return Some(());
        }
        keep(&mut self.auid, narrow_set(ahead.decimal(b" auid=")?));
        keep(&mut self.uid, narrow_set(ahead.decimal(b" uid=")?));
        keep(&mut self.gid, narrow_set(ahead.decimal(b" gid=")?));
        keep(&mut self.euid, narrow_set(ahead.decimal(b" euid=")?));
        ahead.skip(b" suid=")?;
        ahead.skip(b" fsuid=")?;
        ahead.skip(b" egid=")?;
        ahead.skip(b" sgid=")?;
        ahead.skip(b" fsgid=")?;
        if self.tty.is_some() || self.comm.is_some() || self.exe.is_some() {
            return None;
        }
        self.tty = self.string(ahead.value(b" tty=")?);
        keep(&mut self.ses, narrow_set(ahead.decimal(b" ses=")?));
        if is_first {
            let mut repeated = self.repeated.take().unwrap_or_default();
            let length = words.len() - ahead.0.len();
            repeated.who.keep(words, length, |who| {
                who.ids = [self.auid, self.uid, self.gid, self.euid, self.ses];
                who.tty = self.slice(self.tty).map(<[u8]>::to_vec);
            });
            self.repeated = Some(repeated);
        }
        Some(())
    }

    pub(super) fn has_subject(&self) -> bool {
        let ids = [self.auid, self.uid, self.gid, self.euid, self.ses];
        let texts = [self.tty, self.comm, self.exe];
        ids.iter().any(Option::is_some) || texts.iter().any(Option::is_some)
    }

    /// False where it is another one than that of the record before.
    fn repeat_subject(&mut self, ahead: &mut Ahead<'_>) -> bool {
        let repeated = self.repeated.as_deref();
        let Some((who, length)) = repeated.and_then(|repeated| repeated.who.find(ahead.0)) else {
            return false;
        };
        [self.auid, self.uid, self.gid, self.euid, self.ses] = who.ids;
        self.tty = who.tty.as_ref().map(|tty| {
            let start = self.text.len();
            self.text.extend_from_slice(tty);
            (start, self.text.len())
        });
        ahead.0 = ahead.0.get(length..).unwrap_or_default();
        true
    }

    /// Read the names that auditd added to a SYSCALL record, where nothing was read of them; gives what is left for the general reader.
    pub(super) fn begin_names<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let mut ahead = Ahead(rest);
        match self.read_names_in_order(&mut ahead) {
            // Behind these the general reader reads nothing.
            Some(()) => b"",
            None => rest,
        }
    }

    fn read_names_in_order(&mut self, ahead: &mut Ahead<'_>) -> Option<()> {
        if !self.fields.is_empty() {
            return None;
        }
        let (words, call) = (ahead.0, (self.arch, self.syscall));
        let repeated = self.repeated.as_deref();
        let names = repeated.and_then(|repeated| repeated.names(self.syscall)?.find(words));
        if let Some((names, _)) = names.filter(|(names, _)| names.call == call) {
            self.fields.append(&names.fields);
            return Some(());
        }
        ahead.skip(b"\x1dARCH=")?;
        ahead.skip(b" SYSCALL=")?;
        self.known_call()?;
        let auid = ahead.quoted(b" AUID=")?;
        let uid = ahead.quoted(b" UID=")?;
        ahead.quoted(b" GID=")?;
        let euid = ahead.quoted(b" EUID=")?;
        for (key, value) in [(b"AUID".as_slice(), auid), (b"UID", uid), (b"EUID", euid)] {
            self.read_added(key, value);
        }
        let mut repeated = self.repeated.take().unwrap_or_default();
        if let Some(names) = repeated.names_mut(self.syscall) {
            names.keep(words, words.len() - ahead.0.len(), |names| {
                names.call = call;
                names.fields.clear();
                names.fields.append(&self.fields);
            });
        }
        self.repeated = Some(repeated);
        Some(())
    }

    /// Read the beginning of a PATH record; gives what is left for the general reader: nothing after `nametype`.
    pub(super) fn begin_path<'a>(&mut self, path: &mut PathItem, body: &'a [u8]) -> &'a [u8] {
        let mut ahead = Ahead(body);
        match self.read_path_in_order(path, &mut ahead) {
            Some(()) => b"",
            None => ahead.0,
        }
    }

    fn read_path_in_order(&mut self, path: &mut PathItem, ahead: &mut Ahead<'_>) -> Option<()> {
        path.item = ahead.decimal(b"item=")? as u32;
        path.name = self.string(ahead.path(b" name=")?);
        path.inode = Some(ahead.decimal(b" inode=")?);
        let words = ahead.0;
        let repeated = self.repeated.as_deref();
        let file = repeated.and_then(|repeated| repeated.file(self.syscall, path.item));
        if let Some((file, _)) = file.and_then(|file| file.find(words)) {
            let start = self.text.len();
            self.text.extend_from_slice(&file.nametype);
            path.nametype = Some((start, self.text.len()));
            (path.mode, path.ouid) = (file.mode, file.ouid);
            return Some(());
        }
        ahead.skip(b" dev=")?;
        path.mode = octal(ahead.value(b" mode=")?.raw);
        path.ouid = narrow(ahead.decimal(b" ouid=")?);
        ahead.skip(b" ogid=")?;
        ahead.skip(b" rdev=")?;
        path.nametype = self.nametype(ahead.value(b" nametype=")?);
        let mut repeated = self.repeated.take().unwrap_or_default();
        if let Some(file) = repeated.file_mut(self.syscall, path.item) {
            let nametype = self.slice(path.nametype).unwrap_or_default();
            file.keep(words, words.len() - ahead.0.len(), |file| {
                (file.mode, file.ouid) = (path.mode, path.ouid);
                file.nametype.clear();
                file.nametype.extend_from_slice(nametype);
            });
        }
        self.repeated = Some(repeated);
        Some(())
    }
}

fn narrow(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn narrow_set(number: u64) -> Option<u32> {
    narrow(number).filter(|_| number != UNSET)
}
