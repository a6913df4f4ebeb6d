//! `init`: writes the commented default manifest. Refuses to write over one that is there.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{output, rooms};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Write a commented manifest to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse init && editor medeclipse.toml")]
pub struct Args {
    /// Write over the one that is there.
    #[arg(long)]
    pub force: bool,
}

pub fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let path = &context.manifest;
    let text = rooms::default_manifest(&service_name(path));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !args.force {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let failure = Failure::new(exit::REFUSED, format!("write {}", path.display())).because(&error);
        match error.kind() {
            ErrorKind::AlreadyExists => {
                failure.then("edit it, or write over it with `medeclipse init --force`")
            }
            _ => failure.then("choose a writable place with --manifest FILE"),
        }
    })?;
    if context.json {
        output::json(&serde_json::json!({ "manifest": path }));
    } else {
        output::line(&format!(
            "wrote {}: set `command`, then `medeclipse up --detach`, then `medeclipse deploy`",
            path.display()
        ));
    }
    Ok(exit::DONE)
}

/// Names the service after the folder the manifest will lie in, in the characters a service may have.
fn service_name(manifest: &Path) -> String {
    let folder =
        std::path::absolute(manifest).ok().and_then(|path| Some(path.parent()?.file_name()?.to_owned()));
    let folder = folder.map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = folder
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(30)
        .collect();
    let name = name.trim_matches(|c: char| c == '-' || c.is_ascii_digit());
    if name.is_empty() { "web".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_named_after_the_folder() {
        assert_eq!(service_name(Path::new("/srv/My Shop 2/medeclipse.toml")), "my-shop");
        assert_eq!(service_name(Path::new("/medeclipse.toml")), "web");
    }
}
