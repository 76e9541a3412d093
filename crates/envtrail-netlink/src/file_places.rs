//! Where a changed file lies: its path, by the handle of its folder, and below which watched folder.

use crate::fanotify::{path_of, Event, FsId, ON_DIRECTORY};
use crate::watched::Shared;
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

/// Folders whose path is remembered.
const MAX_FOLDERS: usize = 65_536;
/// Of them, folders below no root in which metadata has appeared.
const MAX_ELSEWHERE: usize = 1024;

/// A folder below a root.
pub struct Folder {
    pub root: String,
    pub path: Vec<u8>,
}

/// What is remembered of folders by their handle: where they lie, or that it is below no root.
#[derive(Default)]
pub struct Folders {
    known: HashMap<(FsId, Vec<u8>), Option<Folder>>,
    /// Paths of folders below no root in which metadata has appeared: with the folder itself its handle goes.
    elsewhere: HashMap<(FsId, Vec<u8>), Vec<u8>>,
    /// Where a process is moving a folder from.
    pub moving: Option<(u32, String)>,
    generation: u64,
}

/// The folder of an event that takes a watched folder away.
pub fn root_of(shared: &Shared, event: &Event) -> Option<Folder> {
    let ending = [b"/", event.name.as_slice()].concat();
    let is_name_of_one = |root: &str| root.as_bytes().ends_with(&ending);
    if event.mask & ON_DIRECTORY == 0 || !shared.state().roots.iter().any(is_name_of_one) {
        return None;
    }
    let folder = folder_of(shared, event)?;
    let path = [folder.path.as_slice(), &ending].concat();
    let root = envtrail_core::text::printable(&path).into_owned();
    shared.state().roots.iter().find(|known| **known == root)?;
    Some(Folder {
        root,
        path: folder.path,
    })
}

pub fn folder_of(shared: &Shared, event: &Event) -> Option<Folder> {
    let mounts = shared.state().mounts.get(&event.fs).cloned()?;
    let path = place_of(shared, &mounts, event)?;
    Some(Folder {
        root: envtrail_core::text::printable(&path).into_owned(),
        path,
    })
}

/// The path of an event's folder: by the mount through which it lies below a root, else by the first.
fn place_of(shared: &Shared, mounts: &[(u64, Arc<File>)], event: &Event) -> Option<Vec<u8>> {
    let mut paths = mounts
        .iter()
        .filter_map(|(_, mount)| path_of(mount, &event.folder));
    let first = paths.next()?;
    if mounts.len() == 1 || shared.state().roots.of(&first).is_some() {
        return Some(first);
    }
    let below = paths.find(|path| shared.state().roots.of(path).is_some());
    Some(below.unwrap_or(first))
}

pub fn find_folder<'a>(
    shared: &Shared,
    folders: &'a mut Folders,
    event: &Event,
) -> Option<&'a Folder> {
    let (generation, mounts) = {
        let state = shared.state();
        (state.generation, state.mounts.get(&event.fs).cloned())
    };
    if folders.known.len() > MAX_FOLDERS {
        folders.known.clear();
    }
    if folders.generation != generation {
        folders
            .known
            .retain(|_, folder| place_again(shared, folder));
        folders.generation = generation;
    }
    let key = key_of(event);
    let Folders {
        known, elsewhere, ..
    } = folders;
    known
        .entry(key)
        .or_insert_with_key(|key| {
            let path = place_of(shared, &mounts?, event).or_else(|| elsewhere.get(key).cloned())?;
            let root = shared.state().roots.of(&path)?.to_owned();
            Some(Folder { root, path })
        })
        .as_ref()
}

/// The roots have changed: where a folder lies among them. What lies below none is looked up again.
fn place_again(shared: &Shared, folder: &mut Option<Folder>) -> bool {
    let Some(known) = folder else {
        return false;
    };
    let state = shared.state();
    let Some(root) = state.roots.of(&known.path) else {
        return false;
    };
    if known.root != root {
        known.root = root.to_owned();
    }
    true
}

fn key_of(event: &Event) -> (FsId, Vec<u8>) {
    (event.fs, event.folder.clone())
}

impl Folders {
    /// A folder was moved: what is remembered of it and of what lies in it is of another place. The paths of the others are kept: their
    /// handles may lead nowhere by now.
    pub fn forget_below(&mut self, shared: &Shared, event: &Event) {
        self.known.retain(|_, folder| folder.is_some());
        let known = self.known.get(&key_of(event)).and_then(Option::as_ref);
        let parent = known.map(|folder| folder.path.clone());
        let Some(parent) = parent.or_else(|| Some(folder_of(shared, event)?.path)) else {
            self.known.clear();
            self.elsewhere.clear();
            return;
        };
        let moved = [parent.as_slice(), b"/", &event.name].concat();
        let is_below = |path: &[u8]| {
            path.strip_prefix(moved.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let is_other =
            |folder: &Option<Folder>| !folder.as_ref().is_some_and(|one| is_below(&one.path));
        self.known.retain(|_, folder| is_other(folder));
        self.elsewhere.retain(|_, path| !is_below(path));
    }

    /// Metadata has appeared in this folder, which lies below no root.
    pub fn remember(&mut self, event: &Event, path: &[u8]) {
        if self.elsewhere.len() >= MAX_ELSEWHERE {
            self.elsewhere.clear();
        }
        self.elsewhere.insert(key_of(event), path.to_owned());
    }

    pub fn remembers(&self, event: &Event) -> bool {
        self.elsewhere.contains_key(&key_of(event))
    }

    /// Such a folder, also when it is gone.
    pub fn recall(&self, event: &Event) -> Option<Folder> {
        let path = self.elsewhere.get(&key_of(event))?.clone();
        Some(Folder {
            root: envtrail_core::text::printable(&path).into_owned(),
            path,
        })
    }
}
