//! File events of the audit log as changes below watched folders.

use crate::event::Event;
use crate::files::{is_bytecode, FileGroups, Roots, What, Who};

/// What a file event says of changes below the roots. Names relative to a folder's descriptor have no path here.
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
        let Some(full) = full_path(event, event.slice(path.name).unwrap_or_default()) else {
            continue;
        };
        let Some(root) = roots.of(&full).filter(|_| !is_bytecode(&full)) else {
            continue;
        };
        files.note(pid, root, &full, what, event.time_ms, || {
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

/// A name seen from the working folder; None when it is relative to another one (`AT_FDCWD` is -100).
fn full_path(event: &Event, name: &[u8]) -> Option<Vec<u8>> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if name.starts_with(b"/") {
        return Some(name.to_vec());
    }
    let is_at = event
        .syscall
        .is_some_and(|number| matches!(number, 257..=269 | 316 | 437));
    if name.is_empty() || (is_at && event.a0.map(|a0| a0 as i32) != Some(-100)) {
        return None;
    }
    let mut full = event.slice(event.cwd)?.to_vec();
    full.push(b'/');
    full.extend_from_slice(name.strip_prefix(b"./").unwrap_or(name));
    Some(full)
}
