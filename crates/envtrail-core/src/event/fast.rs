//! SYSCALL and PATH records as the kernel writes them: always the same fields in the same order. Each step reads the field that comes
//! next if it is the one expected, as the general reader would; from the first that is another one on, the general reader goes on.
//!
//! Reference: `audit_log_exit()`, `audit_log_task_info()` and `audit_log_name()` in kernel/auditsc.c and kernel/audit.c.

use super::records::{keep, octal, yes_or_no, UNSET};
use super::repeated::{FileFacts, Who};
use super::{Event, ExtraFields, PathItem};
use crate::parse::{digits, hexadecimal, take_bare, take_quoted, take_value, Value};

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
        self.arch = Some(ahead.hexadecimal(b"arch=")? as u32);
        self.syscall = Some(ahead.decimal(b" syscall=")? as u32);
        // A call that never returns has none of the two.
        if let Some(success) = ahead.value(b" success=") {
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
        self.read_subject_in_order(ahead)?;
        self.comm = self.string(ahead.name(b" comm=")?);
        let exe = ahead.name(b" exe=")?;
        self.exe = self.executable(exe);
        // Of a security module; without one there is none.
        let _ = ahead.skip(b" subj=");
        self.read_keys(ahead.name(b" key=")?);
        Some(())
    }

    fn read_subject_in_order(&mut self, ahead: &mut Ahead<'_>) -> Option<()> {
        let words = ahead.0;
        let is_first = !self.has_subject();
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
            repeated.who.keep(words, length, || Who {
                ids: [self.auid, self.uid, self.gid, self.euid, self.ses],
                tty: self.slice(self.tty).map(<[u8]>::to_vec),
            });
            self.repeated = Some(repeated);
        }
        Some(())
    }

    fn has_subject(&self) -> bool {
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
        ahead.skip(b"\x1dARCH=")?;
        ahead.skip(b" SYSCALL=")?;
        if !self.fields.is_empty() || self.known_call().is_none() {
            return None;
        }
        let repeated = self.repeated.as_deref();
        if let Some((names, _)) = repeated.and_then(|repeated| repeated.names.find(ahead.0)) {
            self.fields.append(names);
            return Some(());
        }
        let words = ahead.0;
        let auid = ahead.quoted(b" AUID=")?;
        let uid = ahead.quoted(b" UID=")?;
        ahead.quoted(b" GID=")?;
        let euid = ahead.quoted(b" EUID=")?;
        self.add_field(b"AUID", auid);
        self.add_field(b"UID", uid);
        self.add_field(b"EUID", euid);
        let mut repeated = self.repeated.take().unwrap_or_default();
        repeated.names.keep(words, words.len() - ahead.0.len(), || {
            let mut names = ExtraFields::default();
            names.append(&self.fields);
            names
        });
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
        path.name = self.string(ahead.name(b" name=")?);
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
            file.keep(words, words.len() - ahead.0.len(), || FileFacts {
                mode: path.mode,
                ouid: path.ouid,
                nametype: nametype.to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SYSCALLS: [&str; 4] = [
        "arch=c000003e syscall=59 success=yes exit=0 a0=55d0c8a0f2a0 a1=0 a2=7ffe a3=8 items=2 ppid=7 pid=19 auid=1001 uid=0 gid=0 euid=0 \
         suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=4294967295 comm=\"pip\" exe=\"/usr/bin/python3.11\" key=\"k\"\u{1d}ARCH=x86_64 \
         SYSCALL=execve AUID=\"alice\" UID=\"root\" GID=\"root\" EUID=\"root\" SUID=\"root\"",
        "arch=c000003e syscall=231 a0=ff a1=e7 a2=3c a3=0 items=0 ppid=6359 pid=4294967296 auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 \
         egid=0 sgid=0 fsgid=0 tty=(none) ses=3 comm=6120622E exe=(null) subj=unconfined key=(null)",
        "arch=40000003 syscall=5 per=400000 success=no exit=-13 a0=1 a1=2 a2=3 a3=4 items=1 ppid=1 pid=2 auid=3 uid=4 gid=5 euid=6 suid=7 \
         fsuid=8 egid=9 sgid=1 fsgid=2 tty=ttyS0 ses=1 comm=\"a\" exe=\"/a b\" subj=a:b:c key=6101620A\u{1d}",
        "arch=c00000b7 syscall=221 success=yes exit=18446744073709551615 a0=0 a1=\"x\" a2='y' a3={z} items=1 ppid=99999999999999999999 pid= \
         auid=-1 uid=00000000000000000001001 gid=0x1",
    ];
    const PATHS: [&str; 3] = [
        "item=0 name=\"/bin/sh\" inode=247072 dev=fe:00 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fe=0\u{1d}OUID=\"root\"",
        "item=12 name=2F612062 inode=1 dev=fe:00 mode=040755 ouid=4294967295 ogid=0 rdev=00:00 obj=a:b nametype=CREATE name=\"/x\"",
        "item=1 name=(null) inode=18446744073709551616 dev=fe:00 mode=9 ouid=1 ogid=0 rdev=00:00 nametype=",
    ];

    /// A line, cut, with bytes of it changed or left out.
    fn mutated(lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let place = any::<prop::sample::Index>();
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(b" =\"'{0919afAF(\x1d-".to_vec())
        ];
        let changes = prop::collection::vec((place, 0..4u8, byte), 0..4);
        (prop::sample::select(lines.to_vec()), changes).prop_map(|(line, changes)| {
            let mut bytes = line.as_bytes().to_vec();
            for (place, what, byte) in changes {
                let at = place.index(bytes.len().max(1));
                match what {
                    _ if bytes.is_empty() => {}
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn a_system_call_reads_the_same_by_order_and_by_name(first in mutated(&SYSCALLS), second in mutated(&SYSCALLS)) {
            let (mut by_order, mut by_name) = (Event::default(), Event::default());
            // The second one finds what the first left.
            for body in [first, second] {
                let kept = by_order.fields.len();
                let rest = by_order.begin_syscall(&body);
                let rest = by_order.begin_names(rest);
                by_order.read_syscall_fields(rest, kept);
                by_name.read_syscall_fields(&body, kept);
                let shown = format!("{by_order:?}").replace("repeated: Some()", "repeated: None");
                prop_assert_eq!(shown, format!("{by_name:?}"));
            }
        }

        #[test]
        fn a_system_call_reads_the_same_whatever_was_read_before(bodies in prop::collection::vec(mutated(&SYSCALLS[..1]), 1..5)) {
            let mut event = Event::default();
            // Most are of the one session, byte for byte.
            let usual = [SYSCALLS[0].as_bytes().to_vec(), SYSCALLS[0].as_bytes().to_vec()];
            for body in usual.into_iter().chain(bodies) {
                let mut by_name = Event::default();
                by_name.read_syscall_fields(&body, 0);
                event.clear();
                let rest = event.begin_syscall(&body);
                let rest = event.begin_names(rest);
                event.read_syscall_fields(rest, 0);
                let shown = format!("{event:?}").replace("repeated: Some()", "repeated: None");
                prop_assert_eq!(shown, format!("{by_name:?}"));
            }
        }

        #[test]
        fn a_path_reads_the_same_by_order_and_by_name(body in mutated(&PATHS)) {
            let (mut by_order, mut by_name) = (Event::default(), Event::default());
            for body in [PATHS[0].as_bytes(), &body, &body, PATHS[0].as_bytes(), &body] {
                let (mut one, mut other) = (PathItem::default(), PathItem::default());
                let rest = by_order.begin_path(&mut one, body);
                by_order.read_path_fields(&mut one, rest);
                by_name.read_path_fields(&mut other, body);
                let shown = format!("{by_order:?} {one:?}").replace("repeated: Some()", "repeated: None");
                prop_assert_eq!(shown, format!("{by_name:?} {other:?}"));
            }
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read_by_order_to_its_end() {
        for (line, rest) in [
            (SYSCALLS[0], "\u{1d}ARCH=x86_64"),
            (SYSCALLS[2], " per=400000"),
        ] {
            let left = Event::default().begin_syscall(line.as_bytes()).to_vec();
            assert!(
                left.starts_with(rest.as_bytes()),
                "{}",
                String::from_utf8_lossy(&left)
            );
        }
        assert_eq!(Event::default().begin_syscall(SYSCALLS[1].as_bytes()), b"");
        let path = PATHS[0].as_bytes();
        assert_eq!(
            Event::default().begin_path(&mut PathItem::default(), path),
            b""
        );
    }
}
