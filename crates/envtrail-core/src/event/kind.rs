//! Which kind of event its records make, and which of them it lacks.

use super::{Event, Record};
use crate::syscalls::Role;
use crate::types;

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

pub(super) const HAS_SYSCALL: u8 = 1;
pub(super) const HAS_EXECVE: u8 = 2;
pub(super) const HAS_CWD: u8 = 4;
pub(super) const HAS_PATH: u8 = 8;

/// Bits of `missing`, with the record type that each names.
pub const MISSING: [(u8, &str); 4] = [
    (HAS_SYSCALL, "SYSCALL"),
    (HAS_EXECVE, "EXECVE"),
    (HAS_CWD, "CWD"),
    (HAS_PATH, "PATH"),
];

/// The records that may say what an event is: those that are no companions of a system call.
pub(super) struct Leading {
    /// The type of the first one.
    first: Option<u16>,
    /// The least of their types; where there is none, of all.
    pub(super) least: u16,
    /// One of the records is LOGIN.
    is_login: bool,
}

impl Leading {
    pub(super) fn of(bytes: &[u8], records: &[Record]) -> Self {
        let mut first = None;
        let (mut least, mut least_companion) = (u16::MAX, u16::MAX);
        let mut is_login = false;
        for record in records {
            let record_type = record.record_type;
            if is_companion(bytes, record) {
                least_companion = least_companion.min(record_type);
            } else {
                first = first.or(Some(record_type));
                least = least.min(record_type);
                is_login |= record_type == types::LOGIN;
            }
        }
        let least = match (first, records.is_empty()) {
            (Some(_), _) => least,
            (None, false) => least_companion,
            (None, true) => types::UNNAMED,
        };
        Leading {
            first,
            least,
            is_login,
        }
    }
}

impl Event {
    pub(super) fn decide_kind(&self, leading: &Leading) -> Kind {
        if leading.is_login {
            return Kind::User;
        }
        if self.has & HAS_EXECVE != 0 {
            return Kind::Exec;
        }
        match self.role() {
            Role::Exec => return Kind::Exec,
            Role::Exit => return Kind::Exit,
            Role::Other => {}
        }
        match leading.first {
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

    pub(super) fn find_missing(&self, records: &[Record]) -> u8 {
        let call = match self.has & HAS_SYSCALL {
            0 if lacks_call(records) => HAS_SYSCALL,
            _ => 0,
        };
        let needed = match self.kind {
            Kind::Exec if self.success != Some(false) => {
                HAS_SYSCALL | HAS_EXECVE | HAS_CWD | HAS_PATH
            }
            Kind::Exec | Kind::Exit => HAS_SYSCALL,
            _ => 0,
        };
        let lacks_paths = self
            .items
            .is_some_and(|items| items as usize > self.paths.len());
        call | (needed & !self.has) | self.missing | if lacks_paths { HAS_PATH } else { 0 }
    }
}

/// Whether records without SYSCALL are only a part of their event.
fn lacks_call(records: &[Record]) -> bool {
    let has = |wanted: fn(u16) -> bool| records.iter().any(|record| wanted(record.record_type));
    let is_end_alone = records
        .iter()
        .all(|record| record.record_type == types::EOE);
    let is_other = has(|kind| kind == types::URINGOP || types::is_denied_file(kind));
    (has(types::follows_call) || is_end_alone) && !is_other
}

/// Records that say more of a system call, and never lead where another one is there. Ubuntu's kernels number the contexts of several
/// security modules as others number IPE's records.
///
/// Reference: `audit_log_subj_ctx()` and `audit_log_obj_ctx()` in kernel/audit.c
pub(super) fn is_companion(bytes: &[u8], record: &Record) -> bool {
    let begins = |with: &[u8]| {
        let body = bytes.get(record.body as usize..record.end as usize);
        body.is_some_and(|body| body.starts_with(with))
    };
    matches!(
        record.record_type,
        types::SYSCALL
            | types::PATH
            | types::SOCKADDR
            | types::CWD
            | types::EXECVE
            | types::EOE
            | types::BPRM_FCAPS
            | types::PROCTITLE
            | 1425
            | 1426
    ) || (record.record_type == 1420 && begins(b"subj_"))
        || (record.record_type == 1421 && begins(b"obj_"))
}
