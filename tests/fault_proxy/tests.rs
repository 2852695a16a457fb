//! Tests each fault over real sockets, the rules by themselves, and the reader of clients' bytes.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::fault_proxy::FaultProxy;
use crate::fault_proxy::fault::NetworkFaultKind::{
    Cut, CutAfter, DropNew, HalfOpen, Latency, Refuse, Stall, Throttle, Truncate,
};
use crate::fault_proxy::fault::{
    ActiveFault, CloseKind, Direction, Directions, FaultTarget, NetworkFault, NetworkFaultKind,
};
use crate::fault_proxy::frames::{ObservedRequest, TrafficEvent, TrafficReader};
use crate::fault_proxy::rules::{DirectionRules, PieceAction};

/// The limit after which a test has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A time longer than any test.
const ONE_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A proxy before a listener that this test serves by hand.
struct ProxyFixture {
    proxy: FaultProxy,
    origin: TcpListener,
}

impl ProxyFixture {
    async fn start() -> Self {
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(origin.local_addr().unwrap(), "/ws", 7).await.unwrap();
        Self { proxy, origin }
    }

    /// A client of the proxy, and the origin's end of its connection.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = self.client().await;
        let (origin, _) = timeout(TEST_TIMEOUT, self.origin.accept()).await.unwrap().unwrap();
        (client, origin)
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }

    async fn begin(&self, kind: NetworkFaultKind, directions: Directions) -> u64 {
        self.proxy.begin(NetworkFault { kind, directions, target: FaultTarget::All }).await
    }

    /// Returns once the proxy has read a request from a client, whatever happened to it.
    async fn wait_for_requests(&self, requests: usize) {
        poll_until(|| self.proxy.traffic().requests.len() >= requests).await;
    }
}

/// Polls a condition that no event signals.
async fn poll_until(is_so: impl Fn() -> bool) {
    let mut pace = tokio::time::interval(Duration::from_millis(3));
    let polling = async {
        while !is_so() {
            pace.tick().await;
        }
    };
    timeout(TEST_TIMEOUT, polling).await.unwrap();
}

/// Reads exactly so many bytes.
async fn read_exactly(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    timeout(TEST_TIMEOUT, stream.read_exact(&mut read)).await.unwrap().unwrap();
    read
}

/// Reads until the end, and returns how it ends.
async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut all = Vec::new();
    let ended = timeout(TEST_TIMEOUT, stream.read_to_end(&mut all)).await.unwrap();
    (all, ended.err().map(|error| error.kind()))
}

async fn write_text(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Sends a text, and checks that it comes out at the other end.
async fn assert_passes(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    write_text(from, text).await;
    assert_eq!(read_exactly(to, text.len()).await, text.as_bytes());
}

const ASK: &str = "GET /x HTTP/1.1\r\nhost: y\r\n\r\n";
const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nupgrade: websocket\r\n\r\n";

#[tokio::test]
async fn no_fault_passes_all_bytes_and_ends() {
    let fixture = ProxyFixture::start().await;
    let (mut client, mut origin) = fixture.connect().await;
    write_text(&mut client, ASK).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut origin).await, (ASK.into(), None));
    write_text(&mut origin, &"x".repeat(100_000)).await;
    drop(origin);
    assert_eq!(read_to_end(&mut client).await, (vec![b'x'; 100_000], None));
    timeout(TEST_TIMEOUT, fixture.proxy.wait_until_idle()).await.unwrap();
    assert_eq!(fixture.proxy.open_connections(), 0);
    // A client counts as open until it closes.
    let (mut other, origin) = fixture.connect().await;
    drop(origin);
    assert_eq!(read_to_end(&mut other).await, (vec![], None));
    assert_eq!(fixture.proxy.open_connections(), 1);
    drop(other);
    timeout(TEST_TIMEOUT, fixture.proxy.wait_until_idle()).await.unwrap();
    fixture.proxy.stop().await;
}

#[tokio::test]
async fn latency_holds_up_its_own_way_alone() {
    let fixture = ProxyFixture::start().await;
    let base = Duration::from_millis(50);
    fixture.begin(Latency { base, jitter: base }, Directions::Down).await;
    fixture.begin(Latency { base: ONE_DAY, jitter: base }, Directions::Up).await;
    let (mut client, mut origin) = fixture.connect().await;
    let start = Instant::now();
    assert_passes(&mut origin, &mut client, "down").await;
    assert!(start.elapsed() >= base);
    write_text(&mut client, ASK).await;
    fixture.wait_for_requests(1).await;
    fixture.proxy.clear().await;
    assert_eq!(read_exactly(&mut origin, ASK.len()).await, ASK.as_bytes());
}

#[tokio::test]
async fn drip_lets_so_many_bytes_pass_and_then_none_for_its_pause() {
    let fixture = ProxyFixture::start().await;
    let drip = fixture.begin(Throttle { bytes: 3, pause: ONE_DAY }, Directions::Up).await;
    let (mut client, mut origin) = fixture.connect().await;
    write_text(&mut client, ASK).await;
    fixture.wait_for_requests(1).await;
    let mut piece = [0; 100];
    let bytes = origin.read(&mut piece).await.unwrap();
    assert_eq!(&piece[..bytes], &ASK.as_bytes()[..3]);
    fixture.proxy.end(drip).await;
    assert_eq!(read_exactly(&mut origin, ASK.len() - 3).await, &ASK.as_bytes()[3..]);
}

#[tokio::test]
async fn stall_resumes_without_loss() {
    let fixture = ProxyFixture::start().await;
    let (mut client, mut origin) = fixture.connect().await;
    let stall = fixture.begin(Stall, Directions::Both).await;
    write_text(&mut client, ASK).await;
    client.shutdown().await.unwrap();
    fixture.wait_for_requests(1).await;
    assert_eq!(origin.try_read(&mut [0; 10]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    fixture.proxy.end(stall).await;
    assert_eq!(read_to_end(&mut origin).await, (ASK.into(), None));
}

#[tokio::test]
async fn half_open_delivers_neither_bytes_nor_ends() {
    let fixture = ProxyFixture::start().await;
    let (mut lost, mut deaf) = fixture.connect().await;
    let (mut idle, mut spared) = fixture.connect().await;
    let fault = fixture.begin(HalfOpen, Directions::Up).await;
    let (mut new, mut deaf_too) = fixture.connect().await;
    write_text(&mut lost, ASK).await;
    write_text(&mut new, ASK).await;
    fixture.wait_for_requests(2).await;
    fixture.proxy.end(fault).await;
    write_text(&mut lost, ASK).await;
    write_text(&mut idle, ASK).await;
    fixture.wait_for_requests(4).await;
    // A connection on which nothing was lost continues.
    assert_eq!(read_exactly(&mut spared, ASK.len()).await, ASK.as_bytes());
    // The other direction is open.
    assert_passes(&mut deaf, &mut lost, "down").await;
    drop(new);
    // As soon as the proxy knows of that end, the origin would.
    poll_until(|| fixture.proxy.open_connections() == 2).await;
    for deaf in [&mut deaf, &mut deaf_too] {
        assert_eq!(deaf.try_read(&mut [0; 10]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }
    fixture.proxy.stop().await;
    for deaf in [&mut deaf, &mut deaf_too] {
        assert_eq!(read_to_end(deaf).await.0, b"");
    }
}

#[tokio::test]
async fn cut_ends_open_connections_on_both_sides_only() {
    for (close, directions, ended) in [
        (CloseKind::Fin, Directions::Both, None),
        (CloseKind::Rst, Directions::Down, Some(ErrorKind::ConnectionReset)),
    ] {
        let fixture = ProxyFixture::start().await;
        let (mut client, mut origin) = fixture.connect().await;
        assert_passes(&mut origin, &mut client, "before").await;
        fixture.begin(Cut(close), directions).await;
        assert_eq!(read_to_end(&mut client).await, (vec![], ended), "{close:?}");
        assert_eq!(read_to_end(&mut origin).await, (vec![], ended), "{close:?}");
        drop((client, origin));
        timeout(TEST_TIMEOUT, fixture.proxy.wait_until_idle()).await.unwrap();
        let (mut client, mut origin) = fixture.connect().await;
        assert_passes(&mut client, &mut origin, ASK).await;
    }
}

#[tokio::test]
async fn cut_of_one_way_leaves_the_other() {
    let fixture = ProxyFixture::start().await;
    let (mut client, mut origin) = fixture.connect().await;
    fixture.begin(Cut(CloseKind::Fin), Directions::Up).await;
    assert_eq!(read_to_end(&mut origin).await, (vec![], None));
    write_text(&mut client, ASK).await;
    assert_passes(&mut origin, &mut client, "still").await;
}

#[tokio::test]
async fn cut_after_some_bytes_counts_from_its_beginning() {
    let fixture = ProxyFixture::start().await;
    let (mut client, mut origin) = fixture.connect().await;
    assert_passes(&mut client, &mut origin, ASK).await;
    fixture.begin(CutAfter { bytes: 5, close: CloseKind::Fin }, Directions::Up).await;
    write_text(&mut client, ASK).await;
    assert_eq!(read_to_end(&mut origin).await, (ASK.as_bytes()[..5].to_vec(), None));
}

#[tokio::test]
async fn answer_is_truncated_at_the_byte_and_the_next_one_again() {
    let fixture = ProxyFixture::start().await;
    fixture.begin(Truncate { bytes: 9, close: CloseKind::Fin }, Directions::Both).await;
    for answers in 0..2 {
        let (mut client, mut origin) = fixture.connect().await;
        // Complete responses below that length pass.
        for _ in 0..answers {
            assert_passes(&mut client, &mut origin, ASK).await;
            assert_passes(&mut origin, &mut client, "123456789").await;
        }
        assert_passes(&mut client, &mut origin, ASK).await;
        write_text(&mut origin, "1234567890").await;
        assert_eq!(read_to_end(&mut client).await, (b"123456789".to_vec(), None));
    }
}

#[tokio::test]
async fn refuse_closes_the_listener_and_keeps_the_port() {
    let fixture = ProxyFixture::start().await;
    let (mut open, mut origin) = fixture.connect().await;
    let fault = fixture.begin(Refuse, Directions::Both).await;
    let refused = TcpStream::connect(fixture.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_passes(&mut open, &mut origin, ASK).await;
    let stranger = TcpListener::bind(fixture.proxy.address()).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::AddrInUse);
    fixture.proxy.end(fault).await;
    let (mut client, mut origin) = fixture.connect().await;
    assert_passes(&mut client, &mut origin, ASK).await;
}

#[tokio::test]
async fn drop_new_never_reaches_the_backend() {
    let fixture = ProxyFixture::start().await;
    let (mut open, mut origin) = fixture.connect().await;
    for (hangup, ended) in [(CloseKind::Fin, None), (CloseKind::Rst, Some(ErrorKind::ConnectionReset))] {
        let fault = fixture.begin(DropNew(hangup), Directions::Both).await;
        assert_eq!(read_to_end(&mut fixture.client().await).await, (vec![], ended));
        fixture.proxy.end(fault).await;
    }
    assert_passes(&mut open, &mut origin, ASK).await;
    let (mut client, mut origin) = fixture.connect().await;
    assert_passes(&mut client, &mut origin, ASK).await;
}

#[tokio::test]
async fn fault_target_separates_websocket_and_http() {
    for (target, struck, spared) in
        [(FaultTarget::WebSocket, HANDSHAKE, ASK), (FaultTarget::Http, ASK, HANDSHAKE)]
    {
        for kind in [DropNew(CloseKind::Rst), CutAfter { bytes: 0, close: CloseKind::Rst }] {
            let fixture = ProxyFixture::start().await;
            fixture.proxy.begin(NetworkFault { kind, directions: Directions::Up, target }).await;
            let (mut client, mut origin) = fixture.connect().await;
            write_text(&mut client, struck).await;
            assert_eq!(read_to_end(&mut client).await, (vec![], Some(ErrorKind::ConnectionReset)));
            assert_eq!(read_to_end(&mut origin).await.0, b"");
            let (mut client, mut origin) = fixture.connect().await;
            assert_passes(&mut client, &mut origin, spared).await;
        }
    }
}

#[tokio::test]
async fn new_connections_lead_to_the_backend_that_was_named_last() {
    let fixture = ProxyFixture::start().await;
    let (mut before, mut old) = fixture.connect().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    fixture.proxy.set_backend(other.local_addr().unwrap());
    let mut after = fixture.client().await;
    let (mut new, _) = timeout(TEST_TIMEOUT, other.accept()).await.unwrap().unwrap();
    assert_passes(&mut after, &mut new, "new").await;
    assert_passes(&mut before, &mut old, "old").await;
}

#[tokio::test]
async fn backend_that_is_away_is_an_end_for_the_client() {
    let fixture = ProxyFixture::start().await;
    drop(fixture.origin);
    let mut client = TcpStream::connect(fixture.proxy.address()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
}

// === rules ===

fn active_faults(kinds: &[NetworkFaultKind]) -> Vec<ActiveFault> {
    (1..)
        .zip(kinds)
        .map(|(id, kind)| ActiveFault { id, fault: NetworkFault::everywhere(kind.clone()) })
        .collect()
}

#[test]
fn faults_add_up_and_the_strictest_decides() {
    let ms = Duration::from_millis;
    let mut lane = DirectionRules::new(Direction::Down, 0);
    let faults = active_faults(&[
        Latency { base: ms(10), jitter: ms(8) },
        Throttle { bytes: 4, pause: ms(100) },
        CutAfter { bytes: 6, close: CloseKind::Fin },
        Truncate { bytes: 7, close: CloseKind::Rst },
    ]);
    assert_eq!(lane.next(&faults, 10, 0.5), PieceAction::Pass { bytes: 4, wait: ms(14) });
    lane.record_passed(&faults, 4);
    assert_eq!(lane.next(&faults, 6, 0.5), PieceAction::Pass { bytes: 2, wait: ms(100) });
    lane.record_passed(&faults, 2);
    assert_eq!(lane.next(&faults, 4, 0.5), PieceAction::Close(CloseKind::Fin));
    assert_eq!(lane.next(&faults[3..], 4, 0.5), PieceAction::Pass { bytes: 1, wait: Duration::ZERO });
    assert_eq!(lane.next(&active_faults(&[Stall]), 4, 0.5), PieceAction::Hold);
    assert_eq!(lane.next(&active_faults(&[Stall, HalfOpen]), 4, 0.5), PieceAction::Drop);
    assert_eq!(lane.next(&[], 4, 0.5), PieceAction::Drop);
}

#[test]
fn cut_strikes_each_way_once_and_nothing_that_began_after_it() {
    let faults = active_faults(&[Cut(CloseKind::Fin), Cut(CloseKind::Rst)]);
    let mut old = DirectionRules::new(Direction::Up, 0);
    assert_eq!(old.cut(&faults[..1]), Some(CloseKind::Fin));
    assert_eq!(old.cut(&faults[..1]), None);
    assert_eq!(old.cut(&faults), Some(CloseKind::Rst));
    assert_eq!(DirectionRules::new(Direction::Up, 2).cut(&faults), None);
    assert_eq!(old.next(&faults, 1, 0.0), PieceAction::Pass { bytes: 1, wait: Duration::ZERO });
}

// === what clients were seen to send ===

/// Requests, then a handshake, then frames: masked, short and long, text and not.
fn sample_traffic() -> (Vec<u8>, Vec<TrafficEvent>) {
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
        TrafficEvent::Request(ObservedRequest {
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
        TrafficEvent::BodyEnd(3),
        seen("PUT", "/c", &[("transfer-encoding", "chunked")], false),
        TrafficEvent::BodyEnd(3),
        seen("GET", "/ws", &[("upgrade", "websocket")], true),
        TrafficEvent::Text("hi".to_owned()),
        TrafficEvent::Text(long),
    ];
    (bytes, sights)
}

#[test]
fn requests_and_frames_are_read_however_they_are_split() {
    let (bytes, sights) = sample_traffic();
    for piece in [1, 2, 7, bytes.len()] {
        let mut reader = TrafficReader::new(3);
        let seen: Vec<TrafficEvent> = bytes.chunks(piece).flat_map(|piece| reader.read(piece)).collect();
        assert_eq!(seen, sights, "in pieces of {piece}");
    }
}

#[test]
fn what_has_not_come_to_its_last_byte_is_not_whole() {
    let (bytes, _) = sample_traffic();
    let cut = bytes.windows(5).position(|bytes| bytes == b"hello").unwrap() + 4;
    let seen = TrafficReader::new(3).read(&bytes[..cut]);
    assert_eq!(seen.len(), 2);
    assert!(!seen.contains(&TrafficEvent::BodyEnd(3)));
}
