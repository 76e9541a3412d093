//! Names whose value is a secret: of options, variables, members, parameters, headers.

/// A name ends with one of these, whatever stands before: `PGPASSWORD`, `csrftoken`.
pub(super) const ENDS: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "secret",
    "apikey",
    "authkey",
    "accesskey",
    "secretkey",
    "accountkey",
    "token",
    "credential",
    "credentials",
    "_pwd",
];

/// The last word of a name is one of these.
pub(super) const WORDS: [&str; 7] = ["pass", "pwd", "pw", "psk", "pat", "dbpass", "userpass"];

/// `key` after one of these.
pub(super) const KEYS: [&str; 55] = [
    "api",
    "access",
    "secret",
    "auth",
    "account",
    "private",
    "shared",
    "encryption",
    "encrypt",
    "signing",
    "sign",
    "subscription",
    "storage",
    "master",
    "app",
    "application",
    "consumer",
    "client",
    "service",
    "deploy",
    "admin",
    "hmac",
    "fernet",
    "jwt",
    "flask",
    "django",
    "cookie",
    "session",
    "wandb",
    "openai",
    "anthropic",
    "gemini",
    "azure",
    "mistral",
    "cohere",
    "groq",
    "comet",
    "neptune",
    "pinecone",
    "deepseek",
    "dashscope",
    "zhipu",
    "moonshot",
    "hf",
    "stripe",
    "sendgrid",
    "mailgun",
    "twilio",
    "datadog",
    "sentry",
    "algolia",
    "mapbox",
    "license",
    "aes",
    "registration",
];

/// Before `token` these make it a word of language models, of parsers or of counting.
const NO_TOKENS: [&str; 45] = [
    "max",
    "min",
    "eos",
    "bos",
    "pad",
    "unk",
    "sep",
    "cls",
    "mask",
    "stop",
    "num",
    "n",
    "special",
    "image",
    "audio",
    "video",
    "next",
    "prompt",
    "per",
    "first",
    "last",
    "start",
    "end",
    "begin",
    "input",
    "output",
    "total",
    "vocab",
    "add",
    "extra",
    "decoder",
    "encoder",
    "skip",
    "word",
    "text",
    "target",
    "source",
    "sub",
    "single",
    "context",
    "completion",
    "pooling",
    "label",
    "drop",
    "visual",
];

/// At the beginning these make a name a switch.
const SWITCHES: [&str; 14] = [
    "no", "without", "disable", "enable", "skip", "ask", "prompt", "use", "require", "allow",
    "check", "show", "has", "is",
];

/// After a secret's word these name something about it, which is none.
const ABOUT: [&str; 68] = [
    "host",
    "port",
    "server",
    "domain",
    "user",
    "username",
    "file",
    "path",
    "url",
    "uri",
    "type",
    "name",
    "id",
    "limit",
    "count",
    "length",
    "len",
    "size",
    "ttl",
    "expiry",
    "expires",
    "expiration",
    "policy",
    "store",
    "dir",
    "folder",
    "cmd",
    "command",
    "prompt",
    "field",
    "regex",
    "header",
    "var",
    "variable",
    "env",
    "min",
    "max",
    "algorithm",
    "issuer",
    "endpoint",
    "provider",
    "manager",
    "version",
    "budget",
    "stdin",
    "fd",
    "ref",
    "arn",
    "mount",
    "format",
    "pattern",
    "rotation",
    "hint",
    "source",
    "helper",
    "classification",
    "scope",
    "scopes",
    "embedding",
    "embeddings",
    "bucket",
    "ids",
    "usage",
    "cache",
    "level",
    "index",
    "generator",
    "map",
];

/// Parameters of a query that are secrets there, and there only.
pub(super) const PARAMETERS: [&str; 8] = [
    "sig",
    "signature",
    "x-amz-signature",
    "x-goog-signature",
    "x-oss-signature",
    "x-cos-signature",
    "q-signature",
    "auth",
];

/// Headers that are secrets though their name does not say so.
pub(super) const HEADERS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-authorization",
];

const MOST_WORDS: usize = 12;

/// Whether the value of this name is a secret.
pub(super) fn is_secret(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    if matches!(name, b"PWD" | b"OLDPWD") || lower == b"x-amz-credential" {
        return false;
    }
    let words = words_of(name);
    let mut words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    if words.first().is_some_and(|word| is_in(&SWITCHES, word)) && words.len() > 1 {
        return false;
    }
    if ends_secret(&words) {
        return true;
    }
    // `SECRET_KEY_BASE`, `PASSWORD_DEV`, `TOKEN_1`: one word more, when it does not say what else it is.
    match words.pop() {
        Some(last) if !words.is_empty() && !is_in(&ABOUT, last) => ends_secret(&words),
        _ => false,
    }
}

fn ends_secret(words: &[&[u8]]) -> bool {
    let Some((last, before)) = words.split_last() else {
        return false;
    };
    let last = without_digits(last);
    let previous = before.last().copied().unwrap_or_default();
    if last == b"token" {
        return !is_in(&NO_TOKENS, previous);
    }
    if last == b"secret" && previous == b"existing" {
        return false;
    }
    if last == b"key" {
        return is_in(&KEYS, previous);
    }
    if last == b"auth" {
        // npm's `_auth`; `--auth basic` says how, not what.
        return false;
    }
    is_in(&WORDS, last) || ENDS.iter().any(|end| last.ends_with(end.as_bytes()))
}

fn without_digits(word: &[u8]) -> &[u8] {
    let end = word.iter().rposition(|byte| !byte.is_ascii_digit());
    word.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

/// Whether it is a header whose value is a secret.
pub(super) fn is_header(name: &[u8]) -> bool {
    HEADERS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || (name.contains(&b'-') && !name.starts_with(b"-") && is_secret(name))
        || name.eq_ignore_ascii_case(b"apikey")
        || name.eq_ignore_ascii_case(b"token")
}

/// Whether it is a parameter of a query whose value is a secret.
pub(super) fn is_parameter(name: &[u8]) -> bool {
    PARAMETERS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || is_secret(name)
}

/// Whether a byte may stand in a name that ends before a sign.
pub(super) fn is_letter(byte: u8) -> bool {
    LETTERS.get(usize::from(byte)).copied().unwrap_or(false)
}

static LETTERS: [bool; 256] = letters();

// Evaluated when compiled: an index out of bounds is a build error.
#[allow(clippy::indexing_slicing)]
const fn letters() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'.' | b'-');
        byte += 1;
    }
    table
}

/// Whether `key` may be the name of a secret behind this: `api_`, `Account`.
pub(super) fn may_precede_key(head: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"-_.:".contains(byte);
    let end = head
        .iter()
        .rposition(|byte| !is_mark(byte))
        .map_or(0, |at| at + 1);
    let head = head.get(..end).unwrap_or_default();
    KEYS.iter().any(|word| {
        let last = head
            .len()
            .checked_sub(word.len())
            .and_then(|at| head.get(at..));
        last.is_some_and(|last| last.eq_ignore_ascii_case(word.as_bytes()))
    })
}

fn is_in(words: &[&str], word: &[u8]) -> bool {
    words.iter().any(|known| known.as_bytes() == word)
}

/// The words of a name, in lower case: parted by `-_.`, and where capitals begin (`AccountKey`, `APIKey`).
fn words_of(name: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = vec![Vec::new()];
    for (at, byte) in name.iter().enumerate() {
        let before = at
            .checked_sub(1)
            .and_then(|at| name.get(at))
            .copied()
            .unwrap_or(0);
        let after = name.get(at + 1).copied().unwrap_or(0);
        let is_capital = byte.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || (before.is_ascii_uppercase() && after.is_ascii_lowercase()));
        let is_mark = matches!(byte, b'-' | b'_' | b'.' | b':');
        if (is_mark || is_capital) && words.last().is_some_and(|word| !word.is_empty()) {
            if words.len() == MOST_WORDS {
                words.remove(0);
            }
            words.push(Vec::new());
        }
        if let (false, Some(word)) = (is_mark, words.last_mut()) {
            word.push(byte.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
