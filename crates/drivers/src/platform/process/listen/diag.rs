//! Asks the kernel who listens on a port: one netlink question for each address family (sock_diag(7)).

use super::Listener;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The kernel answers while it is asked; a second means that it does not.
const ANSWER_MAX: Duration = Duration::from_secs(1);

// Numbers of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const STATE_LISTEN: u32 = 1 << 10;
/// `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST_LEN: usize = 56;
/// `struct inet_diag_msg`.
const ANSWER_LEN: usize = 72;

/// Returns who listens on the port, in any address family.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_MAX))?;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        ask(&socket, family, port)?;
        read_answers(&socket, port, &mut found)?;
    }
    Ok(found)
}

fn ask(socket: &OwnedFd, family: u8, port: u16) -> io::Result<()> {
    let length = HEADER_LEN + REQUEST_LEN;
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_AND_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, IPPROTO_TCP, 0, 0]);
    message.extend(STATE_LISTEN.to_ne_bytes());
    message.extend(port.to_be_bytes());
    message.resize(length, 0);
    send(socket, &message, SendFlags::empty())?;
    Ok(())
}

/// Reads until the kernel says that this was all.
fn read_answers(socket: &OwnedFd, port: u16, found: &mut Vec<Listener>) -> io::Result<()> {
    let mut buffer = vec![0_u8; 32 << 10];
    loop {
        let (length, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while rest.len() >= HEADER_LEN {
            let length = u32_at(rest, 0).map_or(0, |length| length as usize);
            let (Some(kind), Some(body)) = (u16_at(rest, 4), rest.get(HEADER_LEN..length)) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => found.extend(listener_of(body, port)),
            }
            // Messages begin at multiples of four.
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn listener_of(answer: &[u8], wanted: u16) -> Option<Listener> {
    let answer: &[u8; ANSWER_LEN] = answer.first_chunk()?;
    let port = u16::from_be_bytes([answer[4], answer[5]]);
    let address: &[u8; 16] = answer[8..].first_chunk()?;
    let ip: IpAddr = match answer[0] {
        AF_INET => Ipv4Addr::from(*address.first_chunk::<4>()?).into(),
        AF_INET6 => Ipv6Addr::from(*address).into(),
        _ => return None,
    };
    let inode = u32_at(answer, ANSWER_LEN - 4)?.into();
    (port == wanted).then_some(Listener { ip, inode })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
