//! What a value must be to be a secret: no reference to one, no place of one, no code.

/// Longer values are not taken: nothing of that length is typed as a secret, and what is left out is evidence.
pub(super) const LONGEST: usize = 4096;
/// The same within program text, where a long text is a payload.
const LONGEST_LITERAL: usize = 512;

/// How a value is delimited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// A whole argument, or what stands between quotation marks of a shell or a document.
    Whole,
    /// It ends where a word ends.
    Bare,
    /// A text of a program.
    Literal,
}

/// Whether a value may be a secret.
pub(super) fn is_secret(value: &[u8], quoting: Quoting) -> bool {
    let longest = match quoting {
        Quoting::Literal => LONGEST_LITERAL,
        _ => LONGEST,
    };
    !value.is_empty()
        && value.len() <= longest
        && !is_word_of_languages(value)
        && !is_mask(value)
        && !is_reference(value)
        && !is_place(value)
        && !is_code(value, quoting)
}

fn is_word_of_languages(value: &[u8]) -> bool {
    const WORDS: [&str; 22] = [
        "none",
        "null",
        "nil",
        "true",
        "false",
        "yes",
        "no",
        "undefined",
        "str",
        "string",
        "int",
        "bytes",
        "bool",
        "optional",
        "any",
        "self",
        "prompt",
        "required",
        "on",
        "off",
        "object",
        "-",
    ];
    WORDS
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// `****`, `xxxx`, `...`, and what stands for something to be put in: `<token>`, `{token}`, `[PAD]`.
fn is_mask(value: &[u8]) -> bool {
    let first = value.first().copied().unwrap_or(0);
    let is_one = value.iter().all(|byte| *byte == first);
    if is_one && value.len() > 2 && matches!(first, b'*' | b'.' | b'x' | b'X' | b'_' | b'-') {
        return true;
    }
    let is_name = |inner: &[u8]| {
        inner
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./| ".contains(byte))
    };
    if matches!(value, b"%s" | b"{}") {
        return true;
    }
    match value {
        [b'<', inner @ .., b'>'] | [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => is_name(
            inner
                .strip_prefix(b"{")
                .and_then(|inner| inner.strip_suffix(b"}"))
                .unwrap_or(inner),
        ),
        [b'%', inner @ .., b'%'] => is_name(inner),
        _ => false,
    }
}

/// A name of what holds the secret: `$TOKEN`, `${TOKEN}`, `$(pass show x)`, `secrets.TOKEN`.
pub(super) fn is_reference(value: &[u8]) -> bool {
    let is_inside = |needle: &[u8]| memchr::memmem::find(value, needle).is_some();
    if is_inside(b"${") || is_inside(b"$(") || is_inside(b"`") {
        return true;
    }
    let name = value.strip_prefix(b"$").unwrap_or_default();
    let is_variable =
        |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let is_small = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    (!name.is_empty() && (name.iter().all(is_variable) || name.iter().all(is_small)))
        || [
            b"env:".as_slice(),
            b"op://",
            b"vault:",
            b"arn:aws:",
            b"os.environ",
            b"secrets.",
        ]
        .iter()
        .any(|start| value.starts_with(start))
}

/// The name of a file, or an address: what holds a secret is none.
pub(super) fn is_place(value: &[u8]) -> bool {
    const FOLDERS: [&str; 20] = [
        "/run/",
        "/etc/",
        "/home/",
        "/var/",
        "/tmp/",
        "/opt/",
        "/root/",
        "/usr/",
        "/mnt/",
        "/data/",
        "/srv/",
        "/dev/",
        "/proc/",
        "/secrets/",
        "/vault/",
        "./",
        "../",
        "~/",
        "file:",
        "@/",
    ];
    const FILES: [&str; 18] = [
        ".txt", ".json", ".pem", ".key", ".yaml", ".yml", ".env", ".cfg", ".conf", ".ini", ".crt",
        ".p12", ".pfx", ".jks", ".py", ".toml", ".xml", ".enc",
    ];
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./~@".contains(byte);
    FOLDERS
        .iter()
        .any(|folder| value.starts_with(folder.as_bytes()))
        || (value.iter().all(is_plain) && FILES.iter().any(|file| value.ends_with(file.as_bytes())))
        || is_address(value)
}

fn is_address(value: &[u8]) -> bool {
    let end = memchr::memmem::find(value, b"://").unwrap_or(0);
    let scheme = value.get(..end).unwrap_or_default();
    !scheme.is_empty()
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte))
}

/// Whether a list of cookies may be secret.
pub(super) fn is_cookie(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= LONGEST && !is_reference(value) && !value.contains(&b'\n')
}

/// Whether it could be run: a call, commands, several lines.
pub(super) fn is_code(value: &[u8], quoting: Quoting) -> bool {
    let is_inside = |needle: &[u8]| memchr::memmem::find(value, needle).is_some();
    if value.contains(&b'\n') || is_inside(b"$(") || is_inside(b"`") {
        return true;
    }
    let calls = has_call(value);
    if quoting == Quoting::Bare {
        return calls;
    }
    let is_sign = |byte: &u8| b"\"'; =,.".contains(byte);
    if calls && value.iter().any(is_sign) {
        return true;
    }
    value.contains(&b' ')
        && (value.iter().any(|byte| b"/;|&<>()".contains(byte)) || is_inside(b" -"))
}

/// `name(…)` or `name[…]`.
fn has_call(value: &[u8]) -> bool {
    let is_open = |pair: &[u8]| matches!(pair, [before, b'(' | b'['] if before.is_ascii_alphabetic() || *before == b'_');
    let open = value.windows(2).position(is_open);
    let rest = open.and_then(|open| value.get(open..)).unwrap_or_default();
    rest.contains(&b')') || rest.contains(&b']')
}
