//! Which login a record is of: the one whose records it follows, or the one that went on at its time.

use super::login::Login;
use super::said::Said;
use super::{held, Logins, OfKey, Shared, Stamp, SLACK_MS};

const MOST_BOOTS: usize = 256;

impl Logins {
    /// What is read next does not follow what was read before: it is of another log.
    pub fn turn(&mut self) {
        self.take_until(usize::MAX);
        let newest = self.stretches.values().copied().max().unwrap_or_default();
        self.first_stretch = newest.max(self.first_stretch) + 1;
        self.stretches.clear();
    }

    /// The login of a LOGIN record: read before, or known from its later records alone.
    pub(super) fn begun_by(&self, known: &[Shared], stamp: Stamp) -> Option<Shared> {
        let moment = (stamp.0, stamp.1);
        if let Some(again) = first_from(known, moment) {
            let login = held(again).login;
            if login.is_some_and(|login| (login.0, login.1) == moment) {
                return Some(again.clone());
            }
        }
        let later = first_from(known, (stamp.0 - SLACK_MS, 0))?;
        let login = held(later);
        let is_other =
            login.login.is_some() || self.has_boot(stamp.0, login.began().0, &login.node);
        (!is_other).then(|| later.clone())
    }

    /// The login of any other record: the one whose records it follows, whatever the clock was set to in between; the last that began
    /// before it; else one whose first records came late.
    pub(super) fn of_record(&self, known: &OfKey, said: &Said<'_>) -> Option<Shared> {
        let time_ms = said.stamp.0;
        let followed = self.read_before(known, &said.node, said.stamp.1);
        let known = &known.logins;
        if let Some(found) = followed.or_else(|| self.last_covering(known, time_ms)) {
            let is_other = held(&found).is_used_again(said, SLACK_MS);
            return (!is_other).then_some(found);
        }
        let later = first_from(known, (time_ms + 1, 0))?;
        let login = held(later);
        let is_same = login.login.is_none()
            && !self.was_before_boot(&login)
            && !self.has_boot(time_ms, login.began().0, &login.node);
        is_same.then(|| later.clone())
    }

    /// The login that was read last without a boot or another log since, before this serial.
    pub(super) fn read_before(&self, known: &OfKey, node: &str, serial: u64) -> Option<Shared> {
        let (stretch, highest) = known.highest;
        if stretch != self.stretch_of(node) {
            return None;
        }
        let serial_of = |login: &Shared| {
            let login = held(login);
            login.serial.filter(|_| login.stretch == stretch)
        };
        if highest < serial {
            // Nearly always the newest of all.
            let is_last = |login: &&Shared| serial_of(login) == Some(highest);
            return known.logins.iter().rev().find(is_last).cloned();
        }
        let read = known.logins.iter().filter_map(|login| {
            let read = serial_of(login).filter(|read| *read < serial);
            Some((read?, login))
        });
        read.max_by_key(|(serial, _)| *serial)
            .map(|(_, login)| login.clone())
    }

    /// Note that a record of a login was read in a stretch.
    pub(super) fn note_read(&mut self, login: &Shared, serial: u64, stretch: u64) {
        let mut login = held(login);
        login.note_read(serial, stretch);
        let key = (login.node.clone(), login.number, login.auid);
        if let Some(known) = self.logins.get_mut(&key) {
            known.highest = known.highest.max((stretch, serial));
        }
    }

    /// Whether a boot was read after the last record of a login, in one log.
    fn was_before_boot(&self, login: &Login) -> bool {
        (self.first_stretch..self.stretch_of(&login.node)).contains(&login.stretch)
    }

    pub(super) fn stretch_of(&self, node: &str) -> u64 {
        let known = self.stretches.get(node);
        known.copied().unwrap_or(self.first_stretch)
    }

    pub(super) fn last_covering(&self, known: &[Shared], time_ms: i64) -> Option<Shared> {
        let covers = |login: &&Shared| {
            let login = held(login);
            let began_ms = login.began().0;
            began_ms <= time_ms + SLACK_MS && !self.has_boot(began_ms, time_ms, &login.node)
        };
        known.iter().rev().find(covers).cloned()
    }

    pub(super) fn note_boot(&mut self, node: String, time_ms: i64) {
        let stretch = self.stretch_of(&node) + 1;
        self.stretches.insert(node.clone(), stretch);
        let known = self.boots.entry(node).or_default();
        if known.last() != Some(&time_ms) {
            known.insert(known.partition_point(|one| *one <= time_ms), time_ms);
            let many = known.len().saturating_sub(MOST_BOOTS);
            known.drain(..many);
        }
    }

    fn has_boot(&self, after_ms: i64, until_ms: i64, node: &str) -> bool {
        let known = self.boots.get(node).map(Vec::as_slice).unwrap_or_default();
        let until = |time_ms: i64| known.partition_point(|one| *one <= time_ms);
        until(after_ms) < until(until_ms)
    }
}

/// The first login that began at a moment (ms, serial) or later.
fn first_from(known: &[Shared], moment: (i64, u64)) -> Option<&Shared> {
    let is_before = |login: &Shared| {
        let began = held(login).began();
        (began.0, began.1) < moment
    };
    if known.last().is_none_or(is_before) {
        return None;
    }
    known.get(known.partition_point(is_before))
}
