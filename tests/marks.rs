//! The marks of panes and windows in `ORCH_MAP`, as a user's own format cuts them out.

mod stage;

use stage::Stage;

/// The format of the contract, for a pane and for a window.
fn cut(id: &str) -> String {
    format!(
        "#{{?#{{m:* #{{{id}}}=*,#{{ORCH_MAP}}}},#{{s/^.* #{{{id}}}=([^ ]*) .*$/\\1/:ORCH_MAP}},}}"
    )
}

#[test]
fn a_format_cuts_the_marks_out() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let pane = stage.split_window("beta");
    stage.see_a_new_pane("beta");
    let window = stage
        .tmux(&["display-message", "-p", "-t", &pane, "#{window_id}"])
        .trim()
        .to_owned();
    let mark = |target: &str, id: &str| {
        stage
            .tmux(&["display-message", "-p", "-t", target, &cut(id)])
            .trim()
            .to_owned()
    };
    assert_eq!(mark(&pane, "pane_id"), "");

    let seq = stage.emit("credit_exhausted", "no credit", &["--pane", &pane]);
    stage.wait_until("the pane is limited", || {
        mark(&pane, "pane_id") == "$" && mark(&window, "window_id") == "$"
    });
    stage.emit("agent_blocked", "may I?", &["--pane", &pane]);
    stage.wait_until("somebody must answer", || {
        mark(&pane, "pane_id") == "!" && mark(&window, "window_id") == "!"
    });
    assert_eq!(
        mark("alpha:", "window_id"),
        "",
        "another window, another session"
    );

    stage.emit("agent_working", "goes on", &["--pane", &pane]);
    stage.wait_until("it is over", || {
        mark(&pane, "pane_id").is_empty() && mark(&window, "window_id").is_empty()
    });
    let ended = stage.orch(&["ack", &seq.to_string()]);
    assert_eq!(ended.code, 1, "it holds no more: {ended:?}");

    stage.emit("agent_blocked", "again", &["--pane", &pane]);
    stage.wait_until("it is marked again", || mark(&pane, "pane_id") == "!");
    stage.stop_and_verify();
    let left = stage.tmux(&["show-environment", "-h", "-t", "beta"]);
    assert!(!left.contains("ORCH_MAP"), "{left}");
}
