//! Finds whose request it is: the peer, or whom trusted proxies say they had it from, walked from the right.
//! Believes nobody else: what a client writes into these headers changes nothing. Touches no table and no clock.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use rollout::guard::{ForwardedHeader, Network};
use std::net::{IpAddr, SocketAddr};

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies between a client and us that are looked through. More is a loop or an attack.
const HOPS_MAX: usize = 16;

/// Whose request it is, and what of the chain was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    /// The peer is a trusted proxy.
    pub(crate) proxied: bool,
    /// From the client to the proxy before the peer, as it goes on; empty without proxies.
    pub(crate) chain: Vec<IpAddr>,
}

impl Origin {
    /// Returns the origin of a request that came from its client itself.
    pub(crate) fn direct(peer: IpAddr) -> Self {
        Self { client: peer.to_canonical(), proxied: false, chain: Vec::new() }
    }

    /// Returns the chain as `X-Forwarded-For` writes it, the peer last.
    pub(crate) fn forwarded_for(&self, peer: &HeaderValue) -> HeaderValue {
        if self.chain.is_empty() {
            return peer.clone();
        }
        let mut text: String = self.chain.iter().map(|hop| format!("{hop}, ")).collect();
        text.push_str(peer.to_str().unwrap_or_default());
        HeaderValue::try_from(text).expect("BUG: addresses are a header value")
    }
}

/// Finds the origin of a request from this peer.
pub(crate) fn origin(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[Network],
    which: ForwardedHeader,
) -> Origin {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return Origin::direct(peer);
    }
    let mut chain: Vec<IpAddr> = Vec::new();
    let name = match which {
        ForwardedHeader::XForwardedFor => FORWARDED_FOR,
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    for hop in hops(headers, &name).take(HOPS_MAX) {
        let address = match which {
            ForwardedHeader::XForwardedFor => address(hop),
            ForwardedHeader::Forwarded => for_of(hop),
        };
        // A hop that names no address: what stands before it was written by nobody we know.
        let Some(address) = address else { break };
        chain.push(address);
        if !is_trusted(address) {
            break;
        }
    }
    chain.reverse();
    Origin { client: chain.first().copied().unwrap_or(peer), proxied: true, chain }
}

/// Returns the elements of a list header over all its lines, the last first.
fn hops<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    // A line that is not text stands for an element that names nobody.
    lines.into_iter().rev().flat_map(|line| line.to_str().unwrap_or("").rsplit(','))
}

/// Reads an address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let bare = text.parse().ok().or_else(bracketed);
    let found: Option<IpAddr> = bare.or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    found.map(|address| address.to_canonical())
}

/// Reads the `for` of one element of `Forwarded` (RFC 7239, 4): `for=192.0.2.1;proto=https`, `for="[2001:db8::1]:80"`.
fn for_of(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    let value = value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'))?;
    address(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn trusted() -> Vec<Network> {
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec()
    }

    fn found(peer: &str, which: ForwardedHeader, lines: &[&str]) -> (String, bool) {
        let name = match which {
            ForwardedHeader::XForwardedFor => FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let origin = origin(peer.parse().unwrap(), &headers(&name, lines), &trusted(), which);
        (origin.client.to_string(), origin.proxied)
    }

    #[test]
    fn the_chain_is_walked_from_the_right_to_the_first_who_is_not_trusted() {
        for (peer, lines, client, proxied) in [
            ("192.0.2.9", &["1.2.3.4"][..], "192.0.2.9", false),
            ("10.0.0.1", &[], "10.0.0.1", true),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4", true),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4", true),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4", true),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.0.0.2"], "1.2.3.4", true),
            ("::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4", true),
            ("fd00::1", &["[2001:db8::7]:443"], "2001:db8::7", true),
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4", true),
            // Nobody before the trusted ones: the farthest of them is the client.
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3", true),
            // What names no address ends the walk at the last who is known.
            ("10.0.0.1", &["6.6.6.6, unknown"], "10.0.0.1", true),
            ("10.0.0.1", &["6.6.6.6, , 10.0.0.2"], "10.0.0.2", true),
            ("10.0.0.1", &["6.6.6.6", "\u{e9}", "10.0.0.2"], "10.0.0.2", true),
            ("10.0.0.1", &["127.0.0.1' OR 1=1"], "10.0.0.1", true),
            ("10.0.0.1", &["010.1.1.1"], "10.0.0.1", true),
        ] {
            assert_eq!(
                found(peer, ForwardedHeader::XForwardedFor, lines),
                (client.to_owned(), proxied),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, client) in [
            (&["for=1.2.3.4;proto=https;by=10.0.0.1"][..], "1.2.3.4"),
            (&["for=6.6.6.6, For=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (&["for=6.6.6.6, proto=https;for=1.2.3.4:80, for=10.0.0.2"], "1.2.3.4"),
            (&["for=6.6.6.6, for=_hidden"], "10.0.0.1"),
            (&["for=6.6.6.6, for=\"1.2.3.4"], "10.0.0.1"),
            (&["for=6.6.6.6, proto=https"], "10.0.0.1"),
        ] {
            assert_eq!(found("10.0.0.1", ForwardedHeader::Forwarded, lines).0, client, "{lines:?}");
        }
    }

    #[test]
    fn only_the_header_the_proxies_write_is_read() {
        let mut both = headers(&FORWARDED_FOR, &["1.2.3.4"]);
        both.insert(header::FORWARDED, HeaderValue::from_static("for=6.6.6.6"));

        let origin = origin("10.0.0.1".parse().unwrap(), &both, &trusted(), ForwardedHeader::XForwardedFor);

        assert_eq!(origin.client.to_string(), "1.2.3.4");
        let peer = HeaderValue::from_static("10.0.0.1");
        assert_eq!(origin.forwarded_for(&peer), "1.2.3.4, 10.0.0.1");
    }

    proptest! {
        #[test]
        fn what_a_client_writes_before_its_proxy_changes_nothing(
            lies in prop::collection::vec("[0-9a-fA-F.:, \\[\\]a-z\"=;]{0,60}", 0..4),
            client in any::<u32>(),
            own_line in any::<bool>(),
        ) {
            let client = IpAddr::V4(client.into());
            prop_assume!(!trusted().iter().any(|network| network.contains(client)));
            let mut lines: Vec<String> = lies;
            match (lines.pop(), own_line) {
                (Some(last), true) => lines.push(format!("{last}, {client}")),
                (last, _) => { lines.extend(last); lines.push(client.to_string()); }
            }
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();

            let (found, _) = found("10.9.9.9", ForwardedHeader::XForwardedFor, &lines);

            prop_assert_eq!(found, client.to_string());
        }

        #[test]
        fn any_bytes_are_survived_and_an_untrusted_peer_is_the_client(
            lines in prop::collection::vec(prop::collection::vec(32u8..=255, 0..80), 0..5),
            peer in any::<u32>(),
        ) {
            let mut map = HeaderMap::new();
            for line in &lines {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    map.append(FORWARDED_FOR, value.clone());
                    map.append(header::FORWARDED, value);
                }
            }
            let peer = IpAddr::V4(peer.into());
            for which in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                let seen = origin(peer, &map, &trusted(), which);
                prop_assert!(seen.chain.len() <= HOPS_MAX);
                prop_assert_eq!(seen.proxied, trusted().iter().any(|network| network.contains(peer)));
                prop_assert!(seen.proxied || seen.client == peer);
            }
        }
    }
}
