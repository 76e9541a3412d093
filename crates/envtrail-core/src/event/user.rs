//! Records that are no part of a system call: what programs say of logins (`msg='…'`), LOGIN, changes of rules, and others.
//!
//! References: `audit_log_acct_message()` and `audit_log_user_message()` in audit-userspace's lib/audit_logging.c, as of 1.0 (RHEL 5:
//! `msg='PAM: session open acct="x" : exe="…" (hostname=…, addr=…, terminal=… res=success)'`) and today; `audit_log_set_loginuid()`
//! in kernel/auditsc.c (before 3.13: `login pid=… uid=… old auid=… new auid=…`)

use super::added::{find_message, is_added, is_named_as_added, is_unknown, offset_in, split_added};
use super::records::{keep, name, set_number, yes_or_no};
use super::Event;
use crate::parse::{Field, Fields, Value};
use crate::types;
use memchr::memrchr;

impl Event {
    pub(super) fn read_other(&mut self, record_type: u16, body: &[u8]) {
        let (body, added) = split_added(body);
        match find_message(body) {
            _ if record_type == types::LOGIN => self.read_login(body),
            Some(at) => {
                let (head, message) = body.split_at(at);
                self.read_fields(head.strip_suffix(b"msg='").unwrap_or(head));
                let end = memrchr(b'\'', message).unwrap_or(message.len());
                self.read_message(message.get(..end).unwrap_or_default());
            }
            None => self.read_fields(body),
        }
        for Field {
            key, name, value, ..
        } in Fields::new(added)
        {
            if is_added(key) && !is_unknown(value) {
                self.add_named(key, name, value);
            }
        }
    }

    fn read_fields(&mut self, body: &[u8]) {
        for field in Fields::new(body) {
            self.read_field(field);
        }
    }

    /// A field that the kernel wrote.
    fn read_field(&mut self, field: Field<'_>) {
        let Field {
            key, name, value, ..
        } = field;
        if is_named_as_added(key) {
            return;
        }
        self.read_subject(name, value);
        match key {
            b"key" => self.read_keys(value),
            b"res" | b"success" => keep(&mut self.success, yes_or_no(value.raw)),
            _ => {}
        }
        self.add_named(key, name, value);
    }

    /// What a program says. It may quote what a user chose: never who did it, which the kernel wrote before it, nor auditd's names.
    fn read_message(&mut self, message: &[u8]) {
        let mut result = None;
        for Field {
            key, name, value, ..
        } in Fields::new(message)
        {
            let value = without_brackets(key, value);
            match name {
                name::PID | name::PPID | name::AUID | name::EUID | name::GID | name::SES => {
                    continue
                }
                // RHEL 5: `msg='uid=500: exe=…'`, of whom it speaks.
                name::UID => self.add_field(b"id", value),
                name::TTY | name::TERMINAL | name::COMM | name::EXE | name::ADDR => {
                    self.read_subject(name, value);
                    self.add_named(key, name, value);
                }
                name::KEY => {
                    self.read_keys(value);
                    self.add_field(key, value);
                }
                _ if is_named_as_added(key) => {}
                _ => match key {
                    // It ends with the result: what a host's name says of one comes before.
                    b"res" | b"result" | b"success" => result = Some(value),
                    b"user" => self.add_field(b"acct", value),
                    _ => self.add_named(key, name, value),
                },
            }
        }
        if let Some(value) = result {
            self.success = yes_or_no(value.raw).or(self.success);
            self.add_field(b"res", value);
        }
    }

    /// Who is logged in from now on, or still is, where the kernel refused it: anybody can try to become another.
    fn read_login(&mut self, body: &[u8]) {
        let (mut auid, mut ses) = ([None; 2], [None; 2]);
        let mut is_set = None;
        for field in Fields::new(body) {
            let before = body.get(..offset_in(body, field.key)).unwrap_or_default();
            let is_old = before.ends_with(b"old ");
            if before.ends_with(b"new ") {
                is_set = Some(true);
            }
            match (field.key, is_old) {
                (b"old-auid", _) | (b"auid", true) => auid[0] = Some(field.value),
                (b"old-ses", _) | (b"ses", true) => ses[0] = Some(field.value),
                (b"auid", _) => auid[1] = Some(field.value),
                (b"ses", _) => ses[1] = Some(field.value),
                _ => self.read_field(field),
            }
        }
        keep(&mut self.success, is_set);
        let [old_auid, new_auid] = auid;
        let [old_ses, new_ses] = ses;
        let is_refused = self.success == Some(false);
        let (who, session) = if is_refused {
            (old_auid, old_ses)
        } else {
            (new_auid, new_ses)
        };
        keep(&mut self.auid, who.and_then(set_number));
        keep(&mut self.ses, session.and_then(set_number));
        for (key, value) in [
            (b"auid".as_slice(), new_auid),
            (b"ses", new_ses),
            (b"old-auid", old_auid),
            (b"old-ses", old_ses),
        ] {
            if let Some(value) = value {
                self.add_field(key, value);
            }
        }
    }
}

/// A bare value of `(hostname=a, addr=b, terminal=c res=success)` and of `uid=0:`.
fn without_brackets<'a>(key: &[u8], value: Value<'a>) -> Value<'a> {
    if value.quoted {
        return value;
    }
    let mut raw = value.raw.strip_suffix(b",").unwrap_or(value.raw);
    if raw.ends_with(b")") && !raw.contains(&b'(') {
        raw = raw.strip_suffix(b")").unwrap_or(raw);
    }
    if matches!(key, b"uid" | b"id" | b"acct" | b"user") {
        raw = raw.strip_suffix(b":").unwrap_or(raw);
    }
    // Programs write hexadecimal in capitals: an account named `cafe` is none.
    let quoted = raw.iter().any(u8::is_ascii_lowercase);
    Value { raw, quoted }
}
