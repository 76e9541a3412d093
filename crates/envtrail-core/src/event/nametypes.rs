//! What the files of a system call are to it, where the kernel does not write it (before 3.8; RHEL 6): by the call and their order.
//!
//! References: `audit_inode()` and `audit_inode_child()` in kernel/auditsc.c, and their callers in fs/namei.c, as of 2.6.32

use super::Event;

impl Event {
    /// Say of each path what it is, where no record says so of any.
    pub(super) fn fill_nametypes(&mut self) {
        let is_said = self.paths.iter().any(|path| path.nametype.is_some());
        if self.paths.len() < 2 || is_said {
            return;
        }
        let (parents, removed) = match self.call() {
            Some(b"unlink" | b"unlinkat" | b"rmdir") => (1, Some(1)),
            // Of a file that was replaced there is one more before the last.
            Some(b"rename" | b"renameat" | b"renameat2") => (2, Some(2)),
            Some(
                b"open" | b"openat" | b"creat" | b"mkdir" | b"mkdirat" | b"mknod" | b"mknodat"
                | b"symlink" | b"symlinkat",
            ) => (1, None),
            _ => return,
        };
        let last = self.paths.len() - 1;
        for at in 0..self.paths.len() {
            let nametype: &[u8] = match at {
                _ if at < parents => b"PARENT",
                _ if removed == Some(at) => b"DELETE",
                _ if at == last => b"CREATE",
                _ => b"DELETE",
            };
            let nametype = self.keep_text(nametype);
            if let Some(path) = self.paths.get_mut(at) {
                path.nametype = Some(nametype);
            }
        }
    }
}
