//! Escapes of tmux: undone they give the bytes back, made they leave nothing that tmux would run or a line could end on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orch::tmux::TmuxText;
use orch::tmux::escape::{escape, quote, unescape, unvis, without_controls};

fuzz_target!(|data: &[u8]| {
    assert_eq!(*unescape(&escape(data)), *data);
    assert!(unescape(data).len() <= data.len());
    assert!(unvis(data).len() <= data.len());
    let text = String::from_utf8_lossy(data);
    assert!(!quote(&without_controls(&text)).contains(['\n', '\r', '\0']));
    for shown in [TmuxText::expanded(&text, 200), TmuxText::plain(&text, 200)] {
        let shown = shown.as_str();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.replace("##", "").contains('#'), "{shown:?}");
    }
    let timed = TmuxText::expanded(&text, 200);
    assert!(!timed.as_str().replace("%%", "").contains('%'), "{timed:?}");
});
