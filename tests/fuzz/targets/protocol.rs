//! Lines from the socket and from `orch emit -`: what is understood means the same when it is said again, and what is
//! accepted can be read from the journal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orch::api::protocol::Request;
use orch::event::{Emission, Line, Received, Severity};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let request: Result<Request, _> = serde_json::from_str(text);
    if let Ok(request) = &request {
        let again = serde_json::to_string(request).expect("it came from JSON");
        assert_eq!(&serde_json::from_str::<Request>(&again).expect(&again), request);
    }
    let emission = match request {
        Ok(Request::Emit { event }) if event.check().is_ok() => *event,
        _ => match Emission::parse(text) {
            Ok(emission) => emission,
            Err(_) => return,
        },
    };
    let ts = "2026-11-22T13:24:52.123456+01:00".parse().expect("a time");
    let line = Line::Event(Box::new(emission.draft(Severity::Low, "cli").accept(1, ts)));
    let mut written = Vec::new();
    line.write(&mut written).expect("data came from JSON");
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert!(written.len() < 256 << 10);
    assert_eq!(Received::parse(&written).expect("it was written"), Received::Line(line));
});
