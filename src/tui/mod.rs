//! The live view: panes and events of one orchestrator, drawn from what its socket says. A face and nothing more;
//! leaving it stops nothing.

mod feed;
mod view;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ratatui::crossterm::event::{
    self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use view::View;

/// How long input is waited for before new data is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the view begins with.
#[derive(Debug, Default)]
pub struct Start {
    /// The orchestrator's socket.
    pub socket: PathBuf,
    /// Events to begin with, oldest first.
    pub events: Vec<Event>,
    /// Panes of this session stand first.
    pub session: Option<String>,
    /// No colours.
    pub plain: bool,
    /// What leaving means, for the line of keys.
    pub leaving: &'static str,
}

/// Shows the view until the person leaves it, or `end` is cancelled.
///
/// # Errors
/// The terminal cannot be used.
pub fn run(start: Start, end: &CancellationToken) -> io::Result<()> {
    let (updates, stop) = feed::start(start.socket);
    let mut view = View::new(start.events, start.session, start.plain, start.leaving);
    let mut terminal = ratatui::try_init()?;
    let result = loop {
        let mut news = view.is_due();
        while let Ok(update) = updates.try_recv() {
            view.take(update);
            news = true;
        }
        if news && let Err(error) = terminal.draw(|frame| view.draw(frame)) {
            break Err(error);
        }
        if end.is_cancelled() {
            break Ok(());
        }
        match event::poll(LOOK).and_then(|ready| {
            if ready {
                event::read().map(Some)
            } else {
                Ok(None)
            }
        }) {
            Ok(Some(Input::Key(key))) if key.kind != KeyEventKind::Release => {
                if leaves(key) {
                    break Ok(());
                }
                view.key(key.code);
            }
            Ok(Some(_)) => view.redraw(),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
    };
    stop.cancel();
    ratatui::restore();
    result
}

fn leaves(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || control && key.code == KeyCode::Char('c')
}
