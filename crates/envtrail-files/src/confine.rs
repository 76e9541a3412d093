//! What a process may still do that reads files of somebody it does not trust: read below some folders, compute, and answer on what it has
//! open. Each part holds for the calling thread and those it starts from then on, and cannot be taken back.
//!
//! References: landlock(7), seccomp(2), capabilities(7)

use landlock::{
    Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, ABI,
};
use rustix::thread::{
    set_capabilities, set_keep_capabilities, CapabilitySet as Set, CapabilitySets,
};
use std::io;
use std::path::PathBuf;

/// The newest whose rights are requested; an older kernel grants those it knows.
const NEWEST: ABI = ABI::V6;

/// Which of the kernel's means hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Files elsewhere, all writing, and the network are out of reach.
    pub landlock: bool,
    /// Only the calls are left that reading needs.
    pub seccomp: bool,
}

/// Give up everything but reading what lies at these places, and the names of what lies below those folders.
pub fn confine(places: &[PathBuf], listed: &[PathBuf]) -> io::Result<Confinement> {
    let landlock = restrict_files(places, listed).map_err(io::Error::other)?;
    let seccomp = calls::restrict(landlock)?;
    Ok(Confinement { landlock, seccomp })
}

/// Keep these capabilities (bits, as in /proc/PID/status) and no others.
pub fn keep_capabilities(bits: u64) -> io::Result<()> {
    let kept = Set::from_bits_truncate(bits);
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: Set::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// Whether the permitted capabilities survive a change of the uid.
pub fn hold_capabilities(held: bool) -> io::Result<()> {
    Ok(set_keep_capabilities(held)?)
}

/// End with the process that started this one.
pub fn end_with_parent() -> io::Result<()> {
    use rustix::process::{set_parent_process_death_signal, Signal};
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

fn restrict_files(places: &[PathBuf], listed: &[PathBuf]) -> Result<bool, landlock::RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // What is refused here is no news for the audit log.
        .log_same_exec(false)?;
    let file = BitFlags::from(AccessFs::ReadFile);
    let folder = BitFlags::from(AccessFs::ReadDir);
    let places = places.iter().map(|place| match place.is_dir() {
        true => (place, file | folder),
        false => (place, file),
    });
    for (place, access) in places.chain(listed.iter().map(|place| (place, folder))) {
        // What is gone meanwhile needs no rule.
        if let Ok(held) = PathFd::new(place) {
            rules = rules.add_rule(PathBeneath::new(held, access))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
mod calls {
    /// No filter is written for this machine.
    pub fn restrict(_: bool) -> std::io::Result<bool> {
        Ok(false)
    }
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod calls {
    use seccompiler::{
        apply_filter, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
        SeccompCondition, SeccompFilter, SeccompRule,
    };
    use std::collections::BTreeMap;
    use std::io;

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// What reading, computing and answering need, whatever the arguments are.
    const ALLOWED: &[i64] = &[
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_clone3,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fadvise64,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getdents64,
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_newfstatat,
        libc::SYS_ppoll,
        libc::SYS_pread64,
        libc::SYS_read,
        libc::SYS_readlinkat,
        libc::SYS_readv,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        libc::SYS_statx,
        libc::SYS_write,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat,
    ];

    /// Install the filter; false where this kernel has none.
    pub fn restrict(has_landlock: bool) -> io::Result<bool> {
        let mut allowed = conditional()?;
        allowed.extend(ALLOWED.iter().map(|call| (*call, vec![])));
        if has_landlock {
            // Its flags lie behind a pointer: without Landlock, links are refused step by step instead (open.rs).
            allowed.insert(libc::SYS_openat2, vec![]);
        }
        // Its flags lie behind a pointer too; the C library then takes clone.
        let absent = Rules::from([(libc::SYS_clone3, vec![])]);
        let error = |code: i32| SeccompAction::Errno(code as u32);
        for (rules, other, named) in [
            (absent, SeccompAction::Allow, error(libc::ENOSYS)),
            (allowed, error(libc::EPERM), SeccompAction::Allow),
        ] {
            let arch = std::env::consts::ARCH
                .try_into()
                .map_err(io::Error::other)?;
            let program: BpfProgram = SeccompFilter::new(rules, other, named, arch)
                .and_then(TryInto::try_into)
                .map_err(io::Error::other)?;
            match apply_filter(&program) {
                Ok(()) => {}
                Err(Error::Prctl(_) | Error::Seccomp(_)) => return Ok(false),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(true)
    }

    /// Calls that are allowed with some arguments only.
    fn conditional() -> io::Result<Rules> {
        let writes = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE;
        // Of O_TMPFILE, the bit that is not O_DIRECTORY's.
        let writes = (writes & !libc::O_DIRECTORY) as u64;
        let executable = libc::PROT_EXEC as u64;
        let thread = libc::CLONE_THREAD as u64;
        let itself = u64::from(std::process::id());
        let named = [libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64];
        Ok(Rules::from([
            #[cfg(target_arch = "x86_64")]
            (libc::SYS_open, vec![one(1, writes, 0)?]),
            (libc::SYS_openat, vec![one(2, writes, 0)?]),
            (libc::SYS_mmap, vec![one(2, executable, 0)?]),
            (libc::SYS_mprotect, vec![one(2, executable, 0)?]),
            (libc::SYS_clone, vec![one(0, thread, thread)?]),
            (libc::SYS_tgkill, vec![one(0, u64::from(u32::MAX), itself)?]),
            // Limits are read, not set.
            (libc::SYS_prlimit64, vec![one(2, u64::MAX, 0)?]),
            (
                libc::SYS_prctl,
                named
                    .into_iter()
                    .map(|option| one(0, u64::from(u32::MAX), option))
                    .collect::<io::Result<_>>()?,
            ),
        ]))
    }

    /// An argument whose bits of a mask are these.
    fn one(argument: u8, mask: u64, value: u64) -> io::Result<SeccompRule> {
        let compare = SeccompCmpOp::MaskedEq(mask);
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, compare, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::{hold, hold_folder, Links};
    use std::fs::{self, File};
    use std::io::ErrorKind::PermissionDenied;
    use std::net::TcpListener;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn what_is_confined_reads_below_its_places_and_does_nothing_else() {
        let folder = std::env::temp_dir()
            .canonicalize()
            .unwrap()
            .join(format!("envtrail-confine-{}", std::process::id()));
        fs::create_dir_all(folder.join("env")).unwrap();
        fs::create_dir_all(folder.join("names")).unwrap();
        fs::write(folder.join("names/c"), "outside").unwrap();
        fs::write(folder.join("env/a"), "inside").unwrap();
        fs::write(folder.join("b"), "outside").unwrap();
        fs::write(folder.join("alone"), "alone").unwrap();
        let place = folder.clone();
        std::thread::spawn(move || {
            let before = File::open(place.join("b")).unwrap();
            let places = [place.join("env"), place.join("alone"), place.join("none")];
            let both = Confinement {
                landlock: true,
                seccomp: true,
            };
            assert_eq!(confine(&places, &[place.join("names")]).unwrap(), both);
            let kind = |done: io::Result<()>| done.unwrap_err().kind();
            assert_eq!(fs::read_to_string(place.join("env/a")).unwrap(), "inside");
            let root = hold_folder(&place.join("env")).unwrap();
            let held = hold(&root, Path::new("a"), Links::Refused).unwrap();
            assert_eq!(held.read(10).unwrap(), b"inside");
            assert_eq!(fs::read_to_string(place.join("alone")).unwrap(), "alone");
            assert_eq!(fs::read_dir(place.join("env")).unwrap().count(), 1);
            assert_eq!(io::read_to_string(before).unwrap(), "outside");
            let opened = |path: &str| kind(File::open(place.join(path)).map(drop));
            assert_eq!(opened("b"), PermissionDenied);
            assert_eq!(fs::read_dir(place.join("names")).unwrap().count(), 1);
            assert_eq!(opened("names/c"), PermissionDenied);
            assert_eq!(kind(fs::read_dir(&place).map(drop)), PermissionDenied);
            let change = File::options().write(true).open(place.join("env/a"));
            assert_eq!(kind(change.map(drop)), PermissionDenied);
            assert_eq!(
                kind(File::create(place.join("env/c")).map(drop)),
                PermissionDenied
            );
            assert_eq!(kind(fs::remove_file(place.join("env/a"))), PermissionDenied);
            assert_eq!(
                kind(TcpListener::bind("127.0.0.1:0").map(drop)),
                PermissionDenied
            );
            assert_eq!(
                kind(Command::new("/bin/true").status().map(drop)),
                PermissionDenied
            );
            let thread = std::thread::Builder::new().name("reader".into());
            let read = move || fs::read_to_string(place.join("env/a")).unwrap();
            assert_eq!(thread.spawn(read).unwrap().join().unwrap(), "inside");
        })
        .join()
        .unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn capabilities_that_are_not_kept_are_gone() {
        std::thread::spawn(|| {
            let _ = keep_capabilities(0);
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
            assert!(status.contains("CapPrm:\t0000000000000000"));
        })
        .join()
        .unwrap();
    }
}
