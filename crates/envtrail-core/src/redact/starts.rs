//! Whether a token may be in a text: three letters of how each one begins, searched at the cost of one pass.

use super::tokens::{self, Start};
use aho_corasick::packed::{Config, Searcher};
use std::sync::OnceLock;

/// Three letters of the start of every token. The searcher takes those together that are at the same place in their row of eight (what is
/// repeated fills a row up); the order was found by trying, over the paths of a machine and recorded logs, for few false hits.
#[rustfmt::skip]
const LETTERS: [&[u8; 3]; 56] = [
    b"SG.", b"---", b"AK-", b"AIz", b"gd_", b"pat", b"ghr", b"a29",
    b"rk_", b"ATA", b"AKI", b"ai-", b"ghu", b"shp", b"ghs", b"bp_",
    b"sk_", b"ATB", b"ASI", b"api", b"hf_", b"ul-", b"glc", b"hp_",
    b"v1_", b"LTA", b"AgE", b"byg", b"ho_", b"vly", b"glr", b"r8_",
    b"v2_", b"PX-", b"CCI", b"ey-", b"pg_", b"xap", b"gls", b"try",
    b"vb.", b"T-K", b"sec", b"eyJ", b"pm_", b"xap", b"hvs", b"try",
    b"vb.", b"dt-", b"sk-", b"eyJ", b"xox", b"xap", b"hx_", b"try",
];

/// Bytes that the searcher needs at least, and takes at one time.
const LEAST: usize = 34;
const BLOCK: usize = 32;

/// Fill up a text so that the searcher takes it in whole blocks. NUL is no letter of a token, and ends a name.
pub(super) fn fill_up(text: &mut Vec<u8>) {
    let length = text.len().saturating_sub(LEAST).next_multiple_of(BLOCK);
    text.resize(LEAST + length, 0);
}

/// The searcher with the fewest steps for so few patterns, where this machine has it.
pub(super) fn slim_searcher(letters: &[impl AsRef<[u8]>]) -> Option<Searcher> {
    let slim = Config::new()
        .heuristic_pattern_limits(false)
        .only_teddy_fat(Some(false))
        .clone();
    let build = |config: Config| config.builder().extend(letters).build();
    build(slim).or_else(|| build(Config::new()))
}

/// Whether a token begins somewhere in the text; of a text that is `cut`, it need not be whole.
pub(super) fn hold_token(text: &[u8], is_cut: bool) -> bool {
    static SEARCHER: OnceLock<Option<Searcher>> = OnceLock::new();
    let Some(searcher) = SEARCHER.get_or_init(|| slim_searcher(&LETTERS)) else {
        return true;
    };
    let mut from = 0;
    while let Some(found) = searcher.find_in(text, (from..text.len()).into()) {
        let is_start = |(offset, start): &(usize, Start)| {
            let place = found.start().checked_sub(*offset);
            place
                .and_then(|place| text.get(place..))
                .is_some_and(|rest| start.may_begin(rest, is_cut))
        };
        if starts_of(found.pattern().as_usize()).iter().any(is_start) {
            return true;
        }
        from = found.start() + 1;
    }
    false
}

type Starts = Vec<(usize, Start)>;

/// The starts in which the letters with this number are, and where.
fn starts_of(letters: usize) -> &'static [(usize, Start)] {
    static STARTS_OF: OnceLock<Vec<Starts>> = OnceLock::new();
    let known = STARTS_OF.get_or_init(|| {
        let of = |letters: &&[u8; 3]| {
            let place = |start: Start| {
                Some((
                    memchr::memmem::find(start.text().as_bytes(), *letters)?,
                    start,
                ))
            };
            tokens::starts().filter_map(place).collect()
        };
        LETTERS.iter().map(of).collect()
    });
    known.get(letters).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_of_a_token_is_found() {
        for start in tokens::starts() {
            // Letters of every kind of body.
            let token = start.text().to_owned() + &"A1B2C3D4E5F6A7B8C9".repeat(4);
            for before in 0..70 {
                let mut text = (".".repeat(before) + &token).into_bytes();
                assert!(hold_token(&text, false), "{token} after {before}");
                fill_up(&mut text);
                assert!(
                    hold_token(&text, false),
                    "{token} after {before}, filled up"
                );
            }
            let cut = "python\0".to_owned() + start.text() + "A";
            assert!(hold_token(cut.as_bytes(), true), "{cut}");
        }
    }

    #[test]
    fn a_start_without_a_body_is_passed_over() {
        for text in [
            "/usr/lib/python3.11/site-packages/numpy/core/_multiarray_umath.so",
            "npm_config_update",
            "sk-learn",
            "hf_hub",
            "/usr/bin/sk-x.y",
            "xoxo-",
            "secret_test.py",
            "AKIA",
        ] {
            assert!(!hold_token(text.as_bytes(), false), "{text}");
        }
    }
}
