//! Logins of every machine in the trail: which sessions there were, whose, from where, until when.
//!
//! A session is identified by (node, `ses`, `auid`): the kernel gives a number to one login of a boot, and counts anew at the next. The id of a
//! session is `<host>/<ms>/<ses>`, with the time of its LOGIN record; in a log that begins later, of its earliest record. Records may
//! come in any order: where an earlier one changes the id, the session is given again under the new one and names the one that it
//! replaces.

mod following;
mod login;
mod newest;
mod said;
mod shown;

pub use said::{service_of, LOGIN_TYPES};

use arrow_array::RecordBatch;
use login::{Login, News, UNNUMBERED};
use newest::Newest;
use rustc_hash::{FxHashMap, FxHashSet};
use said::{Kind, Said, SaidColumns};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Time in ms and serial of an event, and the segment of its records.
type Stamp = (i64, u64, u64);
/// Node, number, login uid.
type Key = (String, u32, Option<u32>);
/// Known by its number, and by the process that set the login uid.
type Shared = Arc<Mutex<Login>>;

const MOST_WAITING: usize = 16;
/// A clock may be set back by this much within a login; a machine does not start again in less.
const SLACK_MS: i64 = 2000;
/// A LOGIN record may be read this much after the records that follow it.
const LATE_MS: i64 = 60_000;

/// Whose a session is, as it is known by now.
pub struct Person {
    pub auid: Option<u32>,
    pub user: Option<String>,
    pub remote: Option<String>,
}

/// The newest few thousand logins; those that have ended are forgotten first.
pub struct Logins {
    most: usize,
    logins: Newest<Key, OfKey>,
    /// By the process that set the login uid: RHEL 5 writes no `ses` into the records of programs.
    by_pid: Newest<(String, u32), Shared>,
    /// Such records of a process, until its LOGIN is read.
    numberless: Newest<(String, u32), Vec<Said<'static>>>,
    /// Those that ended, first to last.
    ended: VecDeque<Key>,
    is_ended: FxHashSet<Key>,
    /// Node → times of its boots (ms), oldest first.
    boots: FxHashMap<String, Vec<i64>>,
    /// Node → number of the stretch of records that is read.
    stretches: FxHashMap<String, u64>,
    /// The first number that a node's stretch has since another log was turned to.
    first_stretch: u64,
    changed: Vec<Shared>,
    given: Vec<u8>,
    batch: Option<Batch>,
}

/// What is read now.
struct Batch {
    columns: SaidColumns,
    rows: Vec<usize>,
    next: usize,
    node: String,
    segment: u64,
}

/// The logins of one key, oldest first: each of another boot.
#[derive(Default)]
struct OfKey {
    logins: Vec<Shared>,
    /// The highest serial of their records in the newest stretch in which one was read: (stretch, serial).
    highest: (u64, u64),
}

/// What is going on, for the next segment.
#[derive(Serialize, Deserialize)]
struct Going {
    logins: Vec<Login>,
    boots: BTreeMap<String, Vec<i64>>,
}

impl Logins {
    /// So many keys are known at most.
    pub fn new(most: usize) -> Self {
        Logins {
            most: most.max(1),
            logins: Newest::new(),
            by_pid: Newest::new(),
            numberless: Newest::new(),
            ended: VecDeque::new(),
            is_ended: FxHashSet::default(),
            boots: FxHashMap::default(),
            stretches: FxHashMap::default(),
            first_stretch: 0,
            changed: Vec::new(),
            given: Vec::new(),
            batch: None,
        }
    }

    /// The rows that `take_until` takes from now on; a row that names no machine is of `node`.
    pub fn begin(&mut self, batch: &RecordBatch, node: &str, segment: u64) {
        self.take_until(usize::MAX);
        let columns = SaidColumns::of(batch);
        self.batch = Some(Batch {
            rows: columns.rows(batch.num_rows()),
            columns,
            next: 0,
            node: node.to_owned(),
            segment,
        });
    }

    /// Learn from the rows of the batch before this one.
    pub fn take_until(&mut self, row: usize) {
        let Some(mut batch) = self.batch.take() else {
            return;
        };
        while let Some(at) = batch.rows.get(batch.next).filter(|at| **at < row) {
            let said = batch.columns.at(*at, &batch.node, batch.segment);
            batch.next += 1;
            self.take(said);
        }
        if batch.next < batch.rows.len() {
            self.batch = Some(batch);
        }
    }

    /// Sessions of which more is known than was given, as an array (JSON): each as it is now. Where a record may have said whose it is,
    /// as it was then too: each name counts, also one that the next record corrects, however many records are read at once.
    pub fn take_given(&mut self) -> Vec<u8> {
        for login in std::mem::take(&mut self.changed) {
            let mut login = held(&login);
            if std::mem::take(&mut login.is_changed) {
                login.show(&mut self.given);
            }
        }
        let mut out = std::mem::take(&mut self.given);
        out.pop();
        out.insert(0, b'[');
        out.push(b']');
        out
    }

    /// The login that a process belongs to at a moment.
    pub fn find(&self, node: &str, number: u32, auid: Option<u32>, time_ms: i64) -> Option<Person> {
        let known = self.logins.get(&(node.to_owned(), number, auid))?;
        let covering = self.last_covering(&known.logins, time_ms);
        let found = covering.or_else(|| self.read_before(known, node, u64::MAX))?;
        let login = held(&found);
        Some(Person {
            auid: login.auid,
            user: login.user().map(str::to_owned),
            remote: login.remote().map(str::to_owned),
        })
    }

    /// Logins that have not ended, and the boots that are known of each node (JSON).
    pub fn save(&self) -> serde_json::Result<String> {
        let carried = |login: &Shared| {
            let mut login = held(login).clone();
            login.serial = login
                .serial
                .filter(|_| login.stretch == self.stretch_of(&login.node));
            login
        };
        let all = self.logins.values().flat_map(|known| &known.logins);
        let all = all.map(carried);
        serde_json::to_string(&Going {
            logins: all.filter(|login| login.ended_ms().is_none()).collect(),
            boots: self.boots.clone().into_iter().collect(),
        })
    }

    /// Take up what was going on.
    pub fn restore(&mut self, text: &str) -> serde_json::Result<()> {
        let going: Going = serde_json::from_str(text)?;
        for login in going.logins {
            let key = (login.node.clone(), login.number, login.auid);
            let pid = login.pid.map(|pid| (login.node.clone(), pid));
            let login = self.insert(key, login);
            if let Some(key) = pid {
                self.by_pid.keep(key, login, self.most);
            }
        }
        self.boots.extend(going.boots);
        Ok(())
    }

    fn take(&mut self, said: Said<'_>) {
        let (node, time_ms) = (said.node.to_string(), said.stamp.0);
        if said.kind == Kind::Boot {
            self.note_boot(node, time_ms);
            return;
        }
        let Some(login) = self.login_of(&said) else {
            return;
        };
        let stretch = self.stretch_of(&node);
        self.note_read(&login, said.stamp.1, stretch);
        let mut news = held(&login).learn(&said);
        if let (Kind::Login, Some(pid)) = (said.kind, said.pid) {
            let key = (node, pid);
            let early = self.numberless.remove(&key).unwrap_or_default();
            self.by_pid.keep(key, login.clone(), self.most);
            for one in early {
                let since_ms = one.stamp.0 - time_ms + SLACK_MS;
                if one.auid == said.auid && (0..=LATE_MS).contains(&since_ms) {
                    held(&login).learn(&one);
                    news = News::Person;
                }
            }
        }
        let mut known = held(&login);
        if news == News::None && known.is_shown() {
            return;
        }
        if known.ended_ms().is_some() {
            let key = (known.node.clone(), known.number, known.auid);
            if self.is_ended.insert(key.clone()) {
                self.ended.push_back(key);
            }
        }
        if news == News::Person || !known.is_shown() {
            known.is_changed = false;
            known.show(&mut self.given);
        } else if !std::mem::replace(&mut known.is_changed, true) {
            self.changed.push(login.clone());
        }
    }

    fn login_of(&mut self, said: &Said<'_>) -> Option<Shared> {
        let Some(number) = said.ses else {
            return match said.kind {
                _ if said.has_ses => None,
                Kind::Login => self.begun_without_number(said),
                _ => self.of_process(said),
            };
        };
        let key = (said.node.to_string(), number, said.auid);
        let found = self.logins.get(&key).and_then(|known| {
            if said.kind == Kind::Login {
                self.begun_by(&known.logins, said.stamp)
            } else {
                self.of_record(known, said)
            }
        });
        Some(found.unwrap_or_else(|| {
            let login = Login::new(&said.node, number, said.auid, said.stamp);
            self.insert(key, login)
        }))
    }

    /// The login of a LOGIN record that gives it no number (RHEL 5): its process identifies its records.
    fn begun_without_number(&mut self, said: &Said<'_>) -> Option<Shared> {
        let auid = said.auid?;
        said.pid?;
        let key = (said.node.to_string(), UNNUMBERED, Some(auid));
        let moment = (said.stamp.0, said.stamp.1);
        let is_it = |login: &&Shared| {
            let login = held(login).login;
            login.is_some_and(|login| (login.0, login.1) == moment)
        };
        let known = self.logins.get(&key);
        let again = known.and_then(|known| known.logins.iter().rev().find(is_it).cloned());
        Some(again.unwrap_or_else(|| {
            let login = Login::new(&said.node, UNNUMBERED, Some(auid), said.stamp);
            self.insert(key, login)
        }))
    }

    /// How many records say that a session was opened, of which no LOGIN was read and which name none.
    pub fn unplaced(&self) -> usize {
        let waiting = self.numberless.values().flatten();
        let is_login = |said: &&Said<'_>| said.is_opening() && said.service().is_some();
        waiting.filter(is_login).count()
    }

    /// The login of a record without a number; kept until the LOGIN of its process is read.
    fn of_process(&mut self, said: &Said<'_>) -> Option<Shared> {
        let (auid, pid) = (said.auid?, said.pid?);
        let key = (said.node.to_string(), pid);
        let known = self.by_pid.get(&key);
        if let Some(known) = known.filter(|known| held(known).auid == Some(auid)) {
            return Some(known.clone());
        }
        let mut waiting = self.numberless.remove(&key).unwrap_or_default();
        waiting.push(said.clone().into_owned());
        if waiting.len() > MOST_WAITING {
            waiting.remove(0);
        }
        self.numberless.keep(key, waiting, self.most);
        None
    }

    fn insert(&mut self, key: Key, login: Login) -> Shared {
        let (began, read) = (
            login.began(),
            login.serial.map(|serial| (login.stretch, serial)),
        );
        let login = Arc::new(Mutex::new(login));
        if self.logins.len() >= self.most {
            self.forget_one();
        }
        match self.logins.get_mut(&key) {
            Some(known) => {
                let logins = &mut known.logins;
                let at = logins.partition_point(|one| held(one).began() <= began);
                logins.insert(at, login.clone());
                known.highest = known.highest.max(read.unwrap_or_default());
            }
            None => self.logins.put(
                key,
                OfKey {
                    logins: vec![login.clone()],
                    highest: read.unwrap_or_default(),
                },
            ),
        }
        login
    }

    /// The one that ended first; where none has, the one that began first.
    fn forget_one(&mut self) {
        while let Some(key) = self.ended.pop_front() {
            self.is_ended.remove(&key);
            let known = self.logins.get(&key).and_then(|known| known.logins.last());
            if known.is_some_and(|last| held(last).ended_ms().is_some()) {
                self.logins.remove(&key);
                return;
            }
        }
        self.logins.take_first();
    }
}

fn held(login: &Shared) -> MutexGuard<'_, Login> {
    login.lock().unwrap_or_else(PoisonError::into_inner)
}
