//! Tests that the handshake sends the token of now.

use std::collections::VecDeque;

use super::*;
use crate::credentials::Credentials;

/// Returns credentials that give these tokens, one for each question. The last goes on.
fn tokens(tokens: &[&str]) -> Credentials {
    let tokens: VecDeque<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
    let left = Arc::new(Mutex::new(tokens));
    Credentials::from_callback(move |_| {
        let mut left = left.lock();
        let token = if left.len() > 1 { left.pop_front() } else { left.front().cloned() };
        async move { Ok(token) }
    })
}

/// Answers the next handshake with this status, and returns its token.
async fn refuse(server: &WsServer, status: u16) -> String {
    let mut stream = server.accept_raw().await;
    let head = read_head(&mut stream).await;
    let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
    let line = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    line.expect("a token is sent").to_owned()
}

#[tokio::test]
async fn token_is_read_for_each_dial() {
    let server = WsServer::listening().await;
    let target = server.target().with_credentials(tokens(&["token-1", "token-2"])).unwrap();
    let _fixture = ConnectionFixture::start(target, immediate_retry_policy(5)).await;
    assert_eq!(refuse(&server, 503).await, "token-1");
    assert_eq!(refuse(&server, 503).await, "token-2");
}

#[tokio::test]
async fn rejected_token_is_asked_for_once_more_before_it_fails() {
    let server = WsServer::listening().await;
    let target = server.target().with_credentials(tokens(&["old", "new"])).unwrap();
    let fixture = ConnectionFixture::start(target, slow_retry_policy()).await;
    assert_eq!(refuse(&server, 401).await, "old");
    let peer = server.accept().await;
    fixture.wait_for_state(Connected).await;
    drop(peer);
}

#[tokio::test]
async fn same_token_is_not_tried_twice() {
    let server = WsServer::listening().await;
    let target = server.target().with_bearer("expired").unwrap();
    let fixture = ConnectionFixture::start(target, slow_retry_policy()).await;
    assert_eq!(refuse(&server, 401).await, "expired");
    let status = fixture.wait_for_state(Failed).await;
    assert_eq!(status.last_error.unwrap().kind, Kind::Unauthenticated);
    assert!(poll!(pin!(server.accept_raw())).is_pending(), "it dialled again");
}

#[tokio::test]
async fn refused_connection_tries_changed_credentials_at_once() {
    let server = WsServer::listening().await;
    let target = server.target().with_credentials(tokens(&["old", "old", "new"])).unwrap();
    let fixture = ConnectionFixture::start(target, slow_retry_policy()).await;
    assert_eq!(refuse(&server, 401).await, "old");
    fixture.wait_for_state(Failed).await;
    fixture.send(ConnectionMessage::CredentialsChanged).await;
    let _peer = server.accept().await;
    fixture.wait_for_state(Connected).await;
}
