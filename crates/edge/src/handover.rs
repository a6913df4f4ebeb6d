//! Hands listening sockets from one process to another over a Unix socket (`SCM_RIGHTS`), so that their queues never close.
//! Refuses descriptors that do not listen, and peers of another user.

use crate::complain::complain;
use crate::{admin, limits};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Begins the message; the number of sockets follows as four bytes.
const FORMAT: &[u8; 4] = b"MEL1";

/// Sends descriptors of these sockets. The sender keeps its own.
///
/// # Errors
/// More sockets than [`limits::HANDOVER_SOCKETS`], or a peer that does not take the message within
/// [`limits::HANDOVER_WAIT`].
pub fn send_listeners(stream: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    send_descriptors(stream, &descriptors)
}

/// Sends descriptors of any kind. The sender keeps its own.
///
/// # Errors
/// Those of [`send_listeners`].
pub fn send_descriptors(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > limits::HANDOVER_SOCKETS {
        let text = format!("{} descriptors are more than one message carries", descriptors.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    stream.set_write_timeout(Some(limits::HANDOVER_WAIT))?;
    let count = u32::try_from(descriptors.len()).expect("BUG: their number was just bounded");
    let message = [FORMAT.as_slice(), &count.to_be_bytes()].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::HANDOVER_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "BUG: the space was made for this many descriptors");
    }
    let sent = sendmsg(stream, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    if sent < message.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the message was cut"));
    }
    Ok(())
}

/// Receives what [`send_listeners`] sent. The sockets are closed on exec.
///
/// # Errors
/// A peer that sends nothing within [`limits::HANDOVER_WAIT`], another message, or descriptors that do not listen.
pub fn receive_listeners(stream: &UnixStream) -> io::Result<Vec<TcpListener>> {
    let descriptors = receive_descriptors(stream)?;
    for descriptor in &descriptors {
        if !rustix::net::sockopt::socket_acceptconn(descriptor)? {
            return bad("the peer sent a descriptor that does not listen");
        }
    }
    Ok(descriptors.into_iter().map(TcpListener::from).collect())
}

/// Receives what [`send_descriptors`] sent. They are closed on exec.
///
/// # Errors
/// A peer that sends nothing within [`limits::HANDOVER_WAIT`], and another message.
pub fn receive_descriptors(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    stream.set_read_timeout(Some(limits::HANDOVER_WAIT))?;
    let mut message = [0u8; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::HANDOVER_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(stream, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let (format, count) = message.split_at(4);
    if received.bytes < message.len() || format != FORMAT {
        return bad("the peer sent no listening sockets");
    }
    let count = u32::from_be_bytes([count[0], count[1], count[2], count[3]]);
    if received.flags.contains(ReturnFlags::CTRUNC) || usize::try_from(count) != Ok(descriptors.len()) {
        return bad("some sockets were lost on the way: raise the limit of open files");
    }
    Ok(descriptors)
}

fn bad<T>(why: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()))
}

/// Gives the sockets to whoever connects, for ever.
pub(crate) async fn serve(listener: tokio::net::UnixListener, sockets: Arc<Vec<TcpListener>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(limits::ACCEPT_REST).await;
            continue;
        };
        if !admin::is_trusted(&stream) {
            continue;
        }
        let sockets = Arc::clone(&sockets);
        tokio::task::spawn_blocking(move || {
            let sent = stream.into_std().and_then(|stream| {
                stream.set_nonblocking(false)?;
                send_listeners(&stream, &sockets)
            });
            if let Err(error) = sent {
                complain(format_args!(
                    "cannot hand the listening sockets over: {error}; the one who asked may ask again"
                ));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_and_keep_their_queue() {
        let (here, there) = UnixStream::pair().unwrap();
        let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let _waiting = std::net::TcpStream::connect(addresses[1]).unwrap();

        send_listeners(&here, &sockets).unwrap();
        drop(sockets);
        let received = receive_listeners(&there).unwrap();

        let arrived: Vec<_> = received.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(arrived, addresses);
        assert!(received[1].accept().is_ok());
    }

    #[test]
    fn no_sockets_are_a_message_too() {
        let (here, there) = UnixStream::pair().unwrap();

        send_listeners(&here, &[]).unwrap();

        assert!(receive_listeners(&there).unwrap().is_empty());
    }

    #[test]
    fn other_descriptors_and_other_messages_are_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let talking = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();

        send_listeners(&here, &[TcpListener::from(OwnedFd::from(talking))]).unwrap();
        assert!(receive_listeners(&there).is_err());

        io::Write::write_all(&mut &here, b"GET / HT").unwrap();
        assert!(receive_listeners(&there).is_err());
    }
}
