//! Makes a certificate that nobody but this machine vouches for. Refuses to be mistaken for another: one name says it.
//! Browsers warn of it once; see docs/operations.md.

use super::Problem;
use crate::clock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use std::time::Duration;

/// Longer than a year is refused by some systems whoever signed it.
const VALID: Duration = Duration::from_secs(397 * 24 * 3600);
/// Clocks of clients may be behind.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// Names every local client uses.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Returns every name a certificate for these hosts has.
pub(crate) fn all_names(hosts: &[String]) -> Vec<String> {
    let mut names: Vec<String> = LOCAL.iter().map(|name| (*name).to_owned()).collect();
    names.extend(hosts.iter().filter(|host| !LOCAL.contains(&host.as_str())).cloned());
    names
}

/// Returns a new certificate and its key, PEM.
pub(crate) fn make(names: &[String]) -> Result<(String, String), Problem> {
    let made = || {
        let mut params = CertificateParams::new(names)?;
        let now = Duration::from_millis(clock::now().0);
        let at = |since_epoch: Duration| rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
        (params.not_before, params.not_after) = (at(now.saturating_sub(BEFORE)), at(now + VALID));
        params.distinguished_name.push(DnType::CommonName, "MedEclipse self-signed");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    made().map_err(|error: rcgen::Error| {
        let next = "check the `hosts` of the services, or name files in `tls` of the manifest";
        Problem::new("make a self-signed certificate", error, next)
    })
}
