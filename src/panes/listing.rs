//! The formats asked of tmux and the rows that come back, parsed so that no name or directory can fake a row.
//! Knows no I/O and no history.

use bytes::Bytes;

use super::roster::{Client, Pane};
use crate::tmux::id::{ClientName, WindowId};

/// Parts a row's fields: raw in replies and values of every version (3.4 to 3.5a escape other controls).
const FIELD: char = '\t';
/// Ends a pane's row inside a subscription's value.
const ROW: u8 = 0x1e;
/// One subscription serves this many panes: 3.7 cuts an expansion off at 100 ms.
const PANES_PER_SUBSCRIPTION: usize = 200;

/// One pane's row. Free text stands last and is cleaned by tmux itself: names and titles cannot hold
/// controls (`utf8_stravis`, `utf8_isvalid`), but a role (user option) and a directory can.
macro_rules! row {
    () => {
        concat!(
            "#{pane_id}\t#{window_id}\t#{session_id}\t#{window_index}\t#{pane_index}\t#{pane_active}\t",
            "#{window_active}\t#{session_attached}\t#{pane_width}\t#{pane_height}\t#{pane_dead}\t",
            "#{pane_dead_status}\t#{pane_dead_signal}\t#{pane_mode}\t#{window_bell_flag}\t#{pane_pid}\t",
            "#{pane_current_command}\t#{session_name}\t#{window_name}\t#{s/[\n\t\u{1e}]/?/:@orch_role}\t#{pane_title}\t",
            "#{s/[\n\t\u{1e}]/?/:pane_current_path}"
        )
    };
}

/// For `list-panes -a`.
pub const PANES: &str = row!();

/// For `list-clients`.
pub const CLIENTS: &str = "#{client_control_mode}\t#{client_pid}\t#{client_width}\t#{client_height}\t#{session_id}\t#{client_name}";

const FIELDS: usize = 22;

/// For the windows of the session that the control client is attached to.
pub(super) const WINDOWS: &str = "#{W:#{window_id} }";

/// Names and formats of the server-wide subscriptions for that many panes: whatever a subscription is tied to, its
/// format may loop over all sessions. Windows are shared out by their number when one expansion would be too long.
pub fn subscriptions(panes: usize) -> Vec<(String, String)> {
    let parts = panes.div_ceil(PANES_PER_SUBSCRIPTION).max(1);
    let rows = format!("#{{P:{}\u{1e}}}", row!());
    (0..parts)
        .map(|part| {
            let windows = match parts {
                1 => format!("#{{W:{rows}}}"),
                _ => format!(
                    "#{{W:#{{?#{{==:#{{e|m:#{{s/@//:window_id}},{parts}}},{part}}},{rows},}}}}"
                ),
            };
            (name(part, parts), format!("#{{S:{windows}}}"))
        })
        .collect()
}

fn name(part: usize, parts: usize) -> String {
    format!("orch{part}of{parts}")
}

/// Reads a reply of [`WINDOWS`].
pub(super) fn parse_windows(reply: &[Vec<u8>]) -> Vec<WindowId> {
    let text = reply
        .first()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .unwrap_or_default();
    text.split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// The names of [`subscriptions`] when there are that many.
pub(super) fn names(parts: usize) -> Vec<String> {
    (0..parts).map(|part| name(part, parts)).collect()
}

/// Reads a reply of [`PANES`] (a row a line) or a subscription's value (rows ended by 0x1e). A row that does not
/// fit is skipped and counted. A pane whose window is linked into several sessions is kept once, with the first.
pub fn parse_panes<'a>(rows: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Pane>, usize) {
    let mut panes: Vec<Pane> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut bad = 0;
    for row in rows {
        match parse_row(&String::from_utf8_lossy(row)) {
            Some(pane) if seen.insert(pane.id) => panes.push(pane),
            Some(_) => {}
            None => bad += 1,
        }
    }
    (panes, bad)
}

/// The rows of a subscription's value.
pub(super) fn value_rows(value: &Bytes) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == ROW).filter(|row| !row.is_empty())
}

fn parse_row(row: &str) -> Option<Pane> {
    let fields: Vec<&str> = row.splitn(FIELDS, FIELD).collect();
    let [
        id,
        window,
        session,
        window_index,
        pane_index,
        active,
        window_active,
        attached,
        width,
        height,
        dead,
        dead_status,
        dead_signal,
        mode,
        bell,
        pid,
        command,
        session_name,
        window_name,
        role,
        title,
        path,
    ] = fields[..]
    else {
        return None;
    };
    Some(Pane {
        id: id.parse().ok()?,
        window: window.parse().ok()?,
        session: session.parse().ok()?,
        window_index: window_index.parse().ok()?,
        pane_index: pane_index.parse().ok()?,
        active: active == "1",
        window_active: window_active == "1",
        attached: attached.parse().unwrap_or(0),
        width: width.parse().ok()?,
        height: height.parse().ok()?,
        dead: dead == "1",
        dead_status: dead_status.parse().ok(),
        // A number up to 3.4, a name such as `kill` later.
        dead_signal: Some(dead_signal.to_owned()).filter(|s| !s.is_empty() && s != "0"),
        mode: Some(mode.to_owned()).filter(|m| !m.is_empty()),
        bell: bell == "1",
        pid: pid.parse().ok()?,
        command: command.to_owned(),
        session_name: session_name.to_owned(),
        window_name: window_name.to_owned(),
        role: Some(role.to_owned()).filter(|r| !r.is_empty()),
        title: title.to_owned(),
        path: path.to_owned(),
    })
}

/// Reads a reply of [`CLIENTS`].
pub fn parse_clients<'a>(rows: impl IntoIterator<Item = &'a [u8]>) -> Vec<Client> {
    rows.into_iter()
        .filter_map(|row| {
            let row = String::from_utf8_lossy(row);
            let fields: Vec<&str> = row.splitn(6, FIELD).collect();
            let [control, pid, width, height, session, name] = fields[..] else {
                return None;
            };
            Some(Client {
                name: ClientName(name.to_owned()),
                human: control != "1",
                pid: pid.parse().unwrap_or(0),
                width: width.parse().unwrap_or(0),
                height: height.parse().unwrap_or(0),
                session: session.parse().ok(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmux::id::{PaneId, SessionId};

    const GOOD: &str = "%3\t@1\t$0\t1\t0\t1\t1\t2\t80\t24\t1\t137\t9\t\t0\t4242\tclaude\tal pha\tw\\tx\tdev\ta title\t/tmp/x?%exit\tfaked";

    #[test]
    fn a_row_is_its_fields_and_free_text_comes_last() {
        let (panes, bad) = parse_panes([GOOD.as_bytes(), GOOD.as_bytes(), b"%9\tshort", b""]);
        assert_eq!((panes.len(), bad), (1, 2));
        let pane = &panes[0];
        assert_eq!((pane.id, pane.session), (PaneId(3), SessionId(0)));
        assert_eq!(
            (pane.dead, pane.dead_status, pane.dead_signal.as_deref()),
            (true, Some(137), Some("9"))
        );
        assert_eq!(
            (pane.session_name.as_str(), pane.path.as_str()),
            ("al pha", "/tmp/x?%exit\tfaked")
        );
        assert_eq!(pane.role.as_deref(), Some("dev"));
    }

    #[test]
    fn many_panes_are_shared_out() {
        assert_eq!(subscriptions(0).len(), 1);
        assert_eq!(subscriptions(200).len(), 1);
        let many = subscriptions(1_000);
        assert_eq!(many.len(), 5);
        assert_eq!(many[3].0, "orch3of5");
        assert!(many[3].1.contains("#{==:#{e|m:#{s/@//:window_id},5},3}"));
    }

    #[test]
    fn the_format_has_as_many_fields_as_are_read() {
        assert_eq!(
            PANES.replace("[\n\t\u{1e}]", "").split(FIELD).count(),
            FIELDS
        );
    }

    #[test]
    fn control_clients_are_no_humans() {
        let rows: [&[u8]; 3] = [
            b"0\t12\t80\t24\t$1\t/dev/pts/3",
            b"1\t13\t\t\t$1\tclient-13",
            b"x",
        ];
        let clients = parse_clients(rows);
        assert_eq!(
            clients.iter().map(|c| c.human).collect::<Vec<_>>(),
            [true, false]
        );
    }
}
