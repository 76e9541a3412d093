//! Changes of files below watched folders, as fanotify reports them, by a thread that looks up at once who it was.

use crate::clock::realtime_ns;
use crate::deadline::within_deadline;
use crate::fanotify::{
    fs_of, mount_of, open_folder, path_of, place_of_folder, Event, Fanotify, FsId, ATTRIBUTES,
    CLOSE_WRITE, CREATE, DELETE, MOVED_FROM, MOVED_TO, ON_DIRECTORY, OVERFLOW,
};
use crate::proc::{read_facts, read_file, split_line};
use crate::signal::{hurry, wait_for, Signal};
use envtrail_core::files::{is_bytecode, Change, FileGroup, FileGroups, Roots, What, Who};
use envtrail_core::hints::{is_core_metadata, is_metadata, is_site};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What appears outside of the watched folders may still be moved to its place.
const SETTLE_MS: u64 = 300;
/// Environments that were seen to appear, or to be moved, and are watched like those that were given.
const MAX_FOUND: usize = 256;
/// Folders whose path is remembered.
const MAX_FOLDERS: usize = 65_536;
/// Of them, folders below no root in which metadata has appeared.
const MAX_ELSEWHERE: usize = 1024;

/// A folder of each mount of a file system, by which handles are opened: a bind mount gives what lies on it another path.
type Mounts = HashMap<FsId, Vec<(u64, Arc<File>)>>;

#[derive(Default)]
struct State {
    /// Both of the following.
    roots: Roots,
    given: Vec<String>,
    /// Newest last.
    found: Vec<String>,
    mounts: Mounts,
    groups: FileGroups,
    overflows: u64,
    unwatched: Vec<String>,
    /// Counts changes of the roots: what a thread remembers of folders is then of another time.
    generation: u64,
}

struct Shared {
    state: Mutex<State>,
    ready: Signal,
    stop: Signal,
}

impl State {
    fn watch(&mut self) {
        self.roots = Roots::new(self.given.iter().chain(&self.found).cloned().collect());
        self.generation += 1;
    }

    /// An environment is here now.
    fn find(&mut self, path: &[u8]) {
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
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener. Dropping it ends its thread.
pub struct FileWatch {
    shared: Arc<Shared>,
    marks: Arc<Mutex<Fanotify>>,
    thread: Option<JoinHandle<()>>,
}

impl FileWatch {
    /// `EPERM` without CAP_SYS_ADMIN, `EINVAL` or `ENOSYS` where the kernel has no such listener.
    pub fn open(roots: Vec<String>) -> io::Result<Self> {
        let fanotify = Fanotify::open()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ready: Signal::new()?,
            stop: Signal::new()?,
        });
        let marks = Arc::new(Mutex::new(fanotify));
        let mut watch = FileWatch {
            shared: shared.clone(),
            marks: marks.clone(),
            thread: None,
        };
        watch.set_roots(roots);
        watch.thread = Some(
            std::thread::Builder::new()
                .name("file-watch".into())
                .spawn(move || listen(&shared, &marks))?,
        );
        Ok(watch)
    }

    /// Watch these folders from now on; those that cannot be watched are listed by `unwatched`.
    pub fn set_roots(&mut self, roots: Vec<String>) {
        let mut mounts = HashMap::new();
        let mut unwatched = Vec::new();
        for root in &roots {
            if let Err(error) = self.watch_one(root, &mut mounts) {
                unwatched.push(format!("{root}: {error}"));
            }
        }
        let mut state = self.shared.state();
        state.given = roots;
        state.mounts = mounts;
        state.unwatched = unwatched;
        state.watch();
    }

    fn watch_one(&self, root: &str, mounts: &mut Mounts) -> io::Result<()> {
        let place = place_of_folder(root)?;
        let mount = mount_of(&place)?;
        let known = mounts.entry(fs_of(&place)?).or_default();
        if known.is_empty() {
            let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks.mark(&place)?;
        }
        if !known.iter().any(|(number, _)| *number == mount) {
            known.push((mount, Arc::new(open_folder(&place)?)));
        }
        Ok(())
    }

    /// What has come since the last read; never waits.
    pub fn read(&self) -> Vec<FileGroup> {
        self.shared.ready.clear();
        let now_ms = realtime_ns() / 1_000_000;
        let State { roots, groups, .. } = &mut *self.shared.state();
        let is_watched = |group: &FileGroup| roots.iter().any(|root| root == group.root);
        groups.take_if(|group| is_watched(group) || group.until_ms + SETTLE_MS < now_ms)
    }

    /// How often the kernel's queue (or ours) was full since the last call.
    pub fn take_overflows(&self) -> u64 {
        let mut state = self.shared.state();
        let lost = std::mem::take(&mut state.groups.lost);
        std::mem::take(&mut state.overflows) + lost
    }

    pub fn unwatched(&self) -> Vec<String> {
        self.shared.state().unwatched.clone()
    }

    /// Readable when there is something to read.
    pub fn descriptor(&self) -> RawFd {
        self.shared.ready.descriptor()
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.shared.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(shared: &Shared, marks: &Mutex<Fanotify>) {
    let lock = || marks.lock().unwrap_or_else(PoisonError::into_inner);
    let descriptor = lock().descriptor();
    let mut folders = Folders::default();
    let own_pid = std::process::id();
    hurry();
    while wait_for(descriptor, shared.stop.descriptor()) {
        let events = match lock().read() {
            Ok(events) => events,
            Err(_) => {
                shared.state().overflows += 1;
                continue;
            }
        };
        let mut reported = false;
        for event in events {
            if event.mask & OVERFLOW != 0 {
                shared.state().overflows += 1;
            } else if event.pid != own_pid {
                reported |= take_event(shared, &mut folders, &event);
            }
        }
        if reported {
            shared.ready.set();
        }
    }
}

/// A folder below a root.
struct Folder {
    root: String,
    path: Vec<u8>,
}

/// What is remembered of folders by their handle: where they lie, or that it is below no root.
#[derive(Default)]
struct Folders {
    known: HashMap<(FsId, Vec<u8>), Option<Folder>>,
    /// Paths of folders below no root in which metadata has appeared: with the folder itself its handle goes.
    elsewhere: HashMap<(FsId, Vec<u8>), Vec<u8>>,
    /// Where a process is moving a folder from.
    moving: Option<(u32, String)>,
    generation: u64,
}

fn take_event(shared: &Shared, folders: &mut Folders, event: &Event) -> bool {
    let moved = event.mask & (MOVED_FROM | MOVED_TO) != 0;
    if event.mask & ON_DIRECTORY != 0 && moved {
        folders.forget_below(shared, event);
    }
    if is_bytecode(&event.name) || event.folder.is_empty() {
        return false;
    }
    if event.mask & ON_DIRECTORY != 0 && moved {
        follow_move(shared, folders, event);
    }
    let elsewhere;
    let folder = match find_folder(shared, folders, event) {
        Some(folder) => folder,
        // An environment that nobody knows of yet shows itself by its first package.
        None if event.mask & (CREATE | MOVED_TO) != 0 && is_metadata(&event.name) => {
            let Some(found) = folder_of(shared, event) else {
                return false;
            };
            let is_mark = event.name == b"pyvenv.cfg" || event.name == b"conda-meta";
            if is_mark && !is_temporary(&found.path) {
                shared.state().find(&found.path);
            }
            folders.remember(event, &found.path);
            elsewhere = found;
            &elsewhere
        }
        // So it does when one goes again, soon after.
        None if event.mask & (DELETE | MOVED_FROM) != 0 && is_metadata(&event.name) => {
            let is_known = folders.elsewhere.contains_key(&key_of(event));
            let Some(found) = folders.recall(event).or_else(|| folder_of(shared, event)) else {
                return false;
            };
            if !is_known && !is_package_folder(&found.path) {
                return false;
            }
            elsewhere = found;
            &elsewhere
        }
        // And when all its packages are moved away, or back, with their folder: pip does so with the last of them.
        None if event.mask & ON_DIRECTORY != 0 && moved && is_site(&event.name) => {
            let Some(found) = folder_of(shared, event) else {
                return false;
            };
            let root = [found.path.as_slice(), b"/", &event.name].concat();
            elsewhere = Folder {
                root: envtrail_core::text::printable(&root).into_owned(),
                ..found
            };
            &elsewhere
        }
        // A watched folder itself goes: what lay in it may be gone before its handle could be looked up.
        None if event.mask & (DELETE | MOVED_FROM) != 0 => {
            let Some(found) = root_of(shared, event) else {
                return false;
            };
            elsewhere = found;
            &elsewhere
        }
        None => return false,
    };
    let root = folder.root.as_str();
    let mut path = folder.path.clone();
    // What happens to a folder itself has no name.
    if event.name != b"." {
        path.push(b'/');
        path.extend_from_slice(&event.name);
    }
    let time_ms = realtime_ns() / 1_000_000;
    // /proc is read before the next event is looked at, while the process may still be there; and with nothing held that others wait for.
    let mut who = None;
    let mut state = loop {
        let state = shared.state();
        if who.is_some() || !state.groups.is_new(event.pid, root) {
            break state;
        }
        drop(state);
        who = Some(who_of(event));
    };
    for what in order_of(event.mask, &path) {
        let change = Change {
            pid: event.pid,
            image: None,
            root,
            path: &path,
            what,
            time_ms,
            event: None,
        };
        state.groups.note(&change, || who.clone().flatten());
    }
    true
}

/// What happened to a name. The kernel merges what one process did to it while nobody read (`fanotify_merge()` in
/// fs/notify/fanotify/fanotify.c): of metadata that was both made and removed, what is there now says what came last.
fn order_of(mask: u64, path: &[u8]) -> Vec<What> {
    let mut order: Vec<_> = [
        (MOVED_FROM, What::MovedFrom),
        (DELETE, What::Deleted),
        (CREATE, What::Created),
        (MOVED_TO, What::MovedTo),
        (CLOSE_WRITE, What::Written),
        (ATTRIBUTES, What::Attributes),
    ]
    .into_iter()
    .filter(|(bit, _)| mask & bit != 0)
    .map(|(_, what)| what)
    .collect();
    let is_both = mask & (MOVED_FROM | DELETE) != 0 && mask & (CREATE | MOVED_TO) != 0;
    let place = std::path::Path::new(OsStr::from_bytes(path));
    if is_both && (is_metadata(path) || is_core_metadata(path)) && place.symlink_metadata().is_err()
    {
        order.push(What::Deleted);
    }
    order
}

/// Whether a folder will be moved to its place: uv builds what it caches in `.tmpXXXXXX`.
fn is_temporary(path: &[u8]) -> bool {
    path.windows(5).any(|part| part == b"/.tmp")
}

/// Whether a folder is one that holds the metadata of packages.
fn is_package_folder(path: &[u8]) -> bool {
    [&b"/site-packages"[..], b"/dist-packages", b"/conda-meta"]
        .iter()
        .any(|ending| path.ends_with(ending))
}

/// A folder in which metadata appeared is moved to its place (uv builds environments beside it): the group moves along. A watched
/// folder is watched in its new place too.
fn follow_move(shared: &Shared, folders: &mut Folders, event: &Event) {
    let ending = [b"/", event.name.as_slice()].concat();
    let may_be_root = {
        let state = shared.state();
        let mut roots = state.roots.iter();
        state.groups.holds(event.pid)
            || folders.moving.is_some()
            || roots.any(|root| root.as_bytes().ends_with(&ending))
    };
    if !may_be_root {
        return;
    }
    let Some(folder) = folder_of(shared, event) else {
        return;
    };
    let name = envtrail_core::text::printable(&event.name);
    let path = format!("{}/{name}", folder.root);
    if event.mask & MOVED_FROM != 0 {
        folders.moving = Some((event.pid, path));
    } else if let Some((pid, from)) = folders.moving.take() {
        if pid == event.pid {
            let who = who_of(event);
            let mut state = shared.state();
            if state.roots.iter().any(|root| *root == from) {
                // What was done to it lies where it was done.
                state.find(path.as_bytes());
                let change = Change {
                    pid,
                    image: None,
                    root: &from,
                    path: path.as_bytes(),
                    what: What::MovedTo,
                    time_ms: realtime_ns() / 1_000_000,
                    event: None,
                };
                state.groups.note(&change, || who);
            } else {
                state.groups.rename(pid, &from, &path);
            }
        }
    }
}

/// The folder of an event that takes a watched folder away.
fn root_of(shared: &Shared, event: &Event) -> Option<Folder> {
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

fn folder_of(shared: &Shared, event: &Event) -> Option<Folder> {
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

fn find_folder<'a>(shared: &Shared, folders: &'a mut Folders, event: &Event) -> Option<&'a Folder> {
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
    fn forget_below(&mut self, shared: &Shared, event: &Event) {
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
    fn remember(&mut self, event: &Event, path: &[u8]) {
        if self.elsewhere.len() >= MAX_ELSEWHERE {
            self.elsewhere.clear();
        }
        self.elsewhere.insert(key_of(event), path.to_owned());
    }

    fn recall(&self, event: &Event) -> Option<Folder> {
        let path = self.elsewhere.get(&key_of(event))?.clone();
        Some(Folder {
            root: envtrail_core::text::printable(&path).into_owned(),
            path,
        })
    }
}

/// Who a process is, when it is certain that what /proc said was said of it.
fn who_of(event: &Event) -> Option<Who> {
    let pid = event.pid;
    let who = Who {
        argv: within_deadline(pid, move || split_line(&read_file(pid, "cmdline")?)),
        ..read_facts(pid)?
    };
    match &event.process {
        Some(process) if has_ended(process) => None,
        _ => Some(who),
    }
}

/// A pidfd is readable once its process has ended.
fn has_ended(process: &OwnedFd) -> bool {
    let mut entry = libc::pollfd {
        fd: process.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, and the count says one.
    unsafe { libc::poll(&raw mut entry, 1, 0) > 0 }
}
