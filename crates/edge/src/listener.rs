//! Accepts connections, with TLS where the door has it; `converse` serves them. Stops without closing a queue others share.
//! Refuses handshakes beyond a bound; when connections have run out, new ones wait in the backlog.

use crate::client::Client;
use crate::client_io::ClientIo;
use crate::client_stream::ClientStream;
use crate::converse::converse;
use crate::door::Door;
use crate::tls::Tls;
use crate::worker::Worker;
use crate::{forward, limits};
use http::Request;
use hyper::body::Incoming;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

/// Accepts connections until the stop.
pub(crate) async fn accept(worker: Rc<Worker>, door: Rc<Door>, listener: TcpListener) {
    let mut stop = worker.stop.clone();
    loop {
        let permit = Arc::clone(&worker.connections).acquire_owned();
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| stop.is_asked()) => return,
            accepted = async { (permit.await, listener.accept().await) } => accepted,
        };
        let (Ok(permit), accepted) = accepted else { return };
        match accepted {
            Ok((stream, peer)) => {
                let (worker, door) = (Rc::clone(&worker), Rc::clone(&door));
                tokio::task::spawn_local(async move {
                    greet(worker, &door, stream, peer).await;
                    drop(permit);
                });
            }
            // Out of descriptors or memory: the connection stays in the backlog, and others may end meanwhile.
            Err(error) if is_shortage(&error) => tokio::time::sleep(limits::ACCEPT_REST).await,
            // The client gave up before it was accepted.
            Err(_) => {}
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    rustix::io::Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// Sets a connection up, with TLS where its door has it.
async fn greet(worker: Rc<Worker>, door: &Door, stream: TcpStream, peer: SocketAddr) {
    // A socket that cannot be set up has just been closed by its client.
    let Ok(local) = stream.local_addr() else { return };
    if prepare(&stream, &worker).is_err() {
        return;
    }
    let mut stream = stream;
    let (mut peer, mut local) = (peer, local);
    if door.proxies.contains(&peer.ip().to_canonical()) {
        let header = crate::proxy::read(&mut stream);
        match tokio::time::timeout(worker.waits.client_handshake, header).await {
            Ok(Ok(Some(ends))) => (peer, local) = ends,
            Ok(Ok(None)) => {}
            // A proxy that does not say whose connection it is.
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let stream = match &door.tls {
        None => ClientStream::Plain(stream),
        // Beside the task, not in it: most of a connection's life is after it.
        Some(tls) => match Box::pin(shake_hands(&worker, tls, stream)).await {
            Some(stream) => ClientStream::Tls(Box::new(stream)),
            // rustls has told the client why.
            None => return,
        },
    };
    serve(worker, stream, Client::new(peer, local, door)).await;
}

async fn shake_hands(worker: &Worker, tls: &Tls, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let Ok(_unfinished) = worker.handshakes.try_acquire() else {
        tls.note_failed();
        return None;
    };
    match tokio::time::timeout(worker.waits.client_handshake, tls.accept(stream)).await {
        Ok(accepted) => accepted.ok(),
        Err(_) => {
            tls.note_failed();
            None
        }
    }
}

async fn serve(worker: Rc<Worker>, stream: ClientStream, client: Rc<Client>) {
    let line = Arc::clone(&client.line);
    let settled = stream.settled();
    let io = ClientIo::new(stream, Arc::clone(&line), worker.waits);
    let answer = {
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        move |request: Request<Option<Incoming>>| {
            forward::serve(Rc::clone(&worker), Rc::clone(&client), request)
        }
    };
    converse(io, line, settled, answer, farewell(&worker, &client)).await;
}

fn prepare(stream: &TcpStream, worker: &Worker) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(worker.waits.client_stall))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(limits::CLIENT_KEEPALIVE))
}

/// Waits for the stop, and then until this connection can be told so without losing a request on its way:
/// closing an idle HTTP/1 connection at once would reset a client that is just about to send.
async fn farewell(worker: &Worker, client: &Client) {
    let mut stop = worker.stop.clone();
    let _ = stop.wait_for(|stop| stop.is_asked()).await;
    let _ = tokio::time::timeout(worker.waits.stop_idle, client.closable()).await;
}
