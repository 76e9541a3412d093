//! Changes of files below watched folders, gathered by the process that made them: one value a process and folder, not one a file.

mod groups;

pub use groups::{Change, FileGroups, MAX_FILES};

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Created,
    Written,
    Deleted,
    MovedFrom,
    MovedTo,
    /// Mode or owner; as fanotify reports it, also times.
    Attributes,
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            What::Created => "created",
            What::Written => "written",
            What::Deleted => "deleted",
            What::MovedFrom => "moved_from",
            What::MovedTo => "moved_to",
            What::Attributes => "attributes",
        }
    }
}

/// Who did it, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub exe: Option<String>,
    pub comm: Option<String>,
    pub argv: Option<Vec<String>>,
    /// Its end is not known: the kernel records a part of it.
    pub is_argv_cut: bool,
    pub ppid: Option<u32>,
    pub uid: Option<u32>,
    pub auid: Option<u32>,
    pub ses: Option<u32>,
    pub started_ms: Option<u64>,
    /// What auditd wrote of its uids (`AUID`, `UID`).
    pub names: Vec<(String, String)>,
}

/// Where the records of an event are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    pub segment: u64,
    pub time_ms: u64,
    pub serial: u64,
}

/// What a log says by itself of a group: nothing can be looked up, as it is of another time or of another machine.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub node: String,
    /// Of the environment, as far as paths show it.
    pub kind: &'static str,
    /// The image that ran in the process and those above it, nearest first.
    pub images: Vec<u64>,
    /// Which tool's name that image carries; where it is not known, the title of the process.
    pub hint: Option<String>,
    /// The exec of that image.
    pub exec: Option<EventPlace>,
    /// When its process ended, and how: exit code, signal.
    pub end: Option<(u64, Option<i32>, Option<i32>)>,
}

/// What one process changed below one folder since the last read.
#[derive(Clone, Debug)]
pub struct FileGroup {
    pub time_ms: u64,
    pub until_ms: u64,
    pub pid: u32,
    /// What ran in it, where that was known at once.
    pub image: Option<u64>,
    pub root: String,
    /// Absolute paths in the order of their first change.
    pub files: Vec<(String, What)>,
    pub total: u64,
    /// The process had ended before it could be queried.
    pub gone: bool,
    pub who: Who,
    /// The first of the events that recorded it; none where fanotify did.
    pub events: Vec<EventPlace>,
    /// Metadata was moved to its place as pip does it.
    pub is_marked: bool,
    /// Package metadata that was made and removed, each time with its moment, in order: also what came and went.
    pub metadata: Vec<(String, What, u64)>,
    /// Null: of this machine, now.
    pub recorded: Option<Recorded>,
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

/// Whether this is what an import leaves behind: bytecode, its folder, and the name it has while it is written. What else lies in such
/// a folder counts: anybody may call a folder so.
pub fn is_bytecode(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let (whole, number) = name.split_at(name.len() - digits.count());
    name == b"__pycache__"
        || name.ends_with(b".pyc")
        || name.ends_with(b".pyo")
        || (!number.is_empty() && whole.ends_with(b".pyc."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(groups: &mut FileGroups, pid: u32, root: &str, path: &str, what: What, time_ms: u64) {
        let change = Change {
            pid,
            image: None,
            root,
            path: path.as_bytes(),
            what,
            time_ms,
            event: None,
        };
        groups.note(&change, || None);
    }

    fn gathered(changes: &[(&str, What)]) -> Vec<(String, What)> {
        let mut groups = FileGroups::default();
        for (at, (path, what)) in changes.iter().enumerate() {
            note(&mut groups, 7, "/e", path, *what, 100 + at as u64);
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
    fn a_group_is_of_one_process_and_folder_and_of_nothing_there_is_none() {
        let mut groups = FileGroups::default();
        assert!(groups.is_new(7, "/e") && !groups.holds(7) && groups.is_empty());
        note(&mut groups, 7, "/e", "/e/a", What::Created, 1);
        assert!(!groups.is_new(7, "/e") && groups.holds(7) && !groups.is_empty());
        assert!(groups.is_new(7, "/f") && groups.is_new(8, "/e") && !groups.holds(8));
        note(&mut groups, 7, "/e", "/e/a", What::Deleted, 2);
        assert_eq!(groups.take().len(), 0);
        assert!(groups.is_new(7, "/e"));
        for pid in 0..4097 {
            note(&mut groups, pid, "/e", "/e/a", What::Created, 1);
        }
        assert_eq!((groups.iter().count(), groups.lost), (4096, 1));
    }

    #[test]
    fn the_first_events_of_a_group_are_named_each_once() {
        let mut groups = FileGroups::default();
        for at in 0..300 {
            let path = format!("/e/{at}");
            let change = Change {
                pid: 7,
                image: None,
                root: "/e",
                path: path.as_bytes(),
                what: What::Created,
                time_ms: 9,
                event: Some(EventPlace {
                    segment: 1,
                    time_ms: 9,
                    serial: at / 2,
                }),
            };
            groups.note(&change, || Some(Who::default()));
        }
        let group = groups.take().remove(0);
        let serials: Vec<_> = group.events.iter().map(|event| event.serial).collect();
        assert_eq!(serials, (0..100).collect::<Vec<_>>());
        assert!(!group.gone);
    }

    #[test]
    fn attributes_are_the_least_that_is_said_of_a_file() {
        use What::*;
        for (changes, said) in [
            (&[Attributes][..], Attributes),
            (&[Attributes, Attributes], Attributes),
            (&[Created, Attributes], Created),
            (&[Written, Attributes], Written),
            (&[Attributes, Written], Written),
            (&[Attributes, Deleted], Deleted),
            (&[Deleted, Created, Attributes], Written),
        ] {
            let noted: Vec<_> = changes.iter().map(|what| ("/e/a", *what)).collect();
            assert_eq!(gathered(&noted), [("/e/a".into(), said)]);
        }
        let mut groups = FileGroups::default();
        note(&mut groups, 7, "/e", "/e/x-1.dist-info", Attributes, 1);
        assert!(groups.take()[0].metadata.is_empty());
    }

    #[test]
    fn a_group_moves_with_its_folder() {
        let mut groups = FileGroups::default();
        for (pid, name) in [(7, "x"), (8, "y")] {
            let path = format!("/c/.tmp/lib/{name}.dist-info");
            note(&mut groups, pid, "/c/.tmp/lib", &path, What::Created, 1);
        }
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
    fn metadata_is_kept_in_order_also_where_it_came_and_went() {
        use What::*;
        let mut groups = FileGroups::default();
        for (at, what) in [Created, Written, Deleted, Created].into_iter().enumerate() {
            let time_ms = 100 + at as u64;
            note(&mut groups, 7, "/e", "/e/x-1.dist-info", what, time_ms);
        }
        note(&mut groups, 8, "/e", "/e/y-1.dist-info", Created, 200);
        note(&mut groups, 8, "/e", "/e/y-1.dist-info", Deleted, 201);
        note(&mut groups, 9, "/e", "/e/notes.txt", Created, 300);
        let taken: Vec<_> = groups.take().into_iter().map(|g| g.metadata).collect();
        let event = |path: &str, what, time_ms| (path.to_owned(), what, time_ms);
        let x = "/e/x-1.dist-info";
        let y = "/e/y-1.dist-info";
        assert_eq!(
            taken,
            [
                vec![
                    event(x, Created, 100),
                    event(x, Deleted, 102),
                    event(x, Created, 103)
                ],
                vec![event(y, Created, 200), event(y, Deleted, 201)],
                vec![]
            ]
        );
    }

    #[test]
    fn a_package_may_come_and_go_in_a_folder_that_stays_and_all_of_them_with_theirs() {
        use What::*;
        let metadata = |changes: &[(&str, What)]| {
            let mut groups = FileGroups::default();
            for (path, what) in changes {
                note(&mut groups, 7, "/e", path, *what, 1);
            }
            let events = groups.take().remove(0).metadata.into_iter();
            events
                .map(|(path, what, _)| (path, what))
                .collect::<Vec<_>>()
        };
        let (folder, file) = ("/e/x-1.dist-info", "/e/x-1.dist-info/METADATA");
        assert_eq!(
            metadata(&[(file, MovedFrom), (file, Created), (file, Written)]),
            [(file.into(), MovedFrom), (file.into(), Created)]
        );
        let whole = metadata(&[(file, Deleted), (folder, Deleted)]);
        assert_eq!(whole, [(folder.into(), Deleted)]);
        let site = "/e/lib/python3.11/site-packages";
        assert_eq!(metadata(&[(site, MovedFrom)]), [(site.into(), MovedFrom)]);
        assert_eq!(metadata(&[(site, Created)]), []);
    }

    #[test]
    fn past_the_bound_changes_are_counted() {
        let mut groups = FileGroups::default();
        for number in 0..3 * MAX_FILES {
            let path = format!("/e/{number}");
            note(&mut groups, 7, "/e", &path, What::Created, 1);
            note(&mut groups, 7, "/e", &path, What::Written, 1);
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
        for path in [
            "/e/x.py",
            "/e/pycache/x",
            "/e/__pycache__/x.py",
            "/e/__pycache__/x.pyc.py",
            "/e/__pycache__/1402",
            "/home/__pycache__/venv/bin/pip",
        ] {
            assert!(!is_bytecode(path.as_bytes()), "{path}");
        }
    }
}
