//! Tests a peer that repeats what the handshake sent: none of it appears in the status, in the journal, or in an
//! error.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::error::Error;

/// The shortest part of a secret that counts as leaked.
const WINDOW_CHARS: usize = 8;
/// The longest reason of a close frame.
const REASON_BYTES_MAX: usize = 123;

/// The place of an echo: a frame, or a response to the handshake with the echo as `{}`.
#[derive(Debug, Clone, Copy)]
enum EchoPlace {
    CloseReason(u16),
    Frame,
    Response(&'static str),
}

const PLACES: [EchoPlace; 9] = [
    EchoPlace::CloseReason(1000),
    EchoPlace::CloseReason(1008),
    EchoPlace::CloseReason(4401),
    EchoPlace::CloseReason(4999),
    EchoPlace::Response("HTTP/1.1 403 No\r\ncontent-length: {length}\r\n\r\n{}"),
    EchoPlace::Response("HTTP/1.1 503 No\r\nretry-after: {}\r\nx-echo: {}\r\n\r\n"),
    EchoPlace::Response("HTTP/1.1 401 {}\r\n\r\n"),
    EchoPlace::Response("{}\r\n\r\n"),
    EchoPlace::Frame,
];

/// Returns everything observable of a connection whose peer sends `echo` there.
async fn observable_output(
    server: &WsServer,
    target: SocketTarget,
    place: EchoPlace,
    echo: &str,
) -> Vec<String> {
    let shown_target = format!("{target:?}");
    let mut fixture = ConnectionFixture::start(target, slow_retry_policy()).await;
    let mut peer = None;
    if let EchoPlace::Response(template) = place {
        let answer = template.replace("{length}", &echo.len().to_string()).replace("{}", echo);
        server.respond(&answer).await;
    } else {
        let open = peer.insert(server.accept().await);
        fixture.wait_for_state(Connected).await;
        if let EchoPlace::CloseReason(code) = place {
            let reason = echo.chars().take(REASON_BYTES_MAX).collect::<String>().into();
            open.close(CloseFrame { code: code.into(), reason }).await;
        } else {
            // A binary frame with the secret in it.
            let text = &echo.as_bytes()[..echo.len().min(125)];
            let bytes = [&[0xf1, text.len() as u8][..], text].concat();
            open.raw().write_all(&bytes).await.unwrap();
        }
    }
    let mut lines = vec![shown_target];
    let error = loop {
        let record = fixture.next_record(ConnectionChanged::KIND).await;
        lines.push(serde_json::to_string(&record).unwrap());
        let change: ConnectionChanged = record.decode().unwrap();
        lines.push(format!("{change:?}"));
        if let Some(error) = change.error {
            break error;
        }
    };
    let error = Error::from(&error);
    lines.push(format!("{error:?} {error:?} {error}"));
    lines.push(format!("{:?}", *fixture.view.status.borrow()));
    drop(peer);
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn peer_echoes_of_secrets_are_redacted_everywhere(
        token in "[A-Wa-w0-9+/._~-]{10,40}={0,2}",
        header in r"[A-Wa-w0-9!-/:-@\[-`{-~]{10,40}",
        key in "[A-Wa-w0-9]{10,40}",
        which in 0..3_usize,
        junk in "[xyz ]{0,110}",
        is_json in any::<bool>(),
        place in prop::sample::select(PLACES.to_vec()),
    ) {
        let secrets = [token, header, key];
        let lines = block_on(async {
            let server = WsServer::listening().await;
            let target = SocketTarget::new(&server.url(), &format!("/ws?key={}", secrets[2])).unwrap();
            let target = target.with_bearer(&secrets[0]).unwrap().with_header("x-own", &secrets[1]).unwrap();
            let secret = &secrets[which];
            let quoted = serde_json::to_string(secret).unwrap();
            let echo = format!("{junk}{}{junk}", if is_json { &quoted[1..quoted.len() - 1] } else { secret });
            observable_output(&server, target, place, &echo).await
        });
        for secret in &secrets {
            let chars: Vec<char> = secret.chars().collect();
            for window in chars.windows(WINDOW_CHARS) {
                let part: String = window.iter().collect();
                for line in &lines {
                    prop_assert!(!line.contains(&part), "{:?} of {:?} stands in {}", part, secret, line);
                }
            }
        }
    }
}
