//! JSON and the few kinds of values that documents hold, written at the end of a buffer.

use std::io::Write as _;

const DAY_MS: i64 = 86_400_000;

/// A text with its quotes (RFC 8259, section 7).
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// What stands between the quotes of a text.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            push(out, format_args!("{byte:04x}"));
        }
        plain = at + 1;
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
}

/// A number without a fraction.
pub fn push_number(out: &mut Vec<u8>, number: i128) {
    let Ok(mut rest) = u64::try_from(number.unsigned_abs()) else {
        push(out, format_args!("{number}"));
        return;
    };
    if number < 0 {
        out.push(b'-');
    }
    let mut digits = [0u8; 20];
    let mut begin = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        begin = at;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(begin..).unwrap_or_default());
}

/// A moment in RFC 3339, UTC, with milliseconds and quotes.
///
/// Reference: <https://howardhinnant.github.io/date_algorithms.html> (`civil_from_days`)
pub fn push_moment(out: &mut Vec<u8>, time_ms: i64) {
    let (days, in_day) = (time_ms.div_euclid(DAY_MS), time_ms.rem_euclid(DAY_MS));
    // Years begin in March here, so that a leap day is the last one of its year.
    let since_march = days + 719_468;
    let (era, day_of_era) = (
        since_march.div_euclid(146_097),
        since_march.rem_euclid(146_097),
    );
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = if month_of_year < 10 {
        month_of_year + 3
    } else {
        month_of_year - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, ms) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    push(
        out,
        format_args!(
            "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\""
        ),
    );
}

/// Writing into a vector cannot fail.
fn push(out: &mut Vec<u8>, words: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_json_cannot_say_plainly_is_escaped() {
        let shown =
            written(|out| push_text(out, "a\"b\\c\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}é\u{2028}😀"));
        assert_eq!(
            shown,
            "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001f\u{7f}é\u{2028}😀\""
        );
        assert_eq!(written(|out| push_text(out, "")), "\"\"");
    }

    #[test]
    fn numbers_are_written_to_their_ends() {
        for number in [
            0,
            7,
            10,
            -1,
            i128::from(u64::MAX),
            i128::from(i64::MIN),
            i128::MIN,
            i128::MAX,
        ] {
            assert_eq!(written(|out| push_number(out, number)), number.to_string());
        }
    }

    #[test]
    fn moments_are_of_the_calendar() {
        for (time_ms, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_422_572_690, "2026-11-23T08:29:32.690Z"),
            (4_107_542_400_001, "2100-03-01T00:00:00.001Z"),
        ] {
            assert_eq!(
                written(|out| push_moment(out, time_ms)),
                format!("\"{shown}\"")
            );
        }
        for time_ms in [i64::MIN, i64::MAX] {
            assert!(written(|out| push_moment(out, time_ms)).ends_with("Z\""));
        }
    }
}
