//! the map of who holds data (EXI 31), drawn from the configuration, and its language.

use super::{Input, Seen};
use serde::Serialize;
use std::collections::BTreeSet;

/// One row of the map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    pub actor: String,
    pub role_en: &'static str,
    pub role_fr: &'static str,
    pub places: Vec<String>,
    pub certificate: Option<String>,
    pub expires: Option<String>,
    /// Whether a law from outside the Union applies to the actor (EXI 30).
    pub foreign_law: &'static str,
}

/// Prefix of types, name in `hds_hosts`, name, roles, foreign law.
const ACTORS: [(&str, &str, &str, &str, &str, &str); 3] = [
    (
        "aws_",
        "aws",
        "Amazon Web Services EMEA SARL",
        "hosting of the primary site",
        "hébergement du site principal",
        "US CLOUD Act",
    ),
    (
        "azurerm_",
        "azure",
        "Microsoft Ireland Operations Ltd",
        "hosting of the standby",
        "hébergement du site de secours",
        "US CLOUD Act",
    ),
    (
        "cloudflare_",
        "cloudflare",
        "Cloudflare, Inc.",
        "names and transport",
        "noms et transport",
        "US CLOUD Act, FISA 702",
    ),
];

pub fn map(input: &Input<'_>) -> Vec<Transfer> {
    let rows = ACTORS.iter().filter_map(|(prefix, key, actor, role_en, role_fr, law)| {
        let mut places = BTreeSet::new();
        let mut used = false;
        for root in input.roots {
            for resource in root.resources.iter().filter(|it| it.kind.starts_with(prefix)) {
                used = true;
                let place = resource.text("location").or_else(|| root.region(resource));
                places.extend(place.map(str::to_owned));
            }
        }
        let host = input.policy.hds_hosts.get(*key);
        used.then(|| Transfer {
            actor: (*actor).to_owned(),
            role_en,
            role_fr,
            places: places.into_iter().collect(),
            certificate: host.map(|host| host.certificate.clone()),
            expires: host.map(|host| host.expires.clone()),
            foreign_law: law,
        })
    });
    rows.collect()
}

pub fn complete(input: &Input<'_>, seen: &mut Seen) {
    if !input.policy.health {
        return;
    }
    for row in map(input) {
        match (&row.certificate, &row.expires) {
            (Some(certificate), Some(expires)) if expires.as_str() >= input.today => {
                seen.note(format!("{}: certificate {certificate}, until {expires}", row.actor));
            }
            (Some(_), Some(expires)) => {
                seen.broken(
                    &row.actor,
                    "medeclipse.toml",
                    format!("its certificate ended on {expires}"),
                    "enter the new one under [compliance.hds_hosts]",
                );
            }
            _ => seen.broken(
                &row.actor,
                "medeclipse.toml",
                "holds data and no certificate is named",
                "enter it under [compliance.hds_hosts]",
            ),
        }
    }
}

/// The map and this report are written in French too: that is what a configuration can show of EXI 07.
pub fn french(input: &Input<'_>, seen: &mut Seen) {
    if input.policy.health && !input.roots.is_empty() {
        seen.note(
            "`medeclipse infra check --report DIR` writes rapport.html, rapport.md and the map in French",
        );
    }
}
