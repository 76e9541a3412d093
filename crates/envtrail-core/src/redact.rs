//! Secrets leave before anything is written: each is replaced by a marker that names its kind.
//!
//! The rules work on text in which arguments are joined by NUL (argv, proctitle) or by spaces (`cmd=` of sudo).
//! Redacting what is redacted changes nothing.

use aho_corasick::packed::{Config, Searcher};
use regex::bytes::{Captures, Regex};
use std::sync::OnceLock;

/// Kinds of secrets, as their markers and counters name them.
pub const KINDS: [&str; 6] = [
    "url-credential",
    "option-value",
    "header",
    "token",
    "env-value",
    "private-key",
];

/// How many of each kind, in the order of `KINDS`.
pub type Counts = [u32; KINDS.len()];

struct Rule {
    kind: usize,
    /// Group 1 is what is replaced.
    pattern: Regex,
}

const SECRET_WORD: &str = "(?:password|passwd|passphrase|pwd|token|api[-_]?key|apikey|secret|auth[-_]?token|access[-_]?key|secret[-_]?key|client[-_]?secret|credentials?)";

fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        let option = format!(r"(?-u)(?i)(?:^|[\x00 ])--?(?:[a-z0-9-]+[-_])?{SECRET_WORD}");
        let assignment = format!(r"(?-u)(?i)(?:^|[\x00 ;'\x22])[a-z0-9_]*{SECRET_WORD}(?:_[a-z0-9]+)?");
        let sources = [
            (5, r"(?-u)(-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.)*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))".to_owned()),
            (0, r"(?-u)[A-Za-z][A-Za-z0-9+.-]*://([^/\x00 @'\x22]+)@".to_owned()),
            (0, r"(?-u)://[^\x00 ]*?/t/([A-Za-z0-9._~-]{6,})(?:/|$|[\x00 ])".to_owned()),
            (2, r"(?-u)(?i)authorization[:=] *(?:bearer|basic|token)? *([^\x00'\x22 ]{4,})".to_owned()),
            (3, r"(?-u)\b((?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|pypi-AgE[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abeoprs]-[A-Za-z0-9-]{10,}|sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*))".to_owned()),
            (1, format!(r"{option}\x00([^\x00]+)")),
            (1, format!(r"{option}=([^\x00 ]+)")),
            (1, format!(r"{option} ([^\x00 -][^\x00 ]*)")),
            (4, format!(r"{assignment}=([^\x00 '\x22;]+)")),
        ];
        sources.into_iter().filter_map(|(kind, source)| Regex::new(&source).ok().map(|pattern| Rule { kind, pattern })).collect()
    })
}

/// Three letters that stand in every word of the prefilter, in any case; `@` is looked for by itself, and so is what folds to the same.
const ANCHORS: [&[u8; 3]; 30] = [
    b"ssw", b"ssp", b"pwd", b"tok", b"pik", b"pi_", b"pi-", b"ecr", b"ss_", b"ss-", b"ede", b"riz",
    b"/t/", b"ghp", b"gho", b"ghu", b"ghs", b"ghr", b"b_p", b"glp", b"i-a", b"aki", b"asi", b"xox",
    b"sk-", b"hf_", b"pm_", b"aiz", b"eyj", b"vat",
];

/// A byte in which upper and lower case are the same.
const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

/// Looks through the texts of one event after another.
#[derive(Default)]
pub struct Search {
    folded: Vec<u8>,
}

impl Search {
    /// Whether a closer look at one of the texts is worth it; costs one pass over the bytes.
    pub fn may_hold_secret(&mut self, texts: &[&[u8]]) -> bool {
        self.has_anchor(texts) && texts.iter().any(|text| matches_prefilter(text))
    }

    /// What looks like an anchor may begin in one text and end in the next: one search of a few hundred bytes costs less than three.
    fn has_anchor(&mut self, texts: &[&[u8]]) -> bool {
        self.folded.clear();
        for piece in texts.iter().flat_map(|text| text.chunks(PIECE)) {
            self.folded.extend(piece.iter().map(|byte| fold(*byte)));
            if self.folded.len() >= PIECE {
                if is_anchored(&self.folded) {
                    return true;
                }
                // Pieces overlap by two bytes, so that no three letters are cut.
                self.folded.drain(..self.folded.len() - 2);
            }
        }
        is_anchored(&self.folded)
    }
}

/// Bytes that are searched at one time, at least.
const PIECE: usize = 4096;

fn is_anchored(folded: &[u8]) -> bool {
    static ANCHORED: OnceLock<Option<Searcher>> = OnceLock::new();
    let searcher = ANCHORED.get_or_init(|| {
        // So many words of three letters that begin alike: in sixteen buckets a third of the candidates is looked at for nothing.
        let fat = Config::new().only_teddy_fat(Some(true)).clone();
        let anchors = || ANCHORS.map(|anchor| anchor.map(fold));
        let build = |config: Config| config.builder().extend(anchors()).build();
        build(fat).or_else(|| build(Config::new()))
    });
    let is_found = |searcher: &Searcher| searcher.find(folded).is_some();
    searcher.as_ref().is_none_or(is_found) || memchr::memchr(fold(b'@'), folded).is_some()
}

fn matches_prefilter(text: &[u8]) -> bool {
    static PREFILTER: OnceLock<Option<Regex>> = OnceLock::new();
    PREFILTER
        .get_or_init(|| {
            Regex::new(r"(?-u)(?i:passw|passphrase|pwd=|--pwd|token|api_?-?key|secret|access[-_]key|credential|authorization)|@|/t/|gh[pousr]_|github_pat|glpat-|pypi-Ag|AKIA|ASIA|xox|sk-|hf_|npm_|AIza|eyJ|PRIVATE KEY").ok()
        })
        .as_ref()
        .is_some_and(|prefilter| prefilter.is_match(text))
}

/// Replace every secret in `text`; None when there is none.
pub fn redact(text: &[u8], counts: &mut Counts) -> Option<Vec<u8>> {
    if !Search::default().may_hold_secret(&[text]) {
        return None;
    }
    let mut current: Option<Vec<u8>> = None;
    for rule in rules() {
        let source = current.as_deref().unwrap_or(text);
        let mut changed = false;
        let replaced = rule.pattern.replace_all(source, |captures: &Captures<'_>| {
            let whole = captures
                .get(0)
                .map(|found| found.as_bytes())
                .unwrap_or_default();
            let Some(secret) = captures.get(1) else {
                return whole.to_vec();
            };
            if is_marked(secret.as_bytes()) {
                return whole.to_vec();
            }
            let start = captures.get(0).map_or(0, |found| found.start());
            let (before, after) = (secret.start() - start, secret.end() - start);
            changed = true;
            if let (Some(count), Some(name)) = (counts.get_mut(rule.kind), KINDS.get(rule.kind)) {
                *count += 1;
                let mut out = whole.get(..before).unwrap_or_default().to_vec();
                out.extend_from_slice(b"<redacted:");
                out.extend_from_slice(name.as_bytes());
                out.push(b'>');
                out.extend_from_slice(whole.get(after..).unwrap_or_default());
                return out;
            }
            whole.to_vec()
        });
        if changed {
            current = Some(replaced.into_owned());
        }
    }
    current
}

fn is_marked(secret: &[u8]) -> bool {
    secret.windows(10).any(|window| window == b"<redacted:") || secret.starts_with(b"<redac")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let mut counts = Counts::default();
        match redact(text.as_bytes(), &mut counts) {
            Some(out) => {
                assert_eq!(
                    redact(&out, &mut Counts::default()),
                    None,
                    "redacting twice changes: {text}"
                );
                String::from_utf8(out).unwrap_or_default()
            }
            None => text.to_owned(),
        }
    }

    #[test]
    fn secrets_are_replaced_by_their_kind() {
        for (text, expected) in [
            (
                "pip\0install\0--index-url\0https://bob:hunter2@pypi.example/simple",
                "pip\0install\0--index-url\0https://<redacted:url-credential>@pypi.example/simple",
            ),
            (
                "pip\0install\0git+https://tok3n@git.example/x.git",
                "pip\0install\0git+https://<redacted:url-credential>@git.example/x.git",
            ),
            (
                "twine\0upload\0--password\0my pass\0dist/x",
                "twine\0upload\0--password\0<redacted:option-value>\0dist/x",
            ),
            (
                "x\0--api-key=abc\0y",
                "x\0--api-key=<redacted:option-value>\0y",
            ),
            (
                "env\0HF_TOKEN=abc\0python",
                "env\0HF_TOKEN=<redacted:env-value>\0python",
            ),
            (
                "sh\0-c\0PGPASSWORD=x psql",
                "sh\0-c\0PGPASSWORD=<redacted:env-value> psql",
            ),
            (
                "curl\0-H\0Authorization: Bearer abcdef\0http://h",
                "curl\0-H\0Authorization: Bearer <redacted:header>\0http://h",
            ),
            (
                "x\0ghp_0123456789012345678901234567890123456",
                "x\0<redacted:token>",
            ),
            (
                "conda\0install\0-c\0https://conda.example/t/ab-123456/chan\0x",
                "conda\0install\0-c\0https://conda.example/t/<redacted:url-credential>/chan\0x",
            ),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn every_word_of_the_prefilter_has_an_anchor() {
        for word in "passw passphrase pwd= --pwd token apikey api_key api-key secret access-key access_key credential \
             authorization a@b /t/ ghp_ gho_ ghu_ ghs_ ghr_ github_pat glpat- pypi-Ag AKIA ASIA xox sk- hf_ npm_ AIza eyJ"
            .split_whitespace()
            .chain(["PRIVATE KEY"])
        {
            assert!(matches_prefilter(word.as_bytes()), "{word}");
            let mut search = Search::default();
            // Also where it lies across two pieces.
            for before in (0..4).chain(PIECE - 20..PIECE + 4) {
                let text = ".".repeat(before) + word;
                for (start, end) in [(0, 0), (1, 0), (before, 0), (0, 2)] {
                    let (before, after) = text.as_bytes().split_at(start);
                    let texts = [before, after, b"..".get(..end).unwrap_or_default()];
                    assert!(search.has_anchor(&texts), "{word} after {before:?}");
                }
            }
            let upper = word.to_ascii_uppercase();
            assert!(!matches_prefilter(upper.as_bytes()) || search.has_anchor(&[upper.as_bytes()]), "{upper}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "pip\0install\0six",
            "pip\0install\0git+ssh://host/x",
            "ssh\0user@host",
            "python\0tokenize.py",
            "pip\0install\0tokenizers==1",
        ] {
            assert_eq!(redacted(text), text);
        }
    }
}
