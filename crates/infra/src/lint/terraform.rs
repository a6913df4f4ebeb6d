//! Holds Terraform as folders of blocks, and finds what a name means in them. Evaluation: `eval`.

use super::doc::{At, Entry, Kind, Node};
use super::read::hcl::Block;
use crate::tree;
use std::collections::BTreeMap;

/// One folder of `.tf` files: what Terraform calls a module.
#[derive(Debug, Default)]
pub struct Module {
    pub folder: String,
    pub blocks: Vec<Block>,
    /// Values of `.tfvars` files: variable to each value given.
    pub given: BTreeMap<String, Vec<Node>>,
    /// Files that could not be read: what is not found may stand there.
    pub broken: Vec<String>,
}

/// A resource or data source.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'g> {
    pub module: &'g Module,
    pub block: &'g Block,
}

impl<'g> Resource<'g> {
    pub fn kind(&self) -> &'g str {
        self.block.labels.first().map_or("", String::as_str)
    }

    pub fn name(&self) -> &'g str {
        self.block.labels.get(1).map_or("", String::as_str)
    }

    /// `aws_lb.main`
    pub fn address(&self) -> String {
        format!("{}.{}", self.kind(), self.name())
    }

    pub fn head(&self) -> At {
        self.block.head
    }
}

impl Module {
    pub fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        self.blocks
            .iter()
            .filter(|block| block.kind == "resource" && block.labels.len() == 2)
            .map(|block| Resource { module: self, block })
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Resource<'a>> {
        self.resources().filter(move |resource| resource.kind() == kind)
    }

    pub fn resource(&self, kind: &str, name: &str) -> Option<Resource<'_>> {
        self.resources().find(|resource| resource.kind() == kind && resource.name() == name)
    }

    pub fn data(&self, kind: &str, name: &str) -> Option<&Block> {
        let is =
            |block: &&Block| block.labels.len() == 2 && block.labels[0] == kind && block.labels[1] == name;
        self.named("data").find(is)
    }

    pub fn named<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    pub fn labelled(&self, kind: &str, label: &str) -> Option<&Block> {
        self.blocks
            .iter()
            .find(|block| block.kind == kind && block.labels.first().is_some_and(|own| own == label))
    }

    pub fn local(&self, name: &str) -> Option<&Node> {
        self.named("locals").find_map(|block| block.get(name))
    }

    /// The `backend` block of the folder.
    pub fn backend(&self) -> Option<&Block> {
        self.named("terraform").find_map(|block| block.block("backend"))
    }

    /// The folder a module call means, when it lies in the tree.
    pub fn source_folder(&self, call: &Block) -> Option<String> {
        let source = call.get("source")?.text()?;
        source.starts_with('.').then(|| tree::join(&self.folder, source))?
    }

    /// What `provider = aws.x` says of a resource; `None` for the one without alias.
    pub fn provider_alias(&self, block: &Block) -> Option<String> {
        match &block.get("provider")?.kind {
            Kind::Ref(parts) => parts.get(1).cloned(),
            Kind::Text(text) => text.split_once('.').map(|(_, alias)| alias.to_owned()),
            _ => None,
        }
    }

    /// The provider block of a name and an alias.
    pub fn provider(&self, name: &str, alias: Option<&str>) -> Option<&Block> {
        self.named("provider").find(|block| {
            let own = block.get("alias").and_then(Node::text);
            block.labels.first().is_some_and(|label| label == name) && own == alias
        })
    }

    /// The constraint on a provider's version.
    pub fn constraint(&self, provider: &str) -> Option<&Node> {
        let required = self.named("terraform").find_map(|block| block.block("required_providers"))?;
        let entry = required.get(provider)?;
        if entry.is_map() { entry.get("version") } else { Some(entry) }
    }
}

/// All arguments of a block as entries, for a look at names.
pub fn attrs(block: &Block) -> &[Entry] {
    &block.attrs
}
