//! Secrets leave before anything is written: each is replaced by a marker that names its kind.
//!
//! What every secret has decides whether a closer look is worth it: a name before a sign, or an address (`signs`), how a token begins
//! (`starts`); of command lines a word (`anchors`) or a program (`named`) too. Then a text is read as command lines (`commands` over the tables of
//! `programs`), and each word as names with values (`pairs`, by the words of `names`), addresses (`urls`) and tokens (`tokens`).
//! They mark spans; what lies outside the spans is not changed. Redacting what is redacted changes nothing.

mod anchors;
mod checksums;
mod commands;
mod describe;
mod named;
mod names;
mod pairs;
mod programs;
mod rows;
mod search;
mod shell;
mod signs;
mod spans;
mod starts;
mod tokens;
mod urls;
mod values;

pub use describe::describe;
pub use search::Search;
use spans::Spans;

/// Kinds of secrets, as their markers and counters name them.
pub const KINDS: [&str; 9] = [
    "url-credential",
    "option-value",
    "header",
    "token",
    "env-value",
    "private-key",
    "argument",
    "field",
    "keystrokes",
];

/// How many of each kind, in the order of `KINDS`.
pub type Counts = [u32; KINDS.len()];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Url,
    Option,
    Header,
    Token,
    Env,
    PrivateKey,
    Argument,
    Field,
    Keystrokes,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Arguments joined by NUL.
    Arguments,
    /// The same as the kernel cuts it (`MAX_PROCTITLE_AUDIT_LEN`): its end may lie within a secret.
    Title,
    /// A command line, or prose that may quote one.
    Text,
    /// The name of a file or folder, or another single word.
    Path,
    /// What somebody typed (pam_tty_audit): passwords at a prompt look like anything else, so all of it goes.
    Keystrokes,
}

/// References: `MAX_PROCTITLE_AUDIT_LEN` in kernel/audit.h.
pub(crate) const LONGEST_TITLE: usize = 128;

const MOST_ROUNDS: usize = 8;

/// Replace every secret in `text`; None when there is none.
pub fn redact(text: &[u8], form: Form, counts: &mut Counts) -> Option<Vec<u8>> {
    if !may_hold_secret(text, form) {
        return None;
    }
    let mut clean = find(text, form).replace(counts)?;
    // A marker may take the place of what parted two commands: what is seen now would be seen when the text is read again.
    for _ in 0..MOST_ROUNDS {
        match find(&clean, form).replace(counts) {
            Some(cleaner) => clean = cleaner,
            None => break,
        }
    }
    Some(clean)
}

/// Whether a text has what every secret has: where it has not, `find` finds nothing.
pub fn may_hold_secret(text: &[u8], form: Form) -> bool {
    let is_cut = is_cut(text, form);
    let has_words = || anchors::hold_word(text) || signs::hold_short_name(text);
    signs::hold_secret(text)
        || starts::hold_token(text, is_cut)
        || match form {
            Form::Arguments | Form::Title => {
                has_words() || named::may_run_program(text, named::Joined(Some(text)))
            }
            Form::Text => has_words() || named::may_name_program(text),
            Form::Path => false,
            Form::Keystrokes => true,
        }
        || (is_cut && urls::may_be_cut(text))
}

/// Whether a title ends where the kernel has cut it.
fn is_cut(text: &[u8], form: Form) -> bool {
    form == Form::Title && text.len() + 1 >= LONGEST_TITLE
}

fn find(text: &[u8], form: Form) -> Spans<'_> {
    let mut spans = Spans::new(text);
    let is_cut = is_cut(text, form);
    match form {
        Form::Arguments | Form::Title => commands::scan_arguments(&mut spans),
        Form::Text => commands::scan_text(&mut spans),
        Form::Path => pairs::scan(0..text.len(), pairs::Language::Word, &mut spans),
        Form::Keystrokes => {
            spans.take_whole(Kind::Keystrokes);
            return spans;
        }
    }
    urls::scan(&mut spans, is_cut);
    tokens::scan(&mut spans, is_cut);
    spans
}

#[cfg(test)]
mod completeness;
#[cfg(test)]
mod tests;
