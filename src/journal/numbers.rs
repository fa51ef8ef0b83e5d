//! The head of a line, read without the rest: which number it has, and whether it is an event, a receipt or the
//! outcome of one. Most lines of a long journal are only looked at so.

use serde::Deserialize;

/// What a line is, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Event(u64),
    Receipt(u64),
    Outcome { seq: u64, of: u64 },
}

impl Head {
    pub(super) fn seq(self) -> u64 {
        match self {
            Self::Event(seq) | Self::Receipt(seq) | Self::Outcome { seq, .. } => seq,
        }
    }
}

#[derive(Deserialize)]
struct Slow<'a> {
    seq: u64,
    #[serde(default)]
    of: Option<u64>,
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// The head of a line without its line end; None for what is no line of ours. That the rest of it is whole is for
/// `orch verify` to say.
pub(super) fn head(line: &[u8]) -> Option<Head> {
    quick(line).or_else(|| slow(line))
}

/// As this program writes it: `{"v":1,"seq":7,"ts":"…","type":"…`.
fn quick(line: &[u8]) -> Option<Head> {
    let rest = line.strip_prefix(b"{\"v\":1,\"seq\":")?;
    let (seq, rest) = digits(rest)?;
    let rest = rest.strip_prefix(b",\"ts\":\"")?;
    let at = memchr::memchr(b'"', rest)?;
    let rest = rest[at..].strip_prefix(b"\",\"type\":\"")?;
    if line.last() != Some(&b'}') {
        return None;
    }
    if let Some(rest) = rest.strip_prefix(b"outcome\",\"of\":") {
        let (of, rest) = digits(rest)?;
        return rest
            .starts_with(b",\"result\":\"")
            .then_some(Head::Outcome { seq, of });
    }
    if rest.starts_with(b"outcome\"") {
        return None;
    }
    Some(if rest.starts_with(b"receipt\"") {
        Head::Receipt(seq)
    } else {
        Head::Event(seq)
    })
}

fn slow(line: &[u8]) -> Option<Head> {
    let Slow { seq, of, kind } = serde_json::from_slice(line).ok()?;
    Some(match (&*kind, of) {
        ("outcome", Some(of)) => Head::Outcome { seq, of },
        ("receipt", _) => Head::Receipt(seq),
        _ => Head::Event(seq),
    })
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit())?;
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_way_says_what_the_slow_one_does() {
        let line = |rest: &str| {
            format!(r#"{{"v":1,"seq":12,"ts":"2026-11-22T13:24:52.1+01:00","type":{rest}}}"#)
        };
        for rest in [
            r#""bell","severity":"low","source":"s","message":"m""#,
            r#""outcome","of":7,"result":"delivered","reason":"x""#,
            r#""outcome","of":7,"result":"coalesced","reason":"","n":3"#,
            r#""receipt","of":7,"dest":"status","result":"shown","reason":"""#,
            r#""outcomes","severity":"low","source":"s","message":"\"type\":\"outcome\"""#,
        ] {
            let line = line(rest);
            let quick = quick(line.as_bytes());
            assert!(quick.is_some(), "{line}");
            assert_eq!(quick, slow(line.as_bytes()), "{line}");
        }
        for odd in [
            r#"{"seq":12,"v":1,"type":"outcome","ts":"x","of":7}"#,
            r#"{"v":1,"seq":12,"ts":"x","type":"outcome","result":"delivered","of":7}"#,
        ] {
            assert_eq!(quick(odd.as_bytes()), None);
            assert_eq!(head(odd.as_bytes()), Some(Head::Outcome { seq: 12, of: 7 }));
        }
        for none in [
            "",
            "{}",
            r#"{"v":1,"seq":12"#,
            r#"{"v":1,"seq":99999999999999999999,"ts":"x","type":"x"}"#,
            r#"{"timestamp":"2025-08-21T22:29:43","type":"x","data":{}}"#,
            r#"{"v":1,"seq":12,"ts":"x","type":"outcome","of":7,"res"#,
        ] {
            assert_eq!(head(none.as_bytes()), None, "{none}");
        }
    }
}
