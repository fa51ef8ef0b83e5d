//! Times and durations as people write them on the command line: `15m`, `14:30`, `2026-11-22 14:30`, RFC 3339.
//! Pure: the present is an argument; knows no schedule and no event.

use std::time::Duration;

use chrono::{DateTime, Days, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};

/// A text that is no time or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a time: use RFC 3339, YYYY-MM-DD[ HH:MM], HH:MM, or a duration back such as 15m, 2h, 3d"
)]
pub struct BadTime(String);

/// Reads a point in the past: RFC 3339, `HH:MM` (today, or yesterday when that is still to come),
/// `YYYY-MM-DD[ HH:MM[:SS]]` in local time, or a duration back from `now`.
///
/// # Errors
/// [`BadTime`] names the text and the forms that are read. A local time that a clock change skips is
/// an error too, one that it repeats is the first of the two.
pub fn past(text: &str, now: DateTime<Local>) -> Result<DateTime<Local>, BadTime> {
    let bad = || BadTime(text.to_owned());
    let trimmed = text.trim();
    if let Ok(instant) = DateTime::parse_from_rfc3339(trimmed) {
        return Ok(instant.with_timezone(&Local));
    }
    if let Some(back) = duration(trimmed) {
        let back = chrono::TimeDelta::from_std(back).map_err(|_| bad())?;
        return now.checked_sub_signed(back).ok_or_else(bad);
    }
    let civil = |naive: NaiveDateTime| Local.from_local_datetime(&naive).earliest();
    for format in ["%H:%M:%S", "%H:%M"] {
        if let Ok(time) = NaiveTime::parse_from_str(trimmed, format) {
            let today = civil(now.date_naive().and_time(time)).ok_or_else(bad)?;
            let yesterday = now.date_naive().checked_sub_days(Days::new(1));
            let earlier = yesterday.and_then(|day| civil(day.and_time(time)));
            return if today > now {
                earlier.ok_or_else(bad)
            } else {
                Ok(today)
            };
        }
    }
    for format in [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
    ] {
        if let Ok(naive) = NaiveDateTime::parse_from_str(trimmed, format) {
            return civil(naive).ok_or_else(bad);
        }
    }
    NaiveDate::parse_from_str(trimmed, "%Y-%m-%d")
        .ok()
        .and_then(|day| civil(day.and_time(NaiveTime::MIN)))
        .ok_or_else(bad)
}

/// Reads `90s`, `15m`, `2h`, `3d`, `1w` or a row of them (`1h30m`). `None` for anything else: a bare number
/// has no unit, and zero is no span.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .filter(|&end| end > 0)?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.checked_mul(seconds)?))?;
        rest = &rest[end + 1..];
    }
    (!total.is_zero()).then_some(total)
}

/// A span for people, two units at most: `42s`, `5m10s`, `3h`, `2d4h`.
pub fn short(span: Duration) -> String {
    let s = span.as_secs();
    let two = |a: u64, unit: char, b: u64, small: char| {
        if b == 0 {
            format!("{a}{unit}")
        } else {
            format!("{a}{unit}{b}{small}")
        }
    };
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => two(s / 60, 'm', s % 60, 's'),
        3_600..86_400 => two(s / 3_600, 'h', s % 3_600 / 60, 'm'),
        _ => two(s / 86_400, 'd', s % 86_400 / 3_600, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 11, 22, 13, 24, 52).unwrap()
    }

    #[test]
    fn accepted_forms() {
        let at = |y, mo, d, h, m, s| Local.with_ymd_and_hms(y, mo, d, h, m, s).unwrap();
        for (text, expected) in [
            ("15m", at(2026, 11, 22, 13, 9, 52)),
            ("2h", at(2026, 11, 22, 11, 24, 52)),
            ("1h30m", at(2026, 11, 22, 11, 54, 52)),
            ("10:00", at(2026, 11, 22, 10, 0, 0)),
            ("20:00", at(2026, 11, 21, 20, 0, 0)),
            ("2026-11-20", at(2026, 11, 20, 0, 0, 0)),
            ("2026-11-20 09:30", at(2026, 11, 20, 9, 30, 0)),
            ("2026-11-20T09:30:05", at(2026, 11, 20, 9, 30, 5)),
        ] {
            assert_eq!(past(text, now()), Ok(expected), "{text}");
        }
        let rfc = past("2026-11-22T10:00:00.5+01:00", now()).unwrap();
        assert_eq!(rfc.timestamp_millis(), 1_795_338_000_500);
    }

    #[test]
    fn refused_forms() {
        for text in [
            "",
            "90",
            "0s",
            "-5m",
            "tomorrow",
            "11/22/2026",
            "25:00",
            "2026-02-30",
            "5 m",
            "5x",
            "999999999999w",
        ] {
            assert!(past(text, now()).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_for_people() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (310, "5m10s"),
            (10_800, "3h"),
            (187_200, "2d4h"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
