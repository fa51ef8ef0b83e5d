//! Delivery's own clock: what it shows goes on over restarts, and nobody who sets the wall clock moves it.

use serde::{Deserialize, Serialize};

use super::lane::Tick;

use machine::{Mark, mark, milliseconds_since, uptime};

/// What the clock showed when the memory was saved, and how long the machine had been up by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    tick: Tick,
    machine: Option<Uptime>,
}

/// One life of the machine, and how long it has lasted: only time itself changes that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Uptime {
    life: String,
    milliseconds: i64,
}

/// The clock of a run.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Tick,
    started: Mark,
}

impl Clock {
    /// Goes on from what was saved, or begins at the wall clock's value.
    pub(crate) fn start(saved: Option<&Stamp>) -> Self {
        let wall = chrono::Local::now().timestamp_millis();
        Self {
            began: resume(saved, wall, uptime().as_ref()),
            started: mark(),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.began.plus(milliseconds_since(self.started))
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            tick: self.now(),
            machine: uptime(),
        }
    }
}

/// Within one life of the machine its uptime says how much time has passed. Otherwise the wall clock does, but never
/// backwards.
fn resume(saved: Option<&Stamp>, wall: i64, machine: Option<&Uptime>) -> Tick {
    let Some(saved) = saved else {
        return Tick(wall);
    };
    match (&saved.machine, machine) {
        (Some(then), Some(now))
            if then.life == now.life && then.milliseconds <= now.milliseconds =>
        {
            saved.tick.plus(now.milliseconds - then.milliseconds)
        }
        _ => saved.tick.max(Tick(wall)),
    }
}

/// Where the machine's uptime is known, time goes on while it sleeps: a mute for the night ends in the morning.
#[cfg(target_os = "linux")]
mod machine {
    use super::Uptime;

    pub(super) type Mark = i64;

    pub(super) fn mark() -> Mark {
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        up.tv_sec * 1000 + up.tv_nsec / 1_000_000
    }

    pub(super) fn milliseconds_since(mark: Mark) -> i64 {
        self::mark() - mark
    }

    pub(super) fn uptime() -> Option<Uptime> {
        let life = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Uptime {
            life: life.trim().to_owned(),
            milliseconds: mark(),
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod machine {
    use super::Uptime;

    pub(super) type Mark = std::time::Instant;

    pub(super) fn mark() -> Mark {
        Mark::now()
    }

    pub(super) fn milliseconds_since(mark: Mark) -> i64 {
        i64::try_from(mark.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }

    pub(super) fn uptime() -> Option<Uptime> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_353_892_000;
    const HOUR: i64 = 3_600_000;

    fn up(life: &str, milliseconds: i64) -> Uptime {
        Uptime {
            life: life.to_owned(),
            milliseconds,
        }
    }

    #[test]
    fn f29_no_wall_clock_moves_it_over_a_restart() {
        let saved = Stamp {
            tick: Tick(NOW),
            machine: Some(up("a", 5_000)),
        };
        for wall in [
            NOW,
            NOW + HOUR,
            NOW - HOUR,
            NOW + 72 * HOUR,
            NOW - 72 * HOUR,
            0,
        ] {
            assert_eq!(
                resume(Some(&saved), wall, Some(&up("a", 7_000))),
                Tick(NOW + 2_000)
            );
            // After a reboot, or where the machine's uptime is not known, it never goes back.
            for machine in [None, Some(up("b", 7_000)), Some(up("a", 4_000))] {
                let expected = Tick(wall.max(NOW));
                assert_eq!(resume(Some(&saved), wall, machine.as_ref()), expected);
            }
        }
        assert_eq!(resume(None, NOW, None), Tick(NOW));
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let first = Clock::start(None);
        let stamp = first.stamp();
        let second = Clock::start(Some(&stamp));
        assert!(second.now() >= stamp.tick);
        assert!(second.now().since(stamp.tick) < 60_000);
    }
}
