//! The 301 cases of the Autobahn test suite that need no compression: its sections 1 to 7, 9 and 10. The client sends
//! each frame back through the public API.
//!
//! The suite itself runs on Python 2 only. Its cases are written down here as what a raw server sends and what must come
//! back. Numbers are those of the suite, version 0.8.2.

use std::ops::Range;

use mainstay::config::Config;
use mainstay::{Frame, Inbound, Mainstay};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::server::{accept, frame, read_frame};
use crate::support::TEST_TIMEOUT;
use crate::tier;

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const PROTOCOL_ERROR: u16 = 1002;
const INVALID_TEXT: u16 = 1007;

/// The end of a case.
#[derive(Debug, Clone, PartialEq)]
enum End {
    /// The server closes with 1000, and the client answers with the same.
    Open,
    /// The client answers the server's close frame with this code; `None` for a frame without one.
    Closed(Option<u16>),
    /// The client gives the connection up with this code. It may go without one while it is still sending.
    Failed(u16),
}

/// A case: what the server sends, and what comes back.
#[derive(Debug)]
struct Case {
    id: String,
    sent: Vec<u8>,
    /// The number of bytes that are sent at a time.
    chop: usize,
    messages: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    end: End,
    /// The number of times that all of it is sent; each waits for the answer.
    rounds: usize,
}

impl Case {
    fn new(id: impl Into<String>, sent: Vec<u8>) -> Self {
        Self {
            id: id.into(),
            sent,
            chop: usize::MAX,
            messages: Vec::new(),
            pongs: Vec::new(),
            end: End::Open,
            rounds: 1,
        }
    }

    fn chopped(self, chop: usize) -> Self {
        Self { chop, ..self }
    }

    fn echoes(mut self, opcode: u8, payload: &[u8]) -> Self {
        self.messages.push((opcode, payload.to_vec()));
        self
    }

    fn pongs(mut self, payload: &[u8]) -> Self {
        self.pongs.push(payload.to_vec());
        self
    }

    fn ends(self, end: End) -> Self {
        Self { end, ..self }
    }

    fn fails(self) -> Self {
        self.ends(End::Failed(PROTOCOL_ERROR))
    }
}

fn whole(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode, payload)
}

/// Returns a message in frames of these parts.
fn fragments<'p>(opcode: u8, parts: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let parts: Vec<_> = parts.into_iter().collect();
    let last = parts.len() - 1;
    let frames = parts.into_iter().enumerate().map(|(index, part)| {
        let opcode = if index == 0 { opcode } else { CONTINUATION };
        frame(if index == last { FIN | opcode } else { opcode }, part)
    });
    frames.flatten().collect()
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    whole(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn text_of(bytes: usize) -> Vec<u8> {
    vec![b'*'; bytes]
}

fn binary_of(bytes: usize) -> Vec<u8> {
    vec![0xfe; bytes]
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Section 1: messages of every size.
fn framing() -> Vec<Case> {
    let sizes = [(0, 0), (125, 0), (126, 0), (127, 0), (128, 0), (65_535, 0), (65_536, 0), (65_536, 997)];
    let mut cases = Vec::new();
    for (group, opcode, fill) in [(1, TEXT, text_of as fn(usize) -> Vec<u8>), (2, BINARY, binary_of)] {
        for (number, (bytes, chop)) in sizes.into_iter().enumerate() {
            let payload = fill(bytes);
            let case = Case::new(format!("1.{group}.{}", number + 1), whole(opcode, &payload));
            cases.push(case.chopped(if chop == 0 { usize::MAX } else { chop }).echoes(opcode, &payload));
        }
    }
    cases
}

/// Section 2: pings and pongs.
fn pings() -> Vec<Case> {
    let long = binary_of(125);
    let ten: Vec<Vec<u8>> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    let all: Vec<u8> = ten.iter().flat_map(|payload| whole(PING, payload)).collect();
    let answered =
        |id: &str| ten.iter().fold(Case::new(id, all.clone()), |case, payload| case.pongs(payload));
    let mut cases = Vec::new();
    for (id, payload) in [
        ("2.1", &b""[..]),
        ("2.2", b"Hello, world!"),
        ("2.3", &[0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0]),
        ("2.4", &long),
    ] {
        cases.push(Case::new(id, whole(PING, payload)).pongs(payload));
    }
    cases.push(Case::new("2.5", whole(PING, &binary_of(126))).fails());
    cases.push(Case::new("2.6", whole(PING, &long)).chopped(1).pongs(&long));
    cases.push(Case::new("2.7", whole(PONG, b"")));
    cases.push(Case::new("2.8", whole(PONG, b"unsolicited pong payload")));
    let both = [whole(PONG, b"unsolicited pong payload"), whole(PING, b"ping payload")].concat();
    cases.push(Case::new("2.9", both).pongs(b"ping payload"));
    cases.push(answered("2.10"));
    cases.push(answered("2.11").chopped(1));
    cases
}

/// Sections 3 and 4: reserved bits and opcodes.
fn reserved() -> Vec<Case> {
    let hello = b"Hello, world!";
    let mut cases = vec![
        Case::new("3.1", frame(FIN | 0x10 | TEXT, hello)).fails(),
        Case::new("3.5", frame(FIN | 0x50 | BINARY, &binary_of(8))).fails(),
        Case::new("3.6", frame(FIN | 0x60 | PING, hello)).fails(),
        Case::new("3.7", frame(FIN | 0x70 | CLOSE, b"")).fails(),
    ];
    let behind_text = |id: &str, bad: Vec<u8>| {
        let sent = [whole(TEXT, hello), bad, whole(PING, b"")].concat();
        Case::new(id, sent).echoes(TEXT, hello).fails()
    };
    for (id, bits, chop) in [("3.2", 0x20, usize::MAX), ("3.3", 0x30, 15), ("3.4", 0x40, 1)] {
        cases.push(behind_text(id, frame(FIN | bits | TEXT, hello)).chopped(chop));
    }
    for (group, first) in [(1, 3), (2, 11)] {
        for number in 0..5 {
            let id = format!("4.{group}.{}", number + 1);
            let payload: &[u8] = if number == 1 { b"reserved opcode payload" } else { b"" };
            let bad = frame(FIN | (first + number), payload);
            cases.push(match number {
                0 | 1 => Case::new(id, bad).fails(),
                2 => behind_text(&id, bad),
                _ => behind_text(&id, bad).chopped(1),
            });
        }
    }
    cases
}

/// Section 5: fragments.
fn fragmentation() -> Vec<Case> {
    let (one, two) = (&b"fragment1"[..], &b"fragment2"[..]);
    let joined = [one, two].concat();
    let both = fragments(TEXT, [one, two]);
    let with_ping = [frame(TEXT, one), whole(PING, b"ping payload"), whole(CONTINUATION, two)].concat();
    let mut cases = vec![
        Case::new("5.1", fragments(PING, [one, two])).fails(),
        Case::new("5.2", fragments(PONG, [one, two])).fails(),
    ];
    for (first, chop) in [(0, usize::MAX), (1, 11), (2, 1)] {
        cases.push(Case::new(format!("5.{}", 3 + first), both.clone()).chopped(chop).echoes(TEXT, &joined));
        let case = Case::new(format!("5.{}", 6 + first), with_ping.clone()).chopped(chop);
        cases.push(case.echoes(TEXT, &joined).pongs(b"ping payload"));
        for (group, head) in [(9, FIN | CONTINUATION), (12, CONTINUATION)] {
            let sent = [frame(head, b"non-continuation payload"), whole(TEXT, b"Hello, world!")].concat();
            cases.push(Case::new(format!("5.{}", group + first), sent).chopped(chop).fails());
        }
    }
    let behind = [both, frame(CONTINUATION, one), whole(TEXT, two)].concat();
    cases.push(Case::new("5.15", behind).echoes(TEXT, &joined).fails());
    for (id, head) in [("5.16", CONTINUATION), ("5.17", FIN | CONTINUATION)] {
        let round = [frame(head, one), frame(TEXT, one), frame(FIN | CONTINUATION, two)].concat();
        cases.push(Case::new(id, round.repeat(2)).fails());
    }
    cases.push(Case::new("5.18", [frame(TEXT, one), frame(FIN | TEXT, two)].concat()).fails());
    let parts = [&b"fragment1"[..], b"fragment2", b"fragment3", b"fragment4", b"fragment5"];
    let five = [
        frame(TEXT, parts[0]),
        frame(CONTINUATION, parts[1]),
        whole(PING, b"pongme 1!"),
        frame(CONTINUATION, parts[2]),
        frame(CONTINUATION, parts[3]),
        whole(PING, b"pongme 2!"),
        whole(CONTINUATION, parts[4]),
    ]
    .concat();
    for (id, chop) in [("5.19", usize::MAX), ("5.20", 11)] {
        let case = Case::new(id, five.clone()).chopped(chop).echoes(TEXT, &parts.concat());
        cases.push(case.pongs(b"pongme 1!").pongs(b"pongme 2!"));
    }
    cases
}

/// Section 6: UTF-8.
fn utf8() -> Vec<Case> {
    // With the accent of ancient Greek, which takes three bytes.
    let greek = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes();
    let mixed = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let broken = [greek, &hex("eda080"), b"edited"].concat();
    let valid = |id: &str, sent: Vec<u8>, text: &[u8]| Case::new(id, sent).echoes(TEXT, text);
    let invalid = |id: &str, sent: Vec<u8>| Case::new(id, sent).ends(End::Failed(INVALID_TEXT));
    let mut cases = vec![
        valid("6.1.1", whole(TEXT, b""), b""),
        valid("6.1.2", fragments(TEXT, [&b""[..], b"", b""]), b""),
        valid("6.1.3", fragments(TEXT, [&b""[..], b"middle frame payload", b""]), b"middle frame payload"),
        valid("6.2.1", whole(TEXT, mixed), mixed),
        valid("6.2.2", fragments(TEXT, [&mixed[..9], &mixed[9..]]), mixed),
        valid("6.2.3", fragments(TEXT, mixed.chunks(1)), mixed),
        valid("6.2.4", fragments(TEXT, greek.chunks(1)), greek),
        invalid("6.3.1", whole(TEXT, &broken)),
        invalid("6.3.2", fragments(TEXT, broken.chunks(1))),
    ];
    let (too_high, edited) = (hex("f4908080"), &b"edited"[..]);
    let early = fragments(TEXT, [greek, &too_high, edited]);
    let split = fragments(TEXT, [&[greek, &too_high[..1]].concat()[..], &too_high[1..2], edited]);
    for (id, sent, chop) in [
        ("6.4.1", &early, usize::MAX),
        ("6.4.2", &split, usize::MAX),
        ("6.4.3", &early, 13),
        ("6.4.4", &split, 14),
    ] {
        cases.push(invalid(id, sent.clone()).chopped(chop));
    }
    let mut add = |id: String, bytes: &[u8]| {
        cases.push(match std::str::from_utf8(bytes) {
            Ok(_) => valid(&id, whole(TEXT, bytes), bytes),
            Err(_) => invalid(&id, whole(TEXT, bytes)),
        });
    };
    for (number, text) in
        ["hello$world", "hello¢world", "hello€world", "hello\u{24b62}world", "κόσμε"].iter().enumerate()
    {
        add(format!("6.5.{}", number + 1), text.as_bytes());
    }
    for length in 1..=greek.len() {
        add(format!("6.6.{length}"), &greek[..length]);
    }
    let continuations = |count: usize| "80bf".repeat(4)[..2 * count].to_owned();
    let all_continuations: String = (0x80..0xc0).map(|byte: u8| format!("{byte:02x}")).collect();
    let lonely = |range: Range<u16>| range.map(|byte| format!("{byte:02x}20")).collect::<String>();
    let missing =
        ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"];
    let own = |list: &[&str]| list.iter().map(|digits| (*digits).to_owned()).collect::<Vec<_>>();
    let unexpected: Vec<String> = ["80", "bf"]
        .map(str::to_owned)
        .into_iter()
        .chain((2..=6).map(continuations))
        .chain([all_continuations])
        .collect();
    for (group, list) in [
        (7, own(&["00", "c280", "e0a080", "f0908080"])),
        (8, own(&["f888808080", "fc8480808080"])),
        (9, own(&["7f", "dfbf", "efbfbf", "f48fbfbf"])),
        (10, own(&["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"])),
        (11, own(&["ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"])),
        (12, unexpected),
        (13, [0xc0..0xe0, 0xe0..0xf0, 0xf0..0xf8, 0xf8..0xfc, 0xfc..0xfe].map(lonely).to_vec()),
        (14, own(&missing)),
        (15, vec![missing.concat()]),
        (16, own(&["fe", "ff", "fefeffff"])),
        (17, own(&["c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"])),
        (18, own(&["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"])),
        (19, own(&["c080", "e08080", "f0808080", "f880808080", "fc8080808080"])),
        (20, own(&["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"])),
        (
            21,
            own(&[
                "eda080edb080",
                "eda080edbfbf",
                "edadbfedb080",
                "edadbfedbfbf",
                "edae80edb080",
                "edae80edbfbf",
                "edafbfedb080",
                "edafbfedbfbf",
            ]),
        ),
    ] {
        for (number, digits) in list.iter().enumerate() {
            add(format!("6.{group}.{}", number + 1), &hex(digits));
        }
    }
    let planes = (0..=16_u32).flat_map(|plane| [(plane << 16) | 0xfffe, (plane << 16) | 0xffff]);
    for (group, points) in [(22, planes.collect::<Vec<_>>()), (23, (0xfff9..=0xffff).collect())] {
        for (number, point) in points.into_iter().enumerate() {
            let text = char::from_u32(point).unwrap().to_string();
            add(format!("6.{group}.{}", number + 1), text.as_bytes());
        }
    }
    cases
}

/// Section 7: the closing handshake.
fn closing() -> Vec<Case> {
    let hello = b"Hello World!";
    let normal = || close(1000, b"");
    let closed = |id: &str, sent: Vec<u8>, code| Case::new(id, sent).ends(End::Closed(code));
    let mut cases = vec![
        // The server closes once the echo is there.
        Case::new("7.1.1", whole(TEXT, hello)).echoes(TEXT, hello),
        closed("7.1.2", normal().repeat(2), Some(1000)),
        closed("7.1.3", [normal(), whole(PING, b"")].concat(), Some(1000)),
        closed("7.1.4", [normal(), whole(TEXT, hello)].concat(), Some(1000)),
        closed(
            "7.1.5",
            [frame(TEXT, b"fragment1"), normal(), whole(CONTINUATION, b"fragment2")].concat(),
            Some(1000),
        ),
        closed("7.1.6", [whole(TEXT, &text_of(256 * 1024)), normal(), whole(PING, b"")].concat(), Some(1000))
            .echoes(TEXT, &text_of(256 * 1024)),
        closed("7.3.1", whole(CLOSE, b""), None),
        Case::new("7.3.2", whole(CLOSE, b"a")).fails(),
        closed("7.3.3", normal(), Some(1000)),
        closed("7.3.4", close(1000, hello), Some(1000)),
        closed("7.3.5", close(1000, &text_of(123)), Some(1000)),
        Case::new("7.3.6", close(1000, &text_of(124))).fails(),
        Case::new("7.5.1", close(1000, &hex("cebae1bdb9cf83cebcceb5eda080656469746564")))
            .ends(End::Failed(INVALID_TEXT)),
    ];
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for (number, code) in valid.into_iter().enumerate() {
        cases.push(closed(&format!("7.7.{}", number + 1), close(code, b""), Some(code)));
    }
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999].into_iter().enumerate();
    for (number, code) in invalid {
        cases.push(Case::new(format!("7.9.{}", number + 1), close(code, b"")).fails());
    }
    // The suite only notes what a client does here.
    for (number, code) in [5000, 65_535].into_iter().enumerate() {
        cases.push(Case::new(format!("7.13.{}", number + 1), close(code, b"")).fails());
    }
    cases
}

/// Sections 9 and 10: large messages, many fragments, small pieces, and a thousand rounds.
///
/// The thorough tier has the suite's sizes and rounds. Each `cargo test` has an eighth of them.
fn volume() -> Vec<Case> {
    let eighths = tier::cases(1, 8).min(8) as usize;
    let (kib, mib, rounds) = (128 * eighths, 128 * 1024 * eighths, 125 * eighths);
    let mut cases = Vec::new();
    for (kind, opcode, fill) in [(0, TEXT, text_of as fn(usize) -> Vec<u8>), (1, BINARY, binary_of)] {
        let sizes = [64 * kib, 256 * kib, mib, 4 * mib, 8 * mib, 16 * mib];
        for (number, bytes) in sizes.into_iter().enumerate() {
            let payload = fill(bytes);
            let case = Case::new(format!("9.{}.{}", 1 + kind, number + 1), whole(opcode, &payload));
            cases.push(case.echoes(opcode, &payload));
        }
        let payload = fill(4 * mib);
        for number in 0..9 {
            let sent = fragments(opcode, payload.chunks(64 << (2 * number)));
            let case = Case::new(format!("9.{}.{}", 3 + kind, number + 1), sent);
            cases.push(case.echoes(opcode, &payload));
        }
        let payload = fill(mib);
        for number in 0..6 {
            let case = Case::new(format!("9.{}.{}", 5 + kind, number + 1), whole(opcode, &payload));
            cases.push(case.chopped(64 << number).echoes(opcode, &payload));
        }
        for (number, bytes) in [0, 16, 64, 256, 1024, 4096].into_iter().enumerate() {
            let payload = fill(bytes);
            let case = Case::new(format!("9.{}.{}", 7 + kind, number + 1), whole(opcode, &payload));
            cases.push(Case { rounds, ..case.echoes(opcode, &payload) });
        }
    }
    let payload = text_of(65_536);
    let sent = fragments(TEXT, payload.chunks(1300));
    cases.push(Case::new("10.1.1", sent).echoes(TEXT, &payload));
    cases
}

/// What the client has sent, until it closed or went.
#[derive(Debug, Default)]
struct Received {
    messages: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    /// The payload of its close frame.
    close: Option<Vec<u8>>,
}

impl Received {
    /// Reads one frame; returns false at the end.
    async fn read(&mut self, stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
        let Some(frame) = read_frame(stream).await else { return false };
        assert!(frame.head & 0x70 == 0 && frame.head & FIN != 0, "{:x}", frame.head);
        match frame.head & 0x0f {
            opcode @ (TEXT | BINARY) => self.messages.push((opcode, frame.payload)),
            PONG => self.pongs.push(frame.payload),
            CLOSE => self.close = Some(frame.payload),
            PING => {}
            opcode => panic!("the client sent opcode {opcode}"),
        }
        true
    }
}

/// Starts a client that sends back each frame.
async fn start_client(url: &str) -> (Mainstay, JoinSet<()>) {
    let config =
        Config::from_toml(&format!("backend.url = \"{url}\"\nconnection.ping_interval = \"1h\"")).unwrap();
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let connection = mainstay.connection();
    let mut frames = connection.frames();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(inbound) = frames.next().await {
            let frame = match inbound {
                Inbound::Text(text) => Frame::from(&*text),
                Inbound::Binary(bytes) => Frame::from(bytes),
                Inbound::Gap(_) => continue,
                Inbound::Lagged(count) => panic!("{count} frames were lost"),
            };
            // A connection that the case has ended takes no frame.
            let _ = connection.send(frame, TEST_TIMEOUT).await;
        }
    });
    (mainstay, tasks)
}

async fn run(listener: &TcpListener, case: &Case) {
    let (mainstay, client) = start_client(&format!("http://{}", listener.local_addr().unwrap())).await;
    let stream = accept(listener).await;
    stream.set_nodelay(true).unwrap();
    let received = exchange(stream, case).await;
    check(case, &received);
    drop(client);
    mainstay.shutdown().await;
}

async fn exchange(stream: TcpStream, case: &Case) -> Received {
    let (mut source, mut sink) = stream.into_split();
    let mut received = Received::default();
    let (answered, mut answers) = tokio::sync::watch::channel(0);
    let write = async {
        for round in 0..case.rounds {
            for part in case.sent.chunks(case.chop) {
                // A client that gives up no longer reads.
                if sink.write_all(part).await.is_err() {
                    return sink;
                }
            }
            if case.end == End::Open {
                let wanted = round + 1;
                answers.wait_for(|answered| *answered >= wanted).await.unwrap();
            }
        }
        if case.end == End::Open {
            sink.write_all(&close(1000, b"")).await.unwrap();
        }
        sink
    };
    let read = async {
        loop {
            if case.end == End::Open {
                let is_whole = |got: usize, expected: usize| {
                    got / expected.max(1) + usize::from(expected == 0) * case.rounds
                };
                let messages = is_whole(received.messages.len(), case.messages.len());
                answered.send_replace(messages.min(is_whole(received.pongs.len(), case.pongs.len())));
            }
            if !received.read(&mut source).await {
                return;
            }
        }
    };
    let (_sink, ()) = tokio::join!(write, read);
    received
}

fn check(case: &Case, received: &Received) {
    let Case { id, messages, pongs, end, rounds, .. } = case;
    let code = |payload: &Vec<u8>| payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
    let close_code = received.close.as_ref().map(code);
    match end {
        End::Open => {
            let expected: Vec<_> = (0..*rounds).flat_map(|_| messages.clone()).collect();
            assert!(received.messages == expected, "{id}: {} messages", received.messages.len());
            assert!(received.pongs == *pongs, "{id}: {:?}", received.pongs);
            assert_eq!(close_code, Some(Some(1000)), "{id}");
        }
        End::Closed(code) => {
            assert!(messages.starts_with(&received.messages), "{id}");
            assert_eq!(close_code, Some(*code), "{id}");
        }
        End::Failed(code) => {
            assert!(messages.starts_with(&received.messages), "{id}");
            let may_be_sending = !messages.is_empty();
            assert!(
                close_code == Some(Some(*code)) || (may_be_sending && close_code.is_none()),
                "{id}: {close_code:?}"
            );
        }
    }
}

async fn run_all(cases: Vec<Case>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for case in &cases {
        let run = timeout(TEST_TIMEOUT, run(&listener, case)).await;
        run.unwrap_or_else(|_| panic!("case {} does not end", case.id));
    }
}

fn sections() -> [Vec<Case>; 7] {
    [framing(), pings(), reserved(), fragmentation(), utf8(), closing(), volume()]
}

#[test]
fn there_are_three_hundred_and_one_cases() {
    let ids: std::collections::BTreeSet<_> = sections().into_iter().flatten().map(|case| case.id).collect();
    assert_eq!(ids.len(), 301);
}

#[tokio::test]
async fn messages_pings_and_fragments_are_echoed() {
    run_all([framing(), pings(), fragmentation()].into_iter().flatten().collect()).await;
}

#[tokio::test]
async fn reserved_bits_and_opcodes_end_the_connection() {
    run_all(reserved()).await;
}

#[tokio::test]
async fn text_is_valid_utf_8_or_ends_the_connection() {
    run_all(utf8()).await;
}

#[tokio::test]
async fn closing_handshake_answers_each_code() {
    run_all(closing()).await;
}

#[tokio::test]
async fn volume_of_every_shape_is_echoed() {
    run_all(volume()).await;
}
