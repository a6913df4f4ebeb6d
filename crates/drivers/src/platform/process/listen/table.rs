//! Reads listening sockets from the tables in /proc/net.

use super::Listener;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns who listens on the port, in any address family.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let file = match File::open(table) {
            Ok(file) => file,
            // No IPv6 on this machine.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::with_capacity(64 << 10, file).lines().skip(1) {
            found.extend(listener_of(&line?, port));
        }
    }
    Ok(found)
}

fn listener_of(line: &str, wanted: u16) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    let listens = fields.nth(1)? == "0A";
    if !listens || u16::from_str_radix(port, 16).ok()? != wanted {
        return None;
    }
    Some(Listener { ip: parse_ip(ip)?, inode: fields.nth(5)?.parse().ok()? })
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

    #[test]
    fn addresses_read_as_the_kernel_prints_them() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse_ip("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        }
        assert_eq!(parse_ip("00000000000000000000000000000000"), Some(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(parse_ip("01"), None);
    }
}
