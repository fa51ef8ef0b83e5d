//! Observations in, events out: one file per monitor, all of them pure. Knows neither tmux nor delivery.

pub mod health;
