//! Credentials in addresses: `scheme://user:password@host`, tokens in the path of a web hook or a channel.

use super::spans::{is_marked, Spans};
use super::values;
use super::Kind;
use std::ops::Range;

/// Bytes of an address that are looked at.
const LONGEST: usize = 1024;

/// Bytes of a user and a password without a scheme.
pub(super) const LONGEST_USER: usize = 200;
/// A name of DNS, and a port.
const LONGEST_HOST: usize = 253 + 6;

/// Where a path is a secret: after the text, so many parts are no secret.
pub(super) const HOOKS: [(&str, usize); 9] = [
    ("hooks.slack.com/services/", 2),
    ("hooks.slack.com/workflows/", 2),
    ("hooks.slack.com/triggers/", 2),
    ("discord.com/api/webhooks/", 1),
    ("discordapp.com/api/webhooks/", 1),
    ("webhook.office.com/webhookb2/", 0),
    ("open.feishu.cn/open-apis/bot/v2/hook/", 0),
    ("open.larksuite.com/open-apis/bot/v2/hook/", 0),
    ("hooks.zapier.com/hooks/catch/", 1),
];

/// One of them is in every such path.
pub(super) const PARTS: [&str; 3] = ["hook", "/t/", "api.telegram.org/bot"];

/// A user without a password is none of these schemes' secrets.
const USERS: [&str; 10] = [
    "ssh", "git+ssh", "svn+ssh", "hg+ssh", "bzr+ssh", "sftp", "scp", "rsync", "ssh+git", "git",
];

pub(super) fn scan(spans: &mut Spans<'_>, is_cut: bool) {
    let text = spans.text;
    for at in memchr::memmem::find_iter(text, b"://") {
        let scheme = scheme_before(text, at);
        if scheme.is_empty() {
            continue;
        }
        let start = at + 3;
        let end = start + end_of_address(spans.part(start..text.len().min(start + LONGEST)));
        if let Some(user) = user_info(spans, start..end, &scheme, is_cut && end == text.len()) {
            spans.take(user, Kind::Url);
        }
        scan_path(start..end, spans);
    }
    scan_bare(spans);
}

/// Whether a text may end within the password of an address.
pub(super) fn may_be_cut(text: &[u8]) -> bool {
    let Some(at) = memchr::memmem::rfind(text, b"://") else {
        return false;
    };
    let rest = text.get(at + 3..).unwrap_or_default();
    rest.contains(&b':') && !rest.iter().any(|byte| b"/?#\\@".contains(byte))
}

fn scheme_before(text: &[u8], end: usize) -> Vec<u8> {
    let floor = end.saturating_sub(24);
    let letters = text.get(floor..end).unwrap_or_default();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
    let start = letters
        .iter()
        .rposition(|byte| !is_letter(byte))
        .map_or(0, |at| at + 1);
    letters
        .get(start..)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn end_of_address(rest: &[u8]) -> usize {
    let is_end = |byte: &u8| matches!(byte, 0..=b' ' | b'"' | b'\'' | b'<' | b'>' | b'`');
    // A marker is no end: it stands for a credential.
    let is_inside = |at: usize| rest.get(..at).is_some_and(is_marker_open);
    let found = rest.iter().enumerate().find(|(at, byte)| {
        is_end(byte)
            && !(**byte == b'<'
                && rest
                    .get(*at..)
                    .is_some_and(|rest| rest.starts_with(b"<redac")))
            && !(**byte == b'>' && is_inside(*at))
    });
    found.map_or(rest.len(), |(at, _)| at)
}

fn is_marker_open(head: &[u8]) -> bool {
    let open = head.iter().rposition(|byte| *byte == b'<');
    open.is_some_and(|open| {
        head.get(open..)
            .is_some_and(|rest| rest.starts_with(b"<redacted:") && !rest.contains(&b'>'))
    })
}

/// The user and password of an address. A password may hold `@` and `/`, a path `@`: the host decides.
fn user_info(
    spans: &Spans<'_>,
    address: Range<usize>,
    scheme: &[u8],
    is_cut: bool,
) -> Option<Range<usize>> {
    let bytes = spans.part(address.clone());
    let authority = bytes
        .iter()
        .position(|byte| b"/?#\\".contains(byte))
        .unwrap_or(bytes.len());
    let head = bytes.get(..authority).unwrap_or_default();
    let end = match head.iter().rposition(|byte| *byte == b'@') {
        Some(at) => {
            let host = head.get(at + 1..).unwrap_or_default();
            let later = later_host(bytes, authority);
            if is_host(host) {
                at
            } else {
                later.unwrap_or(at)
            }
        }
        None => {
            let colon = head.iter().position(|byte| *byte == b':')?;
            let port = head.get(colon + 1..).unwrap_or_default();
            let is_port = port.iter().all(u8::is_ascii_digit) && !port.is_empty();
            if is_port || head.starts_with(b"[") || port.starts_with(b"$") || port.starts_with(b"{")
            {
                return None;
            }
            match later_host(bytes, authority) {
                Some(at) => at,
                // Cut within the password.
                None if is_cut && authority == bytes.len() && !port.is_empty() => bytes.len(),
                None => return None,
            }
        }
    };
    let user = bytes.get(..end).unwrap_or_default();
    let password = user
        .iter()
        .position(|byte| *byte == b':')
        .and_then(|colon| user.get(colon + 1..));
    if is_marked(user) || user.contains(&b'{') && user.contains(&b'}') {
        return None;
    }
    let is_secret = match password {
        Some(password) if !password.is_empty() => {
            !values::is_reference(password) && !is_masked(password)
        }
        _ => {
            !USERS.iter().any(|known| known.as_bytes() == scheme)
                && is_token(user.strip_suffix(b":").unwrap_or(user), scheme)
        }
    };
    is_secret.then_some(address.start..address.start + end)
}

fn is_masked(password: &[u8]) -> bool {
    password.iter().all(|byte| *byte == b'*') || matches!(password, [b'<', .., b'>'])
}

/// Whether a user without a password is a token: services of the web take one so; a name of small letters is a name.
fn is_token(user: &[u8], scheme: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_lowercase() || b"._-".contains(byte);
    let is_web = scheme.ends_with(b"http") || scheme.ends_with(b"https");
    let is_short_name = user.len() <= 24 && user.iter().all(is_name);
    is_web
        && !user.is_empty()
        && !is_short_name
        && !values::is_reference(user)
        && user != b"__token__"
        && user != b"oauth2"
}

/// The last `@` behind the authority that a host follows.
fn later_host(bytes: &[u8], authority: usize) -> Option<usize> {
    let mut places = memchr::memrchr_iter(b'@', bytes).take_while(|at| *at > authority);
    places.find(|at| {
        let rest = head_of(bytes, at + 1);
        let end = rest
            .iter()
            .position(|byte| b"/?#".contains(byte))
            .unwrap_or(rest.len());
        is_host(rest.get(..end).unwrap_or_default())
    })
}

/// As much from a place on as the longest host has, and a byte more: no host is looked for in all that follows.
fn head_of(bytes: &[u8], start: usize) -> &[u8] {
    let end = bytes.len().min(start + LONGEST_HOST + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// `name.example`, `10.0.0.1`, `localhost`, each with or without a port; `v1.2` is no host.
fn is_host(host: &[u8]) -> bool {
    if host.len() > LONGEST_HOST {
        return false;
    }
    let (name, port) = match host.iter().position(|byte| *byte == b':') {
        Some(colon) => (
            host.get(..colon).unwrap_or_default(),
            host.get(colon + 1..).unwrap_or_default(),
        ),
        None => (host, [].as_slice()),
    };
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_named =
        last.len() >= 2 && last.iter().all(u8::is_ascii_alphabetic) && name.contains(&b'.');
    let is_numbered = name.iter().filter(|byte| **byte == b'.').count() == 3
        && name
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let has_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    !name.is_empty()
        && name.iter().all(is_letter)
        && port.iter().all(u8::is_ascii_digit)
        && (is_named || is_numbered || name == b"localhost" || has_port)
}

/// Tokens within the path.
fn scan_path(address: Range<usize>, spans: &mut Spans<'_>) {
    let bytes = spans.part(address.clone());
    let has_hook = memchr::memmem::find(bytes, b"hook").is_some();
    for (text, parts) in HOOKS.into_iter().filter(|_| has_hook) {
        let Some(at) = memchr::memmem::find(bytes, text.as_bytes()) else {
            continue;
        };
        let mut start = at + text.len();
        for _ in 0..parts {
            let rest = bytes.get(start..).unwrap_or_default();
            start += rest
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(rest.len(), |at| at + 1);
        }
        let rest = bytes.get(start..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| b"?#&),;".contains(byte))
            .unwrap_or(rest.len());
        spans.take(
            address.start + start..address.start + start + end,
            Kind::Url,
        );
    }
    if let Some(at) = memchr::memmem::find(bytes, b"/t/") {
        scan_channel(bytes, at + 3, address.start, spans);
    }
    if let Some(at) = memchr::memmem::find(bytes, b"api.telegram.org/bot") {
        let start = at + b"api.telegram.org/bot".len();
        let rest = bytes.get(start..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(rest.len());
        spans.take(
            address.start + start..address.start + start + end,
            Kind::Url,
        );
    }
}

/// conda's `/t/TOKEN/channel`; a forum's `/t/topic/123` is none.
fn scan_channel(bytes: &[u8], start: usize, offset: usize, spans: &mut Spans<'_>) {
    let rest = bytes.get(start..).unwrap_or_default();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~-".contains(byte);
    let length = rest.iter().take_while(|byte| is_letter(byte)).count();
    let next = rest.get(length..).unwrap_or_default();
    let part = next.strip_prefix(b"/").unwrap_or_default();
    let part = part
        .split(|byte| b"/?#".contains(byte))
        .next()
        .unwrap_or_default();
    let is_topic = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if length >= 6 && !is_topic && matches!(next.first(), None | Some(b'/' | b'?' | b',')) {
        spans.take(offset + start..offset + start + length, Kind::Url);
    }
}

/// Whether no user and password have this byte, where no scheme is before them.
pub(super) fn ends_user(byte: &u8) -> bool {
    matches!(
        byte,
        0..=b' ' | b'"' | b'\'' | b'=' | b',' | b'/' | b'(' | b'@' | b';' | b'<' | b'>'
    )
}

/// `user:password@host` without a scheme, as pip's `--proxy` takes it.
fn scan_bare(spans: &mut Spans<'_>) {
    let text = spans.text;
    for at in memchr::memchr_iter(b'@', text) {
        let floor = at.saturating_sub(LONGEST_USER);
        let head = text.get(floor..at).unwrap_or_default();
        let start = head.iter().rposition(ends_user).map_or(0, |at| at + 1);
        let user = head.get(start..).unwrap_or_default();
        let Some(colon) = user.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, password) = user.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        let rest = head_of(text, at + 1);
        let end = rest
            .iter()
            .position(|byte| matches!(byte, 0..=b' ' | b'/' | b'"' | b'\'' | b',' | b')'))
            .unwrap_or(rest.len());
        let host = rest.get(..end).unwrap_or_default();
        let is_user = !name.is_empty()
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.+%-".contains(byte));
        // `repository:tag@sha256:…` is an image, `zpool:…` none of ours.
        let is_digest = [b"sha256:".as_slice(), b"sha512:", b"sha1:", b"md5:"]
            .iter()
            .any(|start| host.starts_with(start));
        let is_address =
            password.starts_with(b"//") || matches!(name, b"mailto" | b"sip" | b"xmpp" | b"acct");
        if is_user
            && !password.is_empty()
            && is_host(host)
            && !is_digest
            && !is_address
            && !values::is_reference(password)
        {
            spans.take(floor + start + colon + 1..at, Kind::Url);
        }
    }
}
