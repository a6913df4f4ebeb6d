//! Counts IPv4 ranges: whether two overlap, which subnets lie in one, how many addresses they leave.

use std::net::Ipv4Addr;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    first: u32,
    prefix: u32,
}

impl Cidr {
    /// Reads `10.0.0.0/16`; None when it is none.
    pub fn read(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let first = u32::from(address.parse::<Ipv4Addr>().ok()?);
        Some(Self { first, prefix })
    }

    pub const fn prefix(self) -> u32 {
        self.prefix
    }

    fn last(self) -> u32 {
        self.first | u32::MAX.checked_shr(self.prefix).unwrap_or(0)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    /// As Terraform's `cidrsubnet`: the range `number` among those with `more` bits of prefix; None outside.
    pub fn subnet(self, more: u32, number: u32) -> Option<Self> {
        let prefix = self.prefix + more;
        let size = 1u64.checked_shl(32u32.checked_sub(prefix)?)?;
        let first = u64::from(self.first) + size * u64::from(number);
        (first + size - 1 <= u64::from(self.last())).then_some(Self { first: first as u32, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Cidr {
        Cidr::read(text).unwrap()
    }

    #[test]
    fn ranges_that_share_an_address_overlap() {
        assert!(read("10.0.0.0/16").overlaps(read("10.0.255.0/24")));
        assert!(read("10.0.255.0/24").overlaps(read("10.0.0.0/16")));
        assert!(!read("10.0.0.0/16").overlaps(read("10.1.0.0/16")));
        assert!(read("0.0.0.0/0").overlaps(read("255.255.255.255/32")));
    }

    #[test]
    fn subnets_are_numbered_as_terraform_does() {
        assert_eq!(read("10.0.0.0/16").subnet(8, 101).unwrap().to_string(), "10.0.101.0/24");
        assert_eq!(read("10.0.0.0/16").subnet(8, 256), None);
        assert_eq!(read("10.0.0.0/30").subnet(8, 0), None);
    }
}
