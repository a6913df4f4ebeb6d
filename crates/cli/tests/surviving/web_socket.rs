//! A client that keeps a WebSocket open and speaks over it, as long as it lasts. Knows of the protocol what an echo needs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// One connection.
pub struct Socket(TcpStream);

impl Socket {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET /api/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let upgraded = head.starts_with(b"HTTP/1.1 101");
        let answer = String::from_utf8_lossy(&head).into_owned();
        if upgraded { Ok(Self(stream)) } else { Err(io::Error::other(answer)) }
    }

    /// Says a short word and waits for a frame.
    pub fn echo(&mut self, word: &str) -> io::Result<String> {
        let length = u8::try_from(word.len()).map_err(io::Error::other)?;
        // Masked with zeros: the same bytes.
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], word.as_bytes()].concat();
        self.0.write_all(&frame)?;
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head)?;
            let mut body = vec![0; usize::from(head[1] & 0x7f)];
            self.0.read_exact(&mut body)?;
            match head[0] & 0x0f {
                1 => return Ok(String::from_utf8_lossy(&body).into_owned()),
                8 => return Err(io::ErrorKind::ConnectionAborted.into()),
                // The service asks whether we are there; it takes the next word for the answer.
                _ => {}
            }
        }
    }
}

/// Speaks over one connection after the other, and counts those that ended.
pub struct Speaking {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Speaking {
    pub fn with(address: SocketAddr) -> Self {
        let mut speaking =
            Self { stop: Arc::default(), ended: Arc::default(), refused: Arc::default(), thread: None };
        let (stop, ended, refused) =
            (speaking.stop.clone(), speaking.ended.clone(), speaking.refused.clone());
        speaking.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                match Socket::open(address) {
                    Ok(mut socket) => {
                        while !stop.load(Ordering::SeqCst) && socket.echo("still there?").is_ok() {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                        ended.fetch_add(u64::from(!stop.load(Ordering::SeqCst)), Ordering::SeqCst);
                    }
                    Err(error) => {
                        let closed = error.kind() == io::ErrorKind::ConnectionRefused;
                        refused.fetch_add(u64::from(closed), Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        }));
        speaking
    }

    /// Returns how many connections have ended, and how many were refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.ended.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst))
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
