//! `orch mute` and `orch unmute`.

use std::time::Duration;

use serde_json::Value;

use super::mutes::{self, text};
use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking};
use crate::api::protocol::{Request, Response};
use crate::cli::{Global, Mute, Unmute};
use crate::delivery::{Filter, LONGEST_MUTE, Which};
use crate::when;

pub(super) fn mute(global: &Global, args: Mute) -> Done {
    let filter = Filter::parse(&args.filter).map_err(Failure::usage)?.terms();
    let seconds = span(&args.span)?.as_secs();
    let Response::Muted(mute) = ask(global, &Request::Mute { filter, seconds })? else {
        return Err(Failure::new("unexpected answer"));
    };
    if global.json {
        say!("{mute}");
    } else {
        say!("{}", mutes::line(&mute));
    }
    Ok(0)
}

fn span(text: &str) -> Result<Duration, Failure> {
    let longest = Duration::from_millis(LONGEST_MUTE.unsigned_abs());
    match when::duration(text) {
        None => Err(Failure::usage(format!(
            "--for {text:?} is no duration: use 90s, 15m, 8h, 3d, 1h30m …"
        ))),
        Some(span) if span > longest => Err(Failure::usage(format!(
            "--for {text} is too long: a mute lasts {} at most",
            when::short(longest)
        ))),
        Some(span) => Ok(span),
    }
}

pub(super) fn unmute(global: &Global, args: Unmute) -> Done {
    if !args.all {
        Which::parse(&args.which).map_err(Failure::usage)?;
    }
    let which = (!args.all).then_some(args.which);
    let request = Request::Unmute {
        which: which.clone(),
    };
    let Response::Unmuted(done) = ask(global, &request)? else {
        return Err(Failure::new("unexpected answer"));
    };
    let ended = done["ended"].as_array().cloned().unwrap_or_default();
    if let (true, Some(which)) = (ended.is_empty(), which) {
        return Err(Failure::new(format!(
            "no mute is {}; `orch mutes` lists those that hold",
            super::terminal::safe(&which.join(" "))
        )));
    }
    if global.json {
        say!("{done}");
        return Ok(0);
    }
    for mute in &ended {
        say!(
            "mute {} ended: {}; it held {}",
            mute["id"],
            text(mute),
            events(&mute["held"])
        );
    }
    match done["shown_again"].as_u64() {
        Some(n @ 1..) => say!("still holding, and shown again: {n}"),
        _ if ended.is_empty() => say!("no mute holds"),
        _ => {}
    }
    Ok(0)
}

fn events(held: &Value) -> String {
    match held.as_u64() {
        Some(1) => "1 event".to_owned(),
        n => format!("{} events", n.unwrap_or(0)),
    }
}

fn ask(global: &Global, request: &Request) -> Result<Response, Failure> {
    let whereabouts = Whereabouts::find(global)?;
    asking(async { Ok(whereabouts.connect().await?.ask(request).await?) })
}
