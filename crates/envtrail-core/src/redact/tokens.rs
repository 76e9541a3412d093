//! Tokens that are known by themselves: by how they begin, how long they are, and by a checksum where they hold one.

use super::checksums::ends_with_crc32;
use super::spans::Spans;
use super::Kind;
use std::sync::OnceLock;

/// Letters of a token's body.
#[derive(Clone, Copy)]
pub(super) enum Letters {
    Alphanumeric,
    /// And `_-`.
    Url,
    /// And `_-.`.
    Dotted,
    /// And `+/=`.
    Base64,
    Hexadecimal,
    Capitals,
}

/// How the tokens of a service look.
pub(super) struct Token {
    pub service: &'static str,
    pub starts: &'static [&'static str],
    letters: Letters,
    /// Letters after the start, at least.
    least: usize,
    has_checksum: bool,
}

const fn token(
    service: &'static str,
    starts: &'static [&'static str],
    letters: Letters,
    least: usize,
) -> Token {
    Token {
        service,
        starts,
        letters,
        least,
        has_checksum: false,
    }
}

const fn checked(service: &'static str, starts: &'static [&'static str], least: usize) -> Token {
    Token {
        service,
        starts,
        letters: Letters::Alphanumeric,
        least,
        has_checksum: true,
    }
}

use Letters::{Alphanumeric, Base64, Capitals, Dotted, Hexadecimal, Url};

pub(super) const TOKENS: [Token; 49] = [
    checked("GitHub", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], 20),
    token("GitHub", &["github_pat_"], Url, 20),
    token("GitLab", &["glpat-", "gldt-", "glrt-"], Url, 16),
    token("PyPI", &["pypi-AgE"], Url, 16),
    checked("npm", &["npm_"], 30),
    token("Hugging Face", &["hf_"], Alphanumeric, 20),
    token("OpenAI", &["sk-proj-", "sk-svcacct-", "sk-admin-"], Url, 20),
    token("Anthropic", &["sk-ant-"], Url, 20),
    token("OpenRouter", &["sk-or-v1-"], Url, 20),
    token("OpenAI, DeepSeek and others", &["sk-"], Alphanumeric, 20),
    token(
        "Slack",
        &[
            "xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xoxc-",
            "xoxd-", "xapp-",
        ],
        Dotted,
        10,
    ),
    token("AWS", &["AKIA", "ASIA"], Capitals, 16),
    token("Google", &["AIza"], Url, 30),
    token("Google", &["ya29."], Dotted, 20),
    token("Google", &["GOCSPX-"], Url, 20),
    token(
        "DigitalOcean",
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        Hexadecimal,
        32,
    ),
    token("SendGrid", &["SG."], Dotted, 40),
    token("HashiCorp Vault", &["hvs.", "hvb."], Url, 20),
    token("Docker", &["dckr_pat_"], Url, 20),
    token(
        "Stripe",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
        Alphanumeric,
        16,
    ),
    token(
        "Shopify",
        &["shpat_", "shpss_", "shpca_", "shppa_"],
        Alphanumeric,
        20,
    ),
    token("Grafana", &["glsa_", "glc_"], Base64, 20),
    token("Databricks", &["dapi"], Hexadecimal, 32),
    token("New Relic", &["NRAK-"], Alphanumeric, 16),
    token("Tailscale", &["tskey-"], Url, 16),
    token("Pulumi", &["pul-"], Hexadecimal, 40),
    token("Replicate", &["r8_"], Alphanumeric, 30),
    token("Groq", &["gsk_"], Alphanumeric, 30),
    token("NVIDIA", &["nvapi-"], Url, 30),
    token("Pinecone", &["pcsk_"], Url, 30),
    token("xAI", &["xai-"], Alphanumeric, 40),
    token("Tavily", &["tvly-"], Url, 20),
    token("LangSmith", &["lsv2_pt_", "lsv2_sk_"], Url, 30),
    token("Supabase", &["sbp_", "sb_secret_"], Url, 30),
    token("Sentry", &["sntrys_", "sntryu_"], Base64, 30),
    token("PostHog", &["phx_"], Alphanumeric, 30),
    token("Postman", &["PMAK-"], Url, 30),
    token("Linear", &["lin_api_"], Alphanumeric, 30),
    token("Notion", &["secret_"], Alphanumeric, 40),
    token("Figma", &["figd_"], Url, 30),
    token("RubyGems", &["rubygems_"], Hexadecimal, 40),
    token("Atlassian", &["ATATT3x", "ATBB"], Base64, 28),
    token("Alibaba Cloud", &["LTAI"], Alphanumeric, 16),
    token("Tencent Cloud", &["AKID"], Alphanumeric, 28),
    token("CircleCI", &["CCIPAT_"], Url, 30),
    token("1Password", &["ops_eyJ"], Url, 40),
    token("age", &["AGE-SECRET-KEY-1"], Capitals, 50),
    token("Neon", &["npg_"], Alphanumeric, 12),
    token("Weights & Biases", &["wandb_v1_"], Url, 30),
];

/// How a token begins.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Known(&'static str, &'static Token),
    Web,
    PrivateKey,
}

impl Start {
    pub fn text(self) -> &'static str {
        match self {
            Start::Known(text, _) => text,
            Start::Web => "eyJ",
            Start::PrivateKey => "-----BEGIN ",
        }
    }

    /// Whether a token may begin here; of a text that is cut, it need not be whole. What follows the text may be another one.
    pub fn may_begin(self, rest: &[u8], is_cut: bool) -> bool {
        let Some(body) = rest.strip_prefix(self.text().as_bytes()) else {
            return false;
        };
        let are = |letters: Letters, least: usize| {
            let body = body.get(..least);
            body.is_some_and(|body| body.iter().all(|byte| is_letter(letters, *byte)))
        };
        is_cut
            || match self {
                Start::Known(_, token) => are(token.letters, token.least),
                Start::Web => are(Letters::Url, LEAST_PART - "eyJ".len()),
                Start::PrivateKey => true,
            }
    }
}

pub(super) fn starts() -> impl Iterator<Item = Start> {
    let known = TOKENS.iter().flat_map(|token| {
        token
            .starts
            .iter()
            .map(move |start| Start::Known(start, token))
    });
    known.chain([Start::Web, Start::PrivateKey])
}

/// Letters of each of the first two parts of a JSON web token, at least.
const LEAST_PART: usize = 8;

/// Mark the tokens of a text.
pub(super) fn scan(spans: &mut Spans<'_>, is_cut: bool) {
    let text = spans.text;
    let mut place = 0;
    while place < text.len() {
        let before = place.checked_sub(1).map_or(0, |at| spans.at(at));
        // Within a word only what has a checksum is looked for.
        if before.is_ascii_alphanumeric() && !matches!(spans.at(place), b'g' | b'n' | b'-') {
            place += 1;
            continue;
        }
        let length = match spans.at(place) {
            b'-' => private_key(spans.part(place..text.len())),
            b'e' if !before.is_ascii_alphanumeric() => {
                json_web_token(spans.part(place..text.len()), is_cut)
            }
            _ => 0,
        };
        if length > 0 {
            let kind = if spans.at(place) == b'-' {
                Kind::PrivateKey
            } else {
                Kind::Token
            };
            spans.take(place..place + length, kind);
            place += length;
            continue;
        }
        let length = known(spans.part(place..text.len()), before, is_cut);
        if length > 0 {
            spans.take(place..place + length, Kind::Token);
        }
        place += length.max(1);
    }
}

/// The tokens that begin with each byte.
fn by_first(first: u8) -> &'static [(&'static str, &'static Token)] {
    type Known = Vec<Vec<(&'static str, &'static Token)>>;
    static BY_FIRST: OnceLock<Known> = OnceLock::new();
    let known = BY_FIRST.get_or_init(|| {
        let of = |first: u8| {
            let starts = TOKENS
                .iter()
                .flat_map(|token| token.starts.iter().map(move |start| (*start, token)));
            starts
                .filter(|(start, _)| start.as_bytes().first() == Some(&first))
                .collect()
        };
        (0..=127).map(of).collect()
    });
    known
        .get(first as usize)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The length of the token that begins here; 0 where none does.
fn known(rest: &[u8], before: u8, is_cut: bool) -> usize {
    let first = rest.first().copied().unwrap_or(0);
    for (start, token) in by_first(first) {
        let Some(body) = rest.strip_prefix(start.as_bytes()) else {
            continue;
        };
        let length = body
            .iter()
            .take_while(|byte| is_letter(token.letters, **byte))
            .count();
        let whole = body.get(..length).unwrap_or_default();
        if token.has_checksum {
            // Also in the middle of a name.
            if let Some(exact) = whole.get(..36).filter(|body| ends_with_crc32(body)) {
                return start.len() + exact.len();
            }
        }
        let is_ended = is_cut && length == body.len();
        if !before.is_ascii_alphanumeric()
            && (length >= token.least && is_mixed(whole) || is_ended && length > 0)
        {
            return start.len() + length;
        }
    }
    0
}

fn is_letter(letters: Letters, byte: u8) -> bool {
    match letters {
        Letters::Alphanumeric => byte.is_ascii_alphanumeric(),
        Letters::Url => byte.is_ascii_alphanumeric() || b"_-".contains(&byte),
        Letters::Dotted => byte.is_ascii_alphanumeric() || b"_-.".contains(&byte),
        Letters::Base64 => byte.is_ascii_alphanumeric() || b"_-+/=.".contains(&byte),
        Letters::Hexadecimal => byte.is_ascii_hexdigit(),
        Letters::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
    }
}

/// Digits, or letters of both cases: names of programs and of files have neither.
fn is_mixed(body: &[u8]) -> bool {
    let has_digits = body.iter().any(u8::is_ascii_digit);
    let first = body.first().copied().unwrap_or(0);
    (has_digits
        || (body.iter().any(u8::is_ascii_lowercase) && body.iter().any(u8::is_ascii_uppercase))
        || body.len() == 16)
        && body.iter().any(|byte| *byte != first)
}

/// `eyJ….eyJ….…`, with two parts more where it is encrypted.
fn json_web_token(rest: &[u8], is_cut: bool) -> usize {
    if !rest.starts_with(b"eyJ") {
        return 0;
    }
    let mut length = 0;
    let mut parts = 0;
    for part in rest.split(|byte| *byte == b'.').take(5) {
        let count = part
            .iter()
            .take_while(|byte| is_letter(Letters::Url, **byte))
            .count();
        if parts < 2 && count < LEAST_PART {
            break;
        }
        length += count + usize::from(parts > 0);
        parts += 1;
        if count < part.len() {
            break;
        }
    }
    let is_whole = parts >= 2;
    let is_ended = is_cut && rest.iter().all(|byte| is_letter(Letters::Dotted, *byte));
    match (is_whole, is_ended) {
        (_, true) => rest.len(),
        (true, false) => length.min(rest.len()),
        _ => 0,
    }
}

/// `-----BEGIN … PRIVATE KEY-----` to its end, or to the end of the text.
fn private_key(rest: &[u8]) -> usize {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"PRIVATE KEY-----";
    const BLOCK: &[u8] = b"PRIVATE KEY BLOCK-----";
    let Some(inner) = rest.strip_prefix(BEGIN) else {
        return 0;
    };
    let head = inner.get(..inner.len().min(40)).unwrap_or_default();
    if memchr::memmem::find(head, b"PRIVATE KEY").is_none() {
        return 0;
    }
    let Some(close) = memchr::memmem::find(rest, b"-----END ") else {
        return rest.len();
    };
    let tail = rest.get(close..).unwrap_or_default();
    let end = [END, BLOCK]
        .iter()
        .filter_map(|end| Some(memchr::memmem::find(tail, end)? + end.len()))
        .min();
    end.map_or(rest.len(), |end| close + end)
}
