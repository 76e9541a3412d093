//! One login: what its records say of it, in whatever order they come.
//!
//! A login has records of several programs: of the one that opened it (sshd, login, gdm, cron, …) and of those that ran in it (sudo, su,
//! a screen lock). Each program's statements are kept apart, the least stamp of each kind wins, and the opener is chosen at the end;
//! nothing depends on the order of the records.
//!
//! References: pam_loginuid(8) (LOGIN), libpam's `_pam_audit_writelog` (`op=PAM:…`, `acct`), sshd's audit-linux.c and login(1)
//! (`op=login`, `id`)

use super::said::{bare, Kind, Said};
use super::shown::{moment, push, Evidence, Shown};
use super::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rank (0 is best), when, value: the least one wins.
type Statement = (u8, Stamp, String);

const MOST_PROGRAMS: usize = 16;
const MOST_PIDS: usize = 16;
/// Number of a login to which its kernel gave none.
pub(super) const UNNUMBERED: u32 = u32::MAX;
const NEVER: Stamp = (1 << 62, 0, 0);

/// What the records of one program say of a login.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Program {
    /// Of its first record of a session's begin or end; without one it opened none.
    since: Option<Stamp>,
    pids: Vec<u32>,
    user: Option<Statement>,
    remote: Option<Statement>,
    terminal: Option<Statement>,
    /// Its PAM session was opened: then only its close ends the login; sshd also reports the end of each channel.
    has_opened: bool,
    closed_ms: Option<i64>,
    /// The last end of another kind.
    left_ms: Option<i64>,
    has_succeeded: bool,
    has_failed: bool,
}

impl Program {
    fn ended_ms(&self) -> Option<i64> {
        self.closed_ms
            .or(if self.has_opened { None } else { self.left_ms })
    }

    fn learn(&mut self, said: &Said<'_>) -> bool {
        let (kind, stamp) = (said.kind, said.stamp);
        let mut is_new = false;
        if let Some(pid) = said.pid.filter(|pid| !self.pids.contains(pid)) {
            if self.pids.len() < MOST_PIDS {
                self.pids.push(pid);
                is_new = true;
            }
        }
        let is_failed = said.success == Some(false);
        if kind.opens() {
            let flag = if is_failed {
                &mut self.has_failed
            } else {
                &mut self.has_succeeded
            };
            is_new |= !std::mem::replace(flag, true);
        }
        if is_failed && !kind.ends() {
            return is_new;
        }
        if kind.is_of_session() && self.since.is_none_or(|since| stamp < since) {
            self.since = Some(stamp);
            is_new = true;
        }
        // A service that was started again inside a login authenticates others under its number.
        let rank = match kind {
            _ if kind.is_of_session() => 0,
            Kind::Authenticate => 2,
            _ => 1,
        };
        is_new |= put_least(&mut self.user, rank, stamp, || {
            said.account().map(str::to_owned)
        });
        is_new |= put_least(&mut self.remote, rank, stamp, || said.remote());
        is_new |= put_least(&mut self.terminal, rank, stamp, || {
            said.terminal().map(str::to_owned)
        });
        if kind.ends() || kind == Kind::Start {
            is_new |= self.note_session(said);
        }
        is_new
    }

    fn note_session(&mut self, said: &Said<'_>) -> bool {
        let before = (self.has_opened, self.closed_ms, self.left_ms);
        let time_ms = said.stamp.0;
        match said.kind {
            Kind::Start => self.has_opened |= said.is_pam(),
            Kind::End if said.is_pam() => self.closed_ms = self.closed_ms.max(Some(time_ms)),
            _ => self.left_ms = self.left_ms.max(Some(time_ms)),
        }
        before != (self.has_opened, self.closed_ms, self.left_ms)
    }
}

/// Where the statement of this rank and moment counts more than what is known, put it there; whether the value is another one then.
fn put_least(
    known: &mut Option<Statement>,
    rank: u8,
    stamp: Stamp,
    value: impl FnOnce() -> Option<String>,
) -> bool {
    if known
        .as_ref()
        .is_some_and(|known| (known.0, known.1) < (rank, stamp))
    {
        return false;
    }
    let Some(value) = value() else {
        return false;
    };
    let statement = (rank, stamp, value);
    if known.as_ref().is_some_and(|known| *known <= statement) {
        return false;
    }
    let before = known.replace(statement);
    before.map(|one| one.2) != known.as_ref().map(|one| one.2.clone())
}

/// What a record says of a login that was not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    Other,
    /// Perhaps whose it is.
    Person,
}

/// One login of a node: number and login uid of the kernel, and what was recorded of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) node: String,
    pub(super) number: u32,
    pub(super) auid: Option<u32>,
    /// Of its earliest record.
    first: Stamp,
    /// Of its LOGIN record; absent in a log that begins later.
    #[serde(default)]
    pub(super) login: Option<Stamp>,
    /// Of the process that set the login uid: the opener's.
    #[serde(default)]
    pub(super) pid: Option<u32>,
    /// Of the login uid, as auditd wrote it into the records (`AUID="alice"`).
    #[serde(default)]
    name: Option<Statement>,
    #[serde(default)]
    programs: BTreeMap<String, Program>,
    #[serde(default)]
    shown: Option<Shown>,
    /// The highest serial of its records, where what is read next goes on from there.
    #[serde(default)]
    pub(super) serial: Option<u64>,
    /// In which stretch of its machine's records, which no boot and no other log interrupts, it was read last.
    #[serde(skip)]
    pub(super) stretch: u64,
    /// What was learnt of it was not given yet.
    #[serde(skip)]
    pub(super) is_changed: bool,
}

impl Login {
    pub(super) fn new(node: &str, number: u32, auid: Option<u32>, first: Stamp) -> Self {
        Login {
            node: node.to_owned(),
            number,
            auid,
            first,
            login: None,
            pid: None,
            name: None,
            programs: BTreeMap::new(),
            shown: None,
            serial: None,
            stretch: 0,
            is_changed: false,
        }
    }

    /// Note that a record of it was read in a stretch.
    pub(super) fn note_read(&mut self, serial: u64, stretch: u64) {
        let known = self.serial.filter(|_| self.stretch == stretch);
        self.serial = known.max(Some(serial));
        self.stretch = stretch;
    }

    /// Its LOGIN record, else its earliest record.
    pub(super) fn began(&self) -> Stamp {
        self.login.unwrap_or(self.first)
    }

    /// When its opener ended it.
    pub(super) fn ended_ms(&self) -> Option<i64> {
        let is_ended = |one: &Program| one.closed_ms.is_some() || one.left_ms.is_some();
        if !self.programs.values().any(is_ended) {
            return None;
        }
        self.opener().and_then(|(_, one)| one.ended_ms())
    }

    /// The name of its login uid; never the account that sudo or su changed to.
    pub(super) fn user(&self) -> Option<&str> {
        let said = self
            .name
            .as_ref()
            .or_else(|| self.opener()?.1.user.as_ref());
        said.map(|one| one.2.as_str())
    }

    /// The address it came from.
    pub(super) fn remote(&self) -> Option<&str> {
        Some(self.opener()?.1.remote.as_ref()?.2.as_str())
    }

    /// Whether it was given.
    pub(super) fn is_shown(&self) -> bool {
        self.shown.is_some()
    }

    pub(super) fn learn(&mut self, said: &Said<'_>) -> News {
        let stamp = said.stamp;
        let mut is_new = false;
        if stamp < self.first {
            self.first = stamp;
            is_new = true;
        }
        let is_named = put_least(&mut self.name, 0, stamp, || said.name().map(str::to_owned));
        if said.kind == Kind::Login {
            is_new |= (self.login, self.pid) != (Some(stamp), said.pid);
            (self.login, self.pid) = (Some(stamp), said.pid);
        } else if let Some(service) = said.service() {
            if let Some(program) = self.programs.get_mut(service) {
                is_new |= program.learn(said);
            } else if self.programs.len() < MOST_PROGRAMS {
                let program = self.programs.entry(service.to_owned()).or_default();
                is_new |= program.learn(said);
            }
        }
        match (is_named, is_new) {
            (true, _) => News::Person,
            (_, true) if self.name.is_none() => News::Person,
            (_, true) => News::Other,
            _ => News::None,
        }
    }

    /// The program that opened it, by its service's name.
    ///
    /// It is the one that set the login uid, where the LOGIN record was read; else the first that begins or ends a session for
    /// the account that the login uid is of.
    fn opener(&self) -> Option<(&str, &Program)> {
        let is_candidate = |one: &Program| match self.pid {
            None => one.since.is_some(),
            Some(pid) => one.pids.contains(&pid),
        };
        // By service; of several that began at once it is the first.
        let openers = self.programs.iter();
        openers
            .filter(|(_, one)| is_candidate(one) && self.may_be_of(one))
            .min_by_key(|(_, one)| one.since.unwrap_or(NEVER))
            .map(|(service, one)| (service.as_str(), one))
    }

    /// Whether the account a program names can be the one of the login uid: only root has uid 0.
    fn may_be_of(&self, program: &Program) -> bool {
        let Some((_, _, account)) = &program.user else {
            return true;
        };
        if self
            .auid
            .is_some_and(|auid| (account == "root") != (auid == 0))
        {
            return false;
        }
        let named = self.name.as_ref().map(|name| &name.2);
        named.is_none_or(|name| name == account || bare(account) == bare(name))
    }

    /// When the service that opens it again had ended it: a boot was not recorded.
    pub(super) fn is_used_again(&self, said: &Said<'_>, slack_ms: i64) -> bool {
        if !said.is_opening() {
            return false;
        }
        let Some((service, opener)) = self.opener() else {
            return false;
        };
        let ended_ms = opener.ended_ms();
        ended_ms.is_some_and(|ended_ms| said.stamp.0 > ended_ms + slack_ms)
            && said.service() == Some(service)
    }

    /// Append the session as it is known now, with a comma; nothing where that was given already.
    pub(super) fn show(&mut self, out: &mut Vec<u8>) {
        let (began_ms, serial, segment) = self.began();
        let opener = self.opener();
        let (service, said) = (opener.map(|one| one.0), opener.map(|one| one.1));
        let value_of = |statement: &Option<Statement>| statement.as_ref().map(|one| one.2.clone());
        let shown = Shown {
            id: match (self.number, self.pid) {
                (UNNUMBERED, Some(pid)) => format!("{}/{began_ms}/pid{pid}", self.node),
                (number, _) => format!("{}/{began_ms}/{number}", self.node),
            },
            host: self.node.clone(),
            session: Some(self.number).filter(|number| *number != UNNUMBERED),
            user: self.user().map(str::to_owned),
            auid: self.auid,
            remote: said.and_then(|one| value_of(&one.remote)),
            terminal: said.and_then(|one| value_of(&one.terminal)),
            service: service.map(str::to_owned),
            started: moment(began_ms),
            // A clock that was set back stamps the end before the beginning.
            ended: said
                .and_then(Program::ended_ms)
                .map(|ended_ms| moment(ended_ms.max(began_ms))),
            outcome: outcome_of(said).to_owned(),
            evidence: vec![Evidence {
                segment,
                serial,
                time_ms: began_ms,
            }],
        };
        if self.shown.as_ref() == Some(&shown) {
            return;
        }
        let known = self.shown.as_ref().map(|one| one.id.as_str());
        push(out, &shown, known.filter(|id| *id != shown.id));
        self.shown = Some(shown);
    }
}

fn outcome_of(opener: Option<&Program>) -> &'static str {
    match opener {
        None => "unknown",
        Some(one) if one.ended_ms().is_some() => "success",
        Some(one) if one.has_failed && !one.has_succeeded => "failure",
        Some(_) => "unknown",
    }
}
