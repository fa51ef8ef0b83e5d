//! Frames the byte stream of a control-mode client: lines at LF, guarded blocks, what stands outside them.
//! Owns the caps on line and block size and counts what it meets; knows no command and does no I/O.
//!
//! ```text
//!            %begin T N F                       %end T N F | %error T N F  (tail byte-identical)
//!  outside ───────────────────▶ in block ───────────────────────────────────▶ outside, yields Reply
//!     │ %name … → Notification      │ any other line: a line of the body, whatever it looks like
//!     │ else    → Stray             │ end of stream, or block too large → Truncated
//! ```

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char as byte, i64 as signed, u32 as unsigned};
use nom::combinator::{all_consuming, map, not};
use nom::sequence::{preceded, separated_pair};
use tokio_util::codec::Decoder;

use super::notification::Notification;

/// Longest line that is kept, in bytes (16 MiB; tmux itself sends values of some hundred KiB).
pub const MAX_LINE: usize = 16 << 20;
/// Largest body of a block that is kept, in bytes (64 MiB).
pub const MAX_BLOCK: usize = 64 << 20;

/// What `-CC` writes before its first line.
const WRAPPER_OPENS: &[u8] = b"\x1bP1000p";
/// What `-CC` writes after its last line.
const WRAPPER_CLOSES: &[u8] = b"\x1b\\";

/// The answer to one command: what stood between `%begin` and `%end` or `%error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// False when it ended in `%error`; the body then holds tmux's message.
    pub ok: bool,
    /// When the server began it, seconds since 1970.
    pub time: i64,
    /// tmux's number of the command, server-wide.
    pub number: u32,
    /// 1 for a command of this connection, 0 for the attach itself and for commands run by hooks.
    pub flags: u32,
    /// The body, raw: it may hold anything, lines that look like guards or notifications included.
    pub lines: Vec<Bytes>,
}

/// One unit of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A `%name` line outside any block.
    Notification(Notification),
    /// A whole block.
    Reply(Block),
    /// A line outside blocks that is no notification: output of a synchronous `run-shell`, errors of
    /// `source-file` up to 3.5a, a lone guard.
    Stray(Bytes),
    /// A block that never ended, or that was given up because its body passed [`MAX_BLOCK`].
    Truncated(Block),
}

/// What was met so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines of any kind.
    pub lines: u64,
    /// Lines outside blocks that are no notifications.
    pub strays: u64,
    /// Notifications of unknown name or with arguments that do not fit.
    pub unknown: u64,
    /// Lines cut because they passed [`MAX_LINE`].
    pub oversized_lines: u64,
    /// Blocks given up because they passed [`MAX_BLOCK`].
    pub oversized_blocks: u64,
}

/// The decoder; give it bytes as they come, cut anywhere.
#[derive(Debug, Default)]
pub struct ControlCodec {
    /// How far the buffer has been searched for a line end.
    searched: usize,
    /// Inside a line that passed the cap: everything up to its end is dropped.
    discarding: bool,
    open: Option<Open>,
    strip: Strip,
    max_line: Option<usize>,
    max_block: Option<usize>,
    counters: Counters,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Strip {
    /// A stream from a pipe: every byte counts.
    #[default]
    Nothing,
    /// A recording that may come from a terminal: carriage returns at line ends and the `-CC` wrapper go.
    Terminal,
}

#[derive(Debug)]
struct Open {
    tail: Bytes,
    size: usize,
    block: Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    Begin,
    End,
    Error,
}

impl ControlCodec {
    /// For bytes from a pipe, as orch's own client gives them.
    pub fn new() -> Self {
        Self::default()
    }

    /// For recordings: strips carriage returns at the end of a line and the wrapper of `-CC`
    /// (`ESC P1000p` before the first line, `ESC \` after the last; several recordings may follow
    /// each other).
    pub fn for_recordings() -> Self {
        Self {
            strip: Strip::Terminal,
            ..Self::default()
        }
    }

    /// Other caps than [`MAX_LINE`] and [`MAX_BLOCK`], in bytes.
    pub fn with_caps(self, max_line: usize, max_block: usize) -> Self {
        Self {
            max_line: Some(max_line),
            max_block: Some(max_block),
            ..self
        }
    }

    /// What was met so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes the next whole line off the buffer, without its line end.
    fn line(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        loop {
            let Some(at) = memchr(b'\n', &buffer[self.searched..]) else {
                self.searched = buffer.len();
                if self.searched > self.max_line.unwrap_or(MAX_LINE) {
                    if !self.discarding {
                        self.counters.oversized_lines += 1;
                    }
                    self.discarding = true;
                    buffer.clear();
                    self.searched = 0;
                }
                return None;
            };
            let end = self.searched + at;
            self.searched = 0;
            self.counters.lines += 1;
            if std::mem::take(&mut self.discarding) {
                buffer.advance(end + 1);
                continue;
            }
            if end > self.max_line.unwrap_or(MAX_LINE) {
                self.counters.oversized_lines += 1;
                buffer.advance(end + 1);
                continue;
            }
            let mut line = buffer.split_to(end + 1);
            line.truncate(end);
            if let Some(line) = self.stripped(line.freeze(), false) {
                return Some(line);
            }
        }
    }

    /// `None` for a line that was nothing but the wrapper. It stands at the start of a line outside
    /// blocks, or after the very last one; anywhere else these bytes are data.
    fn stripped(&self, mut line: Bytes, at_end: bool) -> Option<Bytes> {
        if self.strip == Strip::Nothing {
            return Some(line);
        }
        while line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        let before = line.len();
        if self.open.is_none() {
            while let Some(wrapper) = [WRAPPER_OPENS, WRAPPER_CLOSES]
                .iter()
                .find(|w| line.starts_with(w))
            {
                line.advance(wrapper.len());
            }
        }
        if at_end && line.ends_with(WRAPPER_CLOSES) {
            line.truncate(line.len() - WRAPPER_CLOSES.len());
        }
        (line.len() == before || !line.is_empty()).then_some(line)
    }

    fn frame(&mut self, line: Bytes) -> Option<Frame> {
        if let Some(open) = &mut self.open {
            match guard(&line) {
                Some((kind @ (Guard::End | Guard::Error), _)) if tail(&line) == open.tail => {
                    let mut block = self.open.take()?.block;
                    block.ok = kind == Guard::End;
                    return Some(Frame::Reply(block));
                }
                _ => {
                    open.size += line.len() + 1;
                    open.block.lines.push(line);
                    if open.size > self.max_block.unwrap_or(MAX_BLOCK) {
                        self.counters.oversized_blocks += 1;
                        return Some(Frame::Truncated(self.open.take()?.block));
                    }
                    return None;
                }
            }
        }
        if let Some((Guard::Begin, (time, number, flags))) = guard(&line) {
            let block = Block {
                ok: true,
                time,
                number,
                flags,
                lines: Vec::new(),
            };
            self.open = Some(Open {
                tail: tail(&line),
                size: 0,
                block,
            });
            return None;
        }
        match Notification::parse(&line) {
            Some(notification) => {
                if matches!(notification, Notification::Unknown { .. }) {
                    self.counters.unknown += 1;
                }
                Some(Frame::Notification(notification))
            }
            None => {
                self.counters.strays += 1;
                Some(Frame::Stray(line))
            }
        }
    }
}

/// `%begin|end|error T N F`, nothing before and nothing after.
fn guard(line: &[u8]) -> Option<(Guard, (i64, u32, u32))> {
    if !matches!(line, [b'%', b'b' | b'e', ..]) {
        return None;
    }
    let kind = alt((
        map(
            tag::<_, _, nom::error::Error<&[u8]>>(&b"%begin "[..]),
            |_| Guard::Begin,
        ),
        map(tag(&b"%end "[..]), |_| Guard::End),
        map(tag(&b"%error "[..]), |_| Guard::Error),
    ));
    let numbers = (
        preceded(not(byte('+')), signed),
        preceded(byte(' '), separated_pair(unsigned, byte(' '), unsigned)),
    );
    let (_, (kind, (time, (number, flags)))) = all_consuming((kind, numbers)).parse(line).ok()?;
    Some((kind, (time, number, flags)))
}

/// Everything after the guard's own word.
fn tail(line: &Bytes) -> Bytes {
    let start = memchr(b' ', line).map_or(line.len(), |at| at + 1);
    line.slice(start..)
}

impl Decoder for ControlCodec {
    type Item = Frame;
    type Error = std::io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, std::io::Error> {
        while let Some(line) = self.line(buffer) {
            if let Some(frame) = self.frame(line) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The last line may lack its end; a block that is still open is truncated.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, std::io::Error> {
        if let Some(frame) = self.decode(buffer)? {
            return Ok(Some(frame));
        }
        self.searched = 0;
        let last = buffer.split().freeze();
        if std::mem::take(&mut self.discarding) {
            self.counters.lines += 1;
        } else if !last.is_empty() {
            self.counters.lines += 1;
            let last = self.stripped(last, true);
            if let Some(frame) = last.and_then(|last| self.frame(last)) {
                return Ok(Some(frame));
            }
        }
        Ok(self.open.take().map(|open| Frame::Truncated(open.block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmux::id::PaneId;

    fn decode_in(codec: &mut ControlCodec, chunks: &[&[u8]]) -> Vec<Frame> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
        }
        while let Some(frame) = codec.decode_eof(&mut buffer).unwrap() {
            frames.push(frame);
        }
        frames
    }

    fn decode(bytes: &[u8]) -> Vec<Frame> {
        decode_in(&mut ControlCodec::new(), &[bytes])
    }

    fn reply(ok: bool, number: u32, flags: u32, lines: &[&'static str]) -> Frame {
        let lines = lines
            .iter()
            .map(|l| Bytes::from_static(l.as_bytes()))
            .collect();
        Frame::Reply(Block {
            ok,
            time: 1,
            number,
            flags,
            lines,
        })
    }

    const HOSTILE: &[u8] = b"%begin 1 7 1\n%end 1 8 1\n%output %1 x\n%end 1 7 0\n%begin 1 7 1\n%end 1 07 1\n\xff\xfe\x00\n\n%end 1 7 1\n\
        %begin 1 9 0\nparse error: x\n%error 1 9 0\nlone\n%end 1 9 0\n%pause %3\n";

    #[test]
    fn a_body_is_data_until_the_identical_tail() {
        let frames = decode(HOSTILE);
        assert_eq!(frames.len(), 5, "{frames:?}");
        let Frame::Reply(block) = &frames[0] else {
            panic!("{frames:?}")
        };
        assert_eq!(
            (block.ok, block.number, block.flags, block.lines.len()),
            (true, 7, 1, 7)
        );
        assert_eq!(block.lines[5].as_ref(), b"\xff\xfe\x00");
        assert_eq!(frames[1], reply(false, 9, 0, &["parse error: x"]));
        assert_eq!(frames[2], Frame::Stray(Bytes::from_static(b"lone")));
        assert_eq!(frames[3], Frame::Stray(Bytes::from_static(b"%end 1 9 0")));
        assert_eq!(
            frames[4],
            Frame::Notification(Notification::Pause { pane: PaneId(3) })
        );
    }

    #[test]
    fn every_split_gives_the_same_frames() {
        let whole = decode(HOSTILE);
        for at in 0..=HOSTILE.len() {
            let (a, b) = HOSTILE.split_at(at);
            assert_eq!(
                decode_in(&mut ControlCodec::new(), &[a, b]),
                whole,
                "split at {at}"
            );
        }
        let bytes: Vec<&[u8]> = HOSTILE.chunks(1).collect();
        assert_eq!(decode_in(&mut ControlCodec::new(), &bytes), whole);
    }

    #[test]
    fn caps_are_counted_and_reading_goes_on() {
        let mut codec = ControlCodec::new().with_caps(10, 20);
        let long = [
            b"x".repeat(30),
            b"\n%pause %1\n%begin 1 2 1\n".to_vec(),
            b"12345678\n".repeat(3),
            b"%pause %2\n".to_vec(),
        ]
        .concat();
        let frames = decode_in(&mut codec, &long.chunks(7).collect::<Vec<_>>());
        // "%begin 1 2 1" itself is longer than this small cap, so nothing opens: use the counters.
        assert!(codec.counters().oversized_lines >= 1);
        assert_eq!(
            frames.last(),
            Some(&Frame::Notification(Notification::Pause {
                pane: PaneId(2)
            }))
        );

        let mut codec = ControlCodec::new().with_caps(100, 20);
        let frames = decode_in(
            &mut codec,
            &[b"%begin 1 2 1\n12345678\n12345678\n12345678\n%pause %2\n"],
        );
        assert_eq!(codec.counters().oversized_blocks, 1);
        assert!(matches!(&frames[0], Frame::Truncated(block) if block.lines.len() == 3));
        assert_eq!(
            frames[1],
            Frame::Notification(Notification::Pause { pane: PaneId(2) })
        );
    }

    #[test]
    fn a_recording_from_a_terminal_loses_its_wrapper() {
        let bytes = b"\x1bP1000p%begin 1 2 0\r\n%end 1 2 0\r\n%exit\r\n\x1b\\";
        let frames = decode_in(&mut ControlCodec::for_recordings(), &[bytes]);
        assert_eq!(
            frames,
            [
                reply(true, 2, 0, &[]),
                Frame::Notification(Notification::Exit { reason: None })
            ]
        );
    }

    #[test]
    fn the_wrapper_stands_at_line_starts_and_at_the_very_end() {
        let recorded = |bytes: &[u8]| decode_in(&mut ControlCodec::for_recordings(), &[bytes]);
        let exit = || Frame::Notification(Notification::Exit { reason: None });
        let stray = |text: &'static str| Frame::Stray(Bytes::from_static(text.as_bytes()));
        let message = |text: &'static str| {
            let text = Bytes::from_static(text.as_bytes());
            Frame::Notification(Notification::Message { text })
        };

        // One recording after the other: the end of the first and the start of the next share a line.
        let one = b"\x1bP1000p%begin 1 2 0\r\n%end 1 2 0\r\n%exit\r\n\x1b\\";
        assert_eq!(
            recorded(&one.repeat(2)),
            [
                reply(true, 2, 0, &[]),
                exit(),
                reply(true, 2, 0, &[]),
                exit()
            ]
        );
        assert_eq!(
            recorded(b"%exit\r\n\x1b\\$ ls\r\n"),
            [exit(), stray("$ ls")]
        );
        // At the end of a whole line it is data, as in a body.
        assert_eq!(
            recorded(b"%message a\x1b\\\n%exit\n"),
            [message("a\x1b\\"), exit()]
        );
        let body = b"%begin 1 2 1\n\x1b\\\n\x1bP1000pa\n%end 1 2 1\n";
        assert_eq!(
            recorded(body),
            [reply(true, 2, 1, &["\x1b\\", "\x1bP1000pa"])]
        );
        // The stream ends in it, whatever was open.
        assert_eq!(recorded(b"%exit\x1b\\"), [exit()]);
        let frames = recorded(b"%begin 1 2 1\r\na\r\n\x1b\\");
        assert!(matches!(&frames[..], [Frame::Truncated(block)] if block.lines == ["a"]));
    }

    #[test]
    fn guards_are_numbers_that_fit() {
        for line in [
            &b"%begin"[..],
            b"%begin 1 2",
            b"%begin 1 2 1 1",
            b"%begin 1 2 1 ",
            b"%begin  1 2 1",
            b"%begin +1 2 1",
            b"%begin 1 -2 1",
            b"%begin 1 4294967296 1",
            b"%begin 9223372036854775808 2 1",
        ] {
            let expected = Frame::Stray(Bytes::copy_from_slice(line));
            assert_eq!(decode(line), [expected]);
        }
        for line in [&b"%begin 0 0 0"[..], b"%begin 1 4294967295 2"] {
            assert!(matches!(&decode(line)[..], [Frame::Truncated(_)]));
        }
    }

    #[test]
    fn a_line_past_the_cap_counts_even_without_its_end() {
        for bytes in [&b"%exit\n0123456789"[..], b"%exit\n0123456789\n"] {
            for cut in 1..bytes.len() {
                let mut codec = ControlCodec::new().with_caps(5, 5);
                let frames = decode_in(&mut codec, &bytes.chunks(cut).collect::<Vec<_>>());
                assert_eq!(frames.len(), 1);
                assert_eq!(codec.counters().lines, 2, "chunks of {cut}");
                assert_eq!(codec.counters().oversized_lines, 1, "chunks of {cut}");
            }
        }
    }

    #[test]
    fn an_open_block_and_an_unfinished_line_at_the_end() {
        let frames = decode(b"%begin 1 2 1\nabc\nde");
        assert!(matches!(&frames[..], [Frame::Truncated(block)] if block.lines == ["abc", "de"]));
        assert_eq!(
            decode(b"%exit"),
            [Frame::Notification(Notification::Exit { reason: None })]
        );
    }

    proptest::proptest! {
        #[test]
        fn splits_never_matter(
            lines in proptest::collection::vec("(%(begin|end|error) [12] [12] [01]|%output %1 [a-z\\\\0-7]*|[ -~]*|)", 0..12),
            cut in 1usize..9,
        ) {
            let bytes = lines.join("\n").into_bytes();
            let chunks: Vec<&[u8]> = bytes.chunks(cut).collect();
            proptest::prop_assert_eq!(decode_in(&mut ControlCodec::new(), &chunks), decode(&bytes));
        }
    }
}
