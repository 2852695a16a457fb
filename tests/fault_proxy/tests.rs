//! Each fault does what it says, over real sockets; the rules by themselves; and the reader of what clients send.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::Proxy;
use super::fault::{Direction, Evil, Fault, Hangup, InForce, Kind, Target, Ways};
use super::rules::{Lane, Step};
use super::wire::{Sight, WireReader};

/// After this a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test lasts.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// A proxy before a listener that this test serves by hand.
struct Stage {
    proxy: Proxy,
    origin: TcpListener,
}

impl Stage {
    async fn set() -> Self {
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(origin.local_addr().unwrap(), "/ws", 7).await.unwrap();
        Self { proxy, origin }
    }

    /// A client of the proxy, and the origin's end of its connection.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = self.client().await;
        let (origin, _) = timeout(PATIENCE, self.origin.accept()).await.unwrap().unwrap();
        (client, origin)
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }

    async fn begin(&self, evil: Evil, ways: Ways) -> u64 {
        self.proxy.begin(Fault { evil, ways, target: Target::All }).await
    }

    /// Returns once the proxy has read a request from a client, whatever became of it.
    async fn has_read_requests(&self, requests: usize) {
        let reading = async {
            while self.proxy.wire().requests.len() < requests {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reading).await.unwrap();
    }
}

/// Exactly so many bytes.
async fn exactly(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    timeout(PATIENCE, stream.read_exact(&mut read)).await.unwrap().unwrap();
    read
}

/// What comes until the end, and how it ends.
async fn to_the_end(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut all = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    (all, ended.err().map(|error| error.kind()))
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

const ASK: &str = "GET /x HTTP/1.1\r\nhost: y\r\n\r\n";
const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nupgrade: websocket\r\n\r\n";

#[tokio::test]
async fn without_a_fault_everything_passes_both_ways_and_each_end_is_told() {
    let stage = Stage::set().await;
    let (mut client, mut origin) = stage.connect().await;
    say(&mut client, ASK).await;
    client.shutdown().await.unwrap();
    assert_eq!(to_the_end(&mut origin).await, (ASK.into(), None));
    say(&mut origin, &"x".repeat(100_000)).await;
    drop(origin);
    assert_eq!(to_the_end(&mut client).await, (vec![b'x'; 100_000], None));
    timeout(PATIENCE, stage.proxy.deserted()).await.unwrap();
    assert_eq!(stage.proxy.open(), 0);
    stage.proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_stays_counts_as_open_whatever_the_backend_does() {
    let stage = Stage::set().await;
    let (mut client, origin) = stage.connect().await;
    drop(origin);
    assert_eq!(to_the_end(&mut client).await, (vec![], None));
    assert_eq!(stage.proxy.open(), 1);
    drop(client);
    timeout(PATIENCE, stage.proxy.deserted()).await.unwrap();
}

#[tokio::test]
async fn latency_holds_up_its_own_way_alone() {
    let stage = Stage::set().await;
    let base = Duration::from_millis(50);
    stage.begin(Evil::Latency { base, jitter: base }, Ways::Down).await;
    stage.begin(Evil::Latency { base: FOR_EVER, jitter: base }, Ways::Up).await;
    let (mut client, mut origin) = stage.connect().await;
    let start = Instant::now();
    say(&mut origin, "down").await;
    assert_eq!(exactly(&mut client, 4).await, b"down");
    assert!(start.elapsed() >= base);
    say(&mut client, ASK).await;
    stage.has_read_requests(1).await;
    stage.proxy.heal().await;
    assert_eq!(exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
}

#[tokio::test]
async fn a_drip_lets_so_many_bytes_pass_and_then_none_for_its_pause() {
    let stage = Stage::set().await;
    let drip = stage.begin(Evil::Drip { bytes: 3, pause: FOR_EVER }, Ways::Up).await;
    let (mut client, mut origin) = stage.connect().await;
    say(&mut client, ASK).await;
    stage.has_read_requests(1).await;
    let mut piece = [0; 100];
    let bytes = origin.read(&mut piece).await.unwrap();
    assert_eq!(&piece[..bytes], &ASK.as_bytes()[..3]);
    stage.proxy.end(drip).await;
    assert_eq!(exactly(&mut origin, ASK.len() - 3).await, &ASK.as_bytes()[3..]);
}

#[tokio::test]
async fn what_stalls_goes_on_when_the_fault_ends_and_nothing_of_it_is_lost() {
    let stage = Stage::set().await;
    let (mut client, mut origin) = stage.connect().await;
    let stall = stage.begin(Evil::Stall, Ways::Both).await;
    say(&mut client, ASK).await;
    client.shutdown().await.unwrap();
    stage.has_read_requests(1).await;
    assert_eq!(origin.try_read(&mut [0; 10]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    stage.proxy.end(stall).await;
    assert_eq!(to_the_end(&mut origin).await, (ASK.into(), None));
}

#[tokio::test]
async fn half_open_delivers_nothing_even_later_and_tells_of_no_end() {
    let stage = Stage::set().await;
    let (mut lost, mut deaf) = stage.connect().await;
    let (mut idle, mut spared) = stage.connect().await;
    let fault = stage.begin(Evil::HalfOpen, Ways::Up).await;
    let (mut new, mut deaf_too) = stage.connect().await;
    say(&mut lost, ASK).await;
    say(&mut new, ASK).await;
    stage.has_read_requests(2).await;
    stage.proxy.end(fault).await;
    say(&mut lost, ASK).await;
    say(&mut idle, ASK).await;
    stage.has_read_requests(4).await;
    // A connection on which nothing was lost is none the worse.
    assert_eq!(exactly(&mut spared, ASK.len()).await, ASK.as_bytes());
    // The other way is open.
    say(&mut deaf, "down").await;
    assert_eq!(exactly(&mut lost, 4).await, b"down");
    drop(new);
    // As soon as the proxy knows of that end, the origin would.
    let mut open = stage.proxy.shared.open.subscribe();
    timeout(PATIENCE, open.wait_for(|open| *open == 2)).await.unwrap().unwrap();
    for deaf in [&mut deaf, &mut deaf_too] {
        assert_eq!(deaf.try_read(&mut [0; 10]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }
    stage.proxy.stop().await;
    for deaf in [&mut deaf, &mut deaf_too] {
        assert_eq!(to_the_end(deaf).await.0, b"");
    }
}

#[tokio::test]
async fn a_cut_in_order_is_read_as_an_end_and_meets_only_what_was_open() {
    let stage = Stage::set().await;
    let (mut client, mut origin) = stage.connect().await;
    say(&mut origin, "before").await;
    assert_eq!(exactly(&mut client, 6).await, b"before");
    stage.begin(Evil::Cut(Hangup::Fin), Ways::Both).await;
    assert_eq!(to_the_end(&mut client).await, (vec![], None));
    assert_eq!(to_the_end(&mut origin).await, (vec![], None));
    let (mut client, mut origin) = stage.connect().await;
    say(&mut client, ASK).await;
    assert_eq!(exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
}

#[tokio::test]
async fn a_cut_of_one_way_leaves_the_other() {
    let stage = Stage::set().await;
    let (mut client, mut origin) = stage.connect().await;
    stage.begin(Evil::Cut(Hangup::Fin), Ways::Up).await;
    assert_eq!(to_the_end(&mut origin).await, (vec![], None));
    say(&mut client, ASK).await;
    say(&mut origin, "still").await;
    assert_eq!(exactly(&mut client, 5).await, b"still");
}

#[tokio::test]
async fn a_reset_is_seen_as_a_reset_on_both_sides() {
    let stage = Stage::set().await;
    let (mut client, mut origin) = stage.connect().await;
    stage.begin(Evil::Cut(Hangup::Rst), Ways::Down).await;
    assert_eq!(to_the_end(&mut client).await, (vec![], Some(ErrorKind::ConnectionReset)));
    assert_eq!(to_the_end(&mut origin).await, (vec![], Some(ErrorKind::ConnectionReset)));
    timeout(PATIENCE, stage.proxy.deserted()).await.unwrap();
}

#[tokio::test]
async fn a_cut_after_some_bytes_counts_from_its_beginning() {
    let stage = Stage::set().await;
    let (mut client, mut origin) = stage.connect().await;
    say(&mut client, ASK).await;
    exactly(&mut origin, ASK.len()).await;
    stage.begin(Evil::CutAfter { bytes: 5, hangup: Hangup::Fin }, Ways::Up).await;
    say(&mut client, ASK).await;
    assert_eq!(to_the_end(&mut origin).await, (ASK.as_bytes()[..5].to_vec(), None));
}

#[tokio::test]
async fn an_answer_is_truncated_at_the_byte_and_the_next_one_again() {
    let stage = Stage::set().await;
    stage.begin(Evil::Truncate { bytes: 9, hangup: Hangup::Fin }, Ways::Both).await;
    for answers in 0..2 {
        let (mut client, mut origin) = stage.connect().await;
        // Whole answers that are no longer than that pass.
        for _ in 0..answers {
            say(&mut client, ASK).await;
            exactly(&mut origin, ASK.len()).await;
            say(&mut origin, "123456789").await;
            assert_eq!(exactly(&mut client, 9).await, b"123456789");
        }
        say(&mut client, ASK).await;
        exactly(&mut origin, ASK.len()).await;
        say(&mut origin, "1234567890").await;
        assert_eq!(to_the_end(&mut client).await, (b"123456789".to_vec(), None));
    }
}

#[tokio::test]
async fn nobody_listens_while_connections_are_refused_and_the_port_is_kept() {
    let stage = Stage::set().await;
    let (mut open, mut origin) = stage.connect().await;
    let fault = stage.begin(Evil::Refuse, Ways::Both).await;
    let refused = TcpStream::connect(stage.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    say(&mut open, ASK).await;
    assert_eq!(exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
    let stranger = TcpListener::bind(stage.proxy.address()).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::AddrInUse);
    stage.proxy.end(fault).await;
    let (mut client, mut origin) = stage.connect().await;
    say(&mut client, ASK).await;
    assert_eq!(exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
}

#[tokio::test]
async fn a_new_connection_is_accepted_and_dropped_and_the_backend_never_hears_of_it() {
    let stage = Stage::set().await;
    let (mut open, mut origin) = stage.connect().await;
    for (hangup, ended) in [(Hangup::Fin, None), (Hangup::Rst, Some(ErrorKind::ConnectionReset))] {
        let fault = stage.begin(Evil::DropNew(hangup), Ways::Both).await;
        assert_eq!(to_the_end(&mut stage.client().await).await, (vec![], ended));
        stage.proxy.end(fault).await;
    }
    say(&mut open, ASK).await;
    assert_eq!(exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
    let (mut client, mut origin) = stage.connect().await;
    say(&mut client, ASK).await;
    assert_eq!(exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
}

#[tokio::test]
async fn a_fault_of_websockets_leaves_http_alone_and_the_other_way_round() {
    for (target, struck, spared) in [(Target::WebSocket, HANDSHAKE, ASK), (Target::Http, ASK, HANDSHAKE)] {
        for evil in [Evil::DropNew(Hangup::Rst), Evil::CutAfter { bytes: 0, hangup: Hangup::Rst }] {
            let stage = Stage::set().await;
            stage.proxy.begin(Fault { evil, ways: Ways::Up, target }).await;
            let (mut client, mut origin) = stage.connect().await;
            say(&mut client, struck).await;
            assert_eq!(to_the_end(&mut client).await, (vec![], Some(ErrorKind::ConnectionReset)));
            assert_eq!(to_the_end(&mut origin).await.0, b"");
            let (mut client, mut origin) = stage.connect().await;
            say(&mut client, spared).await;
            assert_eq!(exactly(&mut origin, spared.len()).await, spared.as_bytes());
        }
    }
}

#[tokio::test]
async fn new_connections_lead_to_the_backend_that_was_named_last() {
    let stage = Stage::set().await;
    let (mut before, mut old) = stage.connect().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.proxy.lead_to(other.local_addr().unwrap());
    let mut after = stage.client().await;
    let (mut new, _) = timeout(PATIENCE, other.accept()).await.unwrap().unwrap();
    say(&mut after, "new").await;
    assert_eq!(exactly(&mut new, 3).await, b"new");
    say(&mut before, "old").await;
    assert_eq!(exactly(&mut old, 3).await, b"old");
}

#[tokio::test]
async fn a_backend_that_is_away_is_an_end_for_the_client() {
    let stage = Stage::set().await;
    drop(stage.origin);
    let mut client = TcpStream::connect(stage.proxy.address()).await.unwrap();
    assert_eq!(to_the_end(&mut client).await.0, b"");
}

// === rules ===

fn in_force(evils: &[Evil]) -> Vec<InForce> {
    (1..).zip(evils).map(|(id, evil)| InForce { id, fault: Fault::everywhere(evil.clone()) }).collect()
}

#[test]
fn faults_add_up_and_the_strictest_decides() {
    let ms = Duration::from_millis;
    let mut lane = Lane::new(Direction::Down, 0);
    let faults = in_force(&[
        Evil::Latency { base: ms(10), jitter: ms(8) },
        Evil::Drip { bytes: 4, pause: ms(100) },
        Evil::CutAfter { bytes: 6, hangup: Hangup::Fin },
        Evil::Truncate { bytes: 7, hangup: Hangup::Rst },
    ]);
    assert_eq!(lane.next(&faults, 10, 0.5), Step::Pass { bytes: 4, wait: ms(14) });
    lane.passed(&faults, 4);
    assert_eq!(lane.next(&faults, 6, 0.5), Step::Pass { bytes: 2, wait: ms(100) });
    lane.passed(&faults, 2);
    assert_eq!(lane.next(&faults, 4, 0.5), Step::HangUp(Hangup::Fin));
    assert_eq!(lane.next(&faults[3..], 4, 0.5), Step::Pass { bytes: 1, wait: Duration::ZERO });
    assert_eq!(lane.next(&in_force(&[Evil::Stall]), 4, 0.5), Step::Hold);
    assert_eq!(lane.next(&in_force(&[Evil::Stall, Evil::HalfOpen]), 4, 0.5), Step::Lose);
    assert_eq!(lane.next(&[], 4, 0.5), Step::Lose);
}

#[test]
fn a_cut_strikes_each_way_once_and_nothing_that_began_after_it() {
    let faults = in_force(&[Evil::Cut(Hangup::Fin), Evil::Cut(Hangup::Rst)]);
    let mut old = Lane::new(Direction::Up, 0);
    assert_eq!(old.cut(&faults[..1]), Some(Hangup::Fin));
    assert_eq!(old.cut(&faults[..1]), None);
    assert_eq!(old.cut(&faults), Some(Hangup::Rst));
    assert_eq!(Lane::new(Direction::Up, 2).cut(&faults), None);
    assert_eq!(old.next(&faults, 1, 0.0), Step::Pass { bytes: 1, wait: Duration::ZERO });
}

#[test]
fn a_connection_that_has_said_nothing_yet_belongs_to_no_kind() {
    for kind in [None, Some(Kind::Http), Some(Kind::WebSocket)] {
        assert!(Target::All.includes(kind));
        assert_eq!(Target::Http.includes(kind), kind == Some(Kind::Http));
        assert_eq!(Target::WebSocket.includes(kind), kind == Some(Kind::WebSocket));
    }
}

// === what clients were seen to send ===

/// Requests, then a handshake, then frames: masked, short and long, text and not.
fn conversation() -> (Vec<u8>, Vec<Sight>) {
    let mut bytes = ASK.as_bytes().to_vec();
    bytes.extend_from_slice(b"POST /p?q=1 HTTP/1.1\r\nContent-Length: 5\r\nX-Tag:  t1 \r\n\r\nhello");
    bytes.extend_from_slice(b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    bytes.extend_from_slice(b"5\r\nhello\r\nA;x=y\r\n\r\n0\r\n\r\n345\r\n0\r\n\r\n");
    bytes.extend_from_slice(HANDSHAKE.as_bytes());
    let long = "y".repeat(300);
    for (opcode, text) in [(0x81, "hi"), (0x89, "ping"), (0x81, long.as_str())] {
        bytes.push(opcode);
        match text.len() {
            short if short < 126 => bytes.push(0x80 | short as u8),
            long => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        bytes.extend_from_slice(&mask);
        bytes.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    let seen = |method: &str, path: &str, headers: &[(&str, &str)], is_whole| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sight::Request(super::wire::SeenRequest {
            connection: 3,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.collect(),
            is_whole,
        })
    };
    let sights = vec![
        seen("GET", "/x", &[("host", "y")], true),
        seen("POST", "/p?q=1", &[("content-length", "5"), ("x-tag", "t1")], false),
        Sight::Rest(3),
        seen("PUT", "/c", &[("transfer-encoding", "chunked")], false),
        Sight::Rest(3),
        seen("GET", "/ws", &[("upgrade", "websocket")], true),
        Sight::Text("hi".to_owned()),
        Sight::Text(long),
    ];
    (bytes, sights)
}

#[test]
fn requests_and_frames_are_read_however_they_are_split() {
    let (bytes, sights) = conversation();
    for piece in [1, 2, 7, bytes.len()] {
        let mut reader = WireReader::new(3);
        let seen: Vec<Sight> = bytes.chunks(piece).flat_map(|piece| reader.read(piece)).collect();
        assert_eq!(seen, sights, "in pieces of {piece}");
    }
}

#[test]
fn what_has_not_come_to_its_last_byte_is_not_whole() {
    let (bytes, _) = conversation();
    let cut = bytes.windows(5).position(|bytes| bytes == b"hello").unwrap() + 4;
    let seen = WireReader::new(3).read(&bytes[..cut]);
    assert_eq!(seen.len(), 2);
    assert!(!seen.contains(&Sight::Rest(3)));
}
