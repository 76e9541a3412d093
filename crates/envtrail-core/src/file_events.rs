//! File events of the audit log as changes below watched folders.

use crate::event::{Event, PathItem, Record};
use crate::files::{is_bytecode, Change, EventPlace, FileGroups, Roots, What, Who};

/// The kernel records so many bytes of a title (MAX_PROCTITLE_AUDIT_LEN), and leaves out zeros at its end.
const MOST_TITLE: usize = 127;

/// TASK_COMM_LEN, without the zero at its end.
const MOST_COMM: usize = 15;

/// The records of an event, where they are.
pub struct Source<'a> {
    pub bytes: &'a [u8],
    pub records: &'a [Record],
    pub segment: u64,
}

impl Source<'_> {
    pub(crate) fn place_of(&self, event: &Event) -> EventPlace {
        EventPlace {
            segment: self.segment,
            time_ms: event.time_ms,
            serial: event.serial,
        }
    }
}

/// What a file event says of changes below the roots. Names relative to a folder's descriptor are relative here, and below no root.
pub fn note_files(roots: &Roots, files: &mut FileGroups, event: &Event, source: &Source<'_>) {
    let Some(pid) = event.pid else {
        return;
    };
    for (_, path, what) in items_of(event, source) {
        if let Some(root) = roots.of(path) {
            let change = Change {
                pid,
                image: None,
                root,
                path,
                what,
                time_ms: event.time_ms,
                event: Some(source.place_of(event)),
            };
            files.note(&change, || Some(who_of(event)));
        }
    }
}

/// The names of an event that it changed, as they are without a slash at their end.
pub(crate) fn items_of<'a>(
    event: &'a Event,
    source: &'a Source<'_>,
) -> impl Iterator<Item = (&'a PathItem, &'a [u8], What)> + 'a {
    let call = event.syscall.zip(event.arch);
    let name = call.and_then(|(number, arch)| crate::syscalls::name(arch, number));
    let moves = name.is_some_and(|name| name.starts_with("rename"));
    let is_done = event.success != Some(false);
    let mut writes = None;
    event
        .paths
        .iter()
        .filter(move |_| is_done)
        .filter_map(move |path| {
            let what = match event.slice(path.nametype) {
                Some(b"CREATE") if moves => What::MovedTo,
                Some(b"DELETE") if moves => What::MovedFrom,
                Some(b"CREATE") => What::Created,
                Some(b"DELETE") => What::Deleted,
                Some(b"NORMAL")
                    if *writes.get_or_insert_with(|| {
                        event.writes_content(source.bytes, source.records)
                    }) =>
                {
                    What::Written
                }
                Some(b"NORMAL") if name.is_some_and(changes_attributes) => What::Attributes,
                _ => return None,
            };
            let name = event.slice(path.name).unwrap_or_default();
            let name = name.strip_suffix(b"/").unwrap_or(name);
            (!is_bytecode(name)).then_some((path, name, what))
        })
}

/// Whether a call gives a file another mode or owner.
fn changes_attributes(name: &str) -> bool {
    ["chmod", "fchmod", "chown", "fchown", "lchown"]
        .iter()
        .any(|stem| {
            name.strip_prefix(stem)
                .is_some_and(|rest| matches!(rest, "" | "32" | "at" | "at2"))
        })
}

/// Who changed something, by the event itself.
pub(crate) fn who_of(event: &Event) -> Who {
    let text = |range| {
        event
            .slice(range)
            .map(|bytes| crate::text::printable(bytes).into_owned())
    };
    let title = event.slice(event.proctitle).unwrap_or_default();
    let title = if is_own(event, title) { title } else { b"" };
    let words = title.split(|byte| *byte == 0);
    let argv = words.map(|word| crate::text::printable(word).into_owned());
    let name = |(key, value): (&[u8], &[u8])| {
        let shown = |bytes| crate::text::printable(bytes).into_owned();
        matches!(key, b"AUID" | b"UID").then(|| (shown(key), shown(value)))
    };
    Who {
        exe: text(event.exe),
        comm: text(event.comm),
        argv: (!title.is_empty()).then(|| argv.collect()),
        is_argv_cut: title.len() >= MOST_TITLE,
        ppid: event.ppid,
        uid: event.uid,
        auid: event.auid,
        ses: event.ses,
        started_ms: None,
        names: event.fields.iter().filter_map(name).collect(),
    }
}

/// Whether a title can be of the program that runs now: the kernel keeps what a task was called at its first record, also through an
/// exec (`audit_log_proctitle()` in kernel/auditsc.c).
fn is_own(event: &Event, title: &[u8]) -> bool {
    let comm = event.slice(event.comm).unwrap_or_default();
    let is_comm = |word: &[u8]| {
        let base = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        !comm.is_empty() && base.get(..base.len().min(MOST_COMM)) == Some(comm)
    };
    let mut words = title.split(|byte| *byte == 0);
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    is_comm(first) || second.is_some_and(is_comm)
}
