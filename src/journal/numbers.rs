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

/// The head of a line without its line end; None for what is no line of ours. Outcomes are read whole, since an event
/// must not count as settled by a damaged one.
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
    if line.last() != Some(&b'}')
        || rest.starts_with(b"outcome\"")
        || rest.starts_with(b"receipt\"")
    {
        return None;
    }
    Some(Head::Event(seq))
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
