//! Tests server-sent events and WebSockets, from the first message to an orderly end.

use super::support::{Clinic, PATIENCE};
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Asks for the events and returns the reader of the raw answer.
async fn events(clinic: &Clinic, last: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(clinic.address).await.unwrap();
    let request = format!("GET /api/events HTTP/1.1\r\nhost: clinic.example\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// Reads lines until one starts with `prefix`, and returns the rest of it.
async fn line(reader: &mut BufReader<TcpStream>, prefix: &str) -> String {
    let read = async {
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).await.unwrap() > 0, "the stream ended before {prefix:?}");
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim().to_owned();
            }
        }
    };
    timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test]
async fn events_come_numbered_once_a_second_and_go_on_where_a_client_left() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[("CLINIC_VERSION", "v5")]);

    let mut reader = events(&clinic, "").await;
    assert_eq!(line(&mut reader, "HTTP/1.1 ").await, "200 OK");
    assert_eq!(line(&mut reader, "content-type: ").await, "text/event-stream");
    assert!(line(&mut reader, "data: ").await.contains(r#""version":"v5""#));
    let begun = Instant::now();
    assert_eq!([line(&mut reader, "id: ").await, line(&mut reader, "id: ").await].len(), 2);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());

    let mut again = events(&clinic, "last-event-id: 41\r\n").await;
    let id = line(&mut again, "id: ").await;
    assert_eq!((id.as_str(), line(&mut again, "retry: ").await.as_str()), ("42", "2000"));
}

#[tokio::test]
async fn events_end_whole_when_the_server_stops() {
    let folder = tempdir().unwrap();
    let mut clinic = Clinic::with_file(folder.path(), &[("CLINIC_LINGER_MS", "50")]);
    let mut reader = events(&clinic, "").await;
    line(&mut reader, "id: ").await;

    clinic.process.signal(Signal::TERM);

    let mut rest = String::new();
    timeout(PATIENCE, reader.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the body is cut: {rest:?}");
    assert_eq!(clinic.process.ended().code(), Some(0));
}

async fn websocket(clinic: &Clinic) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(clinic.address).await.unwrap();
    let url = format!("ws://{}/api/ws", clinic.address);
    let (socket, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("x-clinic-version"));
    socket
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_websocket_echoes_text_and_bytes_and_is_pinged() {
    let folder = tempdir().unwrap();
    let clinic = Clinic::with_file(folder.path(), &[("CLINIC_WS_PING_MS", "300")]);
    let mut socket = websocket(&clinic).await;

    for message in [Message::text("bonjour"), Message::binary(vec![7_u8; 50_000])] {
        socket.send(message.clone()).await.unwrap();
        let mut reply = next(&mut socket).await;
        while reply.is_ping() {
            reply = next(&mut socket).await;
        }
        assert_eq!(reply, message);
    }
    assert!(next(&mut socket).await.is_ping());
    assert!(next(&mut socket).await.is_ping());

    socket.close(None).await.unwrap();
    while let Ok(Some(Ok(message))) = timeout(PATIENCE, socket.next()).await {
        assert!(message.is_close() || message.is_ping(), "{message:?}");
    }
}

#[tokio::test]
async fn a_websocket_is_told_when_the_server_goes_away() {
    let folder = tempdir().unwrap();
    let mut clinic = Clinic::with_file(folder.path(), &[("CLINIC_LINGER_MS", "50")]);
    let mut socket = websocket(&clinic).await;
    socket.send(Message::text("hello")).await.unwrap();
    next(&mut socket).await;

    clinic.process.signal(Signal::TERM);

    match next(&mut socket).await {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    drop(socket);
    assert_eq!(clinic.process.ended().code(), Some(0));
}
