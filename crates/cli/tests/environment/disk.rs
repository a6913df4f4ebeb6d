//! Fills the disk under a state directory, and takes the right to write from it: what serves goes on serving.
//! A full disk needs a mount of its own: without the right to make one, the test says that it was skipped.

use crate::harness::{Env, eventually, kill};
use crate::{QUICK, says};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// An environment whose state directory is a small disk of its own.
struct OnSmallDisk {
    env: Env,
    // After the environment: it is unmounted when that is down.
    disk: Disk,
}

struct Disk {
    state: PathBuf,
    folder: PathBuf,
}

impl OnSmallDisk {
    fn new() -> Option<Self> {
        let env = Env::clinic(QUICK);
        let disk = Disk { state: env.state(), folder: env.folder.path().to_owned() };
        std::fs::create_dir(&disk.state).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m,mode=700", "none"])
            .arg(&disk.state)
            .output();
        if !mount.is_ok_and(|mount| mount.status.success()) {
            println!("skipped: no right to mount a disk here");
            return None;
        }
        Some(Self { env, disk })
    }

    /// Writes until nothing fits any more.
    fn fill(&self) {
        let mut file = File::create(self.disk.state.join("filler")).unwrap();
        for block in [vec![0_u8; 1 << 20], vec![0_u8; 4096], vec![0_u8; 1]] {
            while file.write_all(&block).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.disk.state.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.state).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const V2: [&str; 5] = ["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"];

#[test]
fn a_full_disk_refuses_deploys_and_what_serves_goes_on_also_when_parts_are_killed() {
    let Some(small) = OnSmallDisk::new() else { return };
    let env = &small.env;
    env.up().deploy_clinic("v1", &[], 0);
    small.fill();

    says(&env.run(&V2), 3, &["artefact", "full", "space"]);
    std::fs::write(env.folder.path().join("clinic"), vec![1; 100_000]).unwrap();
    says(&env.run(&["deploy", "--artifact", "clinic"]), 3, &["space"]);
    assert_eq!(env.version(), "v1");

    for part in ["engine", "edge"] {
        let before = env.pid(part);
        kill(before, "KILL");
        eventually(&format!("another {part}"), 20, || {
            let ran = env.run(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&ran.out).ok()?;
            (status[part]["pid"].as_u64()? != u64::from(before)).then_some(())
        });
        assert_eq!(env.version(), "v1", "after the {part} was killed");
    }
    says(&env.run(&V2), 3, &["artefact", "space"]);

    small.free();
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn o10_a_candidate_that_turns_bad_while_the_disk_is_full_is_taken_back_all_the_same() {
    let Some(small) = OnSmallDisk::new() else { return };
    let env = &small.env;
    let canary = "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"120s\"\nbake = \"120s\"\nkeep_hot = \"0s\"\ndrain = \"1s\"";
    env.write_manifest(&env.clinic_service(canary));
    env.up().deploy_clinic("v1", &[], 0);
    let load = crate::load::Load::on(env);
    env.deploy(
        &[
            "--detach",
            "--env-var",
            "CLINIC_VERSION=v2",
            "--env-var",
            "CLINIC_FAIL_PERCENT=100",
            "--env-var",
            "CLINIC_FAIL_AFTER_MS=3000",
        ],
        0,
    );
    env.until_phase("baking");
    small.fill();

    // Its verdict is written into the room that was kept for it, and users are back on stable.
    eventually("v2 is condemned", 30, || (env.service()["phase"] != "baking").then_some(()));
    eventually("only v1 answers", 10, || (0..20).all(|_| env.version() == "v1").then_some(()));
    says(&env.run(&["deploy", "--version", "v3", "--env-var", "CLINIC_VERSION=v3"]), 3, &["space"]);

    small.free();
    env.until_phase("idle");
    drop(load);
    assert_eq!(env.outcomes().last().map(String::as_str), Some("rolled_back"));
    env.until_ready(2);
    let ended = env.engine_log();
    assert!(!ended.contains("panicked"), "{ended}");
}

#[test]
fn up_on_a_full_disk_is_refused_with_what_to_do() {
    let Some(small) = OnSmallDisk::new() else { return };
    small.fill();

    says(&small.env.run(&["up"]), 3, &["state", "space", "--state"]);
    says(&small.env.run(&["up", "--detach"]), 3, &["state", "space", "--state"]);

    small.free();
    small.env.up();
}

#[test]
fn a_state_directory_that_is_read_only_is_refused_with_what_to_do() {
    let Some(small) = OnSmallDisk::new() else { return };
    let remount = |how: &str| {
        Command::new("mount")
            .args(["-o", how])
            .arg(&small.disk.state)
            .status()
            .is_ok_and(|status| status.success())
    };
    assert!(remount("remount,ro"));

    says(&small.env.run(&["up", "--detach"]), 3, &["state", "ead-only", "--state"]);

    assert!(remount("remount,rw"));
    small.env.up();
}
