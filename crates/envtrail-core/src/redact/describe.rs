//! The tables in words, for the documentation.

use super::programs::{Row, Takes, ROWS};
use super::{names, tokens, urls};

/// Sections, and the lines of each.
pub fn describe() -> Vec<(&'static str, Vec<String>)> {
    let keys = names::KEYS.iter().map(|word| format!("{word} key"));
    let hooks = urls::HOOKS.iter().map(|(text, _)| (*text).to_owned());
    let starts = |token: &tokens::Token| format!("{}: {}", token.service, token.starts.join(" "));
    vec![
        ("programs", ROWS.iter().map(line_of).collect()),
        (
            "endings of names",
            names::ENDS.iter().map(|word| (*word).to_owned()).collect(),
        ),
        (
            "last words of names",
            names::WORDS
                .iter()
                .map(|word| (*word).to_owned())
                .chain(keys)
                .collect(),
        ),
        (
            "headers",
            names::HEADERS
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
        ),
        (
            "parameters of a query",
            names::PARAMETERS
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
        ),
        ("web hooks", hooks.collect()),
        ("tokens", tokens::TOKENS.iter().map(starts).collect()),
    ]
}

fn line_of(row: &Row) -> String {
    let list = |names: &[&str], end: &str| {
        names
            .iter()
            .map(|name| format!("{name}{end}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let what = match row.takes {
        Takes::Option(names) => list(names, " VALUE"),
        Takes::Joined(name) => format!("{name}VALUE"),
        Takes::Prompted(names) => {
            format!("{} where it looks like a password", list(names, " VALUE"))
        }
        Takes::Pair(names, mark) => list(names, &format!(" user{}VALUE", char::from(mark))),
        Takes::Argument(place) => format!("argument {}", place + 1),
        Takes::ArgumentPair(_, mark) => format!("user{}VALUE@…", char::from(mark)),
        Takes::After(text) => format!("{text}VALUE"),
        Takes::Named => "NAME VALUE, where NAME is one of a secret".to_owned(),
        Takes::Members => "NAME=VALUE".to_owned(),
        Takes::Cookies(names) | Takes::OptionMembers(names) => list(names, " NAME=VALUE"),
    };
    let words = row
        .words
        .iter()
        .map(|word| format!(" {word}"))
        .collect::<String>();
    format!("{}{words}: {what}", row.programs.join(", "))
}
