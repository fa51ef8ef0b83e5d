//! Who closed a pane, read off tmux's own log of commands. Pure; knows no connection.

use super::roster::{Killer, Roster};

/// Looks through `show-messages`, newest first, for a command that closes panes. Our own commands mark how
/// far back it can have been: not before the listing ahead of the `listings` latest, nor before we looked
/// into the log the last time.
pub(super) fn find<'a>(
    log: impl Iterator<Item = &'a str>,
    own: &str,
    roster: &Roster,
    listings: u32,
) -> Option<Killer> {
    let (mut listed, mut looked) = (0, 0);
    for line in log {
        // `18:02: CLIENT command: kill-pane …`, or `18:02: CLIENT key x: …`.
        let Some((_, entry)) = line.split_once(": ") else {
            continue;
        };
        let Some((client, rest)) = entry.split_once(' ') else {
            continue;
        };
        let Some((how, command)) = rest.split_once(": ") else {
            continue;
        };
        if client == own {
            listed += u32::from(command.starts_with("list-panes"));
            looked += u32::from(command.starts_with("show-messages"));
            if listed > listings || looked > 1 {
                return None;
            }
            continue;
        }
        let kills = [
            "kill-pane",
            "kill-window",
            "kill-session",
            "killp",
            "killw",
            "respawn-",
            "unlink-window -k",
        ];
        if !kills.iter().any(|kill| command.starts_with(kill)) {
            continue;
        }
        let person = how.starts_with("key") || roster.humans().any(|human| human.name.0 == client);
        let command = command.chars().take(80).collect();
        return Some(if person {
            Killer::Person(command)
        } else {
            Killer::Command(command)
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::roster::Client;
    use super::*;
    use crate::tmux::id::ClientName;

    #[test]
    fn tmuxs_log_tells_who_killed() {
        let human = Client {
            name: ClientName("/dev/pts/1".into()),
            human: true,
            pid: 1,
            width: 80,
            height: 24,
            session: None,
        };
        let roster = Roster {
            clients: [(human.name.clone(), human)].into(),
            ..Roster::default()
        };
        let own = "10:00: client-9 command: list-panes -a";
        let look = "10:00: client-9 command: show-messages";
        let person = Some(Killer::Person("kill-pane".into()));
        let script = Some(Killer::Command("kill-pane -t beta.1".into()));
        for (log, expected) in [
            (
                vec![look, own, "10:00: client-7 command: kill-pane -t beta.1"],
                script,
            ),
            (
                vec!["10:00: /dev/pts/1 command: kill-pane", own],
                person.clone(),
            ),
            (vec!["10:00: /dev/pts/9 key x: kill-pane"], person),
            (
                vec![own, own, "10:00: client-7 command: kill-pane -t beta.1"],
                None,
            ),
            (
                vec![look, look, "10:00: client-7 command: kill-pane -t beta.1"],
                None,
            ),
            (
                vec!["10:00: client-7 command: split-window", "garbage", ""],
                None,
            ),
        ] {
            assert_eq!(
                find(log.iter().copied(), "client-9", &roster, 1),
                expected,
                "{log:?}"
            );
        }
    }
}
