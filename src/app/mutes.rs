//! Mutes between the socket and delivery: hands over what is asked, and the answer as a value. Nobody waits here.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::delivery::{BadMute, Control, Delivery};

type Reply = oneshot::Sender<Result<Value, String>>;

pub(super) fn begin(delivery: &Delivery, terms: Vec<String>, span: Duration, reply: Reply) {
    let (own, answer) = oneshot::channel();
    let _ = delivery.control.try_send(Control::Mute(terms, span, own));
    tokio::spawn(pass_on(answer, reply));
}

pub(super) fn end(delivery: &Delivery, which: Option<Vec<String>>, reply: Reply) {
    let (own, answer) = oneshot::channel();
    let _ = delivery.control.try_send(Control::Unmute(which, own));
    tokio::spawn(pass_on(answer, reply));
}

pub(super) fn list(delivery: &Delivery, reply: Reply) {
    let (own, answer) = oneshot::channel();
    let _ = delivery.control.try_send(Control::Mutes(own));
    tokio::spawn(async move { pass_value(answer.await.map(Ok), reply) });
}

async fn pass_on<T: Serialize>(answer: oneshot::Receiver<Result<T, BadMute>>, reply: Reply) {
    pass_value(answer.await, reply);
}

fn pass_value<T: Serialize, E>(answer: Result<Result<T, BadMute>, E>, reply: Reply) {
    // Without an answer there is no reply either: whoever asked learns that the orchestrator ends.
    let Ok(done) = answer else { return };
    let value = |done: T| serde_json::to_value(done).map_err(|error| error.to_string());
    let _ = reply.send(done.map_err(|error| error.to_string()).and_then(value));
}
