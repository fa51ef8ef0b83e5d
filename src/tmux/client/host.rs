//! Which session hosts the control client. Pure: lines of a listing in, a choice out.

use bytes::Bytes;

use crate::tmux::id::SessionId;

/// One line per session for [`choose`].
pub(super) const FORMAT: &str = "#{session_id}\t#{destroy-unattached}";

/// The session to stay in or move to: the present one if it may host, else the oldest that may. A session
/// with `destroy-unattached` may not: it would live as long as orch and die when orch leaves.
pub(super) fn choose(lines: &[Bytes], present: SessionId) -> Option<SessionId> {
    let mut hosts: Vec<SessionId> = lines
        .iter()
        .filter_map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            let (id, destroy) = line.split_once('\t')?;
            matches!(destroy, "" | "0" | "off")
                .then(|| id.parse().ok())
                .flatten()
        })
        .collect();
    hosts.sort_unstable();
    if hosts.contains(&present) {
        Some(present)
    } else {
        hosts.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_on_a_session_that_lives_by_being_attached() {
        let lines = |text: &'static str| {
            text.lines()
                .map(|l| Bytes::from_static(l.as_bytes()))
                .collect::<Vec<_>>()
        };
        for (listing, present, choice) in [
            ("$0\t0\n$1\t0", 1, Some(1)),
            ("$0\t0\n$1\t1", 1, Some(0)),
            ("$9\toff\n$3\toff\n$1\ton", 1, Some(3)),
            ("$1\tkeep-last", 1, None),
            ("", 1, None),
            ("garbage", 1, None),
        ] {
            assert_eq!(
                choose(&lines(listing), SessionId(present)),
                choice.map(SessionId),
                "{listing}"
            );
        }
    }
}
