//! Says what comes in at a listening socket: with TLS or without, to be served or only sent elsewhere.
//! Decided once, by the socket's address; opens nothing itself.

use crate::config::EdgeConfig;
use crate::tls::Tls;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

/// What is behind one listening socket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door {
    /// None: without TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The port with TLS that clients are sent to instead of being served.
    pub(crate) redirect: Option<u16>,
    /// Who says before the first byte whose connection it is.
    pub(crate) proxies: Arc<[IpAddr]>,
}

impl Door {
    /// Returns the door of a listener.
    pub(crate) fn of(
        listener: &TcpListener,
        config: &EdgeConfig,
        tls: Option<&Arc<Tls>>,
    ) -> io::Result<Self> {
        let plain = |listener: &TcpListener| -> io::Result<bool> {
            Ok(config.plain.contains(&listener.local_addr()?))
        };
        let proxies: Arc<[IpAddr]> = config.proxies.iter().map(IpAddr::to_canonical).collect();
        let Some(tls) = tls else { return Ok(Self { tls: None, redirect: None, proxies }) };
        if !plain(listener)? {
            return Ok(Self { tls: Some(Arc::clone(tls)), redirect: None, proxies });
        }
        let mut redirect = None;
        for other in config.listeners.iter().filter(|_| config.redirect) {
            if redirect.is_none() && !plain(other)? {
                redirect = Some(other.local_addr()?.port());
            }
        }
        Ok(Self { tls: None, redirect, proxies })
    }
}
