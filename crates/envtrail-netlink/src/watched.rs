//! What is watched now, as the listening thread and its readers share it.

use crate::fanotify::FsId;
use crate::signal::Signal;
use envtrail_core::files::{FileGroups, Roots};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Environments that were seen to appear, or to be moved, and are watched like those that were given.
const MAX_FOUND: usize = 256;

/// A folder of each mount of a file system, by which handles are opened: a bind mount gives what lies on it another path.
pub type Mounts = HashMap<FsId, Vec<(u64, Arc<File>)>>;

#[derive(Default)]
pub struct State {
    /// Both of the following.
    pub roots: Roots,
    pub given: Vec<String>,
    /// Newest last.
    found: Vec<String>,
    pub mounts: Mounts,
    pub groups: FileGroups,
    pub overflows: u64,
    pub unwatched: Vec<String>,
    /// Counts changes of the roots: what a thread remembers of folders is then of another time.
    pub generation: u64,
}

pub struct Shared {
    state: Mutex<State>,
    pub ready: Signal,
    pub stop: Signal,
}

impl State {
    pub fn watch(&mut self) {
        self.roots = Roots::new(self.given.iter().chain(&self.found).cloned().collect());
        self.generation += 1;
    }

    /// An environment is here now.
    pub fn find(&mut self, path: &[u8]) {
        let path = envtrail_core::text::printable(path).into_owned();
        if self.roots.iter().any(|root| root == path) {
            return;
        }
        if self.found.len() >= MAX_FOUND {
            self.found.remove(0);
        }
        self.found.push(path);
        self.watch();
    }
}

impl Shared {
    pub fn new() -> io::Result<Self> {
        Ok(Shared {
            state: Mutex::default(),
            ready: Signal::new()?,
            stop: Signal::new()?,
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
