//! Words that the secrets of a command line have without a sign behind them: `--token x`, `config api_key x`, `setdefault("PASSWORD", "x")`.

use super::names;
use super::signs::{begins, has_stem};
use super::spans::is_in_marker;
use super::starts::slim_searcher;
use aho_corasick::packed::Searcher;
use std::sync::OnceLock;

/// Three letters of every word, in small letters. The searcher takes those together that are at the same place in their row of eight.
#[rustfmt::skip]
const LETTERS: [&[u8; 3]; 16] = [
    b"ecr", b"uth", b"key", b"tok", b"ede", b"psk", b"pas", b"coo",
    b"eds", b"uth", b"key", b"tok", b"ede", b"pwd", b"pas", b"ogi",
];

/// The words, and where their letters are.
const WORDS: [(&[u8; 3], usize, &str); 11] = [
    (b"pas", 0, "pass"),
    (b"pwd", 0, "pwd"),
    (b"psk", 0, "psk"),
    (b"tok", 0, "token"),
    (b"ecr", 1, "secret"),
    (b"ede", 2, "credential"),
    (b"eds", 3, "-creds"),
    (b"coo", 0, "cookie"),
    (b"key", 0, "key"),
    (b"uth", 1, "auth"),
    (b"ogi", 2, ".login("),
];

/// Whether one of the words is in the text.
pub(super) fn hold_word(text: &[u8]) -> bool {
    static SEARCHER: OnceLock<Option<Searcher>> = OnceLock::new();
    // Upper and lower case are the same.
    let build = || slim_searcher(&LETTERS.map(|letters| letters.map(fold)));
    let Some(searcher) = SEARCHER.get_or_init(build) else {
        return true;
    };
    let folded: Vec<u8> = text.iter().map(|byte| fold(*byte)).collect();
    let mut from = 0;
    while let Some(found) = searcher.find_in(&folded, (from..folded.len()).into()) {
        if is_word(text, found.start(), found.pattern().as_usize()) {
            return true;
        }
        from = found.start() + 1;
    }
    false
}

fn fold(byte: u8) -> u8 {
    byte | 0x20
}

/// Whether a word is around the letters with this number.
fn is_word(text: &[u8], at: usize, number: usize) -> bool {
    let letters = LETTERS.get(number);
    let mut words = WORDS.iter().filter(|(known, ..)| Some(known) == letters);
    words.any(|(_, offset, word)| {
        let Some(start) = at.checked_sub(*offset) else {
            return false;
        };
        let (head, rest) = text.split_at_checked(start).unwrap_or_default();
        if is_in_marker(text, start) {
            return false;
        }
        match *word {
            "key" => names::may_precede_key(head),
            "auth" => begins(rest, "auth") && is_auth(head, rest),
            "pass" | "pwd" | "psk" | "token" | "secret" | "credential" => has_stem(rest),
            word => begins(rest, word),
        }
    })
}

/// `--auth`, `_auth`, `BasicAuth(`; `author`, `authlib` and `authenticate` are none.
fn is_auth(head: &[u8], rest: &[u8]) -> bool {
    let next = rest.get(4).map_or(0, u8::to_ascii_lowercase);
    matches!(head.last(), Some(b'-' | b'_')) || !matches!(next, b'o' | b'e' | b'l')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_any_case() {
        for word in WORDS.map(|(_, _, word)| word).into_iter().chain([
            "api_key",
            "AccountKey",
            "-auth",
            "_auth",
            "BasicAuth(",
        ]) {
            for before in 0..70 {
                let word = if word == "key" { "api_key" } else { word };
                let text = ".".repeat(before) + word + " x";
                assert!(hold_word(text.as_bytes()), "{text}");
                let upper = text.to_ascii_uppercase();
                assert!(hold_word(upper.as_bytes()), "{upper}");
            }
        }
    }

    #[test]
    fn what_has_no_word_of_a_secret_is_not_looked_at() {
        for text in [
            "/usr/lib/python3.11/site-packages/numpy/core/keyboard.py",
            "author",
            "monkey.py",
            "tokenizer.json",
            "--max-tokens",
            "--config=x",
            "<redacted:url-credential> <redacted:token> <redacted:private-key>",
            "/opt/conda/pkgs/nvidia_cublas_cu12-12.4.5.8",
        ] {
            assert!(!hold_word(text.as_bytes()), "{text}");
        }
    }
}
