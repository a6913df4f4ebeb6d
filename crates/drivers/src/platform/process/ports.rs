//! Finds ports that replicas can have. Promises nothing: another program may take one a moment later.

use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns a port of the range that no replica holds and that can be bound; searches upward from `from`, around
/// the end. None: all are taken.
pub fn free(range: (u16, u16), host: IpAddr, held: &BTreeSet<u16>, from: u16) -> io::Result<Option<u16>> {
    // First without address reuse: a port whose old connections still linger fails for a program that does not
    // ask for reuse. When nothing else is left, such a port is better than none.
    for reuse in [Reuse::No, Reuse::Yes] {
        for port in around(range, from).filter(|port| !held.contains(port)) {
            if bindable(host, port, reuse)? {
                return Ok(Some(port));
            }
        }
    }
    Ok(None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Yes,
    No,
}

fn around((first, last): (u16, u16), from: u16) -> impl Iterator<Item = u16> {
    let from = if (first..=last).contains(&from) { from } else { first };
    (from..=last).chain(first..from)
}

/// Returns whether a program can listen on the port, on the host's address as well as on every address.
fn bindable(host: IpAddr, port: u16, reuse: Reuse) -> io::Result<bool> {
    let everywhere = [host, Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for address in everywhere {
        match bind(SocketAddr::new(address, port), reuse) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(false),
            // A machine without IPv6 cannot be asked about it; a wrong host is an error worth telling.
            Err(_) if address != host => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn bind(address: SocketAddr, reuse: Reuse) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(reuse == Reuse::Yes)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_that_is_listened_on_anywhere_is_skipped() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "127.0.0.2:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();

            assert_eq!(free((port, port), HOST, &BTreeSet::new(), port).unwrap(), None, "{address}");
        }
    }

    #[test]
    fn a_held_port_is_skipped_and_the_search_goes_around_the_end() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let range = (port, port);

        assert_eq!(free(range, HOST, &BTreeSet::from([port]), port).unwrap(), None);
        assert_eq!(free(range, HOST, &BTreeSet::new(), port + 1).unwrap(), Some(port));
        assert_eq!(around((5, 8), 7).collect::<Vec<_>>(), [7, 8, 5, 6]);
    }
}
