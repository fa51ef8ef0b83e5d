//! Keeps what makes a run the only one and lets others find it: the lock of the tmux server, the lock of the root, the
//! socket. Whoever takes them away (a logout removes the runtime directory) is noticed; they are made anew, unless
//! another orchestrator has made its own meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::components::{Health, Standing};
use super::{RunError, Setup};
use crate::api::{self, Bound};
use crate::paths::{Environment, Holder, Lock, PathError, Root, Runtime};

/// How often it is looked whether all is still in its place.
const LOOK: Duration = Duration::from_secs(2);

/// Ends the keeper, with the names of the parts that had to be dropped before.
#[derive(Clone, Default)]
pub(super) struct Farewell(watch::Sender<Option<Vec<String>>>);

impl Farewell {
    pub(super) fn say(&self, unfinished: &[&str]) {
        let names = unfinished.iter().map(ToString::to_string).collect();
        self.0.send_replace(Some(names));
    }

    /// Resolves when it is said.
    pub(super) async fn said(&self) -> Vec<String> {
        let mut said = self.0.subscribe();
        let said = said.wait_for(Option::is_some).await;
        said.ok().and_then(|said| said.clone()).unwrap_or_default()
    }
}

pub(super) struct Keeper {
    // First, so that it is free as soon as the server's lock is: a restart waits for that one.
    root_lock: Lock,
    lock: Lock,
    root: Root,
    runtime: Runtime,
    env: Environment,
    holder: Holder,
    bound: Bound,
    /// No socket any more: the run is ending.
    closed: bool,
    listener: watch::Sender<Arc<UnixListener>>,
    standing: watch::Sender<Standing>,
}

/// Both locks, held.
pub(super) struct Locks {
    root: Lock,
    server: Lock,
    holder: Holder,
}

impl Locks {
    /// Takes them: the server's first, so that who is refused by the root's knows that it is another server's.
    pub(super) fn take(setup: &Setup) -> Result<Self, RunError> {
        setup.runtime.secure(&setup.env)?;
        let holder = Holder::new(std::process::id(), setup.root.0.clone());
        let server = take_server(&setup.runtime, &holder)?.map_err(RunError::Running)?;
        setup.root.make()?;
        let root = take_root(&setup.root, &holder)?;
        Ok(Self {
            root,
            server,
            holder,
        })
    }
}

fn take_server(
    runtime: &Runtime,
    holder: &Holder,
) -> Result<Result<Lock, Option<Holder>>, RunError> {
    let path = &runtime.lock;
    let mut lock = match Lock::take(path)? {
        Ok(lock) => lock,
        Err(other) => return Ok(Err(other)),
    };
    lock.name(holder).map_err(|source| PathError::Io {
        what: "write",
        path: path.clone(),
        source,
    })?;
    Ok(Ok(lock))
}

/// The file with the process's number is the lock, so that two servers never write one journal.
fn take_root(root: &Root, holder: &Holder) -> Result<Lock, RunError> {
    let path = root.pid();
    let taken = |_| RunError::Root {
        root: root.0.clone(),
        pid: root.holder().flatten(),
    };
    let mut lock = Lock::take(&path)?.map_err(taken)?;
    lock.write(&format!("{}\n", holder.pid))
        .map_err(|source| PathError::Io {
            what: "write",
            path,
            source,
        })?;
    Ok(lock)
}

impl Keeper {
    /// Binds the socket. Gives where its listener, now and later, and the keeper's standing can be seen.
    pub(super) fn new(
        setup: &Setup,
        locks: Locks,
    ) -> std::io::Result<(
        Self,
        watch::Receiver<Arc<UnixListener>>,
        watch::Receiver<Standing>,
    )> {
        let (listener, bound) = api::bind(&setup.runtime.socket)?;
        let (listener, listening) = watch::channel(Arc::new(listener));
        let (standing, seen) = watch::channel(Standing::new(Health::Ok));
        let keeper = Self {
            root_lock: locks.root,
            lock: locks.server,
            root: setup.root.clone(),
            runtime: setup.runtime.clone(),
            env: setup.env.clone(),
            holder: locks.holder,
            bound,
            closed: false,
            listener,
            standing,
        };
        Ok((keeper, listening, seen))
    }

    /// Until `farewell`; removes the socket at `closing` already, so that who emits then finds nobody. What is left undone stands in the lock file, for who waits for the
    /// end. Ends earlier, with the reason, when another has taken its place.
    pub(super) async fn run(
        mut self,
        closing: CancellationToken,
        farewell: Farewell,
    ) -> Result<(), RunError> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = look.tick() => match self.look() {
                    Ok(()) => {
                        self.standing.send_if_modified(|standing| {
                            let before = standing.health;
                            standing.set(Health::Ok);
                            before != standing.health
                        });
                    }
                    Err(RunError::Running(other)) => return Err(RunError::Replaced(other)),
                    Err(error @ RunError::Root { .. }) => return Err(error),
                    Err(error) => {
                        self.say(Health::Failing, &error.to_string());
                    }
                },
                () = closing.cancelled(), if !self.closed => {
                    self.closed = true;
                    self.unbind();
                }
                unfinished = farewell.said() => {
                    self.holder.unfinished = unfinished;
                    break;
                }
            };
        }
        self.unbind();
        if !self.holder.unfinished.is_empty()
            && let Err(error) = self.lock.name(&self.holder)
        {
            tracing::warn!(target: "orch::app", "cannot write {}: {error}", self.runtime.lock.display());
        }
        Ok(())
    }

    fn unbind(&self) {
        if self.bound.is_at(&self.runtime.socket) {
            let _ = std::fs::remove_file(&self.runtime.socket);
        }
    }

    /// The locks first: a socket is put in its place only by who holds them.
    fn look(&mut self) -> Result<(), RunError> {
        if !self.lock.is_at(&self.runtime.lock) {
            self.runtime.secure(&self.env)?;
            self.lock = take_server(&self.runtime, &self.holder)?.map_err(RunError::Running)?;
            self.say(Health::Ok, "the lock file was gone; there is a new one");
        }
        if !self.root_lock.is_at(&self.root.pid()) {
            self.root.make()?;
            self.root_lock = take_root(&self.root, &self.holder)?;
            self.say(Health::Ok, "logs/orch.pid was gone; there is a new one");
        }
        if !self.closed && !self.bound.is_at(&self.runtime.socket) {
            let socket = &self.runtime.socket;
            let (listener, bound) = api::bind(socket).map_err(|source| RunError::Io {
                what: format!("listen on {}", socket.display()),
                source,
            })?;
            self.bound = bound;
            self.listener.send_replace(Arc::new(listener));
            self.say(Health::Ok, "the socket was gone; there is a new one");
        }
        Ok(())
    }

    /// Once for each trouble, not every two seconds.
    fn say(&self, health: Health, error: &str) -> bool {
        let news = {
            let standing = self.standing.borrow();
            let known = standing
                .last_error
                .as_ref()
                .is_some_and(|(_, text)| text == error);
            standing.health != health || !known || health == Health::Ok
        };
        if news {
            tracing::warn!(target: "orch::api", "{error}");
            self.standing
                .send_modify(|standing| standing.fail(health, error));
        }
        news
    }
}
