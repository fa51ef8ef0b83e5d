//! `orch decode`: control-mode bytes to JSON, one object a line.

use std::io::{Read, Write};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};
use tokio_util::codec::Decoder;

use super::{Done, Failure};
use crate::cli::Decode;
use crate::tmux::notification::Escaped;
use crate::tmux::{Block, ControlCodec, Frame, Notification};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

pub(super) fn decode(args: &Decode) -> Done {
    let mut input: Box<dyn Read> = match &args.file {
        Some(path) => {
            let file = std::fs::File::open(path);
            Box::new(
                file.map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))?,
            )
        }
        None => Box::new(std::io::stdin().lock()),
    };
    if args.stats {
        let mut bytes = Vec::new();
        input
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::new(format!("cannot read: {e}")))?;
        say!("{}", stats(&bytes));
        return Ok(0);
    }
    let mut out = std::io::BufWriter::with_capacity(CHUNK, std::io::stdout().lock());
    let mut closed = false;
    frames(&mut input, |frame| {
        closed = closed || writeln!(out, "{}", describe(&frame, args.hex)).is_err();
        !closed
    })
    .map_err(|e| Failure::new(format!("cannot read: {e}")))?;
    let _ = out.flush();
    Ok(0)
}

fn frames(input: &mut dyn Read, mut each: impl FnMut(Frame) -> bool) -> std::io::Result<()> {
    let mut codec = ControlCodec::for_recordings();
    let mut buffer = BytesMut::with_capacity(2 * CHUNK);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = input.read(&mut chunk)?;
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(frame) = if read == 0 {
            codec.decode_eof(&mut buffer)?
        } else {
            codec.decode(&mut buffer)?
        } {
            if !each(frame) {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn stats(bytes: &[u8]) -> Value {
    let mut kinds: std::collections::BTreeMap<&'static str, u64> =
        std::collections::BTreeMap::new();
    let mut codec = ControlCodec::for_recordings();
    let mut buffer = BytesMut::with_capacity(2 * CHUNK);
    let started = Instant::now();
    let mut chunks = bytes.chunks(CHUNK);
    loop {
        let chunk = chunks.next();
        buffer.extend_from_slice(chunk.unwrap_or_default());
        loop {
            let frame = if chunk.is_some() {
                codec.decode(&mut buffer)
            } else {
                codec.decode_eof(&mut buffer)
            };
            let Ok(Some(frame)) = frame else { break };
            *kinds.entry(kind(&frame)).or_default() += 1;
        }
        if chunk.is_none() {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let speed = if seconds > 0.0 {
        bytes.len() as f64 / 1e6 / seconds
    } else {
        0.0
    };
    json!({
        "bytes": bytes.len(),
        "lines": codec.counters().lines,
        "kinds": kinds,
        "mb_per_s": (speed * 10.0).round() / 10.0,
    })
}

fn kind(frame: &Frame) -> &'static str {
    use Notification as N;
    match frame {
        Frame::Reply(_) => "reply",
        Frame::Stray(_) => "stray",
        Frame::Truncated(_) => "truncated",
        Frame::Notification(notification) => match notification {
            N::Output { .. } => "output",
            N::ExtendedOutput { .. } => "extended-output",
            N::Pause { .. } => "pause",
            N::Continue { .. } => "continue",
            N::PaneModeChanged { .. } => "pane-mode-changed",
            N::WindowPaneChanged { .. } => "window-pane-changed",
            N::WindowAdd { .. } => "window-add",
            N::WindowClose { .. } => "window-close",
            N::UnlinkedWindowAdd { .. } => "unlinked-window-add",
            N::UnlinkedWindowClose { .. } => "unlinked-window-close",
            N::WindowRenamed { .. } => "window-renamed",
            N::UnlinkedWindowRenamed { .. } => "unlinked-window-renamed",
            N::LayoutChange { .. } => "layout-change",
            N::SessionChanged { .. } => "session-changed",
            N::SessionRenamed { .. } => "session-renamed",
            N::SessionsChanged => "sessions-changed",
            N::SessionWindowChanged { .. } => "session-window-changed",
            N::ClientSessionChanged { .. } => "client-session-changed",
            N::ClientDetached { .. } => "client-detached",
            N::SubscriptionChanged { .. } => "subscription-changed",
            N::PasteBufferChanged { .. } => "paste-buffer-changed",
            N::PasteBufferDeleted { .. } => "paste-buffer-deleted",
            N::Message { .. } => "message",
            N::ConfigError { .. } => "config-error",
            N::Exit { .. } => "exit",
            N::Unknown { .. } => "unknown",
        },
    }
}

fn describe(frame: &Frame, hex: bool) -> Value {
    let fields = match frame {
        Frame::Reply(block) => block_fields(block),
        Frame::Truncated(block) => block_fields(block),
        Frame::Stray(line) => json!({"text": text(line)}),
        Frame::Notification(notification) => fields(notification, hex),
    };
    let mut object = Map::from_iter([("kind".to_owned(), kind(frame).into())]);
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    if matches!(frame, Frame::Truncated(_)) {
        // It never said how it went.
        object.remove("ok");
    }
    Value::Object(object)
}

fn block_fields(block: &Block) -> Value {
    let lines: Vec<String> = block.lines.iter().map(text).collect();
    json!({"ok": block.ok, "time": block.time, "number": block.number, "flags": block.flags, "lines": lines})
}

fn fields(notification: &Notification, hex: bool) -> Value {
    use Notification as N;
    let data = |data: &Escaped| {
        let bytes = data.unescape();
        if hex {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    match notification {
        N::Output { pane, data: bytes } => json!({"pane": pane, "data": data(bytes)}),
        N::ExtendedOutput {
            pane,
            age_ms,
            data: bytes,
        } => {
            json!({"pane": pane, "age_ms": age_ms, "data": data(bytes)})
        }
        N::Pause { pane } | N::Continue { pane } | N::PaneModeChanged { pane } => {
            json!({"pane": pane})
        }
        N::WindowPaneChanged { window, pane } => json!({"window": window, "pane": pane}),
        N::WindowAdd { window }
        | N::WindowClose { window }
        | N::UnlinkedWindowAdd { window }
        | N::UnlinkedWindowClose { window } => json!({"window": window}),
        N::WindowRenamed { window, name } | N::UnlinkedWindowRenamed { window, name } => {
            json!({"window": window, "name": text(name)})
        }
        N::LayoutChange {
            window,
            layout,
            visible_layout,
            flags,
        } => json!({
            "window": window,
            "layout": text(layout),
            "visible_layout": text(visible_layout),
            "flags": text(flags),
        }),
        N::SessionChanged { session, name } | N::SessionRenamed { session, name } => {
            json!({"session": session, "name": text(name)})
        }
        N::SessionsChanged => json!({}),
        N::SessionWindowChanged { session, window } => {
            json!({"session": session, "window": window})
        }
        N::ClientSessionChanged {
            client,
            session,
            name,
        } => {
            json!({"client": text(client), "session": session, "name": text(name)})
        }
        N::ClientDetached { client } => json!({"client": text(client)}),
        N::SubscriptionChanged {
            name,
            session,
            window,
            index,
            pane,
            value,
        } => json!({
            "name": text(name),
            "session": session,
            "window": window,
            "index": index,
            "pane": pane,
            "value": text(value),
        }),
        N::PasteBufferChanged { name } | N::PasteBufferDeleted { name } => {
            json!({"name": text(name)})
        }
        N::Message { text: line } | N::ConfigError { text: line } => json!({"text": text(line)}),
        N::Exit { reason } => json!({"reason": reason.as_ref().map(text)}),
        N::Unknown {
            name,
            text: line,
            malformed,
        } => {
            let mut fields = json!({"name": text(name), "text": text(line)});
            if *malformed {
                fields["malformed"] = true.into();
            }
            fields
        }
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
