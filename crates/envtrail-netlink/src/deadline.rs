//! Looks at processes that end by a deadline, whatever those processes do.
//!
//! `/proc/PID/cmdline` and `environ` lie in the process's memory and are read under its mmap lock. A process that maps a file of its
//! user's FUSE mount (in a user namespace that needs no right) can have that lock held for any time, and every reader waits for it.
//! So a look is taken on a helper thread, which is left behind when it does not end in time; the processes of that owner are passed
//! over for a while. The rest of /proc (login uid, program, cgroup) is not in that memory and makes nobody wait.
//!
//! References: fs/proc/base.c (get_mm_cmdline, environ_read), mm/memory.c (access_remote_vm), fs/fuse/file.c (fuse_file_mmap)

use crate::proc::owner_of;
use crate::signal::hurry;
use std::collections::HashMap;
use std::sync::mpsc::{channel, sync_channel, Sender};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(200);
/// Processes of an owner are looked at again after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// Helpers that wait for what may never come; past them nothing is looked at.
const MOST_LEFT: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Helpers {
    idle: Vec<Sender<Job>>,
    /// Those that were left behind and still wait.
    left: usize,
    /// Whose processes are passed over, and until when.
    passed_over: HashMap<u32, Instant>,
}

static HELPERS: LazyLock<Mutex<Helpers>> = LazyLock::new(Mutex::default);

fn helpers() -> MutexGuard<'static, Helpers> {
    // A panic elsewhere leaves plain values behind.
    HELPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `look` finds of a process; None when it does not end in time, or another of the same owner did not a short time ago.
pub fn within_deadline<T: Send + 'static>(
    pid: u32,
    look: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    let helper = helpers().take(pid)?;
    let (answer, answered) = sync_channel(1);
    helper
        .send(Box::new(move || drop(answer.send(look()))))
        .ok()?;
    match answered.recv_timeout(DEADLINE) {
        Ok(found) => {
            helpers().idle.push(helper);
            found
        }
        Err(_) => {
            helpers().leave(pid);
            None
        }
    }
}

impl Helpers {
    fn take(&mut self, pid: u32) -> Option<Sender<Job>> {
        if !self.passed_over.is_empty() {
            let now = Instant::now();
            self.passed_over.retain(|_, until| *until > now);
            if self.passed_over.contains_key(&owner_of(pid)?) {
                return None;
            }
        }
        if self.left >= MOST_LEFT {
            return None;
        }
        self.idle.pop().or_else(begin)
    }

    fn leave(&mut self, pid: u32) {
        self.left += 1;
        if let Some(owner) = owner_of(pid) {
            self.passed_over.insert(owner, Instant::now() + AGAIN);
        }
    }
}

/// A helper works until its sender is gone: it was left behind.
fn begin() -> Option<Sender<Job>> {
    let (sender, jobs) = channel::<Job>();
    std::thread::Builder::new()
        .name("look".into())
        .stack_size(128 << 10)
        .spawn(move || {
            hurry();
            jobs.iter().for_each(|job| job());
            helpers().left -= 1;
        })
        .ok()?;
    Some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_left_behind_and_its_owner_waits() {
        let (own, other) = (std::process::id(), 1);
        assert_eq!(within_deadline(own, || Some(1)), Some(1));
        assert_eq!(within_deadline(own, || None::<u32>), None);
        let (let_go, held) = channel::<()>();
        let began = Instant::now();
        assert_eq!(within_deadline(own, move || held.recv().ok()), None);
        assert!(began.elapsed() < 3 * DEADLINE);
        assert_eq!(helpers().left, 1);
        assert_eq!(within_deadline(own, || Some(2)), None);
        if owner_of(own) != owner_of(other) {
            assert_eq!(within_deadline(other, || Some(3)), Some(3));
        }
        drop(let_go);
        let until = Instant::now() + Duration::from_secs(5);
        while helpers().left > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(helpers().left, 0);
        assert_eq!(
            within_deadline(own, || Some(4)),
            None,
            "it may happen again"
        );
        helpers().passed_over.clear();
        assert_eq!(within_deadline(own, || Some(5)), Some(5));
    }
}
