//! The words that reach a person: one line of a message, the segment of the status line. Pure; what comes from
//! producers goes into messages only, escaped; the segment is orch's own words and identifiers.

use std::collections::BTreeMap;

use super::board::Board;
use super::{Held, Waiting};
use crate::event::{Severity, Verdict};
use crate::panes::Roster;
use crate::tmux::TmuxText;
use crate::tmux::id::SessionId;

/// Longest message, in characters: one line of a wide terminal.
const MESSAGE: usize = 200;
/// Cells of the segment with styles.
const SEGMENT: usize = 40;
/// Cells of the plain segment.
const PLAIN: usize = 24;

/// What stands in the status line and the variables beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// `ORCH_STATUS`.
    pub segment: String,
    /// `ORCH_PLAIN`.
    pub plain: String,
    /// `ORCH_CRITICAL`: open criticals of any kind.
    pub critical: usize,
    /// `ORCH_NEED`: those where somebody must answer or act.
    pub need: usize,
    /// `ORCH_LIMIT`: agents without credit.
    pub limit: usize,
    /// `ORCH_DOWN`: what exited, died or failed.
    pub down: usize,
    /// `ORCH_WORK`.
    pub work: usize,
    /// `ORCH_IDLE`.
    pub idle: usize,
    /// The event that opened the newest critical: what tells that one is new where the counts are the same.
    pub newest: Option<u64>,
}

impl Status {
    /// From what stands open.
    pub fn of(board: &Board) -> Self {
        let open = board.newest_first();
        let count = |class: Class| {
            open.iter()
                .filter(|open| class_of(&open.kind) == class)
                .count()
        };
        let mut status = Self {
            critical: open.len(),
            newest: open.first().map(|open| open.seq),
            need: count(Class::Need),
            limit: count(Class::Limit),
            down: count(Class::Down),
            ..Self::default()
        };
        let counts: Vec<String> = [
            ('!', status.need),
            ('$', status.limit),
            ('x', status.down),
            ('~', status.work),
        ]
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(mark, n)| format!("{mark}{n}"))
        .collect();
        status.plain = cut(&counts.join(" "), PLAIN);
        status.segment.clone_from(&status.plain);
        if let Some(newest) = open.first() {
            let name = format!(
                "{} {} {}",
                status.plain,
                identifier(&newest.kind),
                identifier(&newest.place)
            );
            status.segment = cut(name.trim_end(), SEGMENT);
        }
        status
    }

    /// The segment in its style.
    pub fn styled(&self) -> TmuxText {
        let style = if self.critical > 0 {
            "fg=white,bg=red,bold"
        } else {
            "fg=default"
        };
        TmuxText::styled(style, &TmuxText::plain(&self.segment, SEGMENT))
    }
}

/// What a condition asks of a person; the most urgent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Down,
    Limit,
    Need,
}

impl Class {
    fn mark(self) -> char {
        match self {
            Self::Need => '!',
            Self::Limit => '$',
            Self::Down => 'x',
        }
    }
}

/// `ORCH_MAP` of each session, empty where there is nothing to mark: its panes with an open condition or a dead program, and
/// for each window the most urgent of them. A format cuts an entry out without any repaint of ours.
pub(super) fn marks(board: &Board, roster: &Roster) -> BTreeMap<SessionId, TmuxText> {
    let mut marks: BTreeMap<SessionId, BTreeMap<String, Class>> = BTreeMap::new();
    let open = board.newest_first();
    for pane in roster.panes.values() {
        let conditions = open
            .iter()
            .filter(|open| open.pane == Some(pane.id))
            .map(|open| class_of(&open.kind));
        let of_session = marks.entry(pane.session).or_default();
        let Some(class) = conditions.chain(pane.dead.then_some(Class::Down)).max() else {
            continue;
        };
        of_session.insert(pane.id.to_string(), class);
        let window = of_session.entry(pane.window.to_string()).or_insert(class);
        *window = (*window).max(class);
    }
    let line = |marks: BTreeMap<String, Class>| {
        TmuxText::marks(marks.iter().map(|(id, class)| (id.as_str(), class.mark())))
    };
    marks
        .into_iter()
        .map(|(session, marks)| (session, line(marks)))
        .collect()
}

fn class_of(kind: &str) -> Class {
    match kind {
        "credit_exhausted" | "credit_critical" => Class::Limit,
        "agent_exited" | "agent_error" | "tmux_lost" | "component_parked" => Class::Down,
        _ => Class::Need,
    }
}

/// Letters, digits and `-_.:` stay; anything else becomes `_`.
fn identifier(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.:".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn cut(text: &str, cells: usize) -> String {
    text.chars().take(cells).collect()
}

/// One line for everything that waits; the first is the one that is named.
pub(super) fn message(waiting: &[Waiting]) -> TmuxText {
    let Some(first) = waiting.first() else {
        return TmuxText::expanded("", 0);
    };
    let criticals = waiting
        .iter()
        .filter(|w| w.severity == Severity::Critical)
        .count();
    let more = match (waiting.len() - 1, criticals) {
        (0, _) => String::new(),
        (more, n) if n > 1 => format!(" (+{more} more, {} of them critical)", n - 1),
        (more, _) => format!(" (+{more} more)"),
    };
    let mark = if first.severity == Severity::Critical {
        "! "
    } else {
        ""
    };
    let again = if first.repeat { "still: " } else { "" };
    let place = if first.place.is_empty() || first.message.starts_with(&first.place) {
        String::new()
    } else {
        format!(" {}", first.place)
    };
    let head = format!("orch: {mark}{again}{}{place}: ", first.kind);
    let room = MESSAGE.saturating_sub(head.chars().count() + more.chars().count());
    let mut text: String = first.message.chars().take(room).collect();
    if first.message.chars().count() > room {
        text.pop();
        text.push('…');
    }
    TmuxText::expanded(&format!("{head}{text}{more}"), MESSAGE)
}

/// What was held back, for people; `mutes` are the filters of those that ended since.
pub(super) fn digest(held: &Held, mutes: &[String]) -> String {
    let total: u64 = held.values().sum();
    let parts: Vec<String> = held
        .iter()
        .map(|(verdict, n)| match verdict {
            Verdict::Muted if !mutes.is_empty() => format!("{n} muted ({})", mutes.join(", ")),
            _ => format!("{n} {}", words(*verdict)),
        })
        .collect();
    format!("{total} not shown: {}; see `orch events`", parts.join(", "))
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Duplicate => "said before",
        Verdict::RateLimited => "over the limit",
        Verdict::Coalesced => "grouped",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Fingerprint;
    use super::super::fingerprint::tests::event;
    use super::super::lane::Tick;
    use super::*;

    fn waiting(seq: u64, severity: Severity, message: &str) -> Waiting {
        Waiting {
            seq,
            severity,
            fingerprint: None,
            kind: "violation".into(),
            session: None,
            pane: None,
            source: "dev".into(),
            place: "alpha:1".into(),
            message: message.into(),
            since: Tick(0),
            repeat: false,
        }
    }

    #[test]
    fn the_segment_names_the_newest_in_our_own_words() {
        let mut board = Board::default();
        for (seq, kind, place) in [
            (1, "agent_blocked", "alpha:1"),
            (2, "agent_exited", "be#(ta):2 \u{1b}[31m"),
        ] {
            let event = event(seq, kind, Severity::Critical, "#(touch F)");
            board.raise(
                Fingerprint::of(&event),
                &event,
                place.into(),
                false,
                Tick(seq as i64),
            );
        }
        let status = Status::of(&board);
        assert_eq!(status.segment, "!1 x1 agent_exited be__ta_:2___31m");
        assert_eq!(
            (
                status.plain.as_str(),
                status.critical,
                status.need,
                status.down
            ),
            ("!1 x1", 2, 1, 1)
        );
        assert_eq!(
            status.styled().as_str(),
            "#[fg=white,bg=red,bold]!1 x1 agent_exited be__ta_:2___31m#[default]"
        );
        assert_eq!(Status::of(&Board::default()), Status::default());
    }

    #[test]
    fn marks_can_be_cut_out_by_a_format() {
        use crate::panes::roster_fixture::pane;
        let mut board = Board::default();
        for (seq, kind, pane) in [
            (1, "agent_exited", 3),
            (2, "agent_blocked", 4),
            (3, "credit_exhausted", 4),
        ] {
            let mut event = event(seq, kind, Severity::Critical, "m");
            event.pane = Some(crate::tmux::PaneId(pane));
            board.raise(
                Fingerprint::of(&event),
                &event,
                String::new(),
                false,
                Tick(0),
            );
        }
        let mut roster = Roster::default();
        for id in 3..6 {
            roster
                .panes
                .insert(crate::tmux::PaneId(id), pane(id, "claude"));
        }
        let mut elsewhere = pane(9, "bash");
        elsewhere.session = SessionId(7);
        roster.panes.insert(elsewhere.id, elsewhere);
        let marks = marks(&board, &roster);
        assert_eq!(marks[&SessionId(0)].as_str(), " %3=x %4=! @1=! ");
        assert_eq!(marks[&SessionId(7)].as_str(), "");
    }

    #[test]
    fn one_line_counts_several_and_stays_inert() {
        let hostile = "#(touch F) %s\n".repeat(50);
        let line = message(&[
            waiting(1, Severity::Critical, &hostile),
            waiting(2, Severity::Critical, "b"),
            waiting(3, Severity::High, "c"),
        ]);
        let text = line.as_str();
        assert!(
            text.starts_with("orch: ! violation alpha:1: ##(touch F) %%s "),
            "{text}"
        );
        assert!(text.ends_with("… (+2 more, 1 of them critical)"), "{text}");
        assert!(text.replace("##", "#").replace("%%", "%").chars().count() <= MESSAGE);
        assert_eq!(
            message(&[waiting(1, Severity::High, "b")]).as_str(),
            "orch: violation alpha:1: b"
        );
    }

    #[test]
    fn a_digest_counts_by_reason() {
        let held = [(Verdict::Duplicate, 2599), (Verdict::RateLimited, 40)].into();
        assert_eq!(
            digest(&held, &[]),
            "2639 not shown: 2599 said before, 40 over the limit; see `orch events`"
        );
        let muted = [(Verdict::Muted, 3)].into();
        assert_eq!(
            digest(&muted, &["type=a".into(), "pane=%3".into()]),
            "3 not shown: 3 muted (type=a, pane=%3); see `orch events`"
        );
    }
}
