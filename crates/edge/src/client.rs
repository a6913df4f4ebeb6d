//! Knows one client connection: who it is and which of its requests is being read. Carries no bytes; see `client_io`.

use crate::client_io::ClientLine;
use crate::door::Door;
use http::HeaderValue;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Something goes on over a client connection.
pub(crate) struct Busy(Arc<ClientLine>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A client connection, with the header values that are the same for all its requests.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The peer's address without its port.
    pub(crate) address: HeaderValue,
    pub(crate) local_host: HeaderValue,
    pub(crate) local_port: HeaderValue,
    /// `http` or `https`.
    pub(crate) scheme: HeaderValue,
    /// The port with TLS its requests are sent to.
    pub(crate) redirect: Option<u16>,
    pub(crate) line: Arc<ClientLine>,
    http2: Cell<bool>,
    began: Notify,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, door: &Door) -> Rc<Self> {
        let text = |text: String| HeaderValue::try_from(text).expect("BUG: an address is a header value");
        Rc::new(Self {
            peer,
            address: text(peer.ip().to_canonical().to_string()),
            local_host: text(local.to_string()),
            local_port: HeaderValue::from(local.port()),
            scheme: HeaderValue::from_static(if door.tls.is_some() { "https" } else { "http" }),
            redirect: door.redirect,
            line: ClientLine::open(),
            http2: Cell::new(false),
            began: Notify::new(),
        })
    }

    /// Notes that a request has begun and returns its number, from 0.
    pub(crate) fn begin(&self, http2: bool) -> u64 {
        self.line.begin();
        self.http2.set(http2);
        self.began.notify_one();
        self.line.number()
    }

    /// Keeps the connection busy beyond the answer that is about to be given, until dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.line.begin();
        Busy(Arc::clone(&self.line))
    }

    /// Waits until the connection is one that can be closed without surprising its client: HTTP/2 says goodbye by a frame,
    /// and a connection with a request in flight by `Connection: close` on its answer.
    pub(crate) async fn closable(&self) {
        while !self.http2.get() && !self.line.is_busy() {
            self.began.notified().await;
        }
    }
}
