//! The promises under the flood that orch exists for: `orch demo --headless`, as anybody can run it. How fast it was is
//! printed, not asserted.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_flood_stays_out_and_nothing_is_lost() {
    let output = Command::new(env!("CARGO_BIN_EXE_orch"))
        .args(["demo", "--headless"])
        .env_remove("TMUX")
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    println!("{report}");
    let number = |name: &str| {
        report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name}: {report}"))
    };

    assert_eq!(number("accepted"), 5_250);
    assert_eq!(number("journaled"), 5_250);
    assert_eq!(number("missing"), 0);
    assert!(number("max_delivered_per_60s") <= 20, "{report}");
    assert!(number("max_messages_per_client_10s") <= 1, "{report}");
    assert_eq!(number("spawned_processes"), 0);
    let outcomes = report["outcomes"].as_object().expect("outcomes");
    let total: u64 = outcomes.values().filter_map(Value::as_u64).sum();
    assert!(total >= 5_250, "each event has its outcome: {report}");
    assert!(
        number_of(outcomes, "delivered") > 0 && number_of(outcomes, "duplicate") > 1_000,
        "{report}"
    );
    // The only promise that a busy machine may break is how soon; any other would have been said.
    let other = said
        .lines()
        .filter(|line| line.contains("promise broken") && !line.contains("was visible after"));
    assert_eq!(other.count(), 0, "{said}");
}

fn number_of(outcomes: &serde_json::Map<String, Value>, name: &str) -> u64 {
    outcomes.get(name).and_then(Value::as_u64).unwrap_or(0)
}
