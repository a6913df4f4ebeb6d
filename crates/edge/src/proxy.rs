//! Reads who a client is from a proxy in front that says so before the first byte (PROXY protocol, version 1 and 2).
//! Refuses everything else from such a proxy: a connection without it would let the proxy's address stand for all clients.

use crate::limits;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Begins version 2; the shortest line of version 1 is longer.
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE: usize = 107;

/// Both ends of the connection the proxy took: the client's, and the one it came to.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// Reads a header, and not a byte more. None: the proxy speaks for itself, as it does when it asks whether we are well.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    let mut start = [0; BINARY.len()];
    stream.read_exact(&mut start).await?;
    if start == *BINARY {
        return binary(stream).await;
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE || !line.starts_with(b"PROXY ") {
            return Err(broken("it begins with no PROXY header"));
        }
        // Byte by byte: what follows the line belongs to somebody else.
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| broken("its PROXY line is not text"))?;
    text(line.trim_end_matches("\r\n"))
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn text(line: &str) -> io::Result<Option<Ends>> {
    let words: Vec<&str> = line.split(' ').collect();
    let (family, from, to, from_port, to_port) = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            (*family, *from, *to, *from_port, *to_port)
        }
        _ => return Err(broken("its PROXY line has other words")),
    };
    let address = |text: &str| -> io::Result<IpAddr> {
        let read = match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from),
            _ => text.parse::<Ipv6Addr>().map(IpAddr::from),
        };
        read.map_err(|_| broken("its PROXY line names no address"))
    };
    let port = |text: &str| -> io::Result<u16> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let read = text.parse().ok().filter(|_| digits);
        read.ok_or_else(|| broken("its PROXY line names no port"))
    };
    let from = SocketAddr::new(address(from)?, port(from_port)?);
    Ok(Some((from, SocketAddr::new(address(to)?, port(to_port)?))))
}

async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    let (what, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > limits::PROXY_HEADER_BYTES {
        return Err(broken("its PROXY header is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (what, family) {
        (0x20, _) => Ok(None),
        (0x21, 0x11) => ends::<4>(&rest).map(Some),
        (0x21, 0x21) => ends::<16>(&rest).map(Some),
        // Other families have no addresses we know.
        (0x21, _) => Ok(None),
        _ => Err(broken("its PROXY header has another version or command")),
    }
}

/// Reads two addresses of this many bytes, then two ports. What follows are extensions.
fn ends<const BYTES: usize>(rest: &[u8]) -> io::Result<Ends>
where
    IpAddr: From<[u8; BYTES]>,
{
    let short = || broken("its PROXY header is too short");
    let (from, rest) = rest.split_first_chunk::<BYTES>().ok_or_else(short)?;
    let (to, rest) = rest.split_first_chunk::<BYTES>().ok_or_else(short)?;
    let (from_port, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (to_port, _) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let end = |address: &[u8; BYTES], port: &[u8; 2]| {
        SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port))
    };
    Ok((end(from, from_port), end(to, to_port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> (io::Result<Option<Ends>>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest));
        (read, bytes.len() - rest.len())
    }

    #[test]
    fn both_versions_say_who_the_client_is_and_what_follows_is_left_alone() {
        let ends = |from: &str, to: &str| Some((from.parse().unwrap(), to.parse().unwrap()));
        let mut four = BINARY.to_vec();
        four.extend([0x21, 0x11, 0, 15, 10, 1, 2, 3, 10, 0, 0, 1, 0x30, 0x39, 1, 187, 4, 0, 0]);
        let mut six = BINARY.to_vec();
        six.extend([0x21, 0x21, 0, 36]);
        six.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        six.extend([0x30, 0x39, 1, 187]);
        let mut local = BINARY.to_vec();
        local.extend([0x20, 0, 0, 0]);

        for (header, expected) in [
            (&b"PROXY TCP4 10.1.2.3 10.0.0.1 12345 443\r\n"[..], ends("10.1.2.3:12345", "10.0.0.1:443")),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n",
                ends("[2001:db8::7]:12345", "[2001:db8::1]:443"),
            ),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN whatever it says\r\n", None),
            (&four, ends("10.1.2.3:12345", "10.0.0.1:443")),
            (&six, ends("[2001:db8::7]:12345", "[2001:db8::1]:443")),
            (&local, None),
        ] {
            let whole = [header, b"GET / HTTP/1.1\r\n"].concat();
            let (read, taken) = parse(&whole);
            assert_eq!((read.unwrap(), taken), (expected, header.len()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        let binary = |rest: &[u8]| [&BINARY[..], rest].concat();
        for header in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 10.1.2.3 10.0.0.1 12345\r\n".to_vec(),
            b"PROXY TCP4 10.1.2.3 10.0.0.1 12345 65536\r\n".to_vec(),
            b"PROXY TCP4 10.1.2.3 10.0.0.1 +1 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 10.0.0.1 1 443\r\n".to_vec(),
            b"PROXY TCP4  10.1.2.3 10.0.0.1 1 443\r\n".to_vec(),
            long.into_bytes(),
            binary(&[0x21, 0x11, 0, 11, 1, 2, 3, 4, 1, 2, 3, 4, 0, 1, 0]),
            binary(&[0x21, 0x11, 255, 255]),
            binary(&[0x31, 0x11, 0, 0]),
        ] {
            assert!(parse(&header).0.is_err(), "{}", String::from_utf8_lossy(&header));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
            let start: &[u8] = if version { BINARY } else { b"PROXY " };
            let _ = parse(&[start, &bytes].concat());
        }
    }
}
