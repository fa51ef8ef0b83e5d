//! `orch ack`.

use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking};
use crate::api::protocol::{Request, Response};
use crate::cli::{Ack, Global};

pub(super) fn ack(global: &Global, args: &Ack) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let open = asking(async {
        match whereabouts
            .connect()
            .await?
            .ask(&Request::Ack { seq: args.seq })
            .await?
        {
            Response::Acknowledged(open) => Ok(open),
            other => Err(Failure::new(format!("unexpected answer: {other:?}"))),
        }
    })?;
    if !open {
        return Err(Failure::new(format!(
            "event {} opened nothing that still holds; see `orch events --severity critical`",
            args.seq
        )));
    }
    say!("{} is seen to", args.seq);
    Ok(0)
}
