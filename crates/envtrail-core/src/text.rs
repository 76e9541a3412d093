//! Bytes of the kernel's as text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// UTF-8 as it is; other bytes as `\xNN`, and a backslash then as `\\`.
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut out = String::with_capacity(bytes.len() + 16);
            for chunk in bytes.utf8_chunks() {
                out.push_str(&chunk.valid().replace('\\', "\\\\"));
                for byte in chunk.invalid() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
            Cow::Owned(out)
        }
    }
}

/// Append a part of a text. A short one is copied with what follows it, which is left out again: a copy of a fixed length is no call.
#[inline(always)]
pub(crate) fn append_piece(text: &[u8], (start, end): (usize, usize), out: &mut Vec<u8>) {
    const SHORT: usize = 64;
    let rest = text.get(start..).unwrap_or_default();
    let length = end.saturating_sub(start);
    match rest.first_chunk::<SHORT>() {
        Some(chunk) if length <= SHORT => {
            out.extend_from_slice(chunk);
            out.truncate(out.len() - SHORT + length);
        }
        _ => out.extend_from_slice(rest.get(..length).unwrap_or_default()),
    }
}

/// A path of the kernel's without its mark of a file that was removed or replaced since (`d_path()`).
pub fn without_deleted(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4usize {
            if place > chunk.len() {
                out.push('=');
            } else {
                let six = (group >> (18 - 6 * place) & 63) as usize;
                out.push(ALPHABET.get(six).copied().unwrap_or(b'=') as char);
            }
        }
    }
    out
}
