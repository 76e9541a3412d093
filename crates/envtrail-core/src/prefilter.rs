//! Which rows a rule can match at all, by the texts that it needs: most rows hold none, and need no look.

use crate::columns::{Column, Columns};
use aho_corasick::{AhoCorasick, BuildError};
use arrow_array::RecordBatch;
use regex_syntax::hir::{Hir, HirKind};
use std::collections::{BTreeSet, HashMap};

/// Texts by the column in which one of them is needed.
pub struct Prefilter {
    columns: Vec<(String, AhoCorasick)>,
}

impl Prefilter {
    /// ASCII texts, whatever their case.
    ///
    /// # Errors
    /// They are too many for one automaton.
    pub fn new(needed: &HashMap<String, Vec<String>>) -> Result<Self, BuildError> {
        let search = |texts: &Vec<String>| {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .build(texts)
        };
        let columns = needed
            .iter()
            .map(|(name, texts)| Ok((name.clone(), search(texts)?)));
        Ok(Prefilter {
            columns: columns.collect::<Result<_, BuildError>>()?,
        })
    }

    /// The rows that hold one. Text beyond ASCII counts as holding one: a letter may fold to any other.
    pub fn rows(&self, batch: &RecordBatch) -> Vec<usize> {
        let all = Columns::of(batch);
        let searched: Vec<_> = self
            .columns
            .iter()
            .map(|(name, search)| (all.get(name), search))
            .collect();
        let holds = |row: &usize| {
            searched
                .iter()
                .any(|(column, search)| holds(column, *row, search))
        };
        (0..batch.num_rows()).filter(holds).collect()
    }
}

fn holds(column: &Column, row: usize, search: &AhoCorasick) -> bool {
    let is_one =
        |text: Option<&str>| text.is_some_and(|text| !text.is_ascii() || search.is_match(text));
    match column {
        Column::List(_, items) => {
            let names = match items.as_ref() {
                Column::Struct(..) => items.member("name"),
                texts => texts,
            };
            column.span(row).any(|at| is_one(names.text(at)))
        }
        Column::Map(_) => column.values(row).any(is_one),
        _ => is_one(column.text(row)),
    }
}

/// Texts of which each match of an expression holds one; null where none are known.
///
/// The expression is RE2's. What this reader takes otherwise, it takes as less of a text: of classes with operators nothing is said.
pub fn texts_of(expression: &str) -> Option<Vec<String>> {
    const OPERATORS: [&str; 3] = ["&&", "--", "~~"];
    if expression.contains('[') && OPERATORS.iter().any(|sign| expression.contains(sign)) {
        return None;
    }
    let read = regex_syntax::Parser::new().parse(expression).ok()?;
    texts_in(&read).map(|texts| texts.into_iter().collect())
}

fn texts_in(part: &Hir) -> Option<BTreeSet<String>> {
    match part.kind() {
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            Some(BTreeSet::from([text.to_owned()]))
        }
        HirKind::Capture(capture) => texts_in(&capture.sub),
        HirKind::Repetition(repeated) if repeated.min > 0 => texts_in(&repeated.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .filter_map(texts_in)
            .max_by_key(|texts| texts.iter().map(String::len).min()),
        HirKind::Alternation(parts) => {
            let all: Option<Vec<_>> = parts.iter().map(texts_in).collect();
            Some(all?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{texts_of, Prefilter};
    use crate::assembler::{Assembler, Options};
    use std::collections::HashMap;

    fn texts(expression: &str) -> Vec<String> {
        texts_of(expression).unwrap_or_default()
    }

    #[test]
    fn texts_of_which_each_match_holds_one() {
        assert_eq!(texts(r"(curl|wget)\s[^|]*x"), ["curl", "wget"]);
        assert_eq!(
            texts(r"^(\S*/)?(python[0-9.]*|dash)( -s?)?$"),
            ["dash", "python"]
        );
        assert_eq!(texts(r"a+bcd?"), ["bc"]);
        assert_eq!(texts_of(r"(curl)?x*"), None);
        assert_eq!(texts_of(r"curl|\d+"), None);
        assert_eq!(texts_of(r"[a&&b]x"), None);
        assert_eq!(texts_of(r"(?=x)y"), None);
        assert_eq!(texts_of(r"(?i)curl"), None);
    }

    #[test]
    fn a_text_is_looked_for_in_each_kind_of_column_and_beyond_ascii_every_row_counts() {
        let mut assembler = Assembler::new(Options::default());
        for (serial, (word, path, account)) in [
            ("CURL", "/x", "x"),
            ("x", "/bin/curl", "x"),
            ("x", "/x", "curl"),
            ("x", "/x", "x"),
            ("é", "/é", "é"),
        ]
        .into_iter()
        .enumerate()
        {
            let stamp = format!("msg=audit(1700000000.000:{}):", 2 * serial + 1);
            let user = format!("msg=audit(1700000000.000:{}):", 2 * serial + 2);
            let log = format!(
                "type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=1 ppid=1 pid=2 comm=\"{word}\" exe=\"/{word}\"\n\
                 type=EXECVE {stamp} argc=2 a0=\"x\" a1=\"{word}\"\n\
                 type=PATH {stamp} item=0 name=\"{path}\" inode=1 mode=0100755 nametype=NORMAL\n\
                 type=USER_ACCT {user} pid=2 uid=0 msg='op=x acct=\"{account}\" res=success'\n"
            );
            assembler.push(log.as_bytes());
        }
        assembler.flush();
        let batch = assembler.drain().unwrap().events;
        let rows = |columns: &[&str]| {
            let texts = || vec!["curl".to_owned()];
            let needed = columns.iter().map(|name| ((*name).to_owned(), texts()));
            let needed: HashMap<_, _> = needed.collect();
            Prefilter::new(&needed).unwrap().rows(&batch)
        };
        assert_eq!(rows(&["exe"]), [0, 8]);
        assert_eq!(rows(&["argv"]), [0, 8]);
        assert_eq!(rows(&["paths"]), [2, 8]);
        assert_eq!(rows(&["fields"]), [5, 9]);
        assert_eq!(rows(&["argv", "fields"]), [0, 5, 8, 9]);
        assert!(rows(&["no_such_column"]).is_empty());
        assert!(rows(&[]).is_empty());
    }
}
