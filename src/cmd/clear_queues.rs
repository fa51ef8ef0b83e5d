//! `orch clear-queues`.

use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking};
use crate::api::protocol::{Request, Response};
use crate::cli::Global;

pub(super) fn clear_queues(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let cleared = asking(async {
        match whereabouts
            .connect()
            .await?
            .ask(&Request::ClearQueues)
            .await?
        {
            Response::Cleared(cleared) => Ok(cleared),
            other => Err(Failure::new(format!("unexpected answer: {other:?}"))),
        }
    })?;
    if global.json {
        say!("{}", serde_json::json!({"cleared": cleared}));
    } else {
        say!("{cleared} waiting notifications dropped; the journal keeps their events");
    }
    Ok(0)
}
