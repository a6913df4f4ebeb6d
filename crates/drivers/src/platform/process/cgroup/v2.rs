//! Makes control groups of version 2: one folder in the one hierarchy.

use super::{Limits, PERIOD_US, TOP, mounts, quota_us, write};
use rollout::release::Resources;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The root of the hierarchy and which controllers it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V2 {
    root: PathBuf,
    cpu: bool,
    memory: bool,
}

impl V2 {
    /// Returns None when version 2 is not mounted, or has neither controller (they are all with version 1 then).
    pub fn detect(mounted: &str) -> Option<Self> {
        let root = PathBuf::from(mounts(mounted).find(|mount| mount.kind == "cgroup2")?.folder);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
        let has = |name: &str| controllers.split_ascii_whitespace().any(|at| at == name);
        let found = Self { cpu: has("cpu"), memory: has("memory"), root };
        let usable = (found.cpu || found.memory) && found.open(Path::new(TOP)).is_ok();
        usable.then_some(found)
    }

    pub fn limits(&self) -> Limits {
        Limits { cpu: self.cpu, memory: self.memory, detail: "control groups version 2".to_owned() }
    }

    /// Returns the folder groups are made in.
    pub fn base(&self) -> PathBuf {
        self.root.join(TOP)
    }

    pub fn make(&self, name: &Path, resources: Resources) -> io::Result<Vec<PathBuf>> {
        let name = Path::new(TOP).join(name);
        if let Some(parent) = name.parent() {
            self.open(parent)?;
        }
        let folder = self.root.join(&name);
        fs::create_dir_all(&folder).map_err(|error| crate::files::about(&folder, error))?;
        if let Some(cpu) = resources.cpu {
            write(&folder.join("cpu.max"), &format!("{} {PERIOD_US}", quota_us(cpu)))?;
        }
        if let Some(bytes) = resources.memory_bytes {
            write(&folder.join("memory.max"), &bytes.to_string())?;
            // A replica short of memory ends as a whole; half a replica serves half an answer.
            let whole = folder.join("memory.oom.group");
            if whole.exists() {
                write(&whole, "1")?;
            }
        }
        Ok(vec![folder])
    }

    /// Makes the folders down to `name` and lets each hand its controllers on.
    fn open(&self, name: &Path) -> io::Result<()> {
        let wanted: Vec<&str> = [(self.cpu, "+cpu"), (self.memory, "+memory")]
            .into_iter()
            .filter(|at| at.0)
            .map(|at| at.1)
            .collect();
        let mut folder = self.root.clone();
        write(&folder.join("cgroup.subtree_control"), &wanted.join(" "))?;
        for part in name.components() {
            folder.push(part);
            fs::create_dir_all(&folder).map_err(|error| crate::files::about(&folder, error))?;
            write(&folder.join("cgroup.subtree_control"), &wanted.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(dir: &Path, controllers: &str) -> String {
        fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
        format!("cgroup2 {} cgroup2 rw,nosuid 0 0\n", dir.display())
    }

    #[test]
    fn controllers_are_handed_down_and_limits_written() {
        let dir = tempfile::tempdir().unwrap();
        let v2 = V2::detect(&fake(dir.path(), "cpuset cpu io memory pids\n")).unwrap();

        let resources = Resources { cpu: Some(256), memory_bytes: Some(1 << 20) };
        let folders = v2.make(Path::new("local/web@local/web-1-1"), resources).unwrap();

        let read = |at: &str| fs::read_to_string(dir.path().join(at)).unwrap();
        assert_eq!(folders, [dir.path().join("medeclipse/local/web@local/web-1-1")]);
        assert_eq!(read("cgroup.subtree_control"), "+cpu +memory");
        assert_eq!(read("medeclipse/local/web@local/cgroup.subtree_control"), "+cpu +memory");
        assert_eq!(read("medeclipse/local/web@local/web-1-1/cpu.max"), "25000 100000");
        assert_eq!(read("medeclipse/local/web@local/web-1-1/memory.max"), "1048576");
        assert!(!dir.path().join("medeclipse/local/web@local/web-1-1/cgroup.subtree_control").exists());
    }

    #[test]
    fn a_hierarchy_without_controllers_is_not_used() {
        let dir = tempfile::tempdir().unwrap();

        assert_eq!(V2::detect(&fake(dir.path(), "\n")), None);
        assert_eq!(V2::detect("proc /proc proc rw 0 0\n"), None);
    }
}
