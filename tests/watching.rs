//! What orch knows of a real tmux server: who is there, who went and how, and that watching leaves no trace.

mod stage;

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use stage::Stage;

/// What was said of a pane after it had started.
fn ends_of(stage: &Stage, pane: &str) -> Vec<Value> {
    let mut events = stage.events(&["--pane", pane]);
    events.retain(|event| event["type"] != "pane_started" && event["type"] != "agent_started");
    events
}

/// A program that tmux shows as `worker`; it ends with a status once it reads a line.
fn worker(stage: &Stage, target: &str, status: u8) -> String {
    let program = stage.at("worker");
    if !program.exists() {
        std::os::unix::fs::symlink("/bin/sh", &program).expect("a link");
    }
    let command = format!("exec '{}' -c 'read line; exit {status}'", program.display());
    stage.new_window(target, &["-n", "work", &command])
}

fn command_is_known(stage: &Stage, pane: &str, command: &str) {
    stage.wait_until(&format!("{pane} runs {command}"), || {
        let panes = stage.panes();
        panes
            .iter()
            .any(|known| known["pane"] == pane && known["command"] == command)
    });
}

#[test]
fn the_roster_is_what_tmux_lists_in_every_session() {
    let stage = Stage::with(&["alpha", "be ta", "gamma"]);
    stage.new_window("alpha", &["-n", "second"]);
    stage.split_window("be ta:first");
    stage.run();
    stage.roster_agrees();
    assert_eq!(stage.roster().len(), 5);
    // What changes in any of them is followed.
    stage.split_window("gamma:first");
    stage.new_window("be ta", &["-n", "third"]);
    stage.tmux(&["rename-window", "-t", "alpha:second", "other"]);
    stage.tmux(&["rename-session", "-t", "gamma", "delta"]);
    stage.tmux(&["resize-pane", "-t", "be ta:first.0", "-y", "11"]);
    stage.roster_agrees();
    assert_eq!(stage.roster().len(), 7);
    let status = stage.status().expect("it runs");
    assert_eq!(status["panes"]["total"], 7);
    assert_eq!(status["tmux"]["spawned"], 1);
}

#[test]
fn a_pane_that_is_killed_in_another_session_is_one_critical_event() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let host = stage.hosts();
    let (other, id) = ["alpha", "beta"]
        .map(|name| (name, stage.session_id(name)))
        .into_iter()
        .find(|(_, id)| *id != host[0].0)
        .expect("another session");
    let pane = stage.split_window(&format!("{other}:first"));
    stage.event_about(&pane, "pane_started");
    stage.tmux(&["kill-pane", "-t", &pane]);
    let event = stage.event_about(&pane, "agent_exited");
    assert_eq!(event["severity"], "critical");
    assert_eq!(event["session"], other);
    assert_eq!(event["data"]["expected"], false);
    stage.see_a_new_pane(other);
    assert_eq!(ends_of(&stage, &pane).len(), 1);
    stage.roster_agrees();
    assert!(stage.hosts().iter().all(|(session, _)| *session != id));
}

#[test]
fn a_shell_that_exits_by_itself_is_chatter() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let pane = stage.see_a_new_pane("beta");
    stage.tmux(&["send-keys", "-t", &pane, "exit", "Enter"]);
    let event = stage.event_about(&pane, "pane_exited");
    assert_eq!(event["severity"], "low");
    stage.see_a_new_pane("beta");
    assert_eq!(ends_of(&stage, &pane).len(), 1);
}

#[test]
fn a_program_that_ends_on_screen_is_told_by_its_status() {
    let stage = Stage::with(&["alpha"]);
    stage.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
    stage.run();
    for (status, severity) in [(3, "critical"), (0, "medium")] {
        let pane = worker(&stage, "alpha", status);
        command_is_known(&stage, &pane, "worker");
        stage.tmux(&["send-keys", "-t", &pane, "Enter"]);
        let event = stage.wait_for("it has ended", || {
            // tmux 3.3a sometimes leaves an ended program unreaped, its status unknown, until another child ends.
            stage.tmux(&["run-shell", "-b", "true"]);
            let filters = ["--pane", &pane, "--type", "agent_exited"];
            stage.events(&filters).pop()
        });
        assert_eq!(event["severity"], severity, "{event}");
        assert_eq!(event["data"]["status"], status, "{event}");
        assert_eq!(event["data"]["command"], "worker");
        let panes = stage.panes();
        let dead = panes.iter().find(|known| known["pane"] == *pane);
        let dead = dead.expect("it is still there");
        assert_eq!(dead["dead"], true);
        assert_eq!(dead["dead_status"], status);
        assert_eq!(dead["state"], "exited");
        stage.see_a_new_pane("alpha");
        assert_eq!(ends_of(&stage, &pane).len(), 1);
    }
}

#[test]
fn f15_a_server_that_ends_and_comes_back_is_told_once_each() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.split_window("alpha:first");
    stage.run();
    stage.roster_agrees();
    stage.kill_server();
    stage.wait_until("tmux is lost", || stage.count("tmux_lost") == 1);
    assert_eq!(stage.status().expect("it runs")["ready"], false);
    assert_eq!(stage.panes().len(), 0);
    stage.start_server(&["gamma"]);
    stage.wait_until("attached again", || stage.count("tmux_attached") == 2);
    stage.roster_agrees();
    stage.see_a_new_pane("gamma");
    assert_eq!(stage.count("tmux_lost"), 1);
    assert_eq!(stage.count("tmux_attached"), 2);
    assert_eq!(stage.count("{agent,pane}_exited"), 0);
    assert_eq!(stage.count("pane_started"), 1);
    stage.stop_and_verify();
}

#[test]
fn f16_a_server_that_another_replaces_at_once_with_the_same_ids_is_lost_too() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    stage.roster_agrees();
    // So quickly that orch never finds the socket without a server.
    stage.signal(Signal::STOP);
    stage.kill_server();
    stage.start_server(&["gamma"]);
    stage.signal(Signal::CONT);
    stage.wait_until("attached again", || stage.count("tmux_attached") == 2);
    stage.roster_agrees();
    stage.see_a_new_pane("gamma");
    assert_eq!(stage.count("tmux_lost"), 1);
    assert_eq!(stage.count("tmux_attached"), 2);
    assert_eq!(stage.count("{agent,pane}_exited"), 0);
    stage.stop_and_verify();
}

#[test]
fn a_server_that_ends_while_orch_is_stopped_is_lost_once() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    stage.signal(Signal::STOP);
    // It ends although nobody reads what it says.
    stage.kill_server();
    assert_eq!(stage.count("tmux_lost"), 0);
    stage.signal(Signal::CONT);
    stage.wait_until("tmux is lost", || stage.count("tmux_lost") == 1);
    stage.start_server(&["beta"]);
    stage.wait_until("attached again", || stage.count("tmux_attached") == 2);
    stage.see_a_new_pane("beta");
    assert_eq!(stage.count("tmux_lost"), 1);
    stage.stop_and_verify();
}

#[test]
fn when_its_host_session_is_killed_it_moves_to_another() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    stage.roster_agrees();
    let (host, client) = stage.hosts().remove(0);
    let pane = stage.tmux(&["list-panes", "-t", &host, "-F", "#{pane_id}"]);
    stage.tmux(&["kill-session", "-t", &host]);
    let left = stage.tmux(&["list-sessions", "-F", "#{session_id}"]);
    stage.wait_until("it has moved", || {
        let status = stage.status().expect("it runs");
        status["ready"] == true && status["tmux"]["session"] == *left
    });
    let hosts = stage.hosts();
    assert_eq!(hosts.len(), 1);
    assert!(hosts[0].0 == left && hosts[0].1 != client, "{hosts:?}");
    assert_eq!(stage.status().expect("it runs")["tmux"]["spawned"], 2);
    stage.event_about(&pane, "agent_exited");
    stage.see_a_new_pane(&left);
    stage.roster_agrees();
    assert_eq!(ends_of(&stage, &pane).len(), 1);
    assert_eq!(stage.count("tmux_lost"), 0);
    assert_eq!(stage.count("tmux_attached"), 1);
}

#[test]
fn it_is_never_hosted_by_a_session_that_lives_by_being_attached() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.seat_a_person("alpha");
    stage.tmux(&["set-option", "-t", "alpha", "destroy-unattached", "on"]);
    let beta = stage.session_id("beta");
    stage.run();
    let hosts = stage.hosts();
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0].0, beta);
    assert_eq!(stage.status().expect("it runs")["tmux"]["session"], *beta);
    // It ends with its person, as its user wants.
    stage.unseat();
    stage.wait_until("alpha has ended", || {
        stage.tmux(&["list-sessions", "-F", "#{session_name}"]) == "beta"
    });
    stage.roster_agrees();
}

#[test]
fn where_tmux_moves_its_client_it_follows_and_does_not_stay_on_such_a_session() {
    let stage = Stage::with(&["alpha", "beta", "gamma"]);
    stage.tmux(&["set-option", "-g", "detach-on-destroy", "off"]);
    stage.run();
    let (host, client) = stage.hosts().remove(0);
    let others = stage.tmux(&["list-sessions", "-F", "#{session_id}"]);
    let mut others = others.lines().filter(|id| *id != host);
    let (fleeting, lasting) = (others.next().expect("one"), others.next().expect("another"));
    // The last used one is where tmux moves clients to.
    stage.seat_a_person(fleeting);
    stage.tmux(&["set-option", "-t", fleeting, "destroy-unattached", "on"]);
    stage.tmux(&["kill-session", "-t", &host]);
    stage.wait_until("it is hosted by the other session, and knows it", || {
        let status = stage.status().expect("it runs");
        stage.hosts() == [(lasting.to_owned(), client)] && status["tmux"]["session"] == lasting
    });
    stage.see_a_new_pane(lasting);
    assert_eq!(stage.status().expect("it runs")["tmux"]["spawned"], 1);
    assert_eq!(stage.count("tmux_lost"), 0);
    stage.unseat();
    stage.wait_until("the other has ended", || {
        stage.tmux(&["list-sessions", "-F", "#{session_id}"]) == lasting
    });
}

#[test]
fn a_directory_cannot_fake_a_notification() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let directory = stage.at("x\n%exit faked");
    std::fs::create_dir(&directory).expect("a directory");
    let directory = directory.display().to_string();
    let pane = stage.new_window("beta", &["-n", "odd", "-c", &directory]);
    stage.wait_until("its directory is known", || {
        let panes = stage.panes();
        let path = |known: &Value| known["path"].as_str().map(str::to_owned);
        let known = panes.iter().find(|known| known["pane"] == *pane);
        known
            .and_then(path)
            .is_some_and(|path| path.ends_with("/x?%exit faked"))
    });
    stage.see_a_new_pane("alpha");
    stage.roster_agrees();
    let status = stage.status().expect("it runs");
    assert_eq!(status["ready"], true);
    assert_eq!(status["tmux"]["spawned"], 1);
    assert_eq!(stage.count("tmux_lost"), 0);
}

#[test]
fn what_a_users_hook_prints_is_no_reply() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.tmux(&[
        "set-hook",
        "-g",
        "after-list-panes",
        "display-message -p hooked",
    ]);
    stage.run();
    for _ in 0..5 {
        stage.see_a_new_pane("beta");
        stage.roster_agrees();
    }
    let status = stage.status().expect("it runs");
    assert_eq!(status["tmux"]["spawned"], 1, "{status}");
    assert!(status["last_error"].is_null(), "{status}");
}

#[test]
fn f17_many_windows_that_come_and_go_leave_the_roster_right() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let mut panes = Vec::new();
    for n in 0..30 {
        panes.push(stage.new_window(["alpha", "beta"][n % 2], &["-n", "brief"]));
        if n % 3 == 2 {
            stage.tmux(&["kill-pane", "-t", &panes[n - 1]]);
        }
    }
    stage.roster_agrees();
    for (n, pane) in panes.iter().enumerate() {
        if n % 3 != 1 {
            stage.tmux(&["kill-pane", "-t", pane]);
        }
    }
    stage.roster_agrees();
    assert_eq!(stage.roster().len(), 2);
    assert_eq!(stage.status().expect("it runs")["tmux"]["spawned"], 1);
    // A thousand within seconds, quicker than anybody can list them.
    let began = Instant::now();
    let client = stage.seat_a_person("alpha");
    let window = |n: usize| {
        let session = ["alpha", "beta"][n % 2];
        format!(
            "new-window -d -t '{session}:{}' -n brief 'exec sleep 1000'\nkill-window -t '{session}:{}'\n",
            n + 10,
            n + 10
        )
    };
    let storm: String = (0..1000).map(window).collect();
    let path = stage.write("storm.conf", &storm);
    stage.tmux(&["source-file", &path]);
    stage.roster_agrees();
    stage.see_a_new_pane("beta");
    // One message, and one more every 10 s.
    let most = 1 + (began.elapsed().as_secs() / 10) as usize;
    let messages = stage.messages(&client);
    assert!(messages.len() <= most, "{messages:?}");
    assert_eq!(stage.count("tmux_lost"), 0);
    stage.stop_and_verify();
}

#[test]
fn f11_panes_that_print_without_end_hold_nothing_up() {
    let stage = Stage::with(&["alpha", "beta"]);
    for n in 0..20 {
        stage.new_window(["alpha", "beta"][n % 2], &["-n", "storm", "yes"]);
    }
    stage.run();
    stage.wait_until("all are known", || stage.panes().len() == 22);
    let pane = worker(&stage, "beta", 3);
    command_is_known(&stage, &pane, "worker");
    stage.tmux(&["kill-pane", "-t", &pane]);
    stage.wait_until("its end is told", || ends_of(&stage, &pane).len() == 1);
    let status = stage.status().expect("it runs");
    assert_eq!(
        (&status["tmux"]["spawned"], &status["tmux"]["reconnects"]),
        (&1.into(), &0.into())
    );
    stage.stop_and_verify();
}

#[test]
fn a_bell_is_heard() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let pane = stage.new_window("beta", &["-n", "loud", "read go; printf '\\a'; read on"]);
    stage.event_about(&pane, "pane_started");
    stage.tmux(&["send-keys", "-t", &pane, "Enter"]);
    let event = stage.event_about(&pane, "bell");
    assert_eq!(event["severity"], "low");
    stage.see_a_new_pane("beta");
    assert_eq!(stage.count("bell"), 1);
}

/// Everything that orch must leave as it is.
fn footprint(stage: &Stage) -> Vec<String> {
    let windows = "#{session_id} #{session_name} #{window_id} #{window_index} #{window_name} #{window_width} \
        #{window_height} #{window_layout} #{window_visible_layout} #{window_active} #{window_zoomed_flag} \
        #{pane_id} #{session_group}";
    let clients = "#{?client_control_mode,,#{client_name} #{session_id} #{client_width} #{client_height} #{client_flags}}";
    let mut lines = vec![
        stage.tmux(&["list-windows", "-a", "-F", windows]),
        stage
            .tmux(&["list-clients", "-F", clients])
            .trim()
            .to_owned(),
        stage.tmux(&["show-options", "-g"]),
        stage.tmux(&["show-options", "-s"]),
        stage.tmux(&["show-options", "-g", "-w"]),
        stage.tmux(&["show-hooks", "-g"]),
        stage.tmux(&["show-hooks", "-g", "-w"]),
        stage.tmux(&["show-environment", "-g"]),
        stage.tmux(&["list-keys"]),
        stage.tmux(&["list-buffers"]),
    ];
    for session in stage
        .tmux(&["list-sessions", "-F", "#{session_id}"])
        .lines()
    {
        lines.push(stage.tmux(&["show-options", "-t", session]));
        lines.push(stage.tmux(&["show-hooks", "-t", session]));
        lines.push(stage.tmux(&["show-environment", "-t", session]));
    }
    for window in stage
        .tmux(&["list-windows", "-a", "-F", "#{window_id}"])
        .lines()
    {
        lines.push(stage.tmux(&["show-options", "-w", "-t", window]));
        lines.push(stage.tmux(&["show-hooks", "-w", "-t", window]));
    }
    for pane in stage
        .tmux(&["list-panes", "-a", "-F", "#{pane_id}"])
        .lines()
    {
        lines.push(stage.tmux(&["show-options", "-p", "-t", pane]));
    }
    lines
}

#[test]
fn watching_leaves_windows_options_hooks_and_environment_alone() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.split_window("alpha:first");
    stage.new_window("alpha", &["-n", "second"]);
    stage.new_window("beta", &["-n", "third"]);
    stage.tmux(&["set-hook", "-g", "after-new-window", "display-message hi"]);
    stage.tmux(&["set-option", "-t", "alpha", "@mine", "kept"]);
    stage.seat_a_person("alpha");
    // The windows have found the size of the person's terminal.
    let size = [
        "display-message",
        "-p",
        "-t",
        "alpha:first",
        "#{window_width}x#{window_height}",
    ];
    stage.wait_until("the window has its size", || stage.tmux(&size) == "120x39");
    let before = footprint(&stage);
    assert_eq!(stage.variables(), [""; 0]);

    stage.run();
    stage.emit("system_failure", "something to show", &[]);
    stage.wait_until("it is shown", || {
        stage.variable("ORCH_CRITICAL").as_deref() == Some("1")
    });
    stage.outcome(1);
    stage.wait_until("the message has passed", || {
        stage.status_line().contains("[alpha]")
    });
    assert_eq!(footprint(&stage), before, "while it runs");
    assert_eq!(stage.variables().len(), 9, "{:?}", stage.variables());

    stage.stop();
    assert_eq!(footprint(&stage), before, "after it ran");
    assert_eq!(stage.variables(), [""; 0]);
    for session in ["alpha", "beta"] {
        let hidden = stage.tmux(&["show-environment", "-h", "-t", session]);
        assert!(!hidden.contains("ORCH_"), "{hidden}");
    }
    assert_eq!(stage.hosts(), []);
}

#[test]
fn a_server_that_hangs_is_told_and_comes_back_with_one_client() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let server = stage.tmux(&["display-message", "-p", "#{pid}"]);
    let server = server
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let server = server.expect("the server's number");
    let signal =
        |signal| rustix::process::kill_process(server, signal).expect("the server is there");
    let clients = || {
        stage
            .status()
            .map_or(0, |status| status["tmux"]["spawned"].as_u64().unwrap_or(0))
    };

    signal(Signal::STOP);
    // Something to say, so that an answer is missed at once.
    stage.emit("system_failure", "it broke", &[]);
    stage.wait_until("it is blocked", || {
        stage
            .status()
            .is_some_and(|status| status["tmux"]["state"] == "blocked" && status["ready"] == false)
    });
    stage.wait_until("that is told", || stage.count("tmux_lost") == 1);
    assert_eq!(
        clients(),
        1,
        "no second client beside one that cannot leave"
    );
    signal(Signal::CONT);
    stage.wait_until("attached again", || stage.count("tmux_attached") == 2);
    assert_eq!(clients(), 2);
    stage.see_a_new_pane("alpha");
    // Nothing of the first client is left that would keep tmux from ending.
    stage.stop_and_verify();
    stage.kill_server();
}

#[test]
fn a_host_killed_while_the_client_cannot_leave_costs_no_server() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    stage.roster_agrees();
    let status = stage.status().expect("it runs");
    let client = status["tmux"]["client_pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    let client = client
        .and_then(rustix::process::Pid::from_raw)
        .expect("the client's number");
    rustix::process::kill_process(client, Signal::STOP).expect("the client is there");
    let (host, _) = stage.hosts().remove(0);
    stage.tmux(&["kill-session", "-t", &host]);
    // Subscriptions fire each second; tied to the session they would end tmux 3.3a now.
    let killed = std::time::Instant::now();
    stage.wait_until("subscriptions have fired", || {
        killed.elapsed().as_millis() > 2_500
    });
    assert_eq!(
        stage
            .tmux(&["list-sessions", "-F", "#{session_id}"])
            .lines()
            .count(),
        1
    );
    rustix::process::kill_process(client, Signal::CONT).expect("the client is there");
    let left = stage.tmux(&["list-sessions", "-F", "#{session_name}"]);
    stage.see_a_new_pane(left.trim());
    assert_eq!(stage.count("tmux_lost"), 0);
    stage.stop_and_verify();
}
