//! `orch run`: the orchestrator in the foreground.

use super::whereabouts::{Settings, Whereabouts};
use super::{ANOTHER_RUNS, Done, FAILED, Failure};
use crate::app::{self, RunError};
use crate::cli::{Global, Run};

pub(super) fn run(global: &Global, args: Run) -> Done {
    let settings = Settings::read(global, !args.detached || global.config.is_some())?;
    settings.echo();
    let setup = Whereabouts::find(global)?.setup(global, settings)?;
    setup.root.make().map_err(Failure::new)?;
    if args.detached {
        // A session of its own: the terminal that started it may close. Fails only where that is so already.
        let _ = rustix::process::setsid();
        let _ = std::env::set_current_dir("/");
    }
    let (level, size) = (&setup.config.log_level, setup.config.max_log_size_mb);
    app::init_log(&setup.root, level, size).map_err(|e| {
        Failure::new(format!(
            "cannot write {}: {e}",
            setup.root.diagnostics().display()
        ))
    })?;
    app::tell_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start: {e}")))?;
    let ended = runtime.block_on(app::run(setup));
    // A disk that does not answer holds a thread: everything that could be written has been.
    runtime.shutdown_timeout(app::THREADS);
    match ended {
        Ok(()) => Ok(0),
        Err(error) => {
            let code = if matches!(error, RunError::Running(_)) {
                ANOTHER_RUNS
            } else {
                FAILED
            };
            tracing::error!(target: "orch::app", "{error}");
            Err(Failure {
                code,
                text: error.to_string(),
            })
        }
    }
}
