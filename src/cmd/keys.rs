//! `orch keys`: the lines for tmux.conf. Prints them; binds nothing and sets nothing.

use std::process::Command;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, terminal};
use crate::cli::{Global, Keys};

/// The key of the live view, free after the prefix on tmux 3.2 to master.
const VIEW: &str = "O";

/// Shows the segment, or `orch?` when the beat is older than 30 s, or nothing where orch never ran.
pub(super) const SEGMENT: &str =
    "#{?ORCH_BEAT,#{?#{e|>|:#{e|-|:%s,#{ORCH_BEAT}},30},orch?,#{ORCH_STATUS}},}";

pub(super) fn keys(global: &Global, args: &Keys) -> Done {
    if args.check {
        return check(global);
    }
    for line in lines()? {
        say!("{line}");
    }
    Ok(0)
}

/// The lines, with the path of this very program: tmux's PATH may be another than the user's.
pub(super) fn lines() -> Result<Vec<String>, Failure> {
    let program =
        std::env::current_exe().map_err(|e| Failure::new(format!("cannot find myself: {e}")))?;
    // Twice quoted: for the shell that runs the command, and for tmux's parser.
    let shell = format!(
        "'{}' attach",
        program.display().to_string().replace('\'', r"'\''")
    );
    let command = crate::tmux::escape::quote(&shell);
    Ok(vec![
        "# orch: put these lines into your tmux.conf, or leave out what you do not want".to_owned(),
        format!("bind-key -N 'orch: live view' {VIEW} display-popup -E -w 90% -h 80% {command}"),
        "# the segment, at the right end of the status line; empty while there is nothing to say"
            .to_owned(),
        "set-option -g status-right-length 100".to_owned(),
        // Once, however often the file is read again.
        format!(
            "if-shell -F '#{{m:*ORCH_STATUS*,#{{status-right}}}}' '' \"set-option -ag status-right ' {SEGMENT}'\""
        ),
    ])
}

fn check(global: &Global) -> Done {
    let server = Whereabouts::find(global)?.server;
    let output = Command::new("tmux")
        .args(["-N", "-S"])
        .arg(&server.socket)
        .args(["list-keys", "-T", "prefix", VIEW])
        .env_remove("TMUX")
        .output()
        .map_err(|e| Failure::new(format!("cannot start tmux: {e}; is it installed?")))?;
    let bound = String::from_utf8_lossy(&output.stdout);
    match bound.lines().find(|line| !line.trim().is_empty()) {
        Some(line) if line.contains("orch") => say!("prefix {VIEW}: bound to orch"),
        Some(line) => say!(
            "prefix {VIEW}: bound already, choose another key: {}",
            terminal::safe(line)
        ),
        None => say!("prefix {VIEW}: free"),
    }
    Ok(0)
}
