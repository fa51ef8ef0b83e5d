//! A configuration file with anything in it: refused with a text, or understood; shown, it means the same again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use orch::config;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::parse(text, Path::new("fuzzed")) {
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
        Ok(loaded) => {
            let shown = config::show(&loaded.config);
            let again = config::parse(&shown, Path::new("shown"));
            assert_eq!(again.map(|again| again.config).map_err(|e| e.to_string()), Ok(loaded.config), "{shown}");
        }
    }
});
