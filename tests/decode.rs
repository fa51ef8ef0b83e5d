//! `orch decode` and its codec against recorded streams and hostile ones: goldens, every way to cut the bytes, caps.
//! `ORCH_BLESS=1` writes the goldens in `fixtures/decoded` anew instead of comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::BytesMut;
use orch::tmux::codec::Counters;
use orch::tmux::{ControlCodec, Frame, Notification};
use serde_json::{Value, json};
use tokio_util::codec::Decoder;

/// Transcripts up to this size, in bytes, have their whole output as golden, larger ones a digest.
const WHOLE: usize = 60_000;
/// Transcripts up to this size, in bytes, are cut at every byte, larger ones at about [`CUTS`] places.
const CUT_EVERYWHERE: usize = 20_000;
const CUTS: usize = 100;

struct Transcript {
    name: String,
    path: PathBuf,
    bytes: Vec<u8>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn transcripts() -> Vec<Transcript> {
    let mut all: Vec<Transcript> = std::fs::read_dir(fixtures().join("transcripts"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            Transcript {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                bytes: std::fs::read(&path).unwrap(),
                path,
            }
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(all.len() > 80, "transcripts are missing");
    all
}

/// What `orch decode ARGUMENTS` prints, given `input` unless a file is named.
fn orch_decode(arguments: &[&str], file: Option<&Path>, input: &[u8]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_orch"))
        .arg("decode")
        .args(arguments)
        .args(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // With a file named, nobody reads this.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {file:?}: {errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).unwrap()
}

fn objects(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn kinds(objects: &[Value]) -> BTreeMap<&str, u64> {
    let mut kinds = BTreeMap::new();
    for object in objects {
        *kinds.entry(object["kind"].as_str().unwrap()).or_default() += 1;
    }
    kinds
}

/// FNV-1a, 64 bits: the same on every machine and with every version of the compiler.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_hash_is_fnv_1a() {
    assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn transcripts_decode_as_recorded() {
    let bless = std::env::var_os("ORCH_BLESS").is_some_and(|value| value == "1");
    let mut goldens = BTreeSet::new();
    for transcript in transcripts() {
        let printed = orch_decode(&[], Some(&transcript.path), b"");
        let (suffix, found) = if transcript.bytes.len() <= WHOLE {
            ("jsonl", printed)
        } else {
            let digest = json!({
                "kinds": kinds(&objects(&printed)),
                "fnv1a64": format!("{:016x}", hash(printed.as_bytes())),
            });
            ("digest.json", format!("{digest:#}\n"))
        };
        let file = format!("{}.{suffix}", transcript.name);
        let golden = fixtures().join("decoded").join(&file);
        if bless {
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden)
            .unwrap_or_else(|e| panic!("{file}: {e}; ORCH_BLESS=1 writes it"));
        for (at, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{file}, line {}", at + 1);
        }
        assert_eq!(found, expected, "{file}");
        goldens.insert(file);
    }
    for entry in std::fs::read_dir(fixtures().join("decoded")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(goldens.contains(&file), "{file} belongs to no transcript");
    }
}

#[test]
fn stats_count_what_is_printed() {
    for Transcript { name, path, bytes } in transcripts() {
        let printed = objects(&orch_decode(&[], Some(&path), b""));
        let stats = objects(&orch_decode(&["--stats"], Some(&path), b""));
        let [stats] = &stats[..] else {
            panic!("{name}: {stats:?}")
        };
        let unfinished = usize::from(bytes.last().is_some_and(|byte| *byte != b'\n'));
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + unfinished;
        assert_eq!(stats["kinds"], json!(kinds(&printed)), "{name}");
        assert_eq!(stats["bytes"], bytes.len(), "{name}");
        assert_eq!(stats["lines"], lines, "{name}");
        assert!(stats["mb_per_s"].is_f64(), "{name}");
        assert_eq!(stats.as_object().unwrap().len(), 4, "{name}");
    }
}

#[test]
fn hex_is_the_same_data() {
    for Transcript { name, path, .. } in transcripts() {
        let plain = objects(&orch_decode(&[], Some(&path), b""));
        let mut hexed = objects(&orch_decode(&["--hex"], Some(&path), b""));
        for object in &mut hexed {
            if let Some(Value::String(data)) = object.get_mut("data") {
                *data = String::from_utf8_lossy(&from_hex(data)).into_owned();
            }
        }
        assert!(plain == hexed, "{name}");
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn standard_input_will_do() {
    for Transcript { path, bytes, .. } in transcripts().iter().step_by(20) {
        assert!(orch_decode(&[], None, bytes) == orch_decode(&[], Some(path), b""));
    }
    assert_eq!(orch_decode(&[], None, b""), "");
}

#[test]
fn each_kind_has_its_fields() {
    let input = b"%output %1 \\033[mA\xff\n%extended-output %1 20 new : \\134\n%exit\n%exit why\n%brand-new a b\n%pause 1\nnoise \xe2\x82\n\
        %subscription-changed a b $1 - - - : v : w\n%subscription-changed s $1 @2 3 %4 : \n%layout-change @1 L V \n%window-renamed @1 \n\
        %client-session-changed client-1 $2 two words\n%begin 5 6 1\n\x00\n%error 5 6 1\n%begin 7 8 0\nopen";
    let expected = [
        json!({"kind": "output", "pane": "%1", "data": "\u{1b}[mA\u{fffd}"}),
        json!({"kind": "extended-output", "pane": "%1", "age_ms": 20, "data": "\\"}),
        json!({"kind": "exit", "reason": null}),
        json!({"kind": "exit", "reason": "why"}),
        json!({"kind": "unknown", "name": "brand-new", "text": "a b"}),
        json!({"kind": "unknown", "name": "pause", "text": "1", "malformed": true}),
        json!({"kind": "stray", "text": "noise \u{fffd}"}),
        json!({"kind": "subscription-changed", "name": "a b", "session": "$1", "window": null, "index": null, "pane": null, "value": "v : w"}),
        json!({"kind": "subscription-changed", "name": "s", "session": "$1", "window": "@2", "index": 3, "pane": "%4", "value": ""}),
        json!({"kind": "layout-change", "window": "@1", "layout": "L", "visible_layout": "V", "flags": ""}),
        json!({"kind": "window-renamed", "window": "@1", "name": ""}),
        json!({"kind": "client-session-changed", "client": "client-1", "session": "$2", "name": "two words"}),
        json!({"kind": "reply", "ok": false, "time": 5, "number": 6, "flags": 1, "lines": ["\u{0}"]}),
        json!({"kind": "truncated", "time": 7, "number": 8, "flags": 0, "lines": ["open"]}),
    ];
    assert_eq!(objects(&orch_decode(&[], None, input)), expected);
    let hexed = objects(&orch_decode(&["--hex"], None, input));
    assert_eq!(hexed[0]["data"], "1b5b6d41ff");
    assert_eq!(hexed[1]["data"], "5c");
    assert_eq!(hexed[2..], expected[2..]);
}

fn frames<'a>(
    mut codec: ControlCodec,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Counters) {
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
    assert!(buffer.is_empty());
    (frames, codec.counters())
}

/// Every cut in two at a multiple of `stride`, and single bytes, give what the whole gives.
fn cuts_do_not_matter(
    name: &str,
    bytes: &[u8],
    stride: usize,
    codec: impl Fn() -> ControlCodec,
) -> (Vec<Frame>, Counters) {
    let whole = frames(codec(), [bytes]);
    for at in (0..=bytes.len()).step_by(stride) {
        let (a, b) = bytes.split_at(at);
        assert!(frames(codec(), [a, b]) == whole, "{name}, cut at {at}");
    }
    let single = frames(codec(), bytes.chunks(1));
    assert!(single == whole, "{name}, in single bytes");
    whole
}

#[test]
fn transcripts_may_be_cut_anywhere() {
    for Transcript { name, bytes, .. } in transcripts() {
        let stride = if bytes.len() > CUT_EVERYWHERE {
            (bytes.len() / CUTS) | 1
        } else {
            1
        };
        cuts_do_not_matter(&name, &bytes, stride, ControlCodec::for_recordings);
    }
}

/// One line a frame, bytes as Rust would escape them.
fn short(frame: &Frame) -> String {
    let body = |lines: &[bytes::Bytes]| -> String {
        let lines: Vec<String> = lines.iter().map(|l| l.escape_ascii().to_string()).collect();
        lines.join("|")
    };
    match frame {
        Frame::Reply(block) => {
            let how = if block.ok { "ok" } else { "error" };
            format!("{how} {} {}", block.number, body(&block.lines))
        }
        Frame::Truncated(block) => format!("truncated {} {}", block.number, body(&block.lines)),
        Frame::Stray(line) => format!("stray {}", line.escape_ascii()),
        Frame::Notification(Notification::Output { pane, data }) => {
            format!("output {pane} {}", data.unescape().escape_ascii())
        }
        Frame::Notification(Notification::Exit { reason }) => format!("exit {reason:?}"),
        Frame::Notification(Notification::Unknown {
            name, malformed, ..
        }) => {
            let how = if *malformed { "malformed" } else { "unknown" };
            format!("{how} {}", name.escape_ascii())
        }
        Frame::Notification(Notification::Message { text }) => {
            format!("message {}", text.escape_ascii())
        }
        Frame::Notification(other) => format!("{other:?}"),
    }
}

#[test]
fn hostile_dialogues() {
    let table: &[(&str, &[u8], &[&str])] = &[
        (
            "another block's end in a body",
            b"%begin 9 1 1\n%end 9 2 1\n%error 9 1 0\n%end 8 1 1\n%end 9 01 1\n%end 9 1 1 \n%end 9 1 1\n",
            &["ok 1 %end 9 2 1|%error 9 1 0|%end 8 1 1|%end 9 01 1|%end 9 1 1 "],
        ),
        (
            "guards opened in a body",
            b"%begin 9 1 1\n%begin 9 2 1\n%begin 9 1 1\n%end 9 1 1\n%end 9 2 1\n",
            &["ok 1 %begin 9 2 1|%begin 9 1 1", "stray %end 9 2 1"],
        ),
        (
            "notifications in a body",
            b"%begin 9 1 1\n%output %1 x\n%exit\n%pause %1\n%\n%error 9 1 1\n%exit\n",
            &["error 1 %output %1 x|%exit|%pause %1|%", "exit None"],
        ),
        (
            "guards alone",
            b"%end 9 1 1\n%error 9 1 1\n%begin\n%begin 9 1\n%end x y z\n%exit\n",
            &[
                "stray %end 9 1 1",
                "stray %error 9 1 1",
                "stray %begin",
                "stray %begin 9 1",
                "stray %end x y z",
                "exit None",
            ],
        ),
        (
            "a guard with something before it",
            b"%begin 9 1 1\nx%end 9 1 1\n %end 9 1 1\n%end 9 1 1\n",
            &["ok 1 x%end 9 1 1| %end 9 1 1"],
        ),
        (
            "no newline before the guard, none after the last",
            b"%begin 9 1 1\nabc%end 9 1 1\n%end 9 1 1",
            &["ok 1 abc%end 9 1 1"],
        ),
        (
            "an octal escape over two lines",
            b"%output %1 a\\03\n%output %1 3[m\n%output %1 b\\\n%output %1 \\0\\033\n",
            &[
                r"output %1 a\\03",
                "output %1 3[m",
                r"output %1 b\\",
                r"output %1 \\0\x1b",
            ],
        ),
        (
            "octal that is none",
            b"%output %1 \\400\\18\\134101\\377\n",
            &[r"output %1 \\400\\18\\101\xff"],
        ),
        (
            "invalid UTF-8 everywhere",
            b"%begin 9 1 1\n\xff\xfe\n\xe2\x82\n%end 9 1 1\n%output %1 \x80\xc3\n%message \xf0\x9f\n\xff\n%\xff\n%out\xffput\n",
            &[
                r"ok 1 \xff\xfe|\xe2\x82",
                r"output %1 \x80\xc3",
                r"message \xf0\x9f",
                r"stray \xff",
                r"stray %\xff",
                r"stray %out\xffput",
            ],
        ),
        (
            "NUL bytes",
            b"\x00\n%begin 9 1 1\n\x00a\x00\n%end 9 1 1\x00\n%end 9 1 1\n%output %1 \x00\n%exit\x00\n",
            &[
                r"stray \x00",
                r"ok 1 \x00a\x00|%end 9 1 1\x00",
                r"output %1 \x00",
                r"stray %exit\x00",
            ],
        ),
        (
            "empty lines",
            b"\n\n%begin 9 1 1\n\n\n%end 9 1 1\n\n",
            &["stray ", "stray ", "ok 1 |", "stray "],
        ),
        (
            "numbers that do not fit",
            b"%begin 9 4294967296 1\n%begin 99999999999999999999 1 1\n%output %4294967296 x\n%window-add @-1\n%exit\n",
            &[
                "stray %begin 9 4294967296 1",
                "stray %begin 99999999999999999999 1 1",
                "malformed output",
                "malformed window-add",
                "exit None",
            ],
        ),
        (
            "a block that never ends takes the rest",
            b"%begin 9 1 1\nx\n%begin 9 2 1\n%end 9 2 1\n%exit\n",
            &["truncated 1 x|%begin 9 2 1|%end 9 2 1|%exit"],
        ),
        ("a guard cut by the end", b"%begin 9 1 1", &["truncated 1 "]),
        (
            "names that are none",
            b"%0\n%1 a\n%%x\n% x\n%a:b\n%brand-new\n",
            &[
                "stray %0",
                "stray %1 a",
                "stray %%x",
                "stray % x",
                "stray %a:b",
                "unknown brand-new",
            ],
        ),
        (
            "carriage returns of a pipe are data",
            b"%begin 9 1 1\na\r\n%end 9 1 1\r\n%end 9 1 1\n%exit \r\n",
            &[r"ok 1 a\r|%end 9 1 1\r", r#"exit Some(b"\r")"#],
        ),
        ("nothing", b"", &[]),
    ];
    for (name, bytes, expected) in table {
        let (frames, counters) = cuts_do_not_matter(name, bytes, 1, ControlCodec::new);
        let found: Vec<String> = frames.iter().map(short).collect();
        assert_eq!(found, *expected, "{name}");
        let strays = found.iter().filter(|f| f.starts_with("stray ")).count();
        assert_eq!(counters.strays, strays as u64, "{name}");
    }
}

#[test]
fn caps_hold_and_reading_goes_on() {
    let long = "x".repeat(1_000);
    let codec = || ControlCodec::new().with_caps(40, 60);
    let caps = |name: &str, text: &str, expected: &[&str], lines: u64, blocks: u64| {
        let (frames, counters) = cuts_do_not_matter(name, text.as_bytes(), 1, codec);
        let found: Vec<String> = frames.iter().map(short).collect();
        assert_eq!(found, expected, "{name}");
        let oversized = (counters.oversized_lines, counters.oversized_blocks);
        assert_eq!(oversized, (lines, blocks), "{name}");
    };
    caps("a line without end", &long, &[], 1, 0);
    caps(
        "a long line",
        &format!("%output %1 {long}\n%exit\n"),
        &["exit None"],
        1,
        0,
    );
    caps(
        "lines at the cap and one past it",
        &format!("{}\n{}\n", &long[..40], &long[..41]),
        &[&format!("stray {}", &long[..40])],
        1,
        0,
    );
    caps(
        "a long line in a body",
        &format!("%begin 9 1 1\na\n{long}\nb\n%end 9 1 1\n"),
        &["ok 1 a|b"],
        1,
        0,
    );
    caps(
        "a body past the cap",
        &format!("%begin 9 1 1\n{0}\n{0}\n%end 9 1 1\n%exit\n", &long[..30]),
        &[
            &format!("truncated 1 {0}|{0}", &long[..30]),
            "stray %end 9 1 1",
            "exit None",
        ],
        0,
        1,
    );
}
