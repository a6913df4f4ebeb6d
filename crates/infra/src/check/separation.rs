//! environments are apart, and none but production holds real data.

use super::{Class, Input, Seen};
use crate::config::{Resource, Root, Value};
use crate::model::cidr::Cidr;

pub fn apart(input: &Input<'_>, seen: &mut Seen) {
    let mut ranges: Vec<(&Root, &Resource, Cidr)> = Vec::new();
    for root in input.roots {
        states(input, root, seen);
        for peering in root.of("aws_vpc_peering_connection") {
            seen.breaks(
                peering,
                "",
                "joins two networks",
                "remove it: environments reach each other by no private way",
            );
        }
        let networks = root
            .of("aws_vpc")
            .map(|it| (it, "cidr_block"))
            .chain(root.of("azurerm_virtual_network").map(|it| (it, "address_space")));
        for (network, attribute) in networks {
            let range = network.get(attribute).map(Value::texts).and_then(|texts| Cidr::read(texts.first()?));
            ranges.extend(range.map(|range| (root, network, range)));
        }
    }
    for (at, (root, network, range)) in ranges.iter().enumerate() {
        let twin = ranges[..at].iter().find(|(_, _, other)| other.overlaps(*range));
        match twin {
            Some((other, ..)) => seen.breaks(
                network,
                "cidr_block",
                format!("{range} overlaps the network of {}", other.folder),
                "give every environment addresses of its own",
            ),
            None => seen.note(format!("{} of {}: {range}", network.address, root.folder)),
        }
    }
}

/// One state for two environments is how an apply of staging destroys production.
fn states(input: &Input<'_>, root: &Root, seen: &mut Seen) {
    let Some(backend) = &root.backend else { return };
    let environment = root.folder.split('/').next().unwrap_or_default();
    let Some(key) = backend.text("key") else { return };
    let named = environment.is_empty() || environment == "bootstrap" || key.contains(environment);
    seen.require(
        named,
        backend,
        "key",
        "the key names the environment",
        "write `key = \"ENVIRONMENT/terraform.tfstate\"`",
    );
    seen.require(
        backend.kind != "s3" || backend.is("encrypt", true),
        backend,
        "encrypt",
        "encrypted",
        "write `encrypt = true`",
    );
    let locked = backend.kind != "s3" || backend.is("use_lockfile", true);
    seen.require(
        locked,
        backend,
        "use_lockfile",
        "locked while it is written",
        "write `use_lockfile = true`",
    );
    for other in input.roots.iter().take_while(|other| other.folder != root.folder) {
        let Some(theirs) = other.backend.as_ref().filter(|theirs| theirs.kind == backend.kind) else {
            continue;
        };
        let same = |attribute: &str| {
            backend.get(attribute).is_some() && backend.get(attribute) == theirs.get(attribute)
        };
        if same("bucket") && same("key") {
            seen.breaks(
                backend,
                "key",
                format!("shares its state with {}", other.folder),
                "give every environment a key of its own",
            );
        }
        let mixed = (Class::of(root) == Class::Production) != (Class::of(other) == Class::Production);
        if input.policy.health && mixed && same("allowed_account_ids") && Class::of(other) != Class::Shared {
            seen.breaks(
                backend,
                "allowed_account_ids",
                format!("shares its account with {}", other.folder),
                "give production an account of its own",
            );
        }
    }
}

pub fn origin(input: &Input<'_>, seen: &mut Seen) {
    for root in
        input.roots.iter().filter(|root| matches!(Class::of(root), Class::Staging | Class::Development))
    {
        for database in root.of("aws_db_instance") {
            let sources = ["snapshot_identifier", "replicate_source_db", "restore_to_point_in_time"];
            let from = sources.iter().find(|source| database.get(source).is_some());
            let instead = "begin empty, or from data the anonymisation made; its digest belongs in the deployment record";
            seen.require(from.is_none(), database, from.unwrap_or(&""), "begins empty", instead);
        }
    }
}
