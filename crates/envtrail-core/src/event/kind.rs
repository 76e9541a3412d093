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

    /// Whether it may tell of changed files: so does a change that was allowed aloud or denied (AVC).
    pub fn tells_of_files(self) -> bool {
        matches!(self, Kind::File | Kind::Mac | Kind::Anomaly)
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

impl Event {
    pub(super) fn decide_kind(&self, records: &[Record]) -> Kind {
        let has = |wanted: fn(u16) -> bool| records.iter().any(|record| wanted(record.record_type));
        if has(|kind| kind == types::LOGIN) {
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

    pub(super) fn find_missing(&self) -> u8 {
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
pub(super) fn is_companion(kind: u16) -> bool {
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
