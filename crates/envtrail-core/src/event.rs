//! What the records of one event say, gathered into columns' shape. Scratch space: one value is used for every event.

mod added;
mod address;
mod arguments;
mod capabilities;
mod extra;
mod fast;
mod kind;
mod nametypes;
mod opened;
mod places;
mod records;
mod repeated;
mod user;

pub use extra::ExtraFields;
pub use kind::{Kind, MISSING};

use crate::parse::pack;
use crate::redact::{self, Form, Search};
use crate::types;
use kind::{Leading, HAS_EXECVE};
use repeated::Repeated;

/// Fields that quote commands.
const QUOTES: [(&[u8], Form); 3] = [
    (b"cmd", Form::Text),
    (b"data", Form::Text),
    (b"proctitle", Form::Title),
];
/// Their names as numbers.
const QUOTES_PACKED: [u64; 3] = [pack(b"cmd"), pack(b"data"), pack(b"proctitle")];

/// Identity of an event; `node` is a number of the coalescer's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub node: u32,
    pub time_ms: u64,
    pub serial: u64,
}

impl Default for Key {
    fn default() -> Self {
        Key {
            node: 0,
            time_ms: 0,
            serial: u64::MAX,
        }
    }
}

/// One record inside an event's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub record_type: u16,
    /// Offsets in the event's bytes: of the line, of its body, of its end (before the newline).
    pub start: u32,
    pub body: u32,
    pub end: u32,
}

/// A list of byte strings in one allocation.
#[derive(Default, Debug, Clone)]
pub struct Strings {
    pub bytes: Vec<u8>,
    pub ends: Vec<usize>,
}

impl Strings {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.close();
    }

    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.bytes.get(start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    fn append(&mut self, more: &Strings) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&more.bytes);
        self.ends.extend(more.ends.iter().map(|end| before + end));
    }

    fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

/// One PATH record.
#[derive(Default, Debug, Clone, Copy)]
pub struct PathItem {
    pub item: u32,
    /// Range in `Event::text`; None when there is no name.
    pub name: Option<(usize, usize)>,
    pub nametype: Option<(usize, usize)>,
    pub inode: Option<u64>,
    pub mode: Option<u32>,
    pub ouid: Option<u32>,
}

/// Where a text is in `Event::text`; None when there is none.
pub(crate) type Range = Option<(usize, usize)>;

/// The event under the lens.
#[derive(Default, Debug)]
pub struct Event {
    pub time_ms: u64,
    pub serial: u64,
    pub kind: Kind,
    pub lead_type: u16,
    pub arch: Option<u32>,
    pub syscall: Option<u32>,
    pub success: Option<bool>,
    pub exit: Option<i64>,
    pub a0: Option<u64>,
    pub pid: Option<u32>,
    pub ppid: Option<u32>,
    pub auid: Option<u32>,
    pub uid: Option<u32>,
    pub euid: Option<u32>,
    pub gid: Option<u32>,
    pub ses: Option<u32>,
    pub items: Option<u32>,
    pub argc: Option<u32>,
    pub argv: Strings,
    pub keys: Strings,
    pub paths: Vec<PathItem>,
    pub fields: ExtraFields,
    /// Decoded strings; the ranges point here.
    pub text: Vec<u8>,
    pub tty: Range,
    pub comm: Range,
    pub exe: Range,
    pub cwd: Range,
    pub proctitle: Range,
    pub address: Range,
    pub missing: u8,
    has: u8,
    arguments: Vec<(u32, u32, bool, (usize, usize))>,
    argc_end: Option<usize>,
    left_out: Vec<u32>,
    is_cwd_deleted: bool,
    repeated: Option<Box<Repeated>>,
}

impl Event {
    /// Forget the last event, keep the allocations and what is repeated.
    fn clear(&mut self) {
        let Event {
            argv,
            keys,
            paths,
            fields,
            text,
            arguments,
            left_out,
            ..
        } = self;
        argv.clear();
        keys.clear();
        paths.clear();
        fields.clear();
        text.clear();
        arguments.clear();
        left_out.clear();
        let Event {
            arch,
            syscall,
            success,
            exit,
            a0,
            pid,
            ppid,
            auid,
            uid,
            euid,
            gid,
            ses,
            items,
            argc,
            argc_end,
            ..
        } = self;
        for number in [
            arch, syscall, pid, ppid, auid, uid, euid, gid, ses, items, argc,
        ] {
            *number = None;
        }
        (*success, *exit, *a0, *argc_end) = (None, None, None, None);
        let Event {
            tty,
            comm,
            exe,
            cwd,
            proctitle,
            address,
            ..
        } = self;
        for range in [tty, comm, exe, cwd, proctitle, address] {
            *range = None;
        }
        (self.missing, self.has, self.is_cwd_deleted) = (0, 0, false);
    }

    pub fn slice(&self, range: Range) -> Option<&[u8]> {
        let (start, end) = range?;
        self.text.get(start..end)
    }

    /// Whether it reports files. A system call that removes a watched folder also says so of the rule, and SELinux may have a word
    /// on one: such an event is of another kind, and reports files as well.
    pub fn is_of_files(&self) -> bool {
        self.kind == Kind::File
            || (self.syscall.is_some()
                && !self.paths.is_empty()
                && !matches!(self.kind, Kind::Exec | Kind::Exit))
    }

    /// Whether a closer look for secrets is worth it. A title that repeats the arguments is passed over: they are looked at.
    pub fn may_hold_secret(&self, search: &mut Search) -> bool {
        let title = self.slice(self.proctitle).unwrap_or_default();
        let repeats = self.repeats_arguments(title);
        let is_whole = repeats && title.len() + 1 == self.argv.bytes.len() + self.argv.len();
        let in_command = if is_whole && title.len() + 1 < redact::LONGEST_TITLE {
            search.may_hold_in_title(title)
        } else {
            (!self.argv.is_empty() && search.may_hold_in_arguments(self.argv.iter()))
                || (!repeats && search.may_hold_in_title(title))
        };
        let (start, end) = self.proctitle.unwrap_or_default();
        let before = self.text.get(..start).unwrap_or_default();
        let after = self.text.get(end..).unwrap_or_default();
        // The programs of a machine come again and again, the files that they write do not.
        let is_kept = self.kind != Kind::File;
        let names = &self.fields.values.bytes;
        let quotes = |(key, form): (&[u8], Form)| {
            let text = self.field(key);
            text.is_some_and(|text| redact::may_hold_secret(text, form))
        };
        let is_known = search.knows_names(names);
        let unknown = (!is_known).then_some(names.as_slice());
        in_command
            || search.may_hold_in_words([before, after], unknown, is_kept)
            || (!is_known && self.fields.may_have(QUOTES_PACKED) && QUOTES.into_iter().any(quotes))
    }

    /// Whether a title is the beginning of the arguments joined by NUL. The title of an exec may be that of the image before it.
    fn repeats_arguments(&self, title: &[u8]) -> bool {
        let mut rest = title;
        let mut start = 0;
        for end in &self.argv.ends {
            let argument = self.argv.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            if rest.len() <= argument.len() {
                return argument.starts_with(rest);
            }
            let after = rest.strip_prefix(argument);
            match after.and_then(|after| after.strip_prefix(b"\0")) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }

    /// Read all records of an event; what was read before is forgotten.
    pub fn read(&mut self, key: Key, bytes: &[u8], records: &[Record]) {
        self.clear();
        self.time_ms = key.time_ms;
        self.serial = key.serial;
        let call = position_of_call(records);
        if let Some(record) = records.get(call) {
            self.read_record(bytes, record);
        }
        for (at, record) in records.iter().enumerate() {
            if at != call {
                self.read_record(bytes, record);
            }
        }
        if self.has & HAS_EXECVE != 0 {
            self.order_arguments(bytes);
            self.mark_left_out();
        }
        if !self.paths.is_empty() {
            self.order_paths();
            self.fill_nametypes();
            self.resolve_paths(bytes, records);
        }
        let leading = Leading::of(bytes, records);
        self.lead_type = leading.least;
        self.kind = self.decide_kind(&leading);
        self.missing = self.find_missing(records);
    }
}

impl Event {
    fn order_paths(&mut self) {
        let is_later = |pair: &[PathItem]| matches!(pair, [a, b] if a.item > b.item);
        if self.paths.windows(2).any(is_later) {
            self.paths.sort_by_key(|path| path.item);
        }
    }
}

/// Where the record is that says who did it: of an exec, a denial (AVC) before it names the image before. LOGIN says it by itself.
fn position_of_call(records: &[Record]) -> usize {
    let kernels = matches!(records.first(), Some(first) if first.record_type >= types::SYSCALL);
    let mut known = records.iter().map(|record| record.record_type);
    let call = known.position(|known| known == types::SYSCALL);
    call.filter(|_| kernels).unwrap_or(0)
}
