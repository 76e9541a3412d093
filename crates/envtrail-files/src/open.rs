//! The one place where anything below an environment is opened. Its owner may be hostile: what a name leads to is held first and looked
//! at, no symbolic link leads out of the environment, and only a regular file is opened for reading.
//!
//! References: openat2(2) (`RESOLVE_*`), open(2) (`O_PATH`: starts no device, joins no pipe, breaks no lease)

use rustix::fs::{open, openat, openat2, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// openat2 says so where folders above were renamed meanwhile; whoever goes on renaming is not waited for.
const TRIES: usize = 4;

/// What is done with symbolic links below the folder. A link at the very end is held itself where links are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    Refused,
    /// Followed as far as they stay below. Kernels before 5.6 cannot check this, so that they are refused there.
    Below,
}

/// What lies at a place; not yet opened.
#[derive(Debug)]
pub struct Held {
    handle: File,
    pub status: Metadata,
}

impl Held {
    fn new(handle: OwnedFd) -> io::Result<Self> {
        let handle = File::from(handle);
        let status = handle.metadata()?;
        Ok(Held { handle, status })
    }

    /// Open it for reading: at once, or not at all.
    pub fn open(&self) -> io::Result<File> {
        if self.status.is_symlink() {
            return Err(io::Error::other("a symbolic link, which is not followed"));
        }
        if !self.status.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// The beginning of its content.
    pub fn read_head(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open()?.take(limit).read_to_end(&mut content)?;
        Ok(content)
    }

    /// The whole of its content; an error where that is more than the limit.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open()?;
        let mut content = Vec::new();
        if self.status.len() <= limit {
            file.take(limit.saturating_add(1))
                .read_to_end(&mut content)?;
        }
        if self.status.len().max(content.len() as u64) > limit {
            return Err(io::Error::other(format!("more than {limit} bytes")));
        }
        Ok(content)
    }

    /// As a separate descriptor, opened by `O_PATH`.
    pub fn into_handle(self) -> OwnedFd {
        self.handle.into()
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Hold a folder by its canonical path: a link in it has been put there since it was resolved.
pub fn hold_folder(folder: &Path) -> io::Result<Held> {
    let below = folder
        .strip_prefix("/")
        .map_err(|_| io::Error::other("no absolute path"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open("/", flags, Mode::empty())?;
    hold(&root, below, Links::Refused)
}

/// Hold what lies below a folder that is held.
pub fn hold(folder: impl AsFd, below: &Path, links: Links) -> io::Result<Held> {
    let is_below = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !is_below {
        return Err(io::Error::other("a path out of the environment"));
    }
    let below = match below.as_os_str() {
        empty if empty.is_empty() => Path::new("."),
        _ => below,
    };
    let found = match resolve(folder.as_fd(), below, links) {
        Err(Errno::NOSYS | Errno::PERM) => walk(folder.as_fd(), below),
        other => other,
    };
    match found {
        Ok(handle) => Held::new(handle),
        Err(Errno::LOOP) => Err(io::Error::other("behind a symbolic link")),
        Err(Errno::XDEV) => Err(io::Error::other("a link out of the environment")),
        Err(error) => Err(error.into()),
    }
}

fn resolve(folder: BorrowedFd<'_>, below: &Path, links: Links) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
        how |= ResolveFlags::NO_SYMLINKS;
    }
    for _ in 1..TRIES {
        match openat2(folder, below, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    openat2(folder, below, flags, Mode::empty(), how)
}

/// The same with no link, step by step, where the kernel has no openat2 or a filter forbids it.
fn walk(folder: BorrowedFd<'_>, below: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names: Vec<&OsStr> = below.iter().collect();
    let last = names.pop().unwrap_or(OsStr::new("."));
    let mut at: Option<OwnedFd> = None;
    for name in names {
        let here = at.as_ref().map_or(folder, AsFd::as_fd);
        at = Some(openat(
            here,
            name,
            flags | OFlags::DIRECTORY,
            Mode::empty(),
        )?);
    }
    openat(
        at.as_ref().map_or(folder, AsFd::as_fd),
        last,
        flags,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("envtrail-open-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().canonicalize().unwrap().join(name);
            std::fs::create_dir_all(folder.join("env/lib")).unwrap();
            std::fs::write(folder.join("outside"), "secret").unwrap();
            std::fs::write(folder.join("env/lib/a"), "inside").unwrap();
            let env = folder.join("env");
            symlink("lib", env.join("lib64")).unwrap();
            symlink("a", env.join("lib/to-a")).unwrap();
            symlink("../../outside", env.join("lib/to-outside")).unwrap();
            symlink("..", env.join("up")).unwrap();
            symlink("/proc/self/fd", env.join("magic")).unwrap();
            let fifo = env.join("lib/fifo");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &fifo,
                rustix::fs::FileType::Fifo,
                Mode::from(0o644),
                0,
            )
            .unwrap();
            Place(folder)
        }

        fn read(&self, below: &str, links: Links) -> Result<String, String> {
            let root = hold_folder(&self.0.join("env")).unwrap();
            let message = |error: io::Error| error.to_string();
            let content = hold(&root, Path::new(below), links)
                .and_then(|held| held.read(100))
                .map_err(message)?;
            Ok(String::from_utf8(content).unwrap())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_lies_below_is_read_and_no_link_is_followed() {
        let place = Place::new("refused");
        let read = |below| place.read(below, Links::Refused);
        assert_eq!(read("lib/a").unwrap(), "inside");
        for below in ["lib/to-a", "lib/to-outside"] {
            assert_eq!(
                read(below).unwrap_err(),
                "a symbolic link, which is not followed"
            );
        }
        for below in ["lib64/a", "up/outside", "magic/0"] {
            assert_eq!(read(below).unwrap_err(), "behind a symbolic link");
        }
        for below in ["../outside", "lib/../../outside", "/etc/passwd"] {
            assert_eq!(read(below).unwrap_err(), "a path out of the environment");
        }
        for below in ["lib/fifo", "lib", ""] {
            assert_eq!(read(below).unwrap_err(), "no regular file");
        }
    }

    #[test]
    fn links_that_stay_below_may_be_followed_and_others_never() {
        let place = Place::new("below");
        let read = |below| place.read(below, Links::Below);
        for below in ["lib/to-a", "lib64/a", "lib64/to-a"] {
            assert_eq!(read(below).unwrap(), "inside");
        }
        for below in ["lib/to-outside", "up/outside", "magic/0", "magic/none"] {
            assert_eq!(read(below).unwrap_err(), "a link out of the environment");
        }
    }

    #[test]
    fn without_openat2_each_step_is_looked_at() {
        let place = Place::new("walk");
        let root = hold_folder(&place.0.join("env")).unwrap();
        let walked = |below: &str| walk(root.as_fd(), Path::new(below));
        let read = |below: &str| Held::new(walked(below).unwrap()).unwrap().read(100);
        assert_eq!(read("lib/a").unwrap(), b"inside");
        assert_eq!(
            read("lib/to-outside").unwrap_err().to_string(),
            "a symbolic link, which is not followed"
        );
        for below in ["lib64/a", "up/outside", "magic/0", "lib/fifo/x"] {
            assert!(walked(below).is_err(), "{below}");
        }
    }

    #[test]
    fn a_folder_that_was_replaced_by_a_link_is_not_entered() {
        let place = Place::new("root");
        symlink(place.0.join("env"), place.0.join("link")).unwrap();
        for folder in ["link", "link/lib"] {
            let error = hold_folder(&place.0.join(folder)).and_then(|held| {
                hold(&held, Path::new("a"), Links::Refused)?;
                Ok(())
            });
            assert!(error.is_err(), "{folder}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_a_sparse_one_not_at_all() {
        let place = Place::new("limit");
        let path = place.0.join("env/lib/sparse");
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(
            place.read("lib/sparse", Links::Refused).unwrap_err(),
            "more than 100 bytes"
        );
        let root = hold_folder(&place.0.join("env")).unwrap();
        let held = hold(&root, Path::new("lib/sparse"), Links::Refused).unwrap();
        assert_eq!(held.read_head(5).unwrap(), [0; 5]);
    }
}
