//! Environments as the paths in a log show them: the disk that they are on is of another time, or of another machine.

use rustc_hash::FxHashMap;

/// Environments remembered of a machine.
const MAX_PLACES: usize = 16_384;

/// What an environment is, as far as paths show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    Conda,
    Venv,
    User,
    System,
    Unknown,
}

impl PlaceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            PlaceKind::Conda => "conda",
            PlaceKind::Venv => "venv",
            PlaceKind::User => "user",
            PlaceKind::System => "system",
            PlaceKind::Unknown => "unknown",
        }
    }

    /// Whether all that lies below its prefix is the environment's.
    fn is_whole(self) -> bool {
        matches!(self, PlaceKind::Conda | PlaceKind::Venv)
    }
}

/// What one path shows.
struct Shown<'a> {
    prefix: &'a [u8],
    kind: PlaceKind,
    /// The path lies in a folder of packages, or is what makes the environment one.
    is_part: bool,
}

/// Environments of one machine.
#[derive(Default)]
pub struct LogPlaces {
    known: FxHashMap<Vec<u8>, PlaceKind>,
}

impl LogPlaces {
    /// Learn from a path that is there.
    pub fn learn(&mut self, path: &[u8]) {
        if let Some(shown) = self.shown_by(path, false) {
            if shown.kind != PlaceKind::System && shown.kind != PlaceKind::Unknown {
                self.add(shown.prefix, shown.kind);
            }
        }
    }

    /// Learn from the path of a program that was started: `PREFIX/bin/python3` shows the prefix, and nothing of what lies below it.
    pub fn learn_program(&mut self, path: &[u8]) {
        let Some(at) = memchr::memmem::rfind(path, b"/bin/py") else {
            return;
        };
        let (prefix, program) = path.split_at_checked(at).unwrap_or_default();
        let name = program.strip_prefix(b"/bin/").unwrap_or_default();
        let is_python = name.starts_with(b"python") || name.starts_with(b"pypy");
        if path.first() != Some(&b'/') || !is_python || name.contains(&b'/') {
            return;
        }
        self.learn(path);
        if kind_by_name(prefix) == PlaceKind::Unknown && self.kind_of(prefix).is_none() {
            self.add(prefix, PlaceKind::Unknown);
        }
    }

    /// An environment was moved as a whole.
    pub fn learn_move(&mut self, from: &[u8], to: &[u8]) {
        if let Some(kind) = self.known.get(from).copied() {
            self.add(to, kind);
        }
    }

    fn add(&mut self, prefix: &[u8], kind: PlaceKind) {
        if self.known.len() < MAX_PLACES && self.known.get(prefix) != Some(&kind) {
            self.known.insert(prefix.to_owned(), kind);
        }
    }

    pub fn kind_of(&self, prefix: &[u8]) -> Option<PlaceKind> {
        self.known.get(prefix).copied()
    }

    /// The environment that a path lies in, or is, and what it is; None where it is nobody's.
    pub fn place_of<'a>(&self, path: &'a [u8], is_folder: bool) -> Option<(&'a [u8], PlaceKind)> {
        let shown = self.shown_by(path, is_folder);
        let known = self.known_above(path);
        match (shown, known) {
            (Some(shown), Some((prefix, kind)))
                if !shown.is_part || shown.kind == PlaceKind::Unknown =>
            {
                // What looks like another one inside an environment is part of it.
                let is_inner =
                    prefix.len() > shown.prefix.len() || shown.kind == PlaceKind::Unknown;
                Some(if is_inner {
                    (prefix, kind)
                } else {
                    (shown.prefix, shown.kind)
                })
            }
            (Some(shown), _) => Some((
                shown.prefix,
                self.kind_of(shown.prefix)
                    .filter(|kind| *kind != PlaceKind::Unknown)
                    .unwrap_or(shown.kind),
            )),
            (None, known) => known,
        }
        .filter(|(prefix, _)| !is_nobodys(prefix))
    }

    /// The nearest known environment to which all of its prefix belongs.
    fn known_above<'a>(&self, path: &'a [u8]) -> Option<(&'a [u8], PlaceKind)> {
        if self.known.is_empty() {
            return None;
        }
        let mut prefix = path;
        loop {
            if let Some(kind) = self.kind_of(prefix) {
                let is_of_it = kind.is_whole()
                    || (kind == PlaceKind::Unknown && prefix.len() == path.len())
                    || (kind == PlaceKind::User && below(path, prefix).starts_with(b"bin/"));
                if is_of_it {
                    return Some((prefix, kind));
                }
            }
            prefix = prefix.get(..memchr::memrchr(b'/', prefix)?)?;
        }
    }

    fn shown_by<'a>(&self, path: &'a [u8], is_folder: bool) -> Option<Shown<'a>> {
        if path.first() != Some(&b'/') {
            return None;
        }
        let mut outer: Option<Shown<'a>> = None;
        for at in memchr::memchr_iter(b'/', path) {
            let (prefix, rest) = path.split_at_checked(at)?;
            let rest = rest.get(1..).unwrap_or_default();
            let (name, after) = split(rest);
            let part = |kind| {
                Some(Shown {
                    prefix,
                    kind,
                    is_part: true,
                })
            };
            match name {
                b"conda-meta" => return part(PlaceKind::Conda),
                b"pyvenv.cfg" if after.is_empty() => return part(PlaceKind::Venv),
                b"bin" if is_activation(after) => {
                    let is_conda =
                        self.kind_of(prefix) == Some(PlaceKind::Conda) || has_name_of_conda(prefix);
                    return part(if is_conda {
                        PlaceKind::Conda
                    } else {
                        PlaceKind::Venv
                    });
                }
                b"envs"
                    if has_name_of_conda(prefix)
                        || self.kind_of(prefix) == Some(PlaceKind::Conda) =>
                {
                    let (inner, below) = split(after);
                    let is_one = !inner.is_empty() && inner.first() != Some(&b'.');
                    if is_one && (is_folder || after.len() > inner.len() || !below.is_empty()) {
                        let end = at + 1 + name.len() + 1 + inner.len();
                        outer = Some(Shown {
                            prefix: path.get(..end)?,
                            kind: PlaceKind::Conda,
                            is_part: false,
                        });
                    }
                }
                b"lib" | b"lib64" => {
                    let Some(folder) = packages_below(after) else {
                        continue;
                    };
                    let prefix = match prefix.strip_suffix(b"/local") {
                        Some(above) if folder == b"dist-packages" => above,
                        _ => prefix,
                    };
                    let kind = self.kind_of(prefix).unwrap_or_else(|| kind_by_name(prefix));
                    return match outer {
                        Some(outer) if kind == PlaceKind::Unknown => Some(outer),
                        _ => Some(Shown {
                            prefix,
                            kind,
                            is_part: true,
                        }),
                    };
                }
                _ => {}
            }
        }
        outer
    }
}

/// `site-packages` of `python3.11/site-packages/…`; it is what changes in it that counts, or that it is made or removed itself.
fn packages_below(path: &[u8]) -> Option<&[u8]> {
    let (python, rest) = split(path);
    let (folder, _) = split(rest);
    let is_python = python.starts_with(b"python3") || python.starts_with(b"pypy3");
    (is_python && matches!(folder, b"site-packages" | b"dist-packages")).then_some(folder)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'/', path) {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (path, b""),
    }
}

fn below<'a>(path: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    path.get(prefix.len() + 1..).unwrap_or_default()
}

/// `activate`, `activate.fish`, `Activate.ps1`.
fn is_activation(name: &[u8]) -> bool {
    matches!(
        name,
        b"activate" | b"activate.csh" | b"activate.fish" | b"Activate.ps1"
    )
}

/// `/opt/conda`, `/home/a/miniforge3`, `/home/a/.conda`, `/srv/micromamba`: others have folders `envs` too.
fn has_name_of_conda(prefix: &[u8]) -> bool {
    let name = prefix
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    let is_in = |part: &&[u8]| {
        name.windows(part.len())
            .any(|at| at.eq_ignore_ascii_case(part))
    };
    [b"conda".as_slice(), b"mamba", b"miniforge"]
        .iter()
        .any(is_in)
}

fn kind_by_name(prefix: &[u8]) -> PlaceKind {
    match prefix {
        b"" | b"/usr" | b"/usr/local" => PlaceKind::System,
        _ if prefix.ends_with(b"/.local") => PlaceKind::User,
        _ => PlaceKind::Unknown,
    }
}

/// Caches, build isolation, and the file systems of containers as their host sees them.
fn is_nobodys(prefix: &[u8]) -> bool {
    const CONTAINERS: [&[u8]; 4] = [
        b"/var/lib/docker/",
        b"/var/lib/containers/",
        b"/var/lib/containerd/",
        b"/proc/",
    ];
    if CONTAINERS.iter().any(|start| prefix.starts_with(start)) {
        return true;
    }
    prefix.split(|byte| *byte == b'/').any(|name| {
        matches!(
            name,
            b"pkgs" | b".cache" | b"archive-v0" | b"builds-v0" | b".git" | b"node_modules"
        ) || [b"pip-".as_slice(), b"build-env-", b".tmp"]
            .iter()
            .any(|start| name.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(places: &LogPlaces, path: &str) -> Option<String> {
        let is_folder = path.ends_with('/');
        let path = path.strip_suffix('/').unwrap_or(path);
        let (prefix, kind) = places.place_of(path.as_bytes(), is_folder)?;
        Some(format!(
            "{} {}",
            String::from_utf8_lossy(prefix),
            kind.as_str()
        ))
    }

    #[test]
    fn an_environment_is_known_by_what_only_environments_have() {
        let places = LogPlaces::default();
        for (path, expected) in [
            ("/opt/conda/envs/ml/bin/pip", "/opt/conda/envs/ml conda"),
            ("/opt/conda/envs/ml/", "/opt/conda/envs/ml conda"),
            (
                "/opt/conda/envs/ml/lib/python3.10/site-packages/a.py",
                "/opt/conda/envs/ml conda",
            ),
            (
                "/opt/conda/envs/ml/share/x/lib/python3.10/site-packages/a",
                "/opt/conda/envs/ml conda",
            ),
            (
                "/home/a/miniforge3/conda-meta/six-1.16.0-0.json",
                "/home/a/miniforge3 conda",
            ),
            ("/data/v/pyvenv.cfg", "/data/v venv"),
            ("/data/v/bin/activate", "/data/v venv"),
            (
                "/data/v/lib/python3.11/site-packages/x.pth",
                "/data/v unknown",
            ),
            (
                "/home/a/.local/lib/python3.11/site-packages/x.py",
                "/home/a/.local user",
            ),
            ("/usr/lib/python3/dist-packages/x.py", "/usr system"),
            (
                "/usr/local/lib/python3.11/dist-packages/x.py",
                "/usr system",
            ),
            (
                "/usr/local/lib/python3.11/site-packages/x.py",
                "/usr/local system",
            ),
        ] {
            assert_eq!(place(&places, path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_nobodys_environment_is_none() {
        let places = LogPlaces::default();
        for path in [
            "/srv/infra/envs/prod/main.tf",
            "/opt/conda/envs/",
            "/opt/conda/envs/.conda_envs_dir_test",
            "/opt/conda/envs/notes.txt",
            "/opt/conda/pkgs/six-1.16.0/lib/python3.10/site-packages/six.py",
            "/home/a/.cache/uv/archive-v0/x/lib/python3.11/site-packages/y.py",
            "/tmp/pip-build-env-1/overlay/lib/python3.11/site-packages/z.py",
            "/var/lib/docker/overlay2/1/diff/usr/lib/python3/dist-packages/x.py",
            "/usr/bin/python3",
            "/home/a/.local/bin/tool",
            "/home/a/notes/bin/x",
            "lib/python3.11/site-packages/x.py",
            "",
        ] {
            assert_eq!(place(&places, path), None, "{path}");
        }
    }

    #[test]
    fn a_program_shows_the_prefix_it_was_started_from_and_nothing_below_it() {
        let mut places = LogPlaces::default();
        for path in [
            "/data/v/bin/python3.11",
            "/data/w/bin/pypy3",
            "/usr/bin/python3",
            "/usr/local/bin/python3",
            "/home/a/.local/bin/python3",
            "/data/x/bin/pytest",
            "/data/y/bin/python3/z",
            "v/bin/python3",
            "/bin/python3",
            "/home/a/miniforge3/envs/ml/bin/python",
            "/home/a/.cache/z/bin/python",
        ] {
            places.learn_program(path.as_bytes());
        }
        for (path, expected) in [
            ("/data/v", Some("/data/v unknown")),
            ("/data/v/", Some("/data/v unknown")),
            ("/data/w", Some("/data/w unknown")),
            ("/data/v/bin/python3.11", None),
            ("/data/v/notes", None),
            ("/usr/", None),
            ("/usr/local/", None),
            ("/home/a/.local/", None),
            ("/data/x/", None),
            ("/data/y/", None),
            ("/home/a/.cache/z/", None),
            (
                "/home/a/miniforge3/envs/ml",
                Some("/home/a/miniforge3/envs/ml conda"),
            ),
            ("/home/a/miniforge3", None),
        ] {
            assert_eq!(place(&places, path).as_deref(), expected, "{path}");
        }
        places.learn(b"/data/v/pyvenv.cfg");
        places.learn_program(b"/data/v/bin/python3.11");
        assert_eq!(
            place(&places, "/data/v/notes").as_deref(),
            Some("/data/v venv")
        );
        places.learn_program(b"/srv/c/bin/python3");
        assert_eq!(
            place(&places, "/srv/c/conda-meta/history").as_deref(),
            Some("/srv/c conda")
        );
    }

    #[test]
    fn the_whole_of_an_environment_is_known_once_it_has_shown_itself() {
        let mut places = LogPlaces::default();
        assert_eq!(place(&places, "/data/v/bin/pip"), None);
        for path in [
            "/data/v/pyvenv.cfg",
            "/home/a/.local/lib/python3.11/site-packages/x",
            "/data/v/sub/w/pyvenv.cfg",
            "/srv/c/conda-meta/history",
        ] {
            places.learn(path.as_bytes());
        }
        for (path, expected) in [
            ("/data/v/bin/pip", "/data/v venv"),
            ("/data/v/", "/data/v venv"),
            ("/data/v/lib/python3.11/site-packages/y", "/data/v venv"),
            ("/data/v/sub/w/bin/x", "/data/v/sub/w venv"),
            (
                "/data/v/sub/w/lib/python3.11/site-packages/y",
                "/data/v/sub/w venv",
            ),
            (
                "/data/v/share/lib/python3.11/site-packages/y",
                "/data/v venv",
            ),
            ("/home/a/.local/bin/tool", "/home/a/.local user"),
            ("/srv/c/envs/x/bin/y", "/srv/c/envs/x conda"),
            ("/srv/c/bin/y", "/srv/c conda"),
        ] {
            assert_eq!(place(&places, path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(place(&places, "/data/v2/bin/pip"), None);
        assert_eq!(place(&places, "/home/a/.local/share/x"), None);
        places.learn_move(b"/data/v", b"/data/v2");
        assert_eq!(
            place(&places, "/data/v2/bin/pip").as_deref(),
            Some("/data/v2 venv")
        );
    }
}
