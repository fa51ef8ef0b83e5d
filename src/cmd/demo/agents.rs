//! The simulated agents: shell loops in panes of several sessions that emit as fast as they can, as the predecessor's
//! monitors did.

use std::time::{Duration, Instant};

use super::stage::Stage;

/// Panes with an agent.
const AGENTS: usize = 5;
/// Events of each kind from each agent; together 2,600 of each.
const EACH: usize = 520;
/// Seconds between two different texts of an agent: all together they take more than a minute.
const PACE: &str = "0.12";

/// Opens the panes and lets the agents go.
pub(super) fn begin(stage: &Stage) -> Result<(), String> {
    let write = |name: String, text: String| {
        std::fs::write(stage.at(&name), text).map_err(|e| format!("cannot write {name}: {e}"))
    };
    for agent in 0..AGENTS {
        let texts: String = (0..EACH)
            .map(|n| different(agent * EACH + n) + "\n")
            .collect();
        write(format!("texts.{agent}"), texts)?;
        write(format!("agent.{agent}.sh"), script(stage, agent))?;
    }
    // As long as the agents live, their panes look like agents: tmux shows the name a program was started under.
    let shell = stage.at("claude");
    std::os::unix::fs::symlink("/bin/sh", &shell)
        .map_err(|e| format!("cannot make a link: {e}"))?;
    let run = |agent: usize| {
        format!(
            "exec '{}' '{}'",
            shell.display(),
            stage.at(&format!("agent.{agent}.sh")).display()
        )
    };
    stage.tmux("agents", &["split-window", "-d", "-t", "alpha:0", &run(0)])?;
    stage.tmux(
        "agents",
        &["new-window", "-d", "-t", "alpha", "-n", "web", &run(1)],
    )?;
    stage.tmux(
        "agents",
        &["new-session", "-d", "-s", "beta", "-n", "api", &run(2)],
    )?;
    stage.tmux("agents", &["split-window", "-d", "-t", "beta:api", &run(3)])?;
    stage.tmux(
        "agents",
        &["new-session", "-d", "-s", "gamma", "-n", "docs", &run(4)],
    )?;
    Ok(())
}

fn script(stage: &Stage, agent: usize) -> String {
    let at = |name: &str| stage.at(&format!("{name}.{agent}")).display().to_string();
    let orch = format!("'{}' emit", stage.program().display());
    let (texts, accepted, errors, done) = (at("texts"), at("accepted"), at("errors"), at("done"));
    format!(
        "exec 2>>'{errors}'\n\
         n=0\n\
         while [ $n -lt {EACH} ]; do\n\
         \x20 {orch} task_completed 'Task completed successfully' --severity high --source agent-{agent} >>'{accepted}'\n\
         \x20 n=$((n+1))\n\
         done\n\
         while read -r text; do\n\
         \x20 {orch} violation \"$text\" --severity high --source agent-{agent} >>'{accepted}'\n\
         \x20 sleep {PACE}\n\
         done <'{texts}'\n\
         : >'{done}'\n\
         exec cat\n"
    )
}

/// A text that differs from all others in more than its digits.
fn different(n: usize) -> String {
    const WORDS: [&str; 8] = [
        "parser", "schema", "cache", "router", "queue", "index", "token", "buffer",
    ];
    let word = |shift: usize| WORDS[n >> shift & 7];
    format!(
        "check of {} {} {} {} found a deviation",
        word(0),
        word(3),
        word(6),
        word(9)
    )
}

/// Waits until every agent has said everything.
pub(super) async fn finished(stage: &Stage, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    while !(0..AGENTS).all(|agent| stage.at(&format!("done.{agent}")).exists()) {
        if Instant::now() > deadline {
            return Err(format!(
                "the agents did not finish within {} s",
                patience.as_secs()
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The numbers that the agents were given for their events.
pub(super) fn acknowledged(stage: &Stage) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for agent in 0..AGENTS {
        let name = format!("accepted.{agent}");
        let text = std::fs::read_to_string(stage.at(&name))
            .map_err(|e| format!("cannot read {name}: {e}"))?;
        for line in text.lines() {
            numbers.push(
                line.parse()
                    .map_err(|_| format!("{name} holds {line:?}, which is no number"))?,
            );
        }
        let errors =
            std::fs::read_to_string(stage.at(&format!("errors.{agent}"))).unwrap_or_default();
        if let Some(error) = errors.lines().next() {
            return Err(format!("agent {agent} could not emit: {error}"));
        }
    }
    if numbers.len() != 2 * AGENTS * EACH {
        return Err(format!(
            "{} events were accepted, {} were emitted",
            numbers.len(),
            2 * AGENTS * EACH
        ));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_different_texts_are_different() {
        let texts: std::collections::HashSet<String> = (0..AGENTS * EACH).map(different).collect();
        assert_eq!(texts.len(), AGENTS * EACH);
        assert!(
            texts
                .iter()
                .all(|text| !text.contains(|c: char| c.is_ascii_digit()))
        );
    }
}
