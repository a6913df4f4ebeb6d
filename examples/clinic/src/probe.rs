//! Asks the clinic on this machine whether it is alive: the health check of its own image, which has no other program for it.
//! Refuses to wait: connecting and answering take two seconds each at most.

use crate::trouble::Trouble;
use std::io::{Error, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Below every timeout of a platform's health check.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn ask(port: u16) -> Result<(), Trouble> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let next = "look at its log; it may still be starting";
    match status(address) {
        Ok(line) if line.split(' ').nth(1) == Some("200") => Ok(()),
        Ok(line) => Err(Trouble::new(format!("call the clinic on {address} alive"), line, next)),
        Err(error) => Err(Trouble::new(format!("ask the clinic on {address}"), error, next)),
    }
}

/// Returns the first line of the answer.
fn status(address: SocketAddr) -> Result<String, Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /api/health/live HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // The first line is all that counts; a body that is endless must not be read.
    stream.take(512).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or("an empty answer").to_owned())
}
