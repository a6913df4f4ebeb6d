//! Reads the sections that only `medeclipse infra` uses: project, pipeline, compliance, waivers, and what an environment is made of.
//! All are optional. What holds when a key is absent depends on the class of the environment; see the room `infra`.

pub(crate) mod place;
pub(crate) mod project;
pub(crate) mod standby;
pub(crate) mod words;

use crate::infra::{Container, Infra};
use crate::read::{At, Fields};
use std::collections::BTreeMap;

/// Reads what stands beside the services: everything but the environment.
pub(crate) fn read(root: &Fields<'_>, containers: BTreeMap<String, Container>) -> Infra {
    Infra {
        project: root.table("project").map(|fields| project::read_project(&fields)),
        github: root.table("ci").and_then(|fields| project::read_github(&fields)),
        compliance: root
            .table("compliance")
            .map(|fields| project::read_compliance(&fields))
            .unwrap_or_default(),
        waivers: root.tables("waiver").iter().filter_map(project::read_waiver).collect(),
        containers,
        place: Default::default(),
    }
}

fn texts(fields: &Fields<'_>, name: &str) -> Option<Vec<String>> {
    Some(fields.texts(name)?.value.into_iter().map(|at| at.value).collect())
}

fn text(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.text(name).map(|at| at.value)
}

fn count(fields: &Fields<'_>, name: &str) -> Option<u32> {
    fields.count(name).map(|at| at.value)
}

fn port(fields: &Fields<'_>, name: &str) -> Option<u16> {
    let At { value, .. } = fields.integer(name)?;
    Some(u16::try_from(value).expect("BUG: a port is bounded by 65535"))
}

fn word(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.choice::<String>(name).map(|at| at.value)
}
