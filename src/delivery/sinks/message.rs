//! Shows one line to people's clients. The caller keeps the pace; this keeps the line short-lived.

use crate::tmux::client::{SendError, Tmux};
use crate::tmux::id::ClientName;
use crate::tmux::{Command, TmuxText};

/// How long a message stays, in milliseconds: tmux freezes the screen under it for that long.
const SHOWN_MS: u16 = crate::delivery::MESSAGE_SHOWN as u16;

/// Shows `text` to each client; the error of each that could not be shown it.
pub(crate) async fn show(
    tmux: &Tmux,
    clients: Vec<ClientName>,
    text: TmuxText,
) -> Vec<(ClientName, Option<SendError>)> {
    let command = |client: &ClientName| Command::Message {
        client: client.clone(),
        milliseconds: SHOWN_MS,
        text: text.clone(),
    };
    let results = tmux.ask_all(clients.iter().map(command).collect()).await;
    clients
        .into_iter()
        .zip(results)
        .map(|(client, result)| (client, result.err()))
        .collect()
}

/// Takes a message of ours off again. tmux has no command for that; an empty one that ends at once does it.
pub(crate) async fn uncover(tmux: &Tmux, clients: Vec<ClientName>) {
    let nothing = TmuxText::expanded("", 0);
    let command = |client| Command::Message {
        client,
        milliseconds: 1,
        text: nothing.clone(),
    };
    tmux.ask_all(clients.into_iter().map(command).collect())
        .await;
}
