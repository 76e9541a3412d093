//! Groups in the making.

use super::{EventPlace, FileGroup, What, Who};
use crate::hints::{is_core_metadata, is_metadata, is_site};
use rustc_hash::{FxHashMap, FxHashSet};

/// Distinct files named in a group; what comes after is only counted.
pub const MAX_FILES: usize = 1000;
/// Groups between two reads; what comes after is only counted as lost.
const MAX_GROUPS: usize = 4096;
/// Events named in a group.
const MAX_EVENTS: usize = 100;
/// Events of package metadata in a group; what comes after is left out.
const MAX_METADATA: usize = 4096;

/// A change of one file, as it was reported.
pub struct Change<'a> {
    pub pid: u32,
    /// What ran in the process, where that is known at once.
    pub image: Option<u64>,
    pub root: &'a str,
    pub path: &'a [u8],
    pub what: What,
    pub time_ms: u64,
    /// That recorded it; None: fanotify reported it.
    pub event: Option<EventPlace>,
}

struct Gathering {
    group: FileGroup,
    places: FxHashMap<String, usize>,
    dropped: usize,
}

/// A process, and the folder below which it changed something.
type Key = (u32, Option<u64>, String);

/// Groups in the making.
#[derive(Default)]
pub struct FileGroups {
    groups: Vec<Gathering>,
    by_process: FxHashMap<Key, usize>,
    /// Changes of processes for which there was no space.
    pub lost: u64,
}

impl FileGroups {
    /// Whether a change by this process below this root would begin a group.
    pub fn is_new(&self, pid: u32, root: &str) -> bool {
        !self.by_process.contains_key(&(pid, None, root.to_owned()))
    }

    /// Note a change. `who` is called only for the first one of a group.
    pub fn note(&mut self, change: &Change<'_>, who: impl FnOnce() -> Option<Who>) {
        let key = (change.pid, change.image, change.root.to_owned());
        let at = match self.by_process.get(&key) {
            Some(at) => *at,
            None if self.groups.len() >= MAX_GROUPS => {
                self.lost += 1;
                return;
            }
            None => {
                self.groups.push(Gathering::new(change, who()));
                self.by_process.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        if let Some(gathering) = self.groups.get_mut(at) {
            gathering.note(change);
        }
    }

    /// Whether a process has a group.
    pub fn holds(&self, pid: u32) -> bool {
        self.groups.iter().any(|one| one.group.pid == pid)
    }

    /// A folder was moved: what was gathered below it by this process lies elsewhere now. Watched roots stay where they are.
    pub fn rename(&mut self, pid: u32, from: &str, to: &str) {
        for at in 0..self.groups.len() {
            let Some(one) = self.groups.get_mut(at).filter(|one| one.group.pid == pid) else {
                continue;
            };
            let Some(rest) = one.group.root.strip_prefix(from).map(str::to_owned) else {
                continue;
            };
            if !rest.is_empty() && !rest.starts_with('/') {
                continue;
            }
            let old = std::mem::replace(&mut one.group.root, format!("{to}{rest}"));
            let names = one.group.files.iter_mut().map(|(path, _)| path);
            let metadata = one.group.metadata.iter_mut().map(|(path, ..)| path);
            for path in names.chain(metadata) {
                if let Some(below) = path.strip_prefix(from) {
                    *path = format!("{to}{below}");
                }
            }
            one.places.clear();
            let new = one.group.root.clone();
            let image = one.group.image;
            self.by_process.remove(&(pid, image, old));
            self.by_process.insert((pid, image, new), at);
        }
    }

    /// Hand out what was gathered. A file that was added and removed in between is ignored.
    pub fn take(&mut self) -> Vec<FileGroup> {
        self.take_if(|_| true)
    }

    /// Hand out what is ripe; the rest goes on.
    pub fn take_if(&mut self, is_ripe: impl Fn(&FileGroup) -> bool) -> Vec<FileGroup> {
        let (ripe, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.groups)
            .into_iter()
            .partition(|one| is_ripe(&one.group));
        self.groups = rest;
        let key = |one: &Gathering| (one.group.pid, one.group.image, one.group.root.clone());
        self.by_process = self.groups.iter().map(key).zip(0..).collect();
        ripe.into_iter().filter_map(Gathering::finish).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &FileGroup> {
        self.groups.iter().map(|one| &one.group)
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Marks a file that was added and removed.
const NOTHING: &str = "";

impl Gathering {
    fn new(change: &Change<'_>, who: Option<Who>) -> Self {
        Gathering {
            group: FileGroup {
                time_ms: change.time_ms,
                until_ms: change.time_ms,
                pid: change.pid,
                image: change.image,
                root: change.root.to_owned(),
                files: Vec::new(),
                total: 0,
                gone: who.is_none(),
                who: who.unwrap_or_default(),
                events: Vec::new(),
                is_marked: false,
                metadata: Vec::new(),
                recorded: None,
            },
            places: FxHashMap::default(),
            dropped: 0,
        }
    }

    fn note(&mut self, change: &Change<'_>) {
        let path = crate::text::printable(change.path).into_owned();
        let (what, time_ms) = (change.what, change.time_ms);
        let group = &mut self.group;
        group.until_ms = group.until_ms.max(time_ms);
        group.time_ms = group.time_ms.min(time_ms);
        group.is_marked |= what == What::MovedTo && is_mark(&path);
        let is_there = matches!(what, What::Written | What::Attributes);
        if group.metadata.len() < MAX_METADATA && is_of_metadata(path.as_bytes(), what) {
            group.metadata.push((path.clone(), what, time_ms));
        }
        if let Some(event) = change.event {
            if group.events.len() < MAX_EVENTS && group.events.last() != Some(&event) {
                group.events.push(event);
            }
        }
        match self.places.get(&path).copied() {
            Some(at) => {
                let Some(known) = group.files.get_mut(at) else {
                    return;
                };
                match (known.1, what) {
                    (What::Created | What::MovedTo, What::Deleted | What::MovedFrom) => {
                        self.places.remove(&path);
                        known.0 = NOTHING.to_owned();
                        self.dropped += 1;
                        group.total -= 1;
                    }
                    (What::Deleted | What::MovedFrom, What::Created | What::MovedTo) => {
                        known.1 = What::Written
                    }
                    (known_what, _) if is_there && known_what != What::Attributes => {}
                    (_, newer) => known.1 = newer,
                }
            }
            None if group.files.len() - self.dropped < MAX_FILES
                && group.files.len() < 2 * MAX_FILES =>
            {
                group.total += 1;
                self.places.insert(path.clone(), group.files.len());
                group.files.push((path, what));
            }
            // Past the bound nothing says whether the file was counted when it was created.
            None => group.total += u64::from(!is_there),
        }
    }

    fn finish(self) -> Option<FileGroup> {
        let mut group = self.group;
        group.files.retain(|(path, _)| path != NOTHING);
        // Where the folder itself came or went, its file says nothing more.
        let folders: FxHashSet<String> = group.metadata.iter().map(|one| one.0.clone()).collect();
        let is_more = |path: &str| {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            !is_core_metadata(path.as_bytes()) || !folders.contains(folder)
        };
        group.metadata.retain(|(path, ..)| is_more(path));
        (group.total > 0 || !group.metadata.is_empty()).then_some(group)
    }
}

/// Whether a change says something of the metadata of packages: of a folder of them, where it is moved with all that is in it.
fn is_of_metadata(path: &[u8], what: What) -> bool {
    match what {
        What::Written | What::Attributes => false,
        What::MovedFrom | What::MovedTo if is_site(path) => true,
        _ => is_metadata(path) || is_core_metadata(path),
    }
}

/// Whether this is what pip alone leaves behind: INSTALLER is written beside its place and moved there, what is to be removed is
/// first given a name that begins with `~`.
///
/// References: `adjacent_tmp_file()` in pip/_internal/utils/filesystem.py, `AdjacentTempDirectory` in pip/_internal/utils/temp_dir.py
fn is_mark(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.ends_with(".dist-info/INSTALLER")
        || (name.starts_with('~') && (name.ends_with(".dist-info") || name.ends_with(".egg-info")))
}
