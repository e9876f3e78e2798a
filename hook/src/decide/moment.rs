//! Moments in time, as seconds since 1970 and as text. Pure: the caller says what time it is.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment as text (RFC 3339, in UTC).
pub fn written(moment: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(moment).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// The moment of a text (RFC 3339); none of any other.
pub fn read(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

/// The moment that Docker's filter `until` means: a moment, seconds since 1970, or how long before `now` in Go's words,
/// such as `24h` or `1h30m`.
pub fn until(text: &str, now: i64) -> Option<i64> {
    let before = || Some(now.saturating_sub(duration(text)?));
    read(text).or_else(|| text.parse().ok()).or_else(before)
}

/// Seconds in Go's words for a duration.
fn duration(text: &str) -> Option<i64> {
    let (mut sum, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return None,
        };
        sum = sum.checked_add(count.checked_mul(seconds)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_own_text() {
        assert_eq!(written(1_795_758_016), "2026-11-27T05:40:16Z");
        assert_eq!(read("2026-11-27T05:40:16Z"), Some(1_795_758_016));
        assert_eq!(read("2026-11-27T07:40:16+02:00"), Some(1_795_758_016));
        assert_eq!(read("yesterday"), None);
    }

    #[test]
    fn until_is_a_moment_or_a_duration() {
        for (text, expected) in [
            ("1970-01-01T00:01:00Z", Some(60)),
            ("60", Some(60)),
            ("1h", Some(6400)),
            ("1h30m", Some(4600)),
            ("10s", Some(9990)),
            ("", None),
            ("1d", None),
            ("h", None),
            ("99999999999999999h", None),
        ] {
            assert_eq!(until(text, 10_000), expected, "{text}");
        }
    }
}
