//! Are files what they were when they were installed? All cores at once, with a count of what is done.

use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BUFFER_BYTES: usize = 256 << 10;

/// What a file should be.
#[derive(Clone, Debug)]
pub struct Expected {
    pub path: PathBuf,
    /// Null: only that it is there (and its size) is asked.
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
    /// Null where its content was not read: its size had already told, or nothing asked.
    pub sha256: Option<[u8; 32]>,
    /// When its content or its name was changed last (ctime): no user can set it back.
    pub changed_ms: Option<u64>,
    /// What the system said, where it is unreadable.
    pub error: Option<String>,
}

struct Work {
    expected: Vec<Expected>,
    /// Numbers of `expected`, the largest first: no thread is left with one at the end.
    order: Vec<usize>,
    next: AtomicUsize,
    files: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Vec<Option<Found>>>,
}

/// A check that runs in threads of its own. Dropping it stops them.
pub struct FileCheck {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
}

impl FileCheck {
    /// Begin; 0 threads are as many as there are cores.
    pub fn start(expected: Vec<Expected>, threads: usize) -> io::Result<Self> {
        let mut order: Vec<usize> = (0..expected.len()).collect();
        order.sort_by_key(|at| {
            std::cmp::Reverse(expected.get(*at).and_then(|one| one.size).unwrap_or(0))
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if threads == 0 { cores } else { threads };
        let work = Arc::new(Work {
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

    /// What was found, in the order asked; what was not looked at (stopped) is missing from no one's list: it is null.
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
    let status = std::fs::symlink_metadata(&expected.path)?;
    // A link is judged by what it leads to: installers link files from their caches.
    let status = if status.is_symlink() {
        std::fs::metadata(&expected.path)?
    } else {
        status
    };
    let mut found = Found {
        verdict: Verdict::Same,
        size: Some(status.len()),
        sha256: None,
        changed_ms: Some((status.ctime() * 1000 + status.ctime_nsec() / 1_000_000).max(0) as u64),
        error: None,
    };
    let is_other_size = expected.size.is_some_and(|size| size != status.len());
    if !status.is_file() || is_other_size {
        found.verdict = Verdict::Changed;
        return Ok(Some(found));
    }
    if let Some(wanted) = &expected.sha256 {
        // A pipe that has taken the file's place since must not keep us waiting.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&expected.path)?;
        if !file.metadata()?.is_file() {
            found.verdict = Verdict::Changed;
            return Ok(Some(found));
        }
        let Some(digest) = hash(file, work, buffer)? else {
            return Ok(None);
        };
        if digest != *wanted {
            found.verdict = Verdict::Changed;
        }
        found.sha256 = Some(digest);
    }
    Ok(Some(found))
}

fn hash(mut file: File, work: &Work, buffer: &mut [u8]) -> io::Result<Option<[u8; 32]>> {
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
    use std::path::Path;

    fn expect(path: &Path, content: &[u8]) -> Expected {
        Expected {
            path: path.to_owned(),
            sha256: Some(Sha256::digest(content).into()),
            size: Some(content.len() as u64),
        }
    }

    fn check(expected: Vec<Expected>) -> Vec<Found> {
        let check = FileCheck::start(expected, 3).unwrap();
        assert!(check.wait(Duration::from_secs(20)));
        check.finish().into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn each_file_is_judged_on_its_own_and_answers_keep_their_order() {
        let folder = std::env::temp_dir().join(format!("envtrail-check-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        let large = vec![7u8; 3 * BUFFER_BYTES + 1];
        for (name, content) in [("same", &b"abc"[..]), ("other", b"abd"), ("large", &large)] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("same", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
        let found = check(vec![
            expect(&folder.join("same"), b"abc"),
            expect(&folder.join("other"), b"abc"),
            expect(&folder.join("absent"), b"abc"),
            expect(&folder.join("large"), &large),
            expect(&folder.join("folder"), b"abc"),
            expect(&folder.join("link"), b"abc"),
            expect(&folder.join("dangling"), b"abc"),
            expect(&folder.join("same/below"), b"abc"),
            Expected {
                size: Some(4),
                ..expect(&folder.join("same"), b"abc")
            },
        ]);
        std::fs::remove_dir_all(&folder).unwrap();
        use Verdict::{Changed, Missing, Same};
        let verdicts: Vec<_> = found.iter().map(|one| one.verdict).collect();
        assert_eq!(
            verdicts,
            [Same, Changed, Missing, Same, Changed, Same, Missing, Missing, Changed]
        );
        assert_eq!(found[1].sha256, Some(Sha256::digest(b"abd").into()));
        assert!(found[0].changed_ms.unwrap() > 1_600_000_000_000);
    }

    #[test]
    fn dropping_it_ends_its_threads() {
        let endless = vec![
            Expected {
                path: "/dev/null".into(),
                sha256: None,
                size: None
            };
            200_000
        ];
        let check = FileCheck::start(endless, 2).unwrap();
        drop(check);
    }
}
