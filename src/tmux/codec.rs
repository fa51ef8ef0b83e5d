//! Frames the byte stream of a control-mode client: lines at LF, guarded blocks, what stands outside them.
//! Owns the caps on line and block size and counts what it meets; knows no command and does no I/O.
//!
//! ```text
//!            %begin T N F                       %end T N F | %error T N F  (tail byte-identical)
//!  outside ───────────────────▶ in block ───────────────────────────────────▶ outside, yields Reply
//!     │ %name … → Notification      │ any other line: a line of the body, whatever it looks like
//!     │ else    → Stray             │ end of stream, or block too large → Truncated
//! ```

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memrchr};
use nom::Parser;
use nom::character::complete::{char as byte, i64 as signed, u32 as unsigned};
use nom::combinator::{all_consuming, not};
use nom::sequence::preceded;
use tokio_util::codec::Decoder;

use super::notification::Notification;

/// Longest line that is kept, in bytes (16 MiB; tmux itself sends values of some hundred KiB).
pub const MAX_LINE: usize = 16 << 20;
/// Largest body of a block that is kept, in bytes (64 MiB).
pub const MAX_BLOCK: usize = 64 << 20;

const _: () = assert!(MAX_LINE <= MAX_BLOCK);

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
    lines: Lines,
    open: Option<Open>,
    max_block: Option<usize>,
    counters: Counters,
}

/// Cuts the stream at LF. Whole lines leave the buffer together: they then share one count of users, which
/// is touched for what a frame keeps and not for every line.
#[derive(Debug, Default)]
struct Lines {
    /// Whole lines, the ones before `start` already read; empty again before the buffer is asked for more.
    chunk: Bytes,
    start: usize,
    /// How far the buffer has been searched for a line end.
    searched: usize,
    /// Inside a line that passed the cap: everything up to its end is dropped.
    discarding: bool,
    /// The stream has ended: what is left is its last line.
    at_end: bool,
    strip: Strip,
    max_line: Option<usize>,
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

impl ControlCodec {
    /// For bytes from a pipe, as orch's own client gives them.
    pub fn new() -> Self {
        Self::default()
    }

    /// For recordings: strips carriage returns at the end of a line and the wrapper of `-CC`
    /// (`ESC P1000p` before the first line, `ESC \` after the last; several recordings may follow
    /// each other).
    pub fn for_recordings() -> Self {
        let mut codec = Self::default();
        codec.lines.strip = Strip::Terminal;
        codec
    }

    /// Other caps than [`MAX_LINE`] and [`MAX_BLOCK`], in bytes.
    pub fn with_caps(mut self, max_line: usize, max_block: usize) -> Self {
        self.lines.max_line = Some(max_line);
        self.max_block = Some(max_block);
        self
    }

    /// What was met so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Reads on to the next frame in the lines that are whole.
    fn next(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let Self {
            lines,
            open,
            max_block,
            counters,
        } = self;
        while let Some((chunk, line)) = lines.next(buffer, open.is_none(), counters) {
            let frame = match open {
                Some(block) if block.is_ended_by(line) => {
                    block.block.ok = line.starts_with(b"%end ");
                    open.take().map(|open| Frame::Reply(open.block))
                }
                Some(block) => {
                    block.size += line.len() + 1;
                    // An answer is one line or about a screen; growing to that in steps is felt.
                    if block.block.lines.is_empty() {
                        block.block.lines.reserve(32);
                    }
                    block.block.lines.push(chunk.slice_ref(line));
                    if block.size > max_block.unwrap_or(MAX_BLOCK) {
                        counters.oversized_blocks += 1;
                        open.take().map(|open| Frame::Truncated(open.block))
                    } else {
                        None
                    }
                }
                None => {
                    *open = Open::begun_by(chunk, line);
                    match open {
                        Some(_) => None,
                        None => Some(outside(chunk, line, counters)),
                    }
                }
            };
            if frame.is_some() {
                return frame;
            }
        }
        None
    }
}

impl Lines {
    /// The next whole line without its line end, and the chunk that it is part of.
    fn next(
        &mut self,
        buffer: &mut BytesMut,
        outside: bool,
        counters: &mut Counters,
    ) -> Option<(&Bytes, &[u8])> {
        let line = loop {
            let Some(length) = memchr(b'\n', &self.chunk[self.start..]) else {
                if self.refill(buffer, counters) {
                    continue;
                }
                return None;
            };
            let line = self.start..self.start + length;
            self.start = line.end + 1;
            counters.lines += 1;
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            if length > self.max_line.unwrap_or(MAX_LINE) {
                counters.oversized_lines += 1;
                continue;
            }
            match self.strip {
                Strip::Nothing => break line,
                Strip::Terminal => {
                    match stripped(&self.chunk[line.clone()], outside, self.at_end) {
                        Some(inner) => break line.start + inner.start..line.start + inner.end,
                        None => continue,
                    }
                }
            }
        };
        Some((&self.chunk, &self.chunk[line]))
    }

    /// Takes what is whole off the buffer; false when nothing is.
    fn refill(&mut self, buffer: &mut BytesMut, counters: &mut Counters) -> bool {
        // Given up first: the buffer can use its memory again only once nobody else does.
        self.chunk = Bytes::new();
        self.start = 0;
        if let Some(at) = memrchr(b'\n', &buffer[self.searched..]) {
            self.chunk = buffer.split_to(self.searched + at + 1).freeze();
            self.searched = 0;
            return true;
        }
        self.searched = buffer.len();
        if self.searched > self.max_line.unwrap_or(MAX_LINE) {
            counters.oversized_lines += u64::from(!self.discarding);
            self.discarding = true;
            buffer.clear();
            self.searched = 0;
        }
        false
    }
}

/// What is left of a line of a terminal's recording; `None` for one that was nothing but the wrapper. That stands
/// at the start of a line outside blocks, or after the very last one; anywhere else its bytes are data.
fn stripped(line: &[u8], outside: bool, at_end: bool) -> Option<Range<usize>> {
    let end = line
        .iter()
        .rposition(|&b| b != b'\r')
        .map_or(0, |at| at + 1);
    let mut inner = 0..end;
    while outside
        && let Some(wrapper) = [WRAPPER_OPENS, WRAPPER_CLOSES]
            .iter()
            .find(|w| line[inner.clone()].starts_with(w))
    {
        inner.start += wrapper.len();
    }
    if at_end && line[inner.clone()].ends_with(WRAPPER_CLOSES) {
        inner.end -= WRAPPER_CLOSES.len();
    }
    (inner.len() == end || !inner.is_empty()).then_some(inner)
}

/// A line that stands in no block.
fn outside(chunk: &Bytes, line: &[u8], counters: &mut Counters) -> Frame {
    match Notification::parse_in(chunk, line) {
        Some(notification) => {
            counters.unknown += u64::from(matches!(notification, Notification::Unknown { .. }));
            Frame::Notification(notification)
        }
        None => {
            counters.strays += 1;
            Frame::Stray(chunk.slice_ref(line))
        }
    }
}

impl Open {
    /// `%begin T N F`, nothing before and nothing after.
    fn begun_by(chunk: &Bytes, line: &[u8]) -> Option<Self> {
        let tail = line.strip_prefix(b"%begin ")?;
        let (_, (time, number, flags)) = all_consuming((
            preceded(not(byte('+')), signed::<_, nom::error::Error<&[u8]>>),
            preceded(byte(' '), unsigned),
            preceded(byte(' '), unsigned),
        ))
        .parse(tail)
        .ok()?;
        Some(Self {
            tail: chunk.slice_ref(tail),
            size: 0,
            block: Block {
                ok: true,
                time,
                number,
                flags,
                lines: Vec::new(),
            },
        })
    }

    /// `%end` or `%error` with the tail of the beginning, to the byte.
    fn is_ended_by(&self, line: &[u8]) -> bool {
        let [b'%', b'e', ..] = line else { return false };
        [&b"%end "[..], b"%error "]
            .iter()
            .any(|word| line.strip_prefix(*word) == Some(&*self.tail))
    }
}

impl Decoder for ControlCodec {
    type Item = Frame;
    type Error = std::io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, std::io::Error> {
        Ok(self.next(buffer))
    }

    /// The last line may lack its end; a block that is still open is truncated.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, std::io::Error> {
        if let Some(frame) = self.next(buffer) {
            return Ok(Some(frame));
        }
        if std::mem::take(&mut self.lines.discarding) {
            self.counters.lines += 1;
        } else if !buffer.is_empty() {
            self.lines.at_end = true;
            buffer.extend_from_slice(b"\n");
            if let Some(frame) = self.next(buffer) {
                return Ok(Some(frame));
            }
        }
        buffer.clear();
        self.lines.searched = 0;
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
