//! Finds out whether a process group listens on a port. A foreign listener on it does not count.
//! Changes nothing; a program whose descriptors this user may not see is never found. `diag` asks the kernel,
//! `table` reads what it prints where it cannot be asked.

mod diag;
mod table;

use super::proc;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A descriptor that was seen to be the listener. Looking at it again costs one read of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    descriptor: String,
    socket: String,
}

impl Seen {
    /// Returns whether the descriptor is still that listener.
    pub fn holds(&self) -> bool {
        fs::read_link(&self.descriptor).is_ok_and(|link| link.as_os_str() == self.socket.as_str())
    }
}

/// Looks for a listener at `address` that a member of the group holds.
pub fn find(address: SocketAddr, group: u32) -> io::Result<Option<Seen>> {
    let sockets = listeners(address)?;
    if sockets.is_empty() {
        return Ok(None);
    }
    // The leader first: most programs are one process.
    if let Some(seen) = held_by(group, &sockets) {
        return Ok(Some(seen));
    }
    Ok(proc::group_members(group)?.into_iter().find_map(|pid| held_by(pid, &sockets)))
}

fn held_by(pid: u32, sockets: &[String]) -> Option<Seen> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if let Some(socket) = sockets.iter().find(|socket| link.as_os_str() == socket.as_str()) {
            let descriptor = entry.path().to_string_lossy().into_owned();
            return Some(Seen { descriptor, socket: socket.clone() });
        }
    }
    None
}

/// One listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    ip: IpAddr,
    inode: u64,
}

/// Returns the sockets that take connections to `address`, as links in /proc/PID/fd name them.
fn listeners(address: SocketAddr) -> io::Result<Vec<String>> {
    // The kernel answers a question in microseconds, and prints its table in tens of milliseconds on a machine
    // with much memory; but not every kernel can be asked.
    let found = diag::listeners(address.port()).or_else(|_| table::listeners(address.port()))?;
    let taking = found.into_iter().filter(|listener| takes(listener.ip, address.ip()));
    Ok(taking.map(|listener| format!("socket:[{}]", listener.inode)).collect())
}

/// Returns whether a listener bound to `bound` takes connections to `host`.
fn takes(bound: IpAddr, host: IpAddr) -> bool {
    match (bound.to_canonical(), host.to_canonical()) {
        (IpAddr::V6(bound), IpAddr::V4(_)) => bound.is_unspecified(),
        (bound, host) => bound == host || (bound.is_unspecified() && bound.is_ipv4() == host.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_listener_of_the_group_is_found_on_every_way_of_binding() {
        let own = proc::stat(std::process::id()).unwrap().unwrap().group;
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(bound) else {
                eprintln!("skipped: this machine has no {bound}");
                continue;
            };
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listener.local_addr().unwrap().port());

            let seen = find(address, own).unwrap().expect("found");

            assert!(seen.holds());
            drop(listener);
            assert!(!seen.holds(), "{bound}");
        }
    }

    #[test]
    fn a_listener_of_another_group_or_another_address_is_not_found() {
        let own = proc::stat(std::process::id()).unwrap().unwrap().group;
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let there = listener.local_addr().unwrap();

        assert!(find(there, own).unwrap().is_some());
        assert!(find(there, 1).unwrap().is_none());
        assert!(find(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), there.port()), own).unwrap().is_none());
    }

    #[test]
    fn asking_and_reading_find_the_same_listeners() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bound) else { continue };
            let address = listener.local_addr().unwrap();
            let read = table::listeners(address.port()).unwrap();

            assert_eq!(read.len(), 1, "{bound}");
            assert_eq!(read[0].ip, address.ip());
            match diag::listeners(address.port()) {
                Ok(asked) => assert_eq!(asked, read),
                Err(error) => eprintln!("skipped: this kernel cannot be asked: {error}"),
            }
        }
    }

    #[test]
    fn a_listener_takes_what_comes_to_its_address_or_to_any() {
        let takes = |bound: &str, host: &str| takes(bound.parse().unwrap(), host.parse().unwrap());

        assert!(takes("127.0.0.1", "127.0.0.1") && takes("0.0.0.0", "127.0.0.1") && takes("::", "127.0.0.1"));
        assert!(takes("::ffff:127.0.0.1", "127.0.0.1") && takes("::", "::1") && takes("::1", "::1"));
        assert!(!takes("0.0.0.0", "::1") && !takes("::1", "127.0.0.1") && !takes("192.0.2.1", "127.0.0.1"));
    }
}
