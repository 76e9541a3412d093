//! The rows of a batch that are looked at one by one, as JSON: a moment as its milliseconds, a map as an object.

use crate::columns::{close, Column, Columns};
use crate::json::{push_number, push_text};
use arrow_array::RecordBatch;
use std::collections::{HashMap, HashSet};

/// What is read of the rows.
pub struct Wanted {
    /// By kind; of every other kind those of the empty one. `NAME[0]`: of a list the first item.
    pub columns: HashMap<String, Vec<String>>,
    /// Of a map, or of each item of a list: all where it is not named.
    pub members: HashMap<String, Vec<String>>,
}

/// Rows with a hint, and ends in tracked trees: those of the processes that are waited for (None: of all), and of those that begin
/// here. An array of objects: the row's place as `at`, and the columns that are read of its kind, without what is null.
pub fn select(batch: &RecordBatch, wanted: &Wanted, mut waited: Option<HashSet<i128>>) -> Vec<u8> {
    let all = Columns::of(batch);
    let plans: HashMap<&str, Vec<Part>> = wanted
        .columns
        .iter()
        .map(|(kind, names)| (kind.as_str(), parts_of(&all, names, &wanted.members)))
        .collect();
    let others = plans.get("").map(Vec::as_slice).unwrap_or_default();
    let (kind, pid) = (all.get("kind"), all.get("pid"));
    let (hint, tracked) = (all.get("hint"), all.get("tracked_image"));
    if let Some(waited) = &mut waited {
        let hinted = (0..batch.num_rows()).filter(|row| hint.is_valid(*row));
        waited.extend(hinted.filter_map(|row| pid.number(row)));
    }
    let is_waited = |row| match (&waited, pid.number(row)) {
        (None, _) => true,
        (Some(waited), pid) => pid.is_some_and(|pid| waited.contains(&pid)),
    };
    let is_wanted = |row: &usize| {
        hint.is_valid(*row)
            || (kind.text(*row) == Some("exit") && tracked.is_valid(*row) && is_waited(*row))
    };
    let mut out = vec![b'['];
    for row in (0..batch.num_rows()).filter(is_wanted) {
        let of_kind = kind.text(row).and_then(|kind| plans.get(kind));
        out.extend_from_slice(b"{\"at\":");
        push_number(&mut out, row as i128);
        out.push(b',');
        for part in of_kind.map_or(others, Vec::as_slice) {
            part.push(&mut out, row);
        }
        close(&mut out, b'{', b'}');
        out.push(b',');
    }
    close(&mut out, b'[', b']');
    out
}

/// A column that is read, with its name as JSON has it.
struct Part<'a> {
    begin: Vec<u8>,
    column: &'a Column,
    members: Option<Vec<(Vec<u8>, &'a str)>>,
    /// Of a list.
    most: usize,
}

fn parts_of<'a>(
    all: &'a Columns,
    names: &'a [String],
    members: &'a HashMap<String, Vec<String>>,
) -> Vec<Part<'a>> {
    let one = |name: &'a String| {
        let first = name.strip_suffix("[0]");
        let name = first.unwrap_or(name);
        Part {
            begin: begin_of(name),
            column: all.get(name),
            members: members.get(name).map(|named| {
                named
                    .iter()
                    .map(|one| (begin_of(one), one.as_str()))
                    .collect()
            }),
            most: first.map_or(usize::MAX, |_| 1),
        }
    };
    names.iter().map(one).collect()
}

fn begin_of(name: &str) -> Vec<u8> {
    let mut begin = Vec::new();
    push_text(&mut begin, name);
    begin.push(b':');
    begin
}

impl Part<'_> {
    fn push(&self, out: &mut Vec<u8>, row: usize) {
        if !self.column.is_there(row) {
            return;
        }
        out.extend_from_slice(&self.begin);
        match (self.column, &self.members) {
            (Column::Map(_), Some(members)) => {
                out.push(b'{');
                for (begin, name) in members {
                    if let Some(text) = self.column.value_of(row, name) {
                        out.extend_from_slice(begin);
                        push_text(out, text);
                        out.push(b',');
                    }
                }
                close(out, b'{', b'}');
            }
            (Column::List(_, items), Some(members)) => {
                out.push(b'[');
                for at in self.column.span(row).take(self.most) {
                    out.push(b'{');
                    for (begin, name) in members {
                        let member = items.member(name);
                        if member.is_valid(at) {
                            out.extend_from_slice(begin);
                            member.push(out, at);
                            out.push(b',');
                        }
                    }
                    close(out, b'{', b'}');
                    out.push(b',');
                }
                close(out, b'[', b']');
            }
            (column, _) => column.push(out, row),
        }
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembler::{Assembler, Options};

    /// Programs `pip` (pid 10) and `sh` (pid 11) begin and end; a user record and a file of package metadata are between them.
    fn batch() -> RecordBatch {
        let mut assembler = Assembler::new(Options {
            hints: vec![("pip".to_owned(), vec!["pip".to_owned()])],
            ..Options::default()
        });
        let call = |serial: u32, number: u32, pid: u32, comm: &str| {
            format!("type=SYSCALL msg=audit(1764000000.000:{serial}): arch=c000003e syscall={number} success=yes exit=0 a0=0 items=1 ppid=1 pid={pid} auid=1000 uid=1000 ses=3 comm=\"{comm}\" exe=\"/bin/{comm}\"\u{1d}ARCH=x86_64 SYSCALL=x AUID=\"alice\" UID=\"bob\"\n")
        };
        let words = |serial: u32, comm: &str| {
            format!(
                "type=EXECVE msg=audit(1764000000.000:{serial}): argc=2 a0=\"{comm}\" a1=\"x\"\n"
            )
        };
        let path = |serial: u32, nametype: &str, name: &str| {
            format!("type=PATH msg=audit(1764000000.000:{serial}): item=0 name=\"{name}\" inode=7 mode=040755 ouid=0 nametype={nametype}\n")
        };
        let log = [
            call(1, 59, 10, "pip") + &words(1, "pip") + &path(1, "NORMAL", "/bin/pip"),
            call(2, 59, 11, "sh") + &words(2, "sh"),
            "type=USER_ACCT msg=audit(1764000000.000:3): pid=1 uid=0 msg='op=x res=success'\n"
                .to_owned(),
            call(4, 83, 10, "pip") + &path(4, "CREATE", "/e/x-1.dist-info"),
            call(5, 231, 11, "sh"),
            call(6, 231, 10, "pip"),
        ];
        assembler.push(log.concat().as_bytes());
        assembler.flush();
        assembler.drain().unwrap().events
    }

    fn selected(columns: &[(&str, &[&str])], waited: Option<&[i128]>) -> String {
        let named = |given: &[(&str, &[&str])]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            given
                .iter()
                .map(|(key, names)| ((*key).to_owned(), owned(names)))
                .collect()
        };
        let wanted = Wanted {
            columns: named(columns),
            members: named(&[("paths", &["name", "inode"]), ("fields", &["UID", "none"])]),
        };
        let waited = waited.map(|pids| pids.iter().copied().collect());
        String::from_utf8(select(&batch(), &wanted, waited)).unwrap()
    }

    #[test]
    fn rows_with_a_hint_and_the_ends_that_are_waited_for_are_given() {
        let pids: &[(&str, &[&str])] = &[("", &["pid"])];
        let of_pip = r#"[{"at":0,"pid":10},{"at":3,"pid":10},{"at":5,"pid":10}]"#;
        assert_eq!(selected(pids, None), of_pip);
        assert_eq!(selected(pids, Some(&[])), of_pip);
        assert_eq!(selected(pids, Some(&[11, 1 << 70])), of_pip);
    }

    #[test]
    fn of_each_kind_what_is_wanted_is_read_and_nothing_that_is_not_there() {
        let columns: &[(&str, &[&str])] = &[
            ("exec", &["argv", "paths[0]", "fields", "proctitle"]),
            ("exit", &["exit_code", "paths"]),
            ("", &["hint", "paths"]),
        ];
        assert_eq!(
            selected(columns, None),
            [
                r#"[{"at":0,"argv":["pip","x"],"paths":[{"name":"/bin/pip","inode":7}],"fields":{"UID":"bob"}}"#,
                r#"{"at":3,"hint":"metadata","paths":[{"name":"/e/x-1.dist-info","inode":7}]}"#,
                r#"{"at":5,"exit_code":0}]"#,
            ]
            .join(",")
        );
        let whole: &[(&str, &[&str])] = &[("", &[])];
        assert_eq!(selected(whole, None), r#"[{"at":0},{"at":3},{"at":5}]"#);
    }
}
