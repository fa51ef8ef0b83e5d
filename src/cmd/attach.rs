//! `orch attach`: the live view in this terminal, with an orchestrator to look at.

use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};

use tokio_util::sync::CancellationToken;

use super::whereabouts::{Settings, Whereabouts};
use super::{Done, Failure, asking, start, terminal};
use crate::app::Setup;
use crate::cli::{Attach, Global};
use crate::journal::Query;
use crate::{event, paths, tui};

/// Events that the view begins with.
const EARLIER: usize = 200;

pub(super) fn attach(global: &Global, args: Attach) -> Done {
    // Not the working directory's configuration: a key may have been pressed anywhere.
    let settings = Settings::read(global, false)?;
    let setup = Whereabouts::find(global)?.setup(global, settings)?;
    if paths::holder(&setup.runtime.lock).is_none() {
        ensure_session(&setup)?;
    }
    let holder = asking(start::ensure(&setup))?;
    let root = paths::Root(holder.root);
    let events = earlier(&root);
    let socket = setup.runtime.socket;
    let plain = !terminal::colours(global.no_color);
    tui::run(
        tui::Start {
            socket,
            events,
            session: args.session,
            plain,
            leaving: "leave (orch keeps running)",
        },
        &CancellationToken::new(),
    )
    .map_err(|e| Failure::new(format!("cannot draw in this terminal: {e}")))?;
    Ok(0)
}

/// A person who attaches wants tmux: where no server runs, one is started with a session.
fn ensure_session(setup: &Setup) -> Result<(), Failure> {
    if std::os::unix::net::UnixStream::connect(&setup.server.socket).is_ok() {
        return Ok(());
    }
    // With -S tmux does not make the directory of its sockets, as it does with -L.
    if let Some(directory) = setup.server.socket.parent() {
        let made = std::fs::DirBuilder::new().mode(0o700).create(directory);
        if let Err(error) = made
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Failure::new(format!(
                "cannot make {}: {error}",
                directory.display()
            )));
        }
    }
    let status = Command::new(&setup.config.tmux_binary)
        .arg("-S")
        .arg(&setup.server.socket)
        .args(["new-session", "-d"])
        .env_remove("TMUX")
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!(
            "tmux could not start a session: {status}"
        ))),
        Err(error) => Err(Failure::new(format!(
            "cannot start tmux: {error}; is it installed?"
        ))),
    }
}

fn earlier(root: &paths::Root) -> Vec<event::Event> {
    let since = (chrono::Local::now() - chrono::TimeDelta::days(1)).fixed_offset();
    let query = Query {
        since: Some(since),
        last: Some(EARLIER),
        ..Query::default()
    };
    let found = query
        .run(&root.events())
        .map(|(found, _)| found)
        .unwrap_or_default();
    found
        .into_iter()
        .map(|found| found.event)
        .filter(|event| event.seq > 0)
        .collect()
}
