//! The system calls of a fanotify *notification* listener, and its events as values. It blocks nobody.
//!
//! References: fanotify(7), fanotify_init(2), fanotify_mark(2), open_by_handle_at(2); FAN_REPORT_DFID_NAME Linux 5.9,
//! FAN_REPORT_PIDFD 5.15.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

pub const CREATE: u64 = 0x100;
pub const DELETE: u64 = 0x200;
pub const MOVED_FROM: u64 = 0x40;
pub const MOVED_TO: u64 = 0x80;
pub const CLOSE_WRITE: u64 = 0x8;
pub const ATTRIBUTES: u64 = 0x4;
pub const ON_DIRECTORY: u64 = 0x4000_0000;
pub const OVERFLOW: u64 = 0x4000;
/// A link or an unlink changes attributes too (how many names a file has), but not below a name: it makes no event here.
const WATCHED: u64 =
    CREATE | DELETE | MOVED_FROM | MOVED_TO | CLOSE_WRITE | ATTRIBUTES | ON_DIRECTORY;
const METADATA_BYTES: usize = 24;
const READ_BYTES: usize = 256 << 10;
/// Longest handle that a file system gives (`MAX_HANDLE_SZ`).
const MAX_HANDLE_BYTES: usize = 128;

/// A file system, as its events name it.
pub type FsId = [u8; 8];

/// One change, as the kernel reported it.
#[derive(Debug, Default)]
pub struct Event {
    pub mask: u64,
    pub pid: u32,
    pub fs: FsId,
    /// `struct file_handle` of the folder, its header included.
    pub folder: Vec<u8>,
    pub name: Vec<u8>,
    /// Proves that the process is still there.
    pub process: Option<OwnedFd>,
}

pub struct Fanotify {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
}

impl Fanotify {
    /// `EPERM` without CAP_SYS_ADMIN, `EINVAL` or `ENOSYS` before Linux 5.9.
    pub fn open() -> io::Result<Self> {
        let base = libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_REPORT_DFID_NAME;
        let mut fault = None;
        for flags in [base | libc::FAN_REPORT_PIDFD, base] {
            // SAFETY: plain system call; the descriptor is owned from here on.
            let raw = unsafe {
                libc::fanotify_init(flags, (libc::O_RDONLY | libc::O_CLOEXEC) as libc::c_uint)
            };
            if raw >= 0 {
                return Ok(Fanotify {
                    // SAFETY: the kernel has just given it to us.
                    descriptor: unsafe { OwnedFd::from_raw_fd(raw) },
                    buffer: vec![0; READ_BYTES],
                });
            }
            fault = Some(io::Error::last_os_error());
        }
        Err(fault.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
    }

    pub fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Watch the whole file system that holds `folder`; `EXDEV`, `EOPNOTSUPP` or `ENODEV` where it cannot be watched.
    pub fn mark(&self, folder: &File) -> io::Result<()> {
        // SAFETY: the descriptor and the name outlive the call.
        let done = unsafe {
            libc::fanotify_mark(
                self.descriptor(),
                libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM,
                WATCHED,
                folder.as_raw_fd(),
                c".".as_ptr(),
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// What is there now; empty when there is nothing.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        // SAFETY: the kernel writes within the length given.
        let length = unsafe {
            libc::read(
                self.descriptor.as_raw_fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
            )
        };
        if length < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(Vec::new()),
                _ => Err(error),
            };
        }
        Ok(parse_events(
            self.buffer.get(..length as usize).unwrap_or_default(),
        ))
    }
}

/// The events of one read. Their descriptors are owned by them.
fn parse_events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((event, length)) = parse_event(bytes) {
        events.push(event);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    events
}

fn parse_event(bytes: &[u8]) -> Option<(Event, usize)> {
    let length = u32_at(bytes, 0)? as usize;
    let metadata = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
    if length < METADATA_BYTES || metadata < METADATA_BYTES {
        return None;
    }
    let whole = bytes.get(..length)?;
    let mut event = Event {
        mask: u64::from_ne_bytes(whole.get(8..16)?.try_into().ok()?),
        pid: u32_at(whole, 20)?,
        ..Event::default()
    };
    let mut rest = whole.get(metadata..)?;
    while let [kind, _, low, high, ..] = rest {
        let size = usize::from(u16::from_ne_bytes([*low, *high]));
        let Some(record) = rest.get(..size).filter(|record| record.len() >= 4) else {
            break;
        };
        match *kind {
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME => read_folder(record, &mut event)?,
            libc::FAN_EVENT_INFO_TYPE_PIDFD => {
                let number = u32_at(record, 4).map_or(-1, |word| word as i32);
                // SAFETY: the kernel has opened it for the reader of this very event.
                event.process = (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) });
            }
            _ => {}
        }
        rest = rest.get(size..).unwrap_or_default();
    }
    Some((event, length))
}

/// `fsid`, `struct file_handle`, then the name.
fn read_folder(record: &[u8], event: &mut Event) -> Option<()> {
    event.fs = record.get(4..12)?.try_into().ok()?;
    let end = 20 + (u32_at(record, 12)? as usize).min(MAX_HANDLE_BYTES);
    event.folder = record.get(12..end)?.to_vec();
    let name = record.get(end..)?;
    let length = name.iter().position(|byte| *byte == 0);
    event.name = name.get(..length.unwrap_or(name.len()))?.to_vec();
    Some(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Which file system a folder lies on.
pub fn fs_of(folder: &File) -> io::Result<FsId> {
    // SAFETY: the kernel writes one struct; `f_fsid` is eight bytes of plain data.
    unsafe {
        let mut found: libc::statfs = zeroed();
        if libc::fstatfs(folder.as_raw_fd(), &raw mut found) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::mem::transmute::<libc::fsid_t, FsId>(found.f_fsid))
    }
}

/// A folder, as a place only: whoever owns it may have put a pipe, a device or a link there, and none of them is opened or followed.
pub fn place_of_folder(path: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
}

/// The same folder, opened; what it is has been seen.
pub fn open_folder(place: &File) -> io::Result<File> {
    // SAFETY: the descriptor and the name outlive the call; the new descriptor is owned from here on.
    unsafe {
        let raw = libc::openat(
            place.as_raw_fd(),
            c".".as_ptr(),
            libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK | libc::O_CLOEXEC,
        );
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from(OwnedFd::from_raw_fd(raw)))
    }
}

/// The number of the mount through which a folder was opened (proc_pid_fdinfo(5)).
pub fn mount_of(folder: &File) -> io::Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", folder.as_raw_fd()))?;
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    number
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSYS))
}

/// The path of the folder that a handle names; None when it is gone.
pub fn path_of(mount: &File, handle: &[u8]) -> Option<Vec<u8>> {
    // The struct's fields are words: it must lie as they do.
    let mut words = vec![0u64; handle.len().div_ceil(8)];
    for (word, bytes) in words.iter_mut().zip(handle.chunks(8)) {
        let mut whole = [0; 8];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    // SAFETY: the handle outlives the call and says its own length, which `read_folder` has bounded by what was there.
    let folder = unsafe {
        let raw = libc::open_by_handle_at(
            mount.as_raw_fd(),
            words.as_mut_ptr().cast(),
            libc::O_PATH | libc::O_CLOEXEC,
        );
        if raw < 0 {
            return None;
        }
        OwnedFd::from_raw_fd(raw)
    };
    let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
    Some(path.into_os_string().into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(mask: u64, pid: u32, records: &[u8]) -> Vec<u8> {
        let mut out = ((METADATA_BYTES + records.len()) as u32)
            .to_ne_bytes()
            .to_vec();
        out.extend([3, 0]);
        out.extend((METADATA_BYTES as u16).to_ne_bytes());
        out.extend(mask.to_ne_bytes());
        out.extend((-1i32).to_ne_bytes());
        out.extend(pid.to_ne_bytes());
        out.extend(records);
        out
    }

    fn folder(handle: &[u8], name: &[u8]) -> Vec<u8> {
        let size = (20 + handle.len() + name.len() + 1) as u16;
        let mut out = vec![libc::FAN_EVENT_INFO_TYPE_DFID_NAME, 0];
        out.extend(size.to_ne_bytes());
        out.extend([7; 8]);
        out.extend((handle.len() as u32).to_ne_bytes());
        out.extend(1i32.to_ne_bytes());
        out.extend(handle);
        out.extend(name);
        out.push(0);
        out
    }

    #[test]
    fn two_events_of_one_read() {
        let bytes = [
            event(CREATE, 5, &folder(b"abcd", b"x.py")),
            event(OVERFLOW, 0, b""),
        ]
        .concat();
        let events = parse_events(&bytes);
        assert_eq!(events.len(), 2);
        assert_eq!(
            (events[0].mask, events[0].pid, events[0].name.as_slice()),
            (CREATE, 5, b"x.py".as_slice())
        );
        assert_eq!(events[0].folder.len(), 12);
        assert_eq!(events[1].mask, OVERFLOW);
    }

    #[test]
    fn hostile_lengths_end_the_walk() {
        let good = event(CREATE, 5, &folder(b"abcdefgh", b"name"));
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                assert!(parse_events(&bad).len() <= 2);
                assert!(parse_events(&bad[..at]).len() <= 1);
            }
        }
    }
}
