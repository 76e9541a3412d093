//! What every secret has that stands behind a sign: the name before `=` or `:`, the scheme or the user of an address.
//!
//! The names are read as `pairs` reads them, by what their words are made of. What stands before a text may be the end of another one:
//! letters more on the left make no name a plain one.

use super::names;
use super::pairs;
use super::spans::{Spans, MARK};
use super::urls;
use std::ops::Range;

/// Whether the value behind one of the signs may be a secret, or an address may hold one.
pub(super) fn hold_secret(text: &[u8]) -> bool {
    let mut from = 0;
    let mut addresses = Addresses::default();
    while let Some(offset) = memchr::memchr2(b'=', b':', text.get(from..).unwrap_or_default()) {
        let sign = from + offset;
        from = sign + 1;
        if text.get(sign) == Some(&b':') && addresses.may_begin(text, sign) {
            return true;
        }
        let spans = Spans::new(text);
        let name = pairs::name_before(&spans, &(0..text.len()), sign, pairs::Language::Data);
        if name.is_some_and(|name| may_name_secret(text, name.range)) {
            return true;
        }
    }
    false
}

/// What addresses with a secret have, wherever in the text; looked for once.
#[derive(Default)]
struct Addresses {
    last_at: Option<usize>,
    has_hook: Option<bool>,
}

impl Addresses {
    /// Whether an address with a secret may have its first colon here.
    fn may_begin(&mut self, text: &[u8], colon: usize) -> bool {
        let find_last = || memchr::memrchr(b'@', text).unwrap_or(0);
        let has_user = colon < *self.last_at.get_or_insert_with(find_last);
        let rest = text.get(colon + 1..).unwrap_or_default();
        if let Some(rest) = rest.strip_prefix(b"//") {
            // A user who was redacted stays so.
            let has_user = has_user && !rest.starts_with(MARK);
            let is_inside = |part: &str| memchr::memmem::find(text, part.as_bytes()).is_some();
            let has_hook = || urls::PARTS.iter().any(|part| is_inside(part));
            return has_user || *self.has_hook.get_or_insert_with(has_hook);
        }
        let mut letters = rest.iter().take(urls::LONGEST_USER);
        has_user && letters.find(|byte| urls::ends_user(byte)) == Some(&b'@')
    }
}

/// Whether a name has a word of a secret's.
fn may_name_secret(text: &[u8], name: Range<usize>) -> bool {
    let letters = text.get(name.clone()).unwrap_or_default();
    let is_word = |(at, byte): (usize, &u8)| {
        let rest = letters.get(at..).unwrap_or_default();
        match byte | 0x20 {
            b'p' | b't' => has_stem(rest),
            b's' => has_stem(rest) || is_last(rest, &["sig", "signature"]),
            b'c' => has_stem(rest) || is_last(rest, &["cookie"]),
            b'a' => is_last(rest, &["auth", "authorization"]),
            b'k' if begins(rest, "key") => {
                let head = text.get(..name.start + at).unwrap_or_default();
                ends_word(rest, 3)
                    && (names::may_precede_key(head) || is_last(rest, &["key"]) && takes_key(head))
            }
            _ => false,
        }
    };
    letters.iter().enumerate().any(is_word)
}

/// `?key=`, `login(key=`.
fn takes_key(head: &[u8]) -> bool {
    matches!(head.last(), Some(b'?' | b'&' | b'#' | b'('))
}

/// Whether a word begins here that the name of a secret has as one of its last two words, or ends with.
pub(super) fn has_stem(rest: &[u8]) -> bool {
    let Some(first) = rest.first_chunk::<2>() else {
        return false;
    };
    let stems: &[&str] = match &first.map(|byte| byte | 0x20) {
        b"pa" => &[
            "pass",
            "password",
            "passwd",
            "passphrase",
            "passcode",
            "passwort",
            "pat",
        ],
        b"pw" => &["pw", "pwd"],
        b"ps" => &["psk"],
        b"se" => &["secret"],
        b"to" => &["token"],
        b"cr" => &["credential", "credentials"],
        _ => &[],
    };
    let is_it = |stem: &&str| begins(rest, stem) && ends_word(rest, stem.len());
    stems.iter().any(is_it)
}

fn is_last(rest: &[u8], words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| rest.eq_ignore_ascii_case(word.as_bytes()))
}

pub(super) fn begins(rest: &[u8], word: &str) -> bool {
    let head = rest.get(..word.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a word of a name ends after so many letters: `PATH` and `patience` have no word `pat`, `ghPat1` has.
fn ends_word(letters: &[u8], length: usize) -> bool {
    let last = length.checked_sub(1).and_then(|at| letters.get(at));
    let next = letters.get(length).copied().unwrap_or(0);
    let after = letters.get(length + 1).copied().unwrap_or(0);
    let is_parted = last.is_some_and(u8::is_ascii_lowercase) || after.is_ascii_lowercase();
    !next.is_ascii_lowercase() && (is_parted || !next.is_ascii_uppercase())
}

/// Whether one of the words is in a text that are too short to be looked for with the others: `--pw`, `config pat`.
pub(super) fn hold_short_name(text: &[u8]) -> bool {
    let is_name = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        ["pw", "pat"]
            .iter()
            .any(|word| begins(rest, word) && ends_word(rest, word.len()))
    };
    memchr::memchr2_iter(b'p', b'P', text).any(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_secret_before_a_sign_is_seen() {
        for text in [
            "PGPASSWORD=x",
            "a:b pat = x",
            "\"pw\": \"x\"",
            "ghPat1=x",
            "SECRET_KEY_BASE=x",
            "api__key=x",
            "APIKey: x",
            "x?key=1",
            "x&sig=1",
            "login(key=1",
            "auth=(1",
            "Cookie: x",
            "environ['X_TOKEN'] = 'x'",
            "npm:_auth=x",
            "https://a@b",
            "bob:hunter2@h",
        ] {
            assert!(hold_secret(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_names_before_a_sign_are_passed_over() {
        for text in [
            "PATH=/bin",
            "author=x",
            "monkey=x",
            "--max-tokens=3",
            "passed: 3",
            "sshd: alice@notty",
            "http://127.0.0.1:1/simple",
            "a=b@c",
            "PAM:setcred",
            "ignore::DeprecationWarning",
            "signal=x",
            "pattern=x",
            "PYTHONPATH=x",
            "cookies=x",
        ] {
            assert!(!hold_secret(text.as_bytes()), "{text}");
        }
    }
}
