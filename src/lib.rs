//! orch.
pub mod agents;
pub mod bus;
pub mod delivery;
pub mod event;
pub mod journal;
pub mod monitor;
pub mod panes;
pub mod tmux;
pub mod when;
