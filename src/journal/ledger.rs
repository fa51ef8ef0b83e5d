//! The journal's judgement, without channels and clocks: numbers what waits, brings it to disk group by group, and
//! knows what is kept, what is refused and what is recorded when the disk will not take it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset, NaiveDate};
use serde_json::json;

use super::disk::Disk;
use super::error::{AppendError, Trouble};
use super::queue::{Accepted, Group, Limit, Queue, Waiting};
use super::reserve::Reserve;
use super::tail::Tail;
use crate::event::{Body, Draft, Event, stamp};

/// A group: bounds how long a critical event waits for the disk.
const GROUP: Limit = Limit {
    lines: 4096,
    bytes: 1 << 20,
    own: false,
};
/// A group that the reserve has room for.
const SMALL: Limit = Limit {
    lines: 64,
    bytes: 16 << 10,
    own: true,
};
/// What is tried where there was no room: the little that there is now is used too.
const PROBE: Limit = Limit {
    lines: 256,
    bytes: 32 << 10,
    own: false,
};
/// How long what could not be written waits for the next try: at first, and at most.
const SOON: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(2);
/// Failed syncs in a row after which the journal ends.
const SYNCS: u32 = 5;
/// How long writing must have worked before a full disk is news again.
const CALM: Duration = Duration::from_secs(60);

/// Whether the journal can be written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot be written now; None while it can.
    pub failing: Option<String>,
    /// The last error of this run.
    pub last_error: Option<String>,
    /// Events that wait in memory for the disk, not accepted yet.
    pub spilled: usize,
    /// Events of this run that were refused.
    pub refused: u64,
}

/// What a step has done.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Accepted, in the order of their numbers.
    pub(super) accepted: Vec<(Arc<Event>, Option<Accepted>)>,
    /// The file of another day was begun.
    pub(super) rotated: bool,
    /// The disk cannot be trusted: the process must end.
    pub(super) end: Option<AppendError>,
}

/// What keeps it from writing.
#[derive(Debug)]
struct Trial {
    kind: Kind,
    /// When it is tried again, and how long it waits after that.
    at: Instant,
    wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Unsynced(u32),
    Other,
}

/// A disk that was full, from the first refusal on until writing has worked for a while.
#[derive(Debug)]
struct Episode {
    /// Since when writing works.
    works: Option<Instant>,
}

impl Episode {
    /// When it is over, if writing works on.
    fn over(&self) -> Option<Instant> {
        self.works.map(|works| works + CALM)
    }
}

/// Events that were refused and are not stated yet.
#[derive(Debug)]
struct Gap {
    count: u64,
    since: DateTime<FixedOffset>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    tail: Tail,
    reserve: Reserve,
    queue: Queue,
    next: u64,
    last_event: u64,
    trial: Option<Trial>,
    episode: Option<Episode>,
    gap: Option<Gap>,
    health: Health,
    buffer: Vec<u8>,
}

impl Ledger {
    /// Goes on after `last_seq`; `newest` is the last day that has a file.
    pub(super) fn new(
        dir: &Path,
        disk: Arc<dyn Disk>,
        last_seq: u64,
        newest: Option<NaiveDate>,
    ) -> Self {
        Self {
            tail: Tail::new(dir, disk.clone(), newest),
            reserve: Reserve::new(dir, disk),
            queue: Queue::default(),
            next: last_seq + 1,
            last_event: 0,
            trial: None,
            episode: None,
            gap: None,
            health: Health::default(),
            buffer: Vec::new(),
        }
    }

    /// The number of the last event of this run, 0 for none.
    pub(super) fn last_event(&self) -> u64 {
        self.last_event
    }

    /// The day whose file is written, and its length. None before the first line.
    pub(super) fn end(&self) -> Option<(NaiveDate, u64)> {
        self.tail.end()
    }

    /// How it is.
    pub(super) fn health(&self) -> Health {
        Health {
            spilled: if self.trial.is_some() {
                self.queue.events()
            } else {
                0
            },
            ..self.health.clone()
        }
    }

    /// Whether more should be handed over: a group is not full yet, or what comes is kept or refused at once.
    pub(super) fn wants_more(&self) -> bool {
        self.trial.is_some()
            || self.queue.events() < GROUP.lines && self.queue.bytes() < GROUP.bytes
    }

    /// When the next step would do something, if ever; `instant` for at once.
    pub(super) fn due(&self, instant: Instant) -> Option<Instant> {
        match &self.trial {
            None if self.queue.is_empty() => self.episode.as_ref().and_then(Episode::over),
            None => Some(instant),
            // Whoever waits for an answer gets it.
            Some(trial) if trial.kind == Kind::Other && self.queue.events() > 0 => Some(instant),
            Some(trial) if !self.queue.is_empty() || self.gap.is_some() => Some(trial.at),
            Some(_) => None,
        }
    }

    /// Producers' events, and lines of orch's own, that wait.
    pub(super) fn waits(&self) -> (usize, usize) {
        (self.queue.events(), self.queue.own())
    }

    /// Takes an event in. It is written even if its producer does not wait any more: what it tells has happened.
    /// Where too many wait, one is refused and counted.
    pub(super) fn take(&mut self, waiting: Waiting, now: DateTime<FixedOffset>) {
        if let Some(refused) = self.queue.push(waiting) {
            let why = self.health.failing.clone();
            let why = why.unwrap_or_else(|| "too many events wait".to_owned());
            self.refuse([refused], AppendError::Spilled, &why, now);
        }
    }

    /// Takes an event of the journal's own, which goes before everything else and is never refused. It has the
    /// severity of its type, whatever the configuration gives to that: this is below the bus, which knows.
    pub(super) fn say(&mut self, draft: Draft, accepted: Option<Accepted>) {
        match Body::event(&draft) {
            Ok(body) => self.queue.push_own(Waiting {
                draft,
                body,
                accepted,
            }),
            Err(error) => {
                tracing::error!(target: "orch::journal", "{} cannot be written: {error}", draft.kind);
            }
        }
    }

    /// Takes a receipt or an outcome.
    pub(super) fn note(&mut self, note: Body) {
        self.queue.note(note);
    }

    /// Writes what is due, one group at most besides what orch itself has to say.
    pub(super) fn step(&mut self, now: DateTime<FixedOffset>, instant: Instant) -> Step {
        let mut step = Step::default();
        let day = self.tail.day();
        let full = |trial: &Trial| trial.kind == Kind::Full;
        if self.queue.is_empty() {
            // Nothing else is there to be tried.
            self.state_gap(now);
        }
        if !self.trial.as_ref().is_some_and(full) {
            match self.write(GROUP, now, &mut step) {
                Ok(()) => self.worked(now, instant),
                Err(trouble) => self.suffer(trouble, now, instant, &mut step),
            }
        }
        if self.trial.as_ref().is_some_and(full) {
            self.step_when_full(now, instant, &mut step);
        }
        for mended in self.tail.take_mended() {
            let draft = mended.draft();
            tracing::warn!(target: "orch::journal", "{}", draft.message);
            self.say(draft, None);
        }
        step.rotated = day.is_some() && day != self.tail.day();
        step
    }

    /// What orch itself has to say goes first, in place of the reserve if it must; the rest waits until there is room
    /// for the reserve too, so that it is there at the next need.
    fn step_when_full(&mut self, now: DateTime<FixedOffset>, instant: Instant, step: &mut Step) {
        let mut result = Ok(());
        while self.queue.has_own() && result.is_ok() {
            result = self.write(SMALL, now, step);
            if matches!(result, Err(Trouble::Full(_))) && self.reserve.give_up() {
                result = Ok(());
            }
        }
        if result.is_ok() && self.reserve.make() {
            result = self.write(PROBE, now, step);
            if result.is_ok() {
                return self.worked(now, instant);
            }
        }
        match result {
            Ok(()) => self.again(Kind::Full, instant),
            Err(trouble) => self.suffer(trouble, now, instant, step),
        }
    }

    fn worked(&mut self, now: DateTime<FixedOffset>, instant: Instant) {
        if self.trial.take().is_some() {
            tracing::info!(target: "orch::journal", "the journal is written again");
        }
        self.health.failing = None;
        if let Some(episode) = &mut self.episode {
            let works = *episode.works.get_or_insert(instant);
            if instant.duration_since(works) >= CALM {
                if self.reserve.make() {
                    self.episode = None;
                    let dir = self.tail.dir().display();
                    let text = format!("the journal in {dir} is written again, and has its room");
                    self.say(Draft::new("disk_freed", "journal", text), None);
                } else {
                    episode.works = Some(instant);
                }
            }
        }
        self.state_gap(now);
    }

    /// States how many were refused, once all that was kept is written.
    fn state_gap(&mut self, now: DateTime<FixedOffset>) {
        if self.queue.events() == 0
            && let Some(Gap { count, since }) = self.gap.take()
        {
            let text = format!(
                "{count} events were refused since {}: the journal could not be written",
                since.format("%H:%M:%S")
            );
            let data = json!({"refused": count, "since": since, "until": now});
            self.say(Draft::new("gap", "journal", text).with_data(data), None);
        }
    }

    fn suffer(
        &mut self,
        trouble: Trouble,
        now: DateTime<FixedOffset>,
        instant: Instant,
        step: &mut Step,
    ) {
        let said = trouble.error().to_string();
        let news = self.health.failing.as_ref() != Some(&said);
        if news {
            tracing::error!(target: "orch::journal", "{said}");
        }
        self.health.failing = Some(said.clone());
        self.health.last_error = Some(said.clone());
        match trouble {
            Trouble::Full(_) => {
                match &mut self.episode {
                    Some(episode) => episode.works = None,
                    None => {
                        self.episode = Some(Episode { works: None });
                        let dir = self.tail.dir().display();
                        let text = format!(
                            "no room for the journal in {dir}: events wait in memory until there is; {said}"
                        );
                        let data = json!({"directory": self.tail.dir(), "error": said});
                        self.say(
                            Draft::new("disk_full", "journal", text).with_data(data),
                            None,
                        );
                    }
                }
                self.again(Kind::Full, instant);
            }
            Trouble::Unsynced(error) => {
                let failed = match &self.trial {
                    Some(Trial {
                        kind: Kind::Unsynced(failed),
                        ..
                    }) => failed + 1,
                    _ => 1,
                };
                if failed >= SYNCS {
                    step.end = Some(error);
                }
                self.again(Kind::Unsynced(failed), instant);
            }
            Trouble::Other(_) => {
                // What was not refused yet, orch's own lines, is kept.
                let group = self.queue.take(GROUP);
                let (refused, kept) = group
                    .events
                    .into_iter()
                    .partition(|waiting| waiting.accepted.is_some());
                self.queue.put_back(Group {
                    events: kept,
                    notes: group.notes,
                });
                let refused: Vec<Waiting> = refused;
                self.refuse(refused, AppendError::Group, &said, now);
                self.again(Kind::Other, instant);
            }
        }
    }

    /// Sets the next try.
    fn again(&mut self, kind: Kind, instant: Instant) {
        let wait = match (&self.trial, kind) {
            // A new file may do at once what the old one could not.
            (_, Kind::Unsynced(1)) => Duration::ZERO,
            (Some(trial), _) if trial.kind == kind && trial.wait > Duration::ZERO => {
                (trial.wait * 2).min(LATE)
            }
            (Some(trial), Kind::Unsynced(_)) => (trial.wait * 2).clamp(SOON, LATE),
            _ => SOON,
        };
        self.trial = Some(Trial {
            kind,
            at: instant + wait,
            wait,
        });
    }

    fn refuse(
        &mut self,
        refused: impl IntoIterator<Item = Waiting>,
        kind: fn(Arc<str>) -> AppendError,
        why: &str,
        now: DateTime<FixedOffset>,
    ) {
        let why: Arc<str> = why.into();
        for waiting in refused {
            let gap = self.gap.get_or_insert(Gap {
                count: 0,
                since: now,
            });
            gap.count += 1;
            self.health.refused += 1;
            if let Some(accepted) = waiting.accepted {
                let _ = accepted.send(Err(kind(why.clone())));
            }
        }
    }

    /// Numbers a group and writes it. What could not be written waits again, and its numbers are free.
    fn write(
        &mut self,
        limit: Limit,
        now: DateTime<FixedOffset>,
        step: &mut Step,
    ) -> Result<(), Trouble> {
        let group = self.queue.take(limit);
        if group.events.is_empty() && group.notes.is_empty() {
            return Ok(());
        }
        let stamp = stamp(now);
        let first = self.next;
        let mut next = first;
        self.buffer.clear();
        let bodies = group.events.iter().map(|waiting| &waiting.body);
        for body in bodies.chain(&group.notes) {
            body.write(next, &stamp, &mut self.buffer);
            next += 1;
        }
        let written = self
            .tail
            .write(now.date_naive(), &self.buffer, (first, next - 1));
        if let Err(trouble) = written {
            self.queue.put_back(group);
            return Err(trouble);
        }
        self.next = next;
        for (seq, waiting) in (first..).zip(group.events) {
            let event = Arc::new(waiting.draft.accept(seq, now));
            step.accepted.push((event, waiting.accepted));
            self.last_event = seq;
        }
        Ok(())
    }
}
