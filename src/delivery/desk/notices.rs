//! What delivery says of itself: sources demoted, loops broken, clients cut off, starts in a row. Chains of its own
//! events are cut here.

use serde_json::json;

use super::super::breaker::{CEILING, CUT_FOR};
use super::super::demotion::CLAIM_WINDOW;
use super::super::lane::Tick;
use super::super::loops::{DEPTH, ROW};
use super::{Action, Desk};
use crate::delivery::ago;
use crate::event::{Draft, Event, kind};
use crate::tmux::id::ClientName;

const SOURCE: &str = "delivery";

/// A notice of delivery's own; nobody else can publish its type.
pub(super) fn is_own(event: &Event) -> bool {
    event.source == SOURCE && kind::is_reserved(&event.kind)
}

impl Desk {
    /// Publishes an event of delivery's own, with the event that it reacts to; a chain of those is cut.
    pub(super) fn say(&mut self, mut draft: Draft, cause: Option<u64>, now: Tick) -> Vec<Action> {
        if self.is_end_of_chain(cause) {
            let text = format!("orch's own events cause each other: {} was cut", draft.kind);
            return self.say_broken(text, cause, now);
        }
        draft.cause = cause;
        vec![Action::Publish(draft)]
    }

    pub(super) fn is_end_of_chain(&self, cause: Option<u64>) -> bool {
        cause.is_some_and(|cause| self.loops.is_end_of_chain(cause))
    }

    /// A source claims too much.
    pub(super) fn say_demoted(&mut self, event: &Event, now: Tick) -> Vec<Action> {
        let (source, limit) = (&event.source, self.config.source_critical_limit);
        let minutes = ago(CLAIM_WINDOW);
        let text = format!(
            "{source} claimed more than {limit} different things critical in {minutes}: its claims go as high until \
             it claims nothing new for {minutes}; the segment still counts them"
        );
        let draft = Draft::new("source_demoted", SOURCE, text)
            .with_data(json!({"source": source, "limit": limit}));
        self.say(draft, Some(event.seq), now)
    }

    /// An event came at the end of too long a chain of causes.
    pub(super) fn say_chain(&mut self, event: &Event, now: Tick) -> Vec<Action> {
        let text = format!(
            "events cause each other through orch, {} of {} last: chains are cut after {DEPTH}",
            event.kind, event.source
        );
        self.say_broken(text, Some(event.seq), now)
    }

    /// An event from outside follows our messages.
    pub(super) fn say_echo(&mut self, event: &Event, now: Tick) -> Vec<Action> {
        let text = format!(
            "{} of {} followed {ROW} messages of orch in a row, each within a second: it is taken for their echo and \
             not told as long as it does",
            event.kind, event.source
        );
        self.say_broken(text, Some(event.seq), now)
    }

    fn say_broken(&mut self, text: String, cause: Option<u64>, now: Tick) -> Vec<Action> {
        if !self.loops.tell(now) {
            return Vec::new();
        }
        let mut draft = Draft::new("loop_broken", SOURCE, text);
        draft.cause = cause;
        vec![Action::Publish(draft)]
    }

    /// The last line has held.
    pub(super) fn say_cut(&self, client: &ClientName) -> Action {
        let text = format!(
            "{CEILING} messages within a minute went to {client}, more than orch ever means to send: it gets none for \
             {}, or until somebody acknowledges this with `orch ack`",
            ago(CUT_FOR)
        );
        let draft = Draft::new("breaker_open", SOURCE, text);
        Action::Publish(draft.with_data(json!({"client": client})))
    }

    /// A run begins, what was left over is accepted. Many in a row are told.
    pub fn started(&mut self, now: Tick) -> Vec<Action> {
        self.board.begin_run();
        self.board.bound_owed();
        let Some(n) = self.starts.one_more(now) else {
            return Vec::new();
        };
        let text = format!("orch was started {n} times within a minute; `orch logs` may say why");
        vec![Action::Publish(Draft::new("system_failure", "orch", text))]
    }
}
