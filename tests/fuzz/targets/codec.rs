//! Whatever comes from tmux, in whatever pieces, gives the same frames, and none larger than the caps.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use orch::tmux::{ControlCodec, Frame};
use tokio_util::codec::Decoder;

const LINE: usize = 512;
const BLOCK: usize = 2048;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut codec = ControlCodec::new().with_caps(LINE, BLOCK);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(frame) = codec.decode(&mut buffer).expect("malformed input is a value") {
            frames.push(frame);
        }
    }
    while let Some(frame) = codec.decode_eof(&mut buffer).expect("malformed input is a value") {
        frames.push(frame);
    }
    frames
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, data) = input;
    let whole = decode(std::iter::once(data));
    let pieces = decode(data.chunks(usize::from(size) + 1));
    assert_eq!(whole, pieces);
});
