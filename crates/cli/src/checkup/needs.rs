//! Looks whether the machine has what this manifest asks for: addresses, ports, limits, programs.

use super::Finding;
use crate::context::Context;
use crate::supervisor::{listeners, lock};
use manifest::service::{EnvironmentConfig, ServiceConfig};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Users can be served where the manifest says; by us already, or by nobody.
pub fn addresses(context: &Context, environment: &EnvironmentConfig) -> Vec<Finding> {
    if lock::holder(&context.paths).is_some() {
        return vec![Finding::fine("addresses", "the environment is up and has them")];
    }
    environment.addresses().into_iter().map(one_address).collect()
}

fn one_address(address: SocketAddr) -> Finding {
    const CHECK: &str = "address";
    match listeners::open(&[address], Vec::new()) {
        Ok(_) => Finding::fine(CHECK, format!("{address} is free")),
        Err(failure) => {
            let cause = failure.cause.unwrap_or_default();
            Finding::missing(
                CHECK,
                format!("cannot {}: {cause}", failure.error),
                failure.next.unwrap_or_default(),
            )
        }
    }
}

/// Replicas' ports are not those the system gives to outgoing connections.
pub fn replica_ports(environment: &EnvironmentConfig) -> Finding {
    const CHECK: &str = "replica ports";
    let (first, last) = environment.ports;
    let Ok(text) = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") else {
        return Finding::not_checked(CHECK, "cannot read the range of ports for outgoing connections");
    };
    let mut ends = text.split_whitespace().filter_map(|port| port.parse::<u16>().ok());
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else {
        return Finding::not_checked(CHECK, format!("cannot understand `{}`", text.trim()));
    };
    if first <= high && low <= last {
        return Finding::missing(
            CHECK,
            format!("{first}-{last} overlap with {low}-{high}, the ports of outgoing connections"),
            "choose `ports` outside of that range in [environment.NAME] of the manifest",
        );
    }
    Finding::fine(CHECK, format!("{first}-{last}"))
}

/// `resources` can be enforced, where the manifest sets any.
pub fn limits(services: &[ServiceConfig]) -> Finding {
    const CHECK: &str = "limits";
    let limited: Vec<&str> = services
        .iter()
        .filter(|service| service.resources.is_some())
        .map(|service| service.name.as_str())
        .collect();
    if limited.is_empty() {
        return Finding::fine(CHECK, "the manifest sets no `resources`");
    }
    let folders = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"].map(Path::new);
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v2 = controllers.split_whitespace().any(|name| name == "memory") && writable(folders[2]);
    let v1 = folders[..2].iter().all(|folder| folder.is_dir() && writable(folder));
    if v1 || v2 {
        return Finding::fine(CHECK, format!("cgroup {} is writable", if v2 { "v2" } else { "v1" }));
    }
    Finding::missing(
        CHECK,
        format!(
            "`resources` of {} cannot be enforced: no cgroup of this user is writable",
            limited.join(", ")
        ),
        "run `medeclipse up` as root, or delegate a cgroup to the user, or remove `resources`",
    )
}

fn writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// The service's artefact and programs are there.
pub fn service(service: &ServiceConfig) -> Vec<Finding> {
    const CHECK: &str = "program";
    let mut found = Vec::new();
    if let Some(artifact) = &service.artifact
        && !artifact.exists()
    {
        found.push(Finding::missing(
            "artefact",
            format!("{} of {} does not exist", artifact.display(), service.name),
            "build it, or correct `artifact` in the manifest",
        ));
    }
    for program in [service.command.first(), service.expand.first()].into_iter().flatten() {
        found.push(match place(program, service.artifact.as_deref()) {
            Place::Found(path) => {
                Finding::fine(CHECK, format!("{program} of {}: {}", service.name, path.display()))
            }
            Place::InArtifact => continue,
            Place::Missing => Finding::missing(
                CHECK,
                format!("{program} of {} is not on this machine", service.name),
                format!("install it (Debian: `apt-get install {}`), or correct `command`", package(program)),
            ),
        });
    }
    found
}

enum Place {
    Found(PathBuf),
    /// It has to come with an artefact that is not there, which is said already, or is a single file.
    InArtifact,
    Missing,
}

/// Finds a program the way a replica will: with a slash in its name in the artefact, else in PATH.
fn place(program: &str, artifact: Option<&Path>) -> Place {
    let found = |path: PathBuf| if is_program(&path) { Place::Found(path) } else { Place::Missing };
    if program.contains("${") {
        return Place::InArtifact;
    }
    if Path::new(program).is_absolute() {
        return found(program.into());
    }
    if program.contains('/') {
        return match artifact {
            Some(folder) if folder.is_dir() => found(folder.join(program)),
            _ => Place::InArtifact,
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
        .map_or(Place::Missing, Place::Found)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn package(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    match name {
        "node" => "nodejs",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkup::Result;

    #[test]
    fn programs_are_looked_for_where_a_replica_finds_them() {
        assert!(matches!(place("sh", None), Place::Found(_)));
        assert!(matches!(place("/bin/sh", None), Place::Found(_)));
        assert!(matches!(place("no-such-program-here", None), Place::Missing));
        assert!(matches!(place("./clinic", None), Place::InArtifact));
    }

    #[test]
    fn ports_of_outgoing_connections_are_no_ports_for_replicas() {
        let environment = |ports| EnvironmentConfig {
            name: "local".into(),
            listen: Vec::new(),
            ports,
            api: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            acme: None,
            listen_http: Vec::new(),
            redirect: true,
            proxy_protocol: Vec::new(),
        };

        assert_eq!(replica_ports(&environment((1, 65535))).result, Result::Finding);
        assert_eq!(replica_ports(&environment((1, 2))).result, Result::Fine);
    }
}
