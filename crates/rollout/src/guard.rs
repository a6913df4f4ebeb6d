//! Says what a service refuses before a replica sees it, and which headers its answers carry. Belongs to the target.
//! Only numbers and their meaning: `manifest` reads and bounds them, the edge's guard keeps them.

use crate::names::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// Everything the guard of one service is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardSettings {
    /// Whose word about the client's address is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    #[serde(default)]
    pub forwarded: ForwardedHeader,
    /// In the order they are asked; the first that blocks ends it.
    #[serde(default)]
    pub rules: Vec<GuardRule>,
}

impl GuardSettings {
    /// Returns the paths of its databases, for whoever knows what they are relative to.
    pub fn databases_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.rules.iter_mut().filter_map(|rule| match &mut rule.check {
            GuardCheck::Country(list) => list.database.as_mut(),
            GuardCheck::Rate(_) | GuardCheck::Head(_) | GuardCheck::Body(_) => None,
        })
    }
}

/// The one header the trusted proxies write. The other is never read: a client could write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardRule {
    /// As counts and logs name it; unique within the service.
    pub id: String,
    pub mode: GuardMode,
    /// Route templates it does not look at.
    #[serde(default)]
    pub except: Vec<String>,
    pub check: GuardCheck,
}

/// What happens to a request that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardMode {
    /// It is counted and goes on.
    Count,
    /// It is counted and refused.
    Block,
}

/// What a rule looks at. A rule engine for attacks would be one more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardCheck {
    Rate(RateLimit),
    Country(CountryList),
    Head(HeadLimits),
    Body(BodyLimits),
}

/// How many requests one key may send: a token bucket of `burst`, refilled with `limit` in `window`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimit {
    pub limit: u32,
    pub window: Millis,
    pub burst: u32,
    pub key: RateKey,
    /// Path prefixes it looks at. Empty: every path.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Networks with a limit of their own: many people behind one address, partners, monitors.
    #[serde(default)]
    pub known: Vec<KnownNetworks>,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    /// The client's address; of IPv6 the first 64 bits, which one household has to itself.
    Client,
    /// The value of this header, lower case; requests without it are counted by client.
    Header(String),
    /// All requests of a route template.
    Route,
    /// Those of one client to a route template.
    ClientAndRoute,
}

/// Networks with another limit, or with none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownNetworks {
    pub networks: Vec<Network>,
    /// In the rule's window, by client. None: not limited.
    pub limit: Option<u32>,
}

/// From which countries requests come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountryList {
    /// A file in MaxMind's format. None, or not there: the rule matches nothing and says so.
    pub database: Option<PathBuf>,
    pub list: Countries,
    /// Whether an address without a country matches.
    pub unknown: UnknownCountry,
}

/// Codes of ISO 3166-1 alpha-2, upper case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Countries {
    /// Others match.
    Allow(Vec<String>),
    /// These match.
    Deny(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCountry {
    /// It does not match, and is counted apart.
    Allow,
    Deny,
}

/// How large a request's head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeadLimits {
    /// Bytes of path and query.
    pub uri: Option<u64>,
    /// Header fields.
    pub fields: Option<u64>,
    /// Bytes of all names and values.
    pub bytes: Option<u64>,
}

/// How large a request's body may be, and how slowly it may come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BodyLimits {
    pub max: Option<u64>,
    /// Bytes in a second, on average over the time the edge waited for the client.
    pub rate_min: Option<u64>,
    /// Route templates with another maximum.
    #[serde(default)]
    pub routes: Vec<RouteBody>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteBody {
    pub template: String,
    pub max: u64,
}

/// Security headers of a service's answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderSettings {
    /// Name, lower case, and value.
    pub always: Vec<(String, String)>,
    /// Only on answers over TLS.
    pub over_tls: Vec<(String, String)>,
    /// Whether they replace what the service itself says.
    pub overwrite: bool,
}

/// A range of addresses, as CIDR writes it: `10.0.0.0/8`. A single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    #[error("`{0}` is no IP address")]
    Address(String),
    #[error("`{0}` is no prefix length of this kind of address")]
    Bits(String),
    #[error("its address has bits beyond the prefix; the network is {0}")]
    HostBits(Network),
}

impl Network {
    /// Tells whether an address is in the range. IPv4 in IPv6 (`::ffff:a.b.c.d`) is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Returns the network an address is in.
    fn around(address: IpAddr, bits: u8) -> Self {
        let address = match address {
            IpAddr::V4(own) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4((own.to_bits() & mask).into())
            }
            IpAddr::V6(own) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6((own.to_bits() & mask).into())
            }
        };
        Self { address, bits }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(before, after)| (before, Some(after)));
        let whole: IpAddr = address.parse().map_err(|_| NetworkError::Address(address.to_owned()))?;
        let most: u8 = if whole.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| {
            let known = bits.parse().ok().filter(|bits: &u8| *bits <= most && !bits_is_signed(text));
            known.ok_or_else(|| NetworkError::Bits(bits.to_owned()))
        })?;
        // A range of IPv4 within IPv6 is a range of IPv4: that is how clients are compared.
        let (whole, bits) = match whole.to_canonical() {
            IpAddr::V4(inner) if whole.is_ipv6() && bits >= 96 => (IpAddr::V4(inner), bits - 96),
            _ => (whole, bits),
        };
        let network = Self::around(whole, bits);
        match network.address == whole {
            true => Ok(network),
            false => Err(NetworkError::HostBits(network)),
        }
    }
}

/// Rust reads `+8` as a number; CIDR does not.
fn bits_is_signed(text: &str) -> bool {
    text.contains("/+")
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (text, why) in [
            ("10.0.0.1/8", "its address has bits beyond the prefix; the network is 10.0.0.0/8"),
            ("10.0.0.0/33", "`33` is no prefix length of this kind of address"),
            ("10.0.0.0/+8", "`+8` is no prefix length of this kind of address"),
            ("::/129", "`129` is no prefix length of this kind of address"),
            ("example.org", "`example.org` is no IP address"),
            ("", "`` is no IP address"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_network_is_written_as_it_is_read_and_holds_what_shares_its_bits(
            address in any::<u32>(), bits in 0u8..=32, other in any::<u32>(),
        ) {
            let around = Network::around(IpAddr::V4(address.into()), bits);
            let shared = (0..bits).all(|bit| (address ^ other) >> (31 - bit) & 1 == 0);

            prop_assert_eq!(around.to_string().parse::<Network>().unwrap(), around);
            prop_assert!(around.contains(IpAddr::V4(address.into())));
            prop_assert_eq!(around.contains(IpAddr::V4(other.into())), shared);
        }
    }
}
