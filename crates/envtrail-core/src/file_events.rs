//! File events of the audit log as changes below watched folders.

use crate::event::Event;
use crate::files::{is_bytecode, FileGroups, Roots, What, Who};

/// What a file event says of changes below the roots. Names relative to a folder's descriptor are relative here, and below no root.
pub fn note_files(roots: &Roots, files: &mut FileGroups, event: &Event) {
    let (Some(pid), true) = (event.pid, event.success != Some(false)) else {
        return;
    };
    let call = event.syscall.zip(event.arch);
    let name = call.and_then(|(number, arch)| crate::syscalls::name(arch, number));
    let moves = name.is_some_and(|name| name.starts_with("rename"));
    let writes = name.is_some_and(|name| {
        name.starts_with("open") || name.ends_with("truncate") || name == "creat"
    });
    for path in &event.paths {
        let what = match event.slice(path.nametype) {
            Some(b"CREATE") if moves => What::MovedTo,
            Some(b"DELETE") if moves => What::MovedFrom,
            Some(b"CREATE") => What::Created,
            Some(b"DELETE") => What::Deleted,
            Some(b"NORMAL") if writes => What::Written,
            _ => continue,
        };
        let name = event.slice(path.name).unwrap_or_default();
        let full = name.strip_suffix(b"/").unwrap_or(name);
        let Some(root) = roots.of(full).filter(|_| !is_bytecode(full)) else {
            continue;
        };
        files.note(pid, root, full, what, event.time_ms, || {
            let text = |range| {
                event
                    .slice(range)
                    .map(|bytes| crate::text::printable(bytes).into_owned())
            };
            Some(Who {
                exe: text(event.exe),
                comm: text(event.comm),
                ppid: event.ppid,
                uid: event.uid,
                auid: event.auid,
                ses: event.ses,
                ..Who::default()
            })
        });
    }
}
