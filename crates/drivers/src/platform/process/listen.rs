//! Finds out whether a process group listens on a port. A foreign listener on it does not count.
//! Reads /proc only; a program whose descriptors this user may not see is never found.

use super::proc;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// Returns the sockets that take connections to `address`, as links in /proc/PID/fd name them.
fn listeners(address: SocketAddr) -> io::Result<Vec<String>> {
    let mut sockets = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let file = match fs::File::open(table) {
            Ok(file) => file,
            // No IPv6 on this machine.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::with_capacity(64 << 10, file).lines().skip(1) {
            sockets.extend(listener_of(&line?, address));
        }
    }
    Ok(sockets)
}

fn listener_of(line: &str, address: SocketAddr) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    let listens = fields.nth(1)? == "0A";
    if !listens || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let inode = fields.nth(5)?;
    takes(parse_ip(ip)?, address.ip()).then(|| format!("socket:[{inode}]"))
}

/// Returns whether a listener bound to `bound` takes connections to `host`.
fn takes(bound: IpAddr, host: IpAddr) -> bool {
    match (bound.to_canonical(), host.to_canonical()) {
        (IpAddr::V6(bound), IpAddr::V4(_)) => bound.is_unspecified(),
        (bound, host) => bound == host || (bound.is_unspecified() && bound.is_ipv4() == host.is_ipv4()),
    }
}

/// Reads an address as the kernel prints it: words of 32 bits, each in the byte order of the machine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

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
    fn addresses_read_as_the_kernel_prints_them() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse_ip("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        }
        assert_eq!(parse_ip("00000000000000000000000000000000"), Some(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(parse_ip("01"), None);
    }
}
