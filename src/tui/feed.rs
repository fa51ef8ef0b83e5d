//! Keeps asking the socket, in a thread of its own, and hands on what it hears. Comes back by itself when the
//! orchestrator does.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::client::{Client, ClientError};
use crate::api::protocol::{Request, Response};
use crate::event::Event;

/// How often panes and status are asked for.
const ASK: Duration = Duration::from_millis(500);

/// What the view is told.
pub(super) enum Update {
    Status(Box<Value>),
    Panes(Vec<Value>),
    Event(Box<Event>),
    Lagged(u64),
    Gone(String),
}

/// Starts the feed; it ends when the receiver is gone or the token is cancelled.
pub(super) fn start(socket: PathBuf) -> (mpsc::Receiver<Update>, CancellationToken) {
    let (updates, receiver) = mpsc::channel();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = keep(&socket, &updates) => {}
            }
        });
    });
    (receiver, stop)
}

async fn keep(socket: &std::path::Path, updates: &mpsc::Sender<Update>) {
    loop {
        if let Err(error) = follow(socket, updates).await
            && updates.send(Update::Gone(error.to_string())).is_err()
        {
            return;
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn follow(
    socket: &std::path::Path,
    updates: &mpsc::Sender<Update>,
) -> Result<(), ClientError> {
    let mut watching = Client::connect(socket).await?;
    watching.send(&Request::Watch).await?;
    let mut asking = Client::connect(socket).await?;
    let watch = async {
        loop {
            let update = match watching.receive().await? {
                Response::Event(event) => Update::Event(Box::new(serde_json::from_value(*event)?)),
                Response::Lagged(n) => Update::Lagged(n),
                _ => continue,
            };
            if updates.send(update).is_err() {
                return Ok(());
            }
        }
    };
    let ask = async {
        loop {
            if let Response::Status(status) = asking.ask(&Request::Status).await? {
                let _ = updates.send(Update::Status(Box::new(status)));
            }
            if let Response::Panes(Value::Array(panes)) = asking.ask(&Request::Panes).await? {
                let _ = updates.send(Update::Panes(panes));
            }
            tokio::time::sleep(ASK).await;
        }
    };
    tokio::select! {
        result = watch => result,
        result = ask => result,
    }
}
