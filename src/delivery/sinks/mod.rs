//! Where notifications and the status go: one file per sink. They do what they are told and report back.

pub(super) mod message;
pub(super) mod status;
