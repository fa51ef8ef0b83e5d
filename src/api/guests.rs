//! Who is connected, and who has to go when there are too many. Knows nothing of what they say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Connections at once, and never more than half of the descriptors that the process may have: the journal and the
/// connection to tmux keep theirs.
const MOST: usize = 256;
/// How long a closed connection may take to be gone.
const GOODBYE: Duration = Duration::from_millis(100);

/// Who is connected, in the order they came.
#[derive(Default)]
pub(super) struct Guests(Vec<Seat>);

/// A place, taken or not.
struct Seat {
    guest: Weak<Guest>,
    /// Cancelled once all that the guest cost is given back.
    free: CancellationToken,
}

/// One that is connected.
pub(super) struct Guest {
    came: Instant,
    /// Milliseconds from then to its last request, 0 before the first.
    asked: AtomicU64,
    leave: CancellationToken,
    _seat: DropGuard,
}

impl Guests {
    /// A place for one more: for it, the one that has asked nothing for the longest goes. Somebody who opens
    /// connections and leaves them keeps nobody else out.
    pub(super) async fn welcome(&mut self) -> Arc<Guest> {
        self.0.retain(|seat| seat.guest.strong_count() > 0);
        if self.0.len() >= most()
            && let Some(free) = self.send_one_away()
        {
            // Not longer: a connection that cannot be closed must not keep the others out.
            let _ = tokio::time::timeout(GOODBYE, free.cancelled()).await;
        }
        let free = CancellationToken::new();
        let guest = Arc::new(Guest {
            came: Instant::now(),
            asked: AtomicU64::new(0),
            leave: CancellationToken::new(),
            _seat: free.clone().drop_guard(),
        });
        self.0.push(Seat {
            guest: Arc::downgrade(&guest),
            free,
        });
        guest
    }

    /// The one that has asked nothing for the longest; its place is soon free.
    fn send_one_away(&self) -> Option<CancellationToken> {
        let here = self.0.iter().filter_map(|seat| {
            let guest = seat.guest.upgrade()?;
            (!guest.leave.is_cancelled()).then_some((guest, &seat.free))
        });
        let (idle, free) = here.min_by_key(|(guest, _)| guest.last_asked())?;
        tracing::debug!(target: "orch::api", "too many connections: an idle one is closed");
        idle.leave.cancel();
        Some(free.clone())
    }
}

fn most() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let half = limit.and_then(|limit| usize::try_from(limit / 2).ok());
    half.map_or(MOST, |half| half.clamp(1, MOST))
}

impl Guest {
    /// It asks something.
    pub(super) fn asks(&self) {
        let since = u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.asked.store(since.max(1), Ordering::Relaxed);
    }

    /// Resolves when it has to go.
    pub(super) async fn left(&self) {
        self.leave.cancelled().await;
    }

    /// Those that never asked come first.
    fn last_asked(&self) -> (bool, Instant) {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked > 0, self.came + Duration::from_millis(asked))
    }
}
