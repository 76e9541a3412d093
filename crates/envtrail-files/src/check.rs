//! Are files what they were when they were installed? All cores at once, with a count of what is done.

use crate::open::{hold, hold_folder, Held, Links};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BUFFER_BYTES: usize = 256 << 10;
/// No file of a package is larger; a sparse one costs nobody anything but us.
const FILE_BYTES: u64 = 64 << 30;

/// What a file should be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Relative to the environment.
    pub below: PathBuf,
    /// None: only its presence (and its size) is checked.
    pub sha256: Option<[u8; 32]>,
    pub size: Option<u64>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    Changed,
    Missing,
    /// It may not be read, or the disk failed.
    Unreadable,
}

/// One file, looked at.
#[derive(Clone, Debug)]
pub struct Found {
    pub verdict: Verdict,
    pub size: Option<u64>,
    /// None where its content was not read: its size had already decided, or nothing was requested.
    pub sha256: Option<[u8; 32]>,
    /// When its content or its name was changed last (ctime): no user can set it back.
    pub changed_ms: Option<u64>,
    /// What the system said, where it is unreadable.
    pub error: Option<String>,
}

struct Work {
    root: Held,
    expected: Vec<Expected>,
    /// Numbers of `expected`, the largest first: no thread is left with one at the end.
    order: Vec<usize>,
    next: AtomicUsize,
    files: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Vec<Option<Found>>>,
}

/// A check that runs in separate threads. Dropping it stops them.
pub struct FileCheck {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
}

impl FileCheck {
    /// Begin, below an environment (its canonical path); 0 threads are as many as there are cores.
    pub fn start(prefix: &Path, expected: Vec<Expected>, threads: usize) -> io::Result<Self> {
        let root = hold_folder(prefix)?;
        let mut order: Vec<usize> = (0..expected.len()).collect();
        order.sort_by_key(|at| {
            std::cmp::Reverse(expected.get(*at).and_then(|one| one.size).unwrap_or(0))
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if threads == 0 { cores } else { threads };
        let work = Arc::new(Work {
            root,
            found: Mutex::new(vec![None; expected.len()]),
            expected,
            order,
            next: AtomicUsize::new(0),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let threads = (0..count)
            .map(|_| {
                let work = work.clone();
                std::thread::Builder::new()
                    .name("file-check".into())
                    .spawn(move || run(&work))
            })
            .collect::<io::Result<_>>()?;
        Ok(FileCheck { work, threads })
    }

    /// Wait until all is done, at most this long; whether it is.
    pub fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Files and bytes done so far.
    pub fn progress(&self) -> (u64, u64) {
        (
            self.work.files.load(Ordering::Relaxed),
            self.work.bytes.load(Ordering::Relaxed),
        )
    }

    /// What was found, in the order of the request; what was not checked (stopped) has an entry too: None.
    pub fn finish(mut self) -> Vec<Option<Found>> {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        std::mem::take(
            &mut *self
                .work
                .found
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Drop for FileCheck {
    fn drop(&mut self) {
        self.work.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(work: &Work) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while !work.stop.load(Ordering::Relaxed) {
        let Some(at) = work.order.get(work.next.fetch_add(1, Ordering::Relaxed)) else {
            return;
        };
        let Some(expected) = work.expected.get(*at) else {
            return;
        };
        let found = look(expected, work, &mut buffer);
        work.files.fetch_add(1, Ordering::Relaxed);
        let mut all = work.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = all.get_mut(*at) {
            *place = found;
        }
    }
}

/// None where it was stopped in the middle.
fn look(expected: &Expected, work: &Work, buffer: &mut [u8]) -> Option<Found> {
    match look_at(expected, work, buffer) {
        Ok(found) => found,
        Err(error) => Some(Found {
            verdict: match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Verdict::Missing,
                _ => Verdict::Unreadable,
            },
            size: None,
            sha256: None,
            changed_ms: None,
            error: (error.kind() != io::ErrorKind::NotFound).then(|| error.to_string()),
        }),
    }
}

fn look_at(expected: &Expected, work: &Work, buffer: &mut [u8]) -> io::Result<Option<Found>> {
    let held = match hold(&work.root, &expected.below, Links::Below) {
        Ok(held) => held,
        // Of a link without a requested digest, it is enough that it is there, wherever it leads.
        Err(error) => match hold(&work.root, &expected.below, Links::Refused) {
            Ok(link)
                if link.status.is_symlink()
                    && expected.sha256.is_none()
                    && error.kind() == io::ErrorKind::Other =>
            {
                link
            }
            _ => return Err(error),
        },
    };
    let status = &held.status;
    let mut found = Found {
        verdict: Verdict::Same,
        size: Some(status.len()),
        sha256: None,
        changed_ms: Some((status.ctime() * 1000 + status.ctime_nsec() / 1_000_000).max(0) as u64),
        error: None,
    };
    if status.is_symlink() {
        return Ok(Some(found));
    }
    let is_other_size = expected.size.is_some_and(|size| size != status.len());
    if !status.is_file() || is_other_size {
        found.verdict = Verdict::Changed;
        return Ok(Some(found));
    }
    if let Some(wanted) = &expected.sha256 {
        if status.len() > FILE_BYTES {
            return Err(io::Error::other(format!("more than {FILE_BYTES} bytes")));
        }
        let Some(digest) = hash(held.open()?.take(FILE_BYTES), work, buffer)? else {
            return Ok(None);
        };
        if digest != *wanted {
            found.verdict = Verdict::Changed;
        }
        found.sha256 = Some(digest);
    }
    Ok(Some(found))
}

fn hash(mut file: io::Take<File>, work: &Work, buffer: &mut [u8]) -> io::Result<Option<[u8; 32]>> {
    let mut hasher = Sha256::new();
    loop {
        if work.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let length = match file.read(buffer) {
            Ok(0) => return Ok(Some(hasher.finalize().into())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..length).unwrap_or_default());
        work.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(below: &str, content: &[u8]) -> Expected {
        Expected {
            below: below.into(),
            sha256: Some(Sha256::digest(content).into()),
            size: Some(content.len() as u64),
        }
    }

    fn check(prefix: &Path, expected: Vec<Expected>) -> Vec<Found> {
        let check = FileCheck::start(prefix, expected, 3).unwrap();
        assert!(check.wait(Duration::from_secs(20)));
        check.finish().into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn each_file_is_judged_on_its_own_and_answers_keep_their_order() {
        let name = format!("envtrail-check-{}", std::process::id());
        let folder = std::env::temp_dir().canonicalize().unwrap().join(name);
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        let large = vec![7u8; 3 * BUFFER_BYTES + 1];
        for (name, content) in [("same", &b"abc"[..]), ("other", b"abd"), ("large", &large)] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("same", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("outside")).unwrap();
        let found = check(
            &folder,
            vec![
                expect("same", b"abc"),
                expect("other", b"abc"),
                expect("absent", b"abc"),
                expect("large", &large),
                expect("folder", b"abc"),
                expect("link", b"abc"),
                expect("dangling", b"abc"),
                expect("same/below", b"abc"),
                Expected {
                    size: Some(4),
                    ..expect("same", b"abc")
                },
                expect("outside", b"abc"),
                Expected {
                    sha256: None,
                    size: None,
                    ..expect("outside", b"")
                },
                expect("../passwd", b"abc"),
            ],
        );
        std::fs::remove_dir_all(&folder).unwrap();
        use Verdict::{Changed, Missing, Same, Unreadable};
        let verdicts: Vec<_> = found.iter().map(|one| one.verdict).collect();
        assert_eq!(
            verdicts,
            [
                Same, Changed, Missing, Same, Changed, Same, Missing, Missing, Changed, Unreadable,
                Same, Unreadable
            ]
        );
        assert_eq!(found[1].sha256, Some(Sha256::digest(b"abd").into()));
        assert_eq!(
            found[9].error.as_deref(),
            Some("a link out of the environment")
        );
        assert!(found[0].changed_ms.unwrap() > 1_600_000_000_000);
    }

    #[test]
    fn dropping_it_ends_its_threads() {
        let endless = vec![
            Expected {
                below: "null".into(),
                sha256: None,
                size: None
            };
            200_000
        ];
        let check = FileCheck::start(Path::new("/dev"), endless, 2).unwrap();
        drop(check);
    }
}
