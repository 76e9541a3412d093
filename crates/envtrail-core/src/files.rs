//! Changes of files below watched folders, gathered by the process that made them: one value a process and folder, not one a file.

use rustc_hash::FxHashMap;

/// Distinct files named in a group; what comes after is only counted.
pub const MAX_FILES: usize = 1000;
/// Groups between two reads; what comes after is only counted as lost.
const MAX_GROUPS: usize = 4096;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Created,
    Written,
    Deleted,
    MovedFrom,
    MovedTo,
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            What::Created => "created",
            What::Written => "written",
            What::Deleted => "deleted",
            What::MovedFrom => "moved_from",
            What::MovedTo => "moved_to",
        }
    }
}

/// Who did it, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub exe: Option<String>,
    pub comm: Option<String>,
    pub argv: Option<Vec<String>>,
    pub ppid: Option<u32>,
    pub uid: Option<u32>,
    pub auid: Option<u32>,
    pub ses: Option<u32>,
    pub started_ms: Option<u64>,
}

/// What one process changed below one folder since the last read.
#[derive(Clone, Debug)]
pub struct FileGroup {
    pub time_ms: u64,
    pub until_ms: u64,
    pub pid: u32,
    pub root: String,
    /// Absolute paths in the order of their first change.
    pub files: Vec<(String, What)>,
    pub total: u64,
    /// The process had ended before it could be asked.
    pub gone: bool,
    pub who: Who,
}

/// Watched folders: absolute, without a slash at the end.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Longest first: a nested one wins.
    paths: Vec<String>,
}

impl Roots {
    pub fn new(mut paths: Vec<String>) -> Self {
        paths.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        paths.dedup();
        Roots { paths }
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The root that a path is, or lies below.
    pub fn of(&self, path: &[u8]) -> Option<&str> {
        self.iter().find(|root| {
            path.strip_prefix(root.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// Whether this is what an import leaves behind: bytecode, and the folder and temporary names it passes through.
pub fn is_bytecode(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name == b"__pycache__"
        || name.ends_with(b".pyc")
        || name.ends_with(b".pyo")
        || path.windows(13).any(|part| part == b"/__pycache__/")
}

struct Gathering {
    group: FileGroup,
    places: FxHashMap<String, usize>,
    dropped: usize,
}

/// Groups in the making.
#[derive(Default)]
pub struct FileGroups {
    groups: Vec<Gathering>,
    by_process: FxHashMap<(u32, String), usize>,
    /// Changes of processes that had no room.
    pub lost: u64,
}

impl FileGroups {
    /// Whether a change by this process below this root would begin a group.
    pub fn is_new(&self, pid: u32, root: &str) -> bool {
        !self.by_process.contains_key(&(pid, root.to_owned()))
    }

    /// Note a change. `who` is asked only for the first one of a group.
    pub fn note(
        &mut self,
        pid: u32,
        root: &str,
        path: &[u8],
        what: What,
        time_ms: u64,
        who: impl FnOnce() -> Option<Who>,
    ) {
        let at = match self.by_process.get(&(pid, root.to_owned())) {
            Some(at) => *at,
            None if self.groups.len() >= MAX_GROUPS => {
                self.lost += 1;
                return;
            }
            None => {
                let who = who();
                self.groups.push(Gathering {
                    group: FileGroup {
                        time_ms,
                        until_ms: time_ms,
                        pid,
                        root: root.to_owned(),
                        files: Vec::new(),
                        total: 0,
                        gone: who.is_none(),
                        who: who.unwrap_or_default(),
                    },
                    places: FxHashMap::default(),
                    dropped: 0,
                });
                self.by_process
                    .insert((pid, root.to_owned()), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        if let Some(gathering) = self.groups.get_mut(at) {
            gathering.note(crate::text::printable(path).into_owned(), what, time_ms);
        }
    }

    /// Whether a process has a group.
    pub fn holds(&self, pid: u32) -> bool {
        self.groups.iter().any(|one| one.group.pid == pid)
    }

    /// A folder was moved: what was gathered below it by this process lies elsewhere now. Watched roots stay where they are.
    pub fn rename(&mut self, pid: u32, from: &str, to: &str) {
        for at in 0..self.groups.len() {
            let Some(one) = self.groups.get_mut(at).filter(|one| one.group.pid == pid) else {
                continue;
            };
            let Some(rest) = one.group.root.strip_prefix(from).map(str::to_owned) else {
                continue;
            };
            if !rest.is_empty() && !rest.starts_with('/') {
                continue;
            }
            let old = std::mem::replace(&mut one.group.root, format!("{to}{rest}"));
            for (path, _) in &mut one.group.files {
                if let Some(below) = path.strip_prefix(from) {
                    *path = format!("{to}{below}");
                }
            }
            one.places.clear();
            let new = one.group.root.clone();
            self.by_process.remove(&(pid, old));
            self.by_process.insert((pid, new), at);
        }
    }

    /// Hand out what was gathered. A file that came and went in between is nothing.
    pub fn take(&mut self) -> Vec<FileGroup> {
        self.take_if(|_| true)
    }

    /// Hand out what is ripe; the rest goes on.
    pub fn take_if(&mut self, is_ripe: impl Fn(&FileGroup) -> bool) -> Vec<FileGroup> {
        let (ripe, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.groups)
            .into_iter()
            .partition(|one| is_ripe(&one.group));
        self.groups = rest;
        let key = |one: &Gathering| (one.group.pid, one.group.root.clone());
        self.by_process = self.groups.iter().map(key).zip(0..).collect();
        ripe.into_iter().filter_map(Gathering::finish).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Marks a file that came and went.
const NOTHING: &str = "";

impl Gathering {
    fn note(&mut self, path: String, what: What, time_ms: u64) {
        let group = &mut self.group;
        group.until_ms = group.until_ms.max(time_ms);
        group.time_ms = group.time_ms.min(time_ms);
        match self.places.get(&path).copied() {
            Some(at) => {
                let Some(known) = group.files.get_mut(at) else {
                    return;
                };
                match (known.1, what) {
                    (What::Created | What::MovedTo, What::Deleted | What::MovedFrom) => {
                        self.places.remove(&path);
                        known.0 = NOTHING.to_owned();
                        self.dropped += 1;
                        group.total -= 1;
                    }
                    (What::Deleted | What::MovedFrom, What::Created | What::MovedTo) => {
                        known.1 = What::Written
                    }
                    (What::Written, What::Written) | (_, What::Written) => {}
                    (_, newer) => known.1 = newer,
                }
            }
            None if group.files.len() - self.dropped < MAX_FILES
                && group.files.len() < 2 * MAX_FILES =>
            {
                group.total += 1;
                self.places.insert(path.clone(), group.files.len());
                group.files.push((path, what));
            }
            // Past the bound nothing says whether the file was counted when it was created.
            None => group.total += u64::from(what != What::Written),
        }
    }

    fn finish(self) -> Option<FileGroup> {
        let mut group = self.group;
        group.files.retain(|(path, _)| path != NOTHING);
        (group.total > 0).then_some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(changes: &[(&str, What)]) -> Vec<(String, What)> {
        let mut groups = FileGroups::default();
        for (at, (path, what)) in changes.iter().enumerate() {
            groups.note(7, "/e", path.as_bytes(), *what, 100 + at as u64, || None);
        }
        groups.take().into_iter().flat_map(|g| g.files).collect()
    }

    #[test]
    fn a_nested_root_wins_and_a_neighbour_of_like_name_is_none() {
        let roots = Roots::new(vec!["/e".into(), "/e/envs/x".into()]);
        assert_eq!(roots.of(b"/e/envs/x/bin/y"), Some("/e/envs/x"));
        assert_eq!(roots.of(b"/e/bin/y"), Some("/e"));
        assert_eq!(roots.of(b"/e"), Some("/e"));
        assert_eq!(roots.of(b"/e2/bin"), None);
    }

    #[test]
    fn what_came_and_went_is_nothing_and_what_went_and_came_is_written() {
        use What::*;
        assert_eq!(
            gathered(&[("/e/a", Created), ("/e/a", Written)]),
            [("/e/a".into(), Created)]
        );
        assert_eq!(
            gathered(&[("/e/a", Created), ("/e/b", Written), ("/e/a", Deleted)]),
            [("/e/b".into(), Written)]
        );
        assert_eq!(
            gathered(&[("/e/a", Deleted), ("/e/a", Created)]),
            [("/e/a".into(), Written)]
        );
        assert_eq!(gathered(&[("/e/a", MovedTo), ("/e/a", MovedFrom)]), []);
    }

    #[test]
    fn a_group_moves_with_its_folder() {
        let mut groups = FileGroups::default();
        groups.note(
            7,
            "/c/.tmp/lib",
            b"/c/.tmp/lib/x.dist-info",
            What::Created,
            1,
            || None,
        );
        groups.note(
            8,
            "/c/.tmp/lib",
            b"/c/.tmp/lib/y.dist-info",
            What::Created,
            1,
            || None,
        );
        groups.rename(7, "/c/.tmp", "/c/archive");
        let moved: Vec<_> = groups
            .take()
            .into_iter()
            .map(|g| (g.root, g.files))
            .collect();
        assert_eq!(
            moved[0],
            (
                "/c/archive/lib".into(),
                vec![("/c/archive/lib/x.dist-info".into(), What::Created)]
            )
        );
        assert_eq!(moved[1].0, "/c/.tmp/lib");
    }

    #[test]
    fn past_the_bound_changes_are_counted() {
        let mut groups = FileGroups::default();
        for number in 0..3 * MAX_FILES {
            let path = format!("/e/{number}");
            groups.note(7, "/e", path.as_bytes(), What::Created, 1, || None);
            groups.note(7, "/e", path.as_bytes(), What::Written, 1, || None);
        }
        let group = groups.take().remove(0);
        assert_eq!(
            (group.files.len(), group.total, group.gone),
            (MAX_FILES, 3 * MAX_FILES as u64, true)
        );
        assert!(groups.is_empty());
    }

    #[test]
    fn bytecode_is_what_an_import_leaves() {
        for path in [
            "/e/__pycache__",
            "/e/__pycache__/x.cpython-311.pyc.1402",
            "/e/x.pyc",
        ] {
            assert!(is_bytecode(path.as_bytes()), "{path}");
        }
        for path in ["/e/x.py", "/e/pycache/x", "/e/__pycache__x/y"] {
            assert!(!is_bytecode(path.as_bytes()), "{path}");
        }
    }
}
