//! Changes of files below watched folders, as fanotify reports them, by a thread that looks up at once who it was.

use crate::clock::realtime_ns;
use crate::deadline::within_deadline;
use crate::fanotify::{
    fs_of, mount_of, open_folder, place_of_folder, Event, Fanotify, ATTRIBUTES, CLOSE_WRITE,
    CREATE, DELETE, MOVED_FROM, MOVED_TO, ON_DIRECTORY, OVERFLOW,
};
use crate::file_places::{find_folder, folder_of, root_of, Folder, Folders};
use crate::proc::{read_facts, read_file, split_line};
use crate::signal::{hurry, wait_for};
use crate::watched::{Mounts, Shared, State};
use envtrail_core::files::{is_bytecode, Change, FileGroup, What, Who};
use envtrail_core::hints::{is_core_metadata, is_metadata, is_site};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What appears outside of the watched folders may still be moved to its place.
const SETTLE_MS: u64 = 300;
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
        let shared = Arc::new(Shared::new()?);
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
            let is_known = folders.remembers(event);
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
