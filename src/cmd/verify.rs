//! `orch verify`.

use super::whereabouts::Whereabouts;
use super::{Done, FAILED, Failure};
use crate::cli::Global;
use crate::{journal, paths};

pub(super) fn verify(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let root = whereabouts.root(global)?;
    let living =
        paths::holder(&whereabouts.runtime.lock).is_some_and(|holder| holder.root == root.0);
    let report = journal::verify(&root.events(), living).map_err(Failure::new)?;
    if global.json {
        say!("{}", serde_json::to_string(&report).map_err(Failure::new)?);
    } else {
        let legacy = if report.legacy > 0 {
            format!(", {} of the predecessor", report.legacy)
        } else {
            String::new()
        };
        say!(
            "{} lines, seq {} to {}, {} events{legacy}, {} pending",
            report.lines,
            report.first_seq,
            report.last_seq,
            report.events,
            report.pending
        );
        for fault in &report.faults {
            say!("{fault}");
        }
        say!(
            "{}",
            if report.faults.is_empty() {
                "nothing is missing"
            } else {
                "NOT whole: see above"
            }
        );
    }
    Ok(if report.faults.is_empty() { 0 } else { FAILED })
}
