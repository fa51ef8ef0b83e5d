//! What a panic says, for the diagnostics and for whoever goes on after it. A part may fail; its last words must not
//! be lost.

use std::any::Any;
use std::cell::RefCell;
use std::panic::PanicHookInfo;

thread_local! {
    /// The last panic of this thread, for the one that catches it there.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is one line in the diagnostics, with the part of the program and the place.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = describe(info);
        let part = info.location().and_then(|place| part_of(place.file()));
        let part = part.unwrap_or("a library");
        tracing::error!(target: "orch::app", "{part} {text}");
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            tracing::error!(target: "orch::app", "{trace}");
        }
        // A catcher on another thread, or none, leaves it here; the next panic takes its place.
        let _ = LAST.try_with(|last| last.replace(Some(text)));
    }));
}

/// What a panic that was just caught on this thread said.
pub(super) fn caught(payload: &(dyn Any + Send)) -> String {
    let told = LAST.try_with(RefCell::take).ok().flatten();
    told.unwrap_or_else(|| format!("panicked: {}", words(payload)))
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(String::new, |place| {
        format!(" at {}:{}:{}", place.file(), place.line(), place.column())
    });
    format!("panicked{place}: {}", words(info.payload()))
}

/// On one line: a line of the diagnostics is one record.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text")
        .lines()
        .collect::<Vec<_>>()
        .join(" | ")
}

/// The module whose file this is: `src/NAME/…` or `src/NAME.rs`.
fn part_of(file: &str) -> Option<&str> {
    let first = file.strip_prefix("src/")?.split('/').next()?;
    Some(first.trim_end_matches(".rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_told_by_the_file() {
        for (file, part) in [
            ("src/journal/append.rs", Some("journal")),
            ("src/bus.rs", Some("bus")),
            ("/root/.cargo/registry/src/x/src/lib.rs", None),
        ] {
            assert_eq!(part_of(file), part);
        }
    }

    #[test]
    fn a_panic_is_one_line() {
        let payload = std::panic::catch_unwind(|| panic!("one\n{}", "two")).unwrap_err();
        let said = caught(&*payload);
        assert!(
            said.starts_with("panicked") && said.ends_with("one | two"),
            "{said}"
        );
    }
}
