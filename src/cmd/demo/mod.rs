//! `orch demo`: the main promise on real tmux, on servers of its own: a flood of chatter stays out of a person's way,
//! nothing is lost, and each critical is seen at once. Leaves nothing behind.

mod agents;
mod stage;
mod verdict;
mod viewer;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Done, FAILED, Failure};
use crate::api::client::Client;
use crate::api::protocol::{Request, Response};
use crate::cli::{Demo, Global};
use crate::event::{Emission, Severity};
use crate::tmux::id::PaneId;
use crate::{paths, tui};

use stage::Stage;
use verdict::Measured;

/// Criticals that are spread among the chatter.
const CRITICALS: usize = 50;
/// Time between two of them.
const BETWEEN: Duration = Duration::from_millis(1_300);
/// How long a critical is waited for on the person's screen.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long all the agents may take.
const FLOOD: Duration = Duration::from_secs(180);

pub(super) fn demo(global: &Global, args: &Demo) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start: {e}")))?;
    let stage = Stage::build().map_err(Failure::new)?;
    let measured = if args.headless {
        runtime.block_on(interruptible(play(&stage)))
    } else {
        with_view(&runtime, &stage, global.no_color)
    };
    // Everything that ran ends here, also after a failure or Ctrl-C.
    drop(stage);
    let Some(measured) = measured? else {
        return Ok(130);
    };
    let report = measured.report();
    if args.headless || global.json {
        say!("{}", report.json);
    } else {
        say!("{}", report.text.trim_end());
    }
    for broken in &report.broken {
        eprintln!("orch: promise broken: {broken}");
    }
    Ok(if report.broken.is_empty() { 0 } else { FAILED })
}

/// `None` when a person or the system ended it.
async fn interruptible(
    play: impl Future<Output = Result<Measured, String>>,
) -> Result<Option<Measured>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::new)?;
    tokio::select! {
        measured = play => measured.map(Some).map_err(Failure::new),
        _ = tokio::signal::ctrl_c() => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = hangup.recv() => Ok(None),
    }
}

/// The play in the background, its orchestrator's live view in this terminal. Leaving the view ends the play.
fn with_view(
    runtime: &tokio::runtime::Runtime,
    stage: &Stage,
    no_color: bool,
) -> Result<Option<Measured>, Failure> {
    let (curtain, left) = (CancellationToken::new(), CancellationToken::new());
    std::thread::scope(|scope| {
        let playing = scope.spawn(|| {
            let measured = runtime.block_on(async {
                tokio::select! {
                    measured = interruptible(play(stage)) => measured,
                    () = left.cancelled() => Ok(None),
                }
            });
            curtain.cancel();
            measured
        });
        let start = tui::Start {
            socket: stage.socket(),
            plain: no_color,
            leaving: "leave (ends the demo)",
            ..tui::Start::default()
        };
        let shown = tui::run(start, &curtain);
        left.cancel();
        let measured = playing
            .join()
            .map_err(|_| Failure::new("the demo failed inside"))?;
        shown.map_err(|e| {
            Failure::new(format!("cannot draw in this terminal: {e}; try --headless"))
        })?;
        measured
    })
}

async fn play(stage: &Stage) -> Result<Measured, String> {
    let mut orchestrator = stage.start_orchestrator().await?;
    let viewer = viewer::Viewer::attach(stage).await?;
    let watcher = stage::ChildWatcher::start(orchestrator.pid);
    agents::begin(stage)?;
    let latencies = criticals(stage, &viewer).await?;
    agents::finished(stage, FLOOD).await?;
    // The last count arrives by its timer, a minute after what it counts began.
    viewer.wait_for_message_count(1, PATIENCE).await?;
    let status = orchestrator.status().await?;
    orchestrator.stop().await?;
    let spawned = watcher.stop(&status);
    let messages = viewer.detach().await;
    let acknowledged = agents::acknowledged(stage)?;
    let root = paths::Root(stage.root());
    Measured::gather(&root, acknowledged, latencies, messages, spawned, &status)
}

/// Emits the criticals one by one and measures until the person's segment counts each.
async fn criticals(stage: &Stage, viewer: &viewer::Viewer) -> Result<Vec<(u64, Duration)>, String> {
    let mut client = Client::connect(&stage.socket())
        .await
        .map_err(|e| e.to_string())?;
    let mut seen = Vec::with_capacity(CRITICALS);
    for n in 1..=CRITICALS {
        tokio::time::sleep(BETWEEN).await;
        let emission = Emission {
            kind: "system_failure".to_owned(),
            message: format!("unit {n} has failed"),
            severity: Some(Severity::Critical),
            source: Some("watchdog".to_owned()),
            pane: Some(PaneId(0)),
            data: None,
            emitted_at: None,
        };
        let emitted = tokio::time::Instant::now();
        let answer = client
            .ask(&Request::Emit {
                event: Box::new(emission),
            })
            .await
            .map_err(|e| e.to_string())?;
        let Response::Seq(seq) = answer else {
            return Err(format!("unexpected answer: {answer:?}"));
        };
        let at = viewer.wait_for_criticals(n, emitted + PATIENCE).await;
        seen.push((seq, at.map_or(PATIENCE, |at| at.duration_since(emitted))));
    }
    Ok(seen)
}
