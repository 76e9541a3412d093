//! Whether a closer look for secrets is worth it: of one text after another, and what is known of texts that come again.

use super::{is_cut, may_hold_secret, signs, starts, Form, LONGEST_TITLE};
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Looks through the texts of one event after another.
#[derive(Default)]
pub struct Search {
    joined: Vec<u8>,
    clean_commands: Known,
    /// Those that are as long as a title that is cut.
    clean_arguments: Known,
    clean_words: Known,
    /// The names of those who do something, where they are plain words; the last ones of them.
    clean_names: Known,
    last_names: Vec<u8>,
}

impl Search {
    /// Whether a secret may be in a title, or in arguments joined by NUL that are as short.
    pub fn may_hold_in_title(&mut self, title: &[u8]) -> bool {
        self.clean_commands.may_hold(title, Form::Title)
    }

    /// The same of arguments.
    pub fn may_hold_in_arguments<'a>(&mut self, arguments: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        for argument in arguments {
            joined.extend_from_slice(argument);
            joined.push(0);
        }
        joined.pop();
        let may_hold = match is_cut(&joined, Form::Title) {
            true => self.clean_arguments.may_hold(&joined, Form::Arguments),
            false => self.clean_commands.may_hold(&joined, Form::Title),
        };
        self.joined = joined;
        may_hold
    }

    /// The same of paths and other words, and of names that are not known. Where they are `kept`, it is known when they come again.
    pub fn may_hold_in_words(
        &mut self,
        texts: [&[u8]; 2],
        names: Option<&[u8]>,
        is_kept: bool,
    ) -> bool {
        let Search {
            joined,
            clean_words,
            ..
        } = self;
        joined.clear();
        let is_new = texts.map(|text| !(text.is_empty() || is_kept && clean_words.holds(text)));
        let new = || texts.iter().zip(is_new).filter(|(_, is_new)| *is_new);
        new().for_each(|(text, _)| joined.extend_from_slice(text));
        if let Some(names) = names {
            joined.push(0);
            joined.extend_from_slice(names);
        }
        if joined.is_empty() {
            return false;
        }
        starts::fill_up(joined);
        if signs::hold_secret(joined) || starts::hold_token(joined, false) {
            return true;
        }
        if is_kept {
            new().for_each(|(text, _)| clean_words.note(text));
        }
        if let Some(names) = names.filter(|names| are_plain(names)) {
            self.clean_names.note(names);
        }
        false
    }

    /// Whether these names are known to be plain words, and no secret whatever they are.
    pub fn knows_names(&mut self, names: &[u8]) -> bool {
        if self.last_names == names {
            return true;
        }
        let is_known = self.clean_names.holds(names);
        if is_known {
            self.last_names.clear();
            self.last_names.extend_from_slice(names);
        }
        is_known
    }
}

/// Whether there is but one word, and no title that is cut.
fn are_plain(names: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    names.len() < LONGEST_TITLE - 1 && names.iter().all(is_letter)
}

/// Texts that were seen, each at a place that it alone decides; a newer one takes the place of an older one.
#[derive(Default)]
struct Known {
    slots: Vec<Vec<u8>>,
}

impl Known {
    const SLOTS: usize = 512;
    const LONGEST: usize = 512;

    /// Whether a text may hold a secret; where it may not, it is known from now on.
    fn may_hold(&mut self, text: &[u8], form: Form) -> bool {
        if self.holds(text) {
            return false;
        }
        let may_hold = may_hold_secret(text, form);
        if !may_hold {
            self.note(text);
        }
        may_hold
    }

    fn holds(&self, text: &[u8]) -> bool {
        let known = self.slots.get(slot_of(text));
        known.is_some_and(|known| known == text)
    }

    fn note(&mut self, text: &[u8]) {
        if text.len() > Known::LONGEST {
            return;
        }
        self.slots.resize_with(Known::SLOTS, Vec::new);
        if let Some(known) = self.slots.get_mut(slot_of(text)) {
            known.clear();
            known.extend_from_slice(text);
        }
    }
}

fn slot_of(text: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(text);
    hasher.finish() as usize % Known::SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_clean_is_known_by_its_whole_value() {
        let mut search = Search::default();
        for round in 0..2 {
            for number in 0..2000 {
                let clean = format!("python\0train.py\0--run\0{number}");
                assert!(!search.may_hold_in_title(clean.as_bytes()), "{round}");
                assert!(!search.may_hold_in_arguments(clean.split('\0').map(str::as_bytes)));
                let secret = format!("python\0train.py\0--token\0{number}x");
                assert!(search.may_hold_in_title(secret.as_bytes()), "{round}");
                assert!(search.may_hold_in_arguments(secret.split('\0').map(str::as_bytes)));
                let path = format!("/home/bob/{number}");
                let named = format!("/home/bob/token={number}");
                let (path, named) = (path.as_bytes(), named.as_bytes());
                assert!(!search.knows_names(named));
                for is_kept in [true, false] {
                    assert!(!search.may_hold_in_words([path, b""], Some(b"bob"), is_kept));
                    assert!(search.may_hold_in_words([path, named], None, is_kept));
                    assert!(search.may_hold_in_words([path, b""], Some(named), is_kept));
                }
            }
        }
        assert!(search.knows_names(b"bob"));
    }

    #[test]
    fn a_title_that_is_cut_is_no_list_of_arguments() {
        let end = "\0https://bob:hunt";
        let text = "x".repeat(127 - end.len()) + end;
        let mut search = Search::default();
        assert!(!search.may_hold_in_arguments(text.split('\0').map(str::as_bytes)));
        assert!(search.may_hold_in_title(text.as_bytes()));
    }
}
