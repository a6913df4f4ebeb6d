//! Opens the sockets users connect to, once for the life of the environment; processes come and go behind them.
//! Serves nothing itself: the edge gets a copy of each over the supervisor's socket.

use crate::exit::{self, Failure};
use crate::supervisor::owner;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that may wait for the edge, per socket; the system cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// More sockets per address than this help nobody: each is a queue the edge's workers share.
const PER_ADDRESS_MAX: usize = 64;

/// Returns listeners for every address: those handed over by a running edge, new ones where there is none.
/// Refuses an address another process listens on.
pub fn open(addresses: &[SocketAddr], handed_over: Vec<TcpListener>) -> Result<Vec<TcpListener>, Failure> {
    let mut kept: Vec<(SocketAddr, TcpListener)> = Vec::new();
    for listener in handed_over {
        if let Ok(address) = listener.local_addr() {
            kept.push((address, listener));
        }
    }
    let mut all = Vec::new();
    // The edge takes a bounded number of sockets in one message.
    let each = PER_ADDRESS_MAX.min(edge::limits::HANDOVER_SOCKETS / addresses.len().max(1)).max(1);
    for &address in addresses {
        // Port 0 stands for any port: whatever the running edge has is as good.
        let same = |had: &SocketAddr| *had == address || (address.port() == 0 && had.ip() == address.ip());
        let (taken_over, rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(had, _)| same(had));
        kept = rest;
        if taken_over.is_empty() {
            all.extend(open_one(address, each).map_err(|error| refused(address, &error))?);
        } else {
            all.extend(taken_over.into_iter().map(|(_, listener)| listener));
        }
    }
    Ok(all)
}

/// Returns the addresses without repetition, in the order of the listeners.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn open_one(address: SocketAddr, most: usize) -> io::Result<Vec<TcpListener>> {
    probe(address)?;
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(most);
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listen(address)?);
    }
    Ok(listeners)
}

/// Finds out whether anybody listens there. SO_REUSEPORT alone would let two environments of one user share a
/// port and split its users between them.
fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let failure = Failure::new(exit::REFUSED, format!("listen on {address}"));
    let other = "or choose another `listen` in [environment.NAME] of the manifest";
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let cause = match owner::of_port(address.port()) {
                Some(owner) => format!("the port is taken by process {owner}"),
                None => "the port is taken by another process".to_owned(),
            };
            failure
                .because(cause)
                .then(format!("see who has it with `ss -ltnp 'sport = :{}'`, {other}", address.port()))
        }
        io::ErrorKind::PermissionDenied => failure
            .because(format!("{error}: ports under {} need a privilege", unprivileged_from()))
            .then(format!("use a higher port behind a redirect, {other}")),
        io::ErrorKind::AddrNotAvailable => failure
            .because(format!("{error}: no interface of this machine has that address"))
            .then(format!("see them with `ip addr`, {other}")),
        _ => failure.because(error).then(format!("run `medeclipse doctor`, {other}")),
    }
}

fn unprivileged_from() -> String {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.map_or_else(|_| "1024".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn every_listener_of_an_address_has_the_same_port() {
        let listeners = open(&[any()], Vec::new()).unwrap();

        assert_eq!(addresses(&listeners).len(), 1);
        assert!(!listeners.is_empty());
    }

    #[test]
    fn a_taken_port_is_refused_by_its_address_and_its_owner() {
        let other = TcpListener::bind(any()).unwrap();
        let address = other.local_addr().unwrap();

        let refused = open(&[address], Vec::new()).unwrap_err();

        assert_eq!(refused.exit, exit::REFUSED);
        assert!(refused.error.contains(&address.to_string()));
        assert!(refused.cause.unwrap().contains(&std::process::id().to_string()));
        assert!(refused.next.unwrap().contains("ss -ltnp"));
    }

    #[test]
    fn a_port_shared_by_reuseport_is_still_taken() {
        let ours = open(&[any()], Vec::new()).unwrap();

        assert!(open(&addresses(&ours), Vec::new()).is_err());
    }

    #[test]
    fn listeners_handed_over_are_kept_and_missing_ones_are_opened() {
        let old = open(&[any()], Vec::new()).unwrap();
        let kept = addresses(&old);
        let count = old.len();

        let listeners = open(&[kept[0], any()], old).unwrap();

        assert_eq!(addresses(&listeners)[0], kept[0]);
        assert_eq!(addresses(&listeners).len(), 2);
        assert_eq!(listeners.len(), 2 * count);
    }
}
