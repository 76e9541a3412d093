//! Which tool's name an exec, or a path, carries. Only a hint: interpretation decides.

use crate::event::{Event, Kind};
use rustc_hash::FxHashMap;

/// Label of file events that create, remove or rename package metadata or an environment.
pub const METADATA: &str = "metadata";

/// Names of programs and modules → label.
#[derive(Default)]
pub struct Hints {
    labels: Vec<String>,
    by_name: FxHashMap<Vec<u8>, u16>,
    /// How the names in it begin, with and without their version.
    begins: Beginnings,
    beginnings: Vec<(Vec<u8>, u16)>,
    endings: Vec<(Vec<u8>, u16)>,
    metadata: u16,
}

impl Hints {
    /// Labels in order of precedence, each with base names without a version suffix; `mcp-server-*` and `*-mcp` stand for all such.
    pub fn new(table: &[(String, Vec<String>)]) -> Self {
        let mut hints = Hints::default();
        for (label, names) in table {
            let number = hints.labels.len() as u16;
            hints.labels.push(label.clone());
            for name in names {
                match name.as_bytes() {
                    [beginning @ .., b'*'] => hints.beginnings.push((beginning.to_vec(), number)),
                    [b'*', ending @ ..] => hints.endings.push((ending.to_vec(), number)),
                    whole => {
                        hints.begins.add(whole);
                        hints.begins.add(without_version(whole));
                        hints.by_name.entry(whole.to_vec()).or_insert(number);
                    }
                }
            }
        }
        hints.metadata = hints.labels.len() as u16;
        hints.labels.push(METADATA.to_owned());
        hints
    }

    pub fn label(&self, hint: u16) -> Option<&str> {
        self.labels.get(hint as usize).map(String::as_str)
    }

    /// All labels, by number.
    pub fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }

    /// The number of a label.
    pub fn number(&self, label: &str) -> Option<u16> {
        let at = self.labels.iter().position(|known| known == label)?;
        u16::try_from(at).ok()
    }

    /// The hint of an event.
    pub fn of(&self, event: &Event) -> Option<u16> {
        match event.kind {
            Kind::Exec if event.success != Some(false) => self.of_exec(event),
            _ if event.is_of_files() => event
                .paths
                .iter()
                .any(|path| {
                    let kind = event.slice(path.nametype).unwrap_or_default();
                    let name = event.slice(path.name).unwrap_or_default();
                    matches!(kind, b"CREATE" | b"DELETE") && is_metadata(name)
                })
                .then_some(self.metadata),
            _ => None,
        }
    }

    /// The hint of a process by what it is called now.
    pub fn of_words(&self, exe: &str, argv: &[String]) -> Option<u16> {
        let mut event = Event::default();
        for argument in argv {
            event.argv.push(argument.as_bytes());
        }
        event.text.extend_from_slice(exe.as_bytes());
        event.exe = Some((0, exe.len()));
        self.of_exec(&event)
    }

    fn of_exec(&self, event: &Event) -> Option<u16> {
        let exe = base_name(event.slice(event.exe).unwrap_or_default());
        let first = base_name(event.argv.get(0).unwrap_or_default());
        let path = base_name(
            event
                .paths
                .first()
                .and_then(|path| event.slice(path.name))
                .unwrap_or_default(),
        );
        let mut best: Option<u16> = None;
        let mut consider = |word: &[u8]| {
            if let Some(found) = self.find(word) {
                best = Some(best.map_or(found, |known| known.min(found)));
            }
        };
        for word in [path, exe, first] {
            consider(word);
        }
        if is_other_interpreter(exe) || is_other_interpreter(first) {
            // `node /usr/bin/claude`, `bash /x/bin/conda`
            let words = (1..event.argv.len()).filter_map(|at| event.argv.get(at));
            let script = words.take(4).find(|word| !word.starts_with(b"-"));
            consider(without_suffix(base_name(script.unwrap_or_default())));
        }
        if is_interpreter(exe) || is_interpreter(first) {
            let (script, module) = program_of(event);
            consider(base_name(script));
            consider(module);
            consider(
                module
                    .split(|byte| *byte == b'.')
                    .next()
                    .unwrap_or_default(),
            );
            // `python /x/site-packages/pip` and `python …/pip/__main__.py`
            if base_name(script) == b"__main__.py" {
                let folder = script
                    .get(..script.len().saturating_sub(12))
                    .unwrap_or_default();
                consider(base_name(folder));
            }
        }
        best
    }

    fn find(&self, word: &[u8]) -> Option<u16> {
        if word.is_empty() {
            return None;
        }
        let stem = without_version(word);
        let by_name = |word: &[u8]| self.by_name.get(word).copied();
        let is_possible = self.begins.may_have(stem);
        let named = is_possible.then(|| by_name(word).or_else(|| by_name(stem)));
        named.flatten().or_else(|| {
            let begins = self
                .beginnings
                .iter()
                .find(|(part, _)| word.starts_with(part));
            begins
                .or_else(|| self.endings.iter().find(|(part, _)| word.ends_with(part)))
                .map(|(_, number)| *number)
        })
    }
}

/// Two first bytes of each of some words, as bits: most programs are none of them, and need not be looked for.
#[derive(Default)]
struct Beginnings([u64; 16]);

impl Beginnings {
    fn add(&mut self, word: &[u8]) {
        let (at, bit) = Self::place_of(word);
        if let Some(bits) = self.0.get_mut(at) {
            *bits |= bit;
        }
    }

    fn may_have(&self, word: &[u8]) -> bool {
        let (at, bit) = Self::place_of(word);
        self.0.get(at).is_some_and(|bits| bits & bit != 0)
    }

    fn place_of(word: &[u8]) -> (usize, u64) {
        let byte = |at: usize| usize::from(word.get(at).copied().unwrap_or(0));
        let mixed = byte(0) * 37 + byte(1);
        (mixed / 64 % 16, 1 << (mixed % 64))
    }
}

/// The script and the `-m` module of an interpreter's command line.
fn program_of(event: &Event) -> (&[u8], &[u8]) {
    let mut at = 1;
    while let Some(argument) = event.argv.get(at) {
        at += 1;
        match argument {
            [b'-', b'-', ..] => {}
            [b'-', flags @ ..] if !flags.is_empty() => {
                // Short flags may be joined (`-Im pip`); the first that takes a value ends the group.
                let Some(which) = flags
                    .iter()
                    .position(|flag| matches!(flag, b'm' | b'c' | b'W' | b'X' | b'Q'))
                else {
                    continue;
                };
                let inline = flags.get(which + 1..).unwrap_or_default();
                let value = if inline.is_empty() {
                    event.argv.get(at).unwrap_or_default()
                } else {
                    inline
                };
                match flags.get(which) {
                    Some(b'm') => return (&[], value),
                    Some(b'c') => return (&[], &[]),
                    _ if inline.is_empty() => at += 1,
                    _ => {}
                }
            }
            _ => return (argument, &[]),
        }
    }
    (&[], &[])
}

/// `python3.13t` is the free-threaded one, `platform-python` the one that dnf of RHEL 8 runs on.
fn is_interpreter(name: &[u8]) -> bool {
    let versioned = match name {
        [rest @ .., before, b'a'..=b'z'] if before.is_ascii_digit() => {
            name.get(..rest.len() + 1).unwrap_or(name)
        }
        _ => name,
    };
    matches!(
        without_version(versioned),
        b"python" | b"pypy" | b"graalpy" | b"platform-python"
    )
}

/// Interpreters of other languages in which tools and agents are written.
fn is_other_interpreter(name: &[u8]) -> bool {
    matches!(
        without_version(name),
        b"node"
            | b"nodejs"
            | b"deno"
            | b"bun"
            | b"sh"
            | b"bash"
            | b"dash"
            | b"zsh"
            | b"perl"
            | b"ruby"
    )
}

/// Whether a program of this base name runs what its words name.
pub fn is_interpreter_of_any(name: &[u8]) -> bool {
    is_interpreter(name) || is_other_interpreter(name)
}

/// `cli.js` → `cli`
fn without_suffix(name: &[u8]) -> &[u8] {
    [b".js".as_slice(), b".mjs", b".cjs", b".py", b".sh"]
        .iter()
        .find_map(|suffix| name.strip_suffix(*suffix))
        .unwrap_or(name)
}

/// `pip3.12` → `pip`, `python3.10` → `python`, `pip-3` → `pip`.
pub fn without_version(word: &[u8]) -> &[u8] {
    let end = word
        .iter()
        .rposition(|byte| !byte.is_ascii_digit() && *byte != b'.')
        .map_or(0, |at| at + 1);
    let stem = word.get(..end).unwrap_or_default();
    stem.strip_suffix(b"-").unwrap_or(stem)
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

pub fn is_metadata(name: &[u8]) -> bool {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let base = base_name(name);
    base.ends_with(b".dist-info")
        || base.ends_with(b".egg-info")
        || base.ends_with(b".egg-link")
        || base == b"conda-meta"
        || base == b"pyvenv.cfg"
        || (base.ends_with(b".json") && name.windows(12).any(|window| window == b"/conda-meta/"))
}

/// Whether this is the file that makes a folder of metadata one: it may come and go while the folder stays.
pub fn is_core_metadata(path: &[u8]) -> bool {
    path.ends_with(b".dist-info/METADATA") || path.ends_with(b".egg-info/PKG-INFO")
}

/// Whether a folder is one that holds packages and their metadata.
pub fn is_site(name: &[u8]) -> bool {
    matches!(base_name(name), b"site-packages" | b"dist-packages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_star_stand_for_all_that_begin_or_end_so_and_whole_names_come_first() {
        let table = [
            ("tool".to_owned(), vec!["mcp-server-of-a-tool".to_owned()]),
            (
                "agent".to_owned(),
                vec!["mcp-server-*".to_owned(), "*-mcp".to_owned()],
            ),
        ];
        let hints = Hints::new(&table);
        let label = |word: &[u8]| hints.find(word).and_then(|found| hints.label(found));
        assert_eq!(label(b"mcp-server-git"), Some("agent"));
        assert_eq!(label(b"notes-mcp"), Some("agent"));
        assert_eq!(label(b"mcp-server-of-a-tool"), Some("tool"));
        assert_eq!(label(b"mcp"), None);
        assert_eq!(label(b""), None);
    }

    #[test]
    fn a_tool_is_known_by_its_program_its_first_word_or_what_an_interpreter_runs() {
        let named = |label: &str| (label.to_owned(), vec![label.to_owned()]);
        let hints = Hints::new(&[named("pip"), named("conda"), named("claude")]);
        for (line, label) in [
            ("/usr/bin/pip3.12 x", Some("pip")),
            ("/x/launch pip", Some("pip")),
            ("/x/bin/conda pip", Some("pip")),
            ("/x/bin/pip conda", Some("pip")),
            ("/bin/cat cat /usr/bin/claude", None),
            ("/bin/node node /usr/bin/claude.js", Some("claude")),
            ("/bin/node launch /usr/bin/claude", Some("claude")),
            ("/x/launch bash -e /x/bin/conda", Some("conda")),
            ("/bin/node node -a -b -c /x/claude", Some("claude")),
            ("/bin/node node -a -b -c -d /x/claude", None),
            ("/bin/node node /x/y.js /x/claude", None),
            ("/v/bin/python3 python3 -m pip", Some("pip")),
            ("/v/bin/python3 launch -m pip", Some("pip")),
            ("/x/launch python3 -m pip", Some("pip")),
            ("/x/launch x -m pip", None),
            ("/v/bin/python3 python3 -m pip.__main__", Some("pip")),
            ("/v/bin/python3 python3 -Impip", Some("pip")),
            ("/v/bin/python3 python3 -u -X dev -m pip", Some("pip")),
            ("/v/bin/python3 python3 -W ignore /x/bin/pip", Some("pip")),
            ("/v/bin/python3 python3 -Wignore /x/bin/pip", Some("pip")),
            ("/v/bin/python3 python3 --flag /x/bin/pip", Some("pip")),
            ("/v/bin/python3 python3 -W pip /x/y.py", None),
            ("/v/bin/python3 python3 -c pip", None),
            ("/v/bin/python3 python3 -cx pip", None),
            ("/v/bin/python3 python3 - pip", None),
            ("/v/bin/python3 python3 /x/y.py pip", None),
            ("/v/bin/python3 python3 /x/site-packages/pip", Some("pip")),
            ("/v/bin/python3 python3 /x/pip/__main__.py", Some("pip")),
            ("/v/bin/python3 python3 /x/pip/main.py", None),
            ("/v/bin/python3", None),
        ] {
            let mut words = line.split(' ').map(str::to_owned);
            let exe = words.next().unwrap();
            let found = hints.of_words(&exe, &words.collect::<Vec<_>>());
            let found = found.and_then(|found| hints.label(found));
            assert_eq!(found, label, "{line}");
        }
    }

    #[test]
    fn every_spelling_of_an_interpreter_is_one() {
        for name in [
            &b"python"[..],
            b"python3",
            b"python3.13",
            b"python3.13t",
            b"pypy3.10",
            b"platform-python",
        ] {
            assert!(is_interpreter(name), "{}", String::from_utf8_lossy(name));
        }
        for name in [&b"pythonw-notes"[..], b"pip3.12", b"3t", b""] {
            assert!(!is_interpreter(name), "{}", String::from_utf8_lossy(name));
        }
    }
}
