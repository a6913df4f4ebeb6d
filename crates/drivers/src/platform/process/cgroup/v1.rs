//! Makes control groups of version 1: a folder in the hierarchy of each controller.

use super::{Limits, PERIOD_US, TOP, mounts, quota_us, write};
use rollout::release::Resources;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folders to make groups in, for each controller that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1 {
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
}

impl V1 {
    /// Returns None when no controller of use is mounted and writable.
    pub fn detect(mounted: &str, own: &str) -> Option<Self> {
        let base = |controller: &str, file: &str| {
            let mount = mounts(mounted).find(|mount| {
                mount.kind == "cgroup" && mount.options.split(',').any(|at| at == controller)
            })?;
            let base = below_own(Path::new(mount.folder), own, controller).join(TOP);
            let usable = fs::create_dir_all(&base).is_ok() && base.join(file).exists();
            usable.then_some(base)
        };
        let found = Self {
            cpu: base("cpu", "cpu.cfs_quota_us"),
            memory: base("memory", "memory.limit_in_bytes"),
            pids: base("pids", "cgroup.procs"),
        };
        (found.cpu.is_some() || found.memory.is_some() || found.pids.is_some()).then_some(found)
    }

    pub fn limits(&self) -> Limits {
        Limits {
            cpu: self.cpu.is_some(),
            memory: self.memory.is_some(),
            detail: "control groups version 1".to_owned(),
        }
    }

    /// Returns the folders groups are made in.
    pub fn bases(&self) -> Vec<PathBuf> {
        [&self.pids, &self.cpu, &self.memory].into_iter().flatten().cloned().collect()
    }

    pub fn make(&self, name: &Path, resources: Resources) -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        // The pids hierarchy limits nothing here; it finds processes that left their process group.
        for base in self.bases() {
            fs::create_dir_all(base.join(name)).map_err(|error| crate::files::about(&base, error))?;
            folders.push(base.join(name));
        }
        if let Some(cpu) = resources.cpu {
            let folder = limiting(&self.cpu, "cpu")?.join(name);
            write(&folder.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
            write(&folder.join("cpu.cfs_quota_us"), &quota_us(cpu).to_string())?;
        }
        if let Some(bytes) = resources.memory_bytes {
            let folder = limiting(&self.memory, "memory")?.join(name);
            write(&folder.join("memory.limit_in_bytes"), &bytes.to_string())?;
        }
        Ok(folders)
    }
}

fn limiting<'a>(base: &'a Option<PathBuf>, controller: &str) -> io::Result<&'a PathBuf> {
    base.as_ref().ok_or_else(|| {
        let text = format!("this system has no {controller} controller for control groups");
        io::Error::new(io::ErrorKind::Unsupported, text)
    })
}

/// Returns the folder of the group this process is in, so that its own limits hold for its replicas too.
fn below_own(mount: &Path, own: &str, controller: &str) -> PathBuf {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|at| at == controller).then(|| fields.next()).flatten()
    });
    // In a container the path may be one of the machine outside, which is not to be seen here.
    path.map(|path| mount.join(path.trim_start_matches('/')))
        .filter(|folder| folder.is_dir())
        .unwrap_or_else(|| mount.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out hierarchies as plain folders.
    fn fake(dir: &Path, controllers: &[(&str, &str)]) -> String {
        let mut mounted = String::new();
        for (controller, file) in controllers {
            let base = dir.join(controller).join("medeclipse");
            fs::create_dir_all(&base).unwrap();
            fs::write(base.join(file), "").unwrap();
            let folder = dir.join(controller);
            mounted.push_str(&format!("cgroup {} cgroup rw,relatime,{controller} 0 0\n", folder.display()));
        }
        mounted
    }

    #[test]
    fn each_controller_gets_its_folder_and_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mounted = fake(dir.path(), &[("cpu", "cpu.cfs_quota_us"), ("memory", "memory.limit_in_bytes")]);
        let v1 = V1::detect(&mounted, "").unwrap();

        let resources = Resources { cpu: Some(512), memory_bytes: Some(1 << 26) };
        let folders = v1.make(Path::new("local/web-1-1"), resources).unwrap();

        assert_eq!(folders.len(), 2);
        let read = |at: &str| fs::read_to_string(dir.path().join(at)).unwrap();
        assert_eq!(read("cpu/medeclipse/local/web-1-1/cpu.cfs_quota_us"), "50000");
        assert_eq!(read("memory/medeclipse/local/web-1-1/memory.limit_in_bytes"), "67108864");
        assert!(v1.limits().cpu && v1.limits().memory);
    }

    #[test]
    fn a_limit_whose_controller_is_missing_is_refused_not_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mounted = fake(dir.path(), &[("cpu", "cpu.cfs_quota_us")]);
        let v1 = V1::detect(&mounted, "").unwrap();

        let error = v1.make(Path::new("web"), Resources { cpu: None, memory_bytes: Some(1) }).unwrap_err();

        assert_eq!(error.to_string(), "this system has no memory controller for control groups");
    }

    #[test]
    fn the_own_group_is_the_base_where_it_can_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("job/1")).unwrap();
        let own = "9:name=systemd:/\n4:memory:/job/1\n2:cpu,cpuacct:/outside\n";

        assert_eq!(below_own(dir.path(), own, "memory"), dir.path().join("job/1"));
        assert_eq!(below_own(dir.path(), own, "cpu"), dir.path());
    }
}
