//! What kind of program runs in a pane, from the name tmux gives it. Knows names only; nothing of screens yet.

/// What runs in a pane, as far as its command's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A coding agent, by its name.
    Agent(&'static str),
    /// A shell at its prompt, or running a script of its own.
    Shell,
    /// A tool that a person opens and closes: an editor, a pager, a viewer.
    Interactive,
    /// Anything else: a server, a build, a script, an agent under another name.
    Other,
}

const AGENTS: &[&str] = &["claude", "codex", "gemini", "opencode", "aider"];
const SHELLS: &[&str] = &[
    "bash", "zsh", "fish", "sh", "dash", "ksh", "mksh", "tcsh", "csh", "nu", "xonsh", "elvish",
    "pwsh", "ash",
];
const INTERACTIVE: &[&str] = &[
    "vim",
    "nvim",
    "vi",
    "view",
    "vimdiff",
    "emacs",
    "emacsclient",
    "nano",
    "micro",
    "helix",
    "hx",
    "kak",
    "less",
    "more",
    "most",
    "man",
    "info",
    "top",
    "htop",
    "btop",
    "atop",
    "k9s",
    "lazygit",
    "lazydocker",
    "tig",
    "gitui",
    "fzf",
    "sk",
    "ranger",
    "nnn",
    "lf",
    "yazi",
    "mc",
    "ssh",
    "mosh-client",
    "watch",
    "tmux",
    "sesh",
    "ncdu",
    "mutt",
    "weechat",
    "irssi",
    "bc",
    "psql",
    "orch",
];

/// Names the program behind `#{pane_current_command}`.
pub fn identify(command: &str) -> Program {
    // A login shell is `-bash`.
    let name = command.trim_start_matches('-');
    let name = name.rsplit('/').next().unwrap_or(name);
    if let Some(agent) = AGENTS.iter().find(|agent| **agent == name) {
        Program::Agent(agent)
    } else if SHELLS.contains(&name) {
        Program::Shell
    } else if INTERACTIVE.contains(&name) {
        Program::Interactive
    } else {
        Program::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_by_name() {
        for (command, program) in [
            ("claude", Program::Agent("claude")),
            ("-bash", Program::Shell),
            ("/usr/bin/zsh", Program::Shell),
            ("nvim", Program::Interactive),
            ("node", Program::Other),
            ("", Program::Other),
        ] {
            assert_eq!(identify(command), program, "{command}");
        }
    }
}
