//! What is on the screen: a head line, the panes, the latest events, a line of keys. Draws values, asks nobody.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chrono::Local;
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use serde_json::Value;

use super::feed::Update;
use crate::event::{Event, Severity};
use crate::tmux::escape::without_controls;

/// Events that are kept for scrolling back.
const KEPT: usize = 1_000;
/// The clock in the head line is drawn again after this long.
const FRESH: Duration = Duration::from_secs(1);

pub(super) struct View {
    status: Value,
    panes: Vec<Value>,
    events: VecDeque<Event>,
    /// Why there is nothing new, while that is so.
    gone: Option<String>,
    lagged: u64,
    session: Option<String>,
    plain: bool,
    leaving: &'static str,
    /// Lines scrolled down in the list of panes.
    scrolled: usize,
    drawn: Option<Instant>,
}

impl View {
    pub(super) fn new(
        events: Vec<Event>,
        session: Option<String>,
        plain: bool,
        leaving: &'static str,
    ) -> Self {
        Self {
            status: Value::Null,
            panes: Vec::new(),
            events: events.into(),
            gone: None,
            lagged: 0,
            session,
            plain,
            leaving,
            scrolled: 0,
            drawn: None,
        }
    }

    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Status(status) => {
                self.status = *status;
                self.gone = None;
            }
            Update::Panes(mut panes) => {
                // Panes come in the order of their ids; those of the wanted session stand first, else by place.
                panes.sort_by_cached_key(|pane| {
                    let session = pane["session_name"].as_str().unwrap_or_default().to_owned();
                    let other = self
                        .session
                        .as_ref()
                        .is_some_and(|wanted| *wanted != session);
                    (
                        other,
                        session,
                        pane["window_index"].as_u64(),
                        pane["pane_index"].as_u64(),
                    )
                });
                self.panes = panes;
            }
            Update::Event(event) => {
                if self.events.back().is_none_or(|last| last.seq < event.seq) {
                    self.events.push_back(*event);
                }
                if self.events.len() > KEPT {
                    self.events.pop_front();
                }
            }
            Update::Lagged(n) => self.lagged += n,
            Update::Gone(why) => self.gone = Some(why),
        }
    }

    pub(super) fn key(&mut self, key: KeyCode) {
        let last = self.panes.len().saturating_sub(1);
        self.scrolled = match key {
            KeyCode::Char('j') | KeyCode::Down => (self.scrolled + 1).min(last),
            KeyCode::Char('k') | KeyCode::Up => self.scrolled.saturating_sub(1),
            KeyCode::Char('g') | KeyCode::Home => 0,
            KeyCode::Char('G') | KeyCode::End => last,
            _ => self.scrolled,
        };
        self.redraw();
    }

    pub(super) fn redraw(&mut self) {
        self.drawn = None;
    }

    pub(super) fn is_due(&self) -> bool {
        self.drawn.is_none_or(|at| at.elapsed() >= FRESH)
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        self.drawn = Some(Instant::now());
        let area = frame.area();
        let events_height = if area.height >= 12 {
            (area.height / 3).max(4)
        } else {
            0
        };
        let [head, panes, events, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(events_height),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(self.head()), head);
        let title = format!(" panes {} ", self.panes.len());
        let list = Paragraph::new(self.pane_lines())
            .block(Block::new().borders(Borders::TOP).title(title));
        frame.render_widget(list, panes);
        if events_height > 0 {
            let lines = self.event_lines(usize::from(events_height) - 1);
            let list =
                Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title(" events "));
            frame.render_widget(list, events);
        }
        frame.render_widget(
            Paragraph::new(format!(" j k scroll   q {}", self.leaving)),
            keys,
        );
    }

    fn head(&self) -> Line<'static> {
        let clock = Local::now().format("%H:%M:%S");
        if let Some(why) = &self.gone {
            let text = format!(" orch? {why}   {clock}");
            return Line::styled(text, self.style(Some(Color::Red), Modifier::BOLD));
        }
        if self.status.is_null() {
            return Line::raw(format!(" orch   asking …   {clock}"));
        }
        let status = &self.status;
        let lane = |name: &str| {
            let lane = &status["lanes"][name];
            format!("{}/{}", lane["used_60s"], lane["limit"])
        };
        let lagged = if self.lagged > 0 {
            format!("   {} not shown here", self.lagged)
        } else {
            String::new()
        };
        let text = format!(
            " orch {} {clock}   {} panes   {} clients   {} events   sent {}, critical {} in 60 s   {} waiting   tmux {}{lagged}",
            status["tmux"]["state"].as_str().unwrap_or("?"),
            status["panes"]["total"],
            status["clients"],
            status["events"]["accepted"],
            lane("ordinary"),
            lane("critical"),
            status["waiting"],
            status["tmux"]["version"].as_str().unwrap_or("-"),
        );
        Line::styled(without_controls(&text), self.style(None, Modifier::BOLD))
    }

    fn pane_lines(&self) -> Vec<Line<'static>> {
        self.panes
            .iter()
            .skip(self.scrolled)
            .map(|pane| {
                let text = |name: &str| without_controls(pane[name].as_str().unwrap_or("-"));
                let place = format!(
                    "{}:{}.{}",
                    text("session_name"),
                    pane["window_index"],
                    pane["pane_index"]
                );
                let dead = pane["dead"] == true;
                let mark = if dead { 'x' } else { ' ' };
                let last = pane["last_event"]["type"].as_str().unwrap_or_default();
                let line = format!(
                    " {mark} {place:<18} {:<6} {:<9} {:<8} {:<14} {:<16} {}",
                    text("pane"),
                    text("agent"),
                    text("state"),
                    text("command"),
                    without_controls(last),
                    text("path"),
                );
                let colour = dead.then_some(Color::Red);
                Line::styled(line, self.style(colour, Modifier::empty()))
            })
            .collect()
    }

    fn event_lines(&self, n: usize) -> Vec<Line<'static>> {
        let skipped = self.events.len().saturating_sub(n);
        self.events
            .iter()
            .skip(skipped)
            .map(|event| {
                let time = event.ts.with_timezone(&Local).format("%H:%M:%S");
                let colour = match event.severity {
                    Severity::Critical => Some(Color::Red),
                    Severity::High => Some(Color::Yellow),
                    Severity::Medium => Some(Color::Cyan),
                    Severity::Low => None,
                };
                let severity = Span::styled(
                    format!("{:<8}", event.severity),
                    self.style(colour, Modifier::empty()),
                );
                let kind = without_controls(&event.kind);
                let source = without_controls(&event.source);
                let rest = format!(
                    " {kind:<18} {source:<12} {}",
                    without_controls(&event.message)
                );
                Line::from(vec![
                    Span::raw(format!(" {time} ")),
                    severity,
                    Span::raw(rest),
                ])
            })
            .collect()
    }

    fn style(&self, colour: Option<Color>, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        match colour {
            Some(colour) if !self.plain => style.fg(colour),
            Some(_) => style.add_modifier(Modifier::BOLD),
            None => style,
        }
    }
}
