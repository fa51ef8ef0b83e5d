//! Text on its way into tmux, judged by tmux itself: what is quoted comes back to the byte, what is escaped for display
//! is shown as it is and runs nothing.

mod stage;

use orch::tmux::client::{self, Config, Signal, Tmux};
use orch::tmux::{Command, TmuxText};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stage::Stage;
use tokio_util::sync::CancellationToken;

/// Texts that have been trouble somewhere.
const HOSTILE: &[&str] = &[
    "",
    "~",
    "~root/x",
    "$HOME ${HOME} $(id) `id`",
    "a;b ; kill-server",
    "\"quoted\" 'and' \\back\\slashed\\",
    "\\u0041 \\e \\n \\012 \\",
    "#(touch F) ##(touch F) #{pane_pid} #[fg=red] %s %% #",
    "line\nfeed\r\ttab\u{1b}[31m\u{7f}\u{1}",
    "-flag --",
    "{ } { run-shell id }",
    "%begin 1 2 1",
    "é ü 日本 🦀 \u{feff}\u{202e}",
    "FOO=bar",
    "# a comment",
];

/// Some hundred texts of every kind, the same in each run.
fn texts() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let any = prop_oneof![
        any::<String>(),
        "[ -~]{0,40}",
        "[\\x01-\\x7f]{0,40}",
        "[#%(){}\\[\\]\\\\\"'$~;,: \n]{0,20}"
    ];
    let drawn = (0..300).filter_map(|_| any.new_tree(&mut runner).ok().map(|tree| tree.current()));
    // NUL cannot be said to tmux.
    let drawn = drawn.map(|text: String| text.replace('\0', ""));
    HOSTILE
        .iter()
        .map(|text| (*text).to_owned())
        .chain(drawn)
        .collect()
}

/// Runs `work` with a connection to a server of its own.
fn connected<F: Future<Output = ()>>(stage: &Stage, work: impl FnOnce(Tmux) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (tmux, mut signals, task) = client::run(Config::new(stage.socket()), stop.clone());
        while !matches!(signals.recv().await, Some(Signal::Attached(_))) {}
        work(tmux).await;
        stop.cancel();
        task.await.expect("the connection ends");
    });
}

#[test]
fn what_is_quoted_comes_back_to_the_byte() {
    let stage = Stage::with(&["alpha"]);
    connected(&stage, async |tmux| {
        for text in texts().into_iter().filter(|text| !text.is_empty()) {
            let name = "orch-test".to_owned();
            tmux.ask(Command::SetBuffer {
                name,
                text: text.clone(),
            })
            .await
            .expect("tmux takes it");
            let mut show = std::process::Command::new("tmux");
            show.arg("-S")
                .arg(stage.socket())
                .args(["show-buffer", "-b", "orch-test"]);
            let back = show.output().expect("tmux answers").stdout;
            assert_eq!(String::from_utf8_lossy(&back), text, "{text:?}");
        }
    });
}

/// What `display-message -p` makes of an escaped text: pairs become one, but those before a `[` stay for the code that
/// draws styles, which shows them as one (`format.c`, `format_expand1`).
fn shown(escaped: &str) -> String {
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('#') {
        let hashes = rest[at..].len() - rest[at..].trim_start_matches('#').len();
        let after = &rest[at + hashes..];
        out.push_str(&rest[..at]);
        out.push_str(&"#".repeat(if after.starts_with('[') {
            hashes
        } else {
            hashes / 2
        }));
        rest = after;
    }
    (out + rest).replace("%%", "%")
}

#[test]
fn what_is_escaped_for_display_is_shown_and_runs_nothing() {
    let stage = Stage::with(&["alpha"]);
    let proof = stage.at("F");
    connected(&stage, async |tmux| {
        for text in texts() {
            let text = text.replace("touch F", &format!("touch {}", proof.display()));
            // A first letter, since a format of orch's own never looks like an option.
            let safe = TmuxText::expanded(&format!("x{text}"), 9_000);
            let shown = shown(safe.as_str());
            // The escaped text is the format itself: tmux expands it as it does that of a message.
            let format: &'static str = Box::leak(safe.as_str().to_owned().into_boxed_str());
            let back = tmux
                .ask(Command::Ask { format })
                .await
                .expect("tmux takes it");
            let back: Vec<_> = back
                .iter()
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            assert_eq!(back.join("\n"), shown, "{text:?}");
        }
    });
    assert!(!proof.exists(), "a text was run");
}
