//! Paths as they were at the time: without the kernel's mark of what is gone, and absolute where the folder they begin at is known.
//!
//! References: `prepend_path()` in fs/d_path.c (`" (deleted)"`); `audit_log_name()` in kernel/auditsc.c; openat(2) (`AT_FDCWD`)

use super::records::find_value;
use super::{Event, Range, Record};
use crate::text::without_deleted;
use crate::types;

const AT_FDCWD: i32 = -100;

impl Event {
    /// A path that the kernel made (`exe=`, `cwd=`), without its suffix. Names that a program passed have none: theirs is their own.
    pub(super) fn without_deleted(&self, path: Range) -> Range {
        let (start, _) = path?;
        let length = without_deleted(self.slice(path)?).len();
        Some((start, start + length))
    }

    pub(super) fn strip_deleted_cwd(&mut self) {
        let stripped = self.without_deleted(self.cwd);
        self.is_cwd_deleted = stripped != self.cwd;
        self.cwd = stripped;
    }

    /// Make the names of PATH records absolute.
    pub(super) fn resolve_paths(&mut self, bytes: &[u8], records: &[Record]) {
        let is_relative = |event: &Event, name: Range| {
            let first = event.slice(name).and_then(<[u8]>::first);
            first.is_some_and(|first| *first != b'/')
        };
        let has_dots = |event: &Event, name: Range| has_dots(event.slice(name).unwrap_or_default());
        let has_relative = self.paths.iter().any(|path| is_relative(self, path.name));
        let is_plain = !has_relative && !self.is_cwd_deleted;
        if is_plain && !has_dots(self, self.span_of_names()) {
            return;
        }
        let is_from_cwd = has_relative && self.is_from_cwd(bytes, records);
        let is_symlink =
            has_relative && self.call().is_some_and(|call| call.starts_with(b"symlink"));
        let mut paths = std::mem::take(&mut self.paths);
        for path in &mut paths {
            let nametype = self.slice(path.nametype);
            // The target of a new link begins at the link.
            let is_target = is_symlink && nametype == Some(b"UNKNOWN");
            if !is_relative(self, path.name) {
                // For a parent without its own name the kernel writes the working directory.
                let stripped = self.without_deleted(path.name);
                let is_cwd = self.cwd.is_some() && self.slice(stripped) == self.slice(self.cwd);
                if is_cwd && self.is_cwd_deleted {
                    path.name = stripped;
                }
                if is_cwd && has_relative && !is_from_cwd && nametype == Some(b"PARENT") {
                    path.name = None;
                }
            } else if is_from_cwd && !is_target {
                path.name = self.join_cwd(path.name).or(path.name);
            }
            if has_dots(self, path.name) {
                path.name = self.without_dots(path.name);
            }
        }
        self.paths = paths;
    }

    /// Where the names of all paths are, with what is between them.
    fn span_of_names(&self) -> Range {
        let mut names = self.paths.iter().filter_map(|path| path.name);
        let first = names.next()?;
        let join = |(start, end): (usize, usize), name: (usize, usize)| {
            (start.min(name.0), end.max(name.1))
        };
        Some(names.fold(first, join))
    }

    /// Whether relative names of this call begin at the working directory; false where it is not known.
    fn is_from_cwd(&self, bytes: &[u8], records: &[Record]) -> bool {
        let descriptors: &[&[u8]] = match self.call() {
            Some(
                b"openat" | b"openat2" | b"mkdirat" | b"mknodat" | b"fchownat" | b"futimesat"
                | b"newfstatat" | b"fstatat64" | b"unlinkat" | b"readlinkat" | b"fchmodat"
                | b"fchmodat2" | b"faccessat" | b"faccessat2" | b"utimensat" | b"utimensat_time64"
                | b"name_to_handle_at" | b"execveat" | b"statx" | b"open_tree" | b"open_tree_attr"
                | b"mount_setattr" | b"fspick" | b"setxattrat" | b"getxattrat" | b"listxattrat"
                | b"removexattrat" | b"file_getattr" | b"file_setattr",
            ) => &[b"a0"],
            Some(b"renameat" | b"renameat2" | b"linkat" | b"move_mount") => &[b"a0", b"a2"],
            Some(b"symlinkat") => &[b"a1"],
            // Its folder is its fifth argument, which no record holds; a ring's calls name none; queues lie in no folder.
            Some(b"fanotify_mark" | b"io_uring_enter" | b"mq_open" | b"mq_unlink") | None => {
                return false
            }
            Some(_) => &[],
        };
        let call = records
            .iter()
            .find(|record| record.record_type == types::SYSCALL);
        let body = call.and_then(|call| bytes.get(call.body as usize..call.end as usize));
        descriptors.iter().all(|register| {
            let value = find_value(body.unwrap_or_default(), register);
            let descriptor = value.and_then(|value| value.hexadecimal());
            descriptor.map(|descriptor| descriptor as i32) == Some(AT_FDCWD)
        })
    }

    /// A path as it is without `.`, `..` and empty components, which whoever made the call can put there at will. A relative name is
    /// left as it is. Links are not known: what precedes `..` is taken for a folder.
    fn without_dots(&mut self, name: Range) -> Range {
        let path = self.slice(name).filter(|path| path.starts_with(b"/"));
        let Some(path) = path else {
            return name;
        };
        let mut whole = Vec::with_capacity(path.len());
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => whole.truncate(memchr::memrchr(b'/', &whole).unwrap_or(0)),
                _ => {
                    whole.push(b'/');
                    whole.extend_from_slice(component);
                }
            }
        }
        if whole.is_empty() || path.ends_with(b"/") {
            whole.push(b'/');
        }
        Some(self.keep_text(&whole))
    }

    /// A name seen from the working directory. That one has no links: `.` and `..` at the beginning of a name are known.
    fn join_cwd(&mut self, name: Range) -> Range {
        let mut folder = self.slice(self.cwd).filter(|cwd| cwd.starts_with(b"/"))?;
        let mut rest = self.slice(name)?;
        loop {
            folder = folder.strip_suffix(b"/").unwrap_or(folder);
            let (word, after) = match memchr::memchr(b'/', rest) {
                Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
                None => (rest, b"".as_slice()),
            };
            match word {
                b"." => {}
                b"" if !rest.is_empty() => {}
                b".." => folder = folder.get(..memchr::memrchr(b'/', folder).unwrap_or(0))?,
                _ => break,
            }
            rest = after;
        }
        let mut whole = folder.to_vec();
        if !rest.is_empty() || whole.is_empty() {
            whole.push(b'/');
            whole.extend_from_slice(rest);
        }
        Some(self.keep_text(&whole))
    }
}

/// Whether a component of a path may be empty or begin with a dot.
fn has_dots(path: &[u8]) -> bool {
    let next = path.get(1..).unwrap_or_default();
    let pairs = path.iter().zip(next);
    // Without a way out of the loop, the compiler makes vectors of it.
    pairs.fold(false, |found, (byte, next)| {
        found | ((*byte == b'/') & ((*next == b'/') | (*next == b'.')))
    })
}
