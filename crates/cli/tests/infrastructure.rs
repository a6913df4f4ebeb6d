//! `infra render`, `check` and `diff` as people run them: files on disk, exit codes, what is said.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifest/tests/infra.toml");

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_medeclipse"));
    command.current_dir(folder).args(args).env_remove("MEDECLIPSE_ENV").output().unwrap()
}

fn render(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = run(
        folder,
        &[&["--manifest", MANIFEST, "--env", "production", "infra", "render", "--out", "out"], more].concat(),
    );
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[test]
fn a_file_changed_by_hand_is_shown_refused_and_overwritten_only_by_name() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(render(folder.path(), &[]).0, Some(0));
    assert_eq!(render(folder.path(), &["--check"]).0, Some(0));
    let file = folder.path().join("out/production/aws/data.tf");
    let rendered = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        rendered.replace("multi_az               = true", "multi_az               = false"),
    )
    .unwrap();
    std::fs::write(folder.path().join("out/production/aws/custom_mine.tf"), "# mine\n").unwrap();

    let (code, said) = render(folder.path(), &["--check"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("production/aws/data.tf: edited by hand")
            && said.contains("+  multi_az               = true"),
        "{said}"
    );
    let (code, said) = render(folder.path(), &[]);
    assert_eq!(code, Some(3));
    assert!(said.contains("--overwrite PATH"), "{said}");
    assert_eq!(render(folder.path(), &["--overwrite", "production/aws/data.tf"]).0, Some(0));

    assert_eq!(std::fs::read_to_string(&file).unwrap(), rendered);
    assert!(folder.path().join("out/production/aws/custom_mine.tf").exists());
}

#[test]
fn what_is_rendered_is_checked_clean_and_a_spoiled_file_is_found_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), &[]);
    let check =
        || run(folder.path(), &["--manifest", MANIFEST, "infra", "check", "out", "--report", "compliance"]);

    let clean = check();
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stdout));
    assert!(
        std::fs::read_to_string(folder.path().join("compliance/rapport.html"))
            .unwrap()
            .contains("lang=\"fr\"")
    );
    let file = folder.path().join("out/production/aws/data.tf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("publicly_accessible    = false", "publicly_accessible    = true"))
        .unwrap();

    let found = check();
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1));
    assert!(
        said.contains("R-05 critical production/aws/data.tf:")
            && said.contains("instead: write `publicly_accessible = false`"),
        "{said}"
    );
    assert_eq!(run(folder.path(), &["infra", "check", "nowhere"]).status.code(), Some(2));
}

#[test]
fn a_waiver_names_a_file_as_the_manifest_sees_it_wherever_check_is_called() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), &[]);
    let file = folder.path().join("out/production/aws/data.tf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("storage_encrypted     = true", "storage_encrypted     = false"))
        .unwrap();
    let reference = std::fs::read_to_string(MANIFEST).unwrap().replace("\"policies/\"", "");
    let check = |path: &str, until: &str, called_in: &str| {
        let waiver = format!(
            "\n[[waiver]]\nrule = \"R-04\"\npath = \"{path}\"\nreason = \"moved next week\"\nby = \"ops\"\nuntil = \"{until}\"\n"
        );
        let manifest = folder.path().join("medeclipse.toml");
        std::fs::write(&manifest, format!("{reference}{waiver}")).unwrap();
        let infrastructure = folder.path().join("out");
        let words =
            ["--manifest", manifest.to_str().unwrap(), "infra", "check", infrastructure.to_str().unwrap()];
        let output = run(&folder.path().join(called_in), &words);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    for called_in in ["", "out/production"] {
        let (code, said) = check("out/production/aws/*.tf", "2999-12-31", called_in);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("1 waived"), "{said}");
    }
    let (code, said) = check("data.tf", "2999-12-31", "");
    assert_eq!(code, Some(1), "a file of another folder is another file: {said}");
    let (code, said) = check("out/production/aws/*.tf", "2001-12-31", "");
    assert_eq!(code, Some(1));
    assert!(said.contains("R-04 critical") && said.contains("waiver/expired"), "{said}");
}

#[test]
fn a_change_of_the_manifest_is_told_with_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(MANIFEST).unwrap();
    std::fs::write(folder.path().join("new.toml"), text.replace("db.m7g.large", "db.m7g.xlarge")).unwrap();
    let row = |class: &str, month| {
        format!(
            "[[price]]\ntype = \"aws_db_instance\"\nwhen = {{ instance_class = \"{class}\" }}\nmonth = {month}\n"
        )
    };
    std::fs::write(
        folder.path().join("prices.toml"),
        row("db.m7g.large", 300.0) + &row("db.m7g.xlarge", 600.0),
    )
    .unwrap();

    let output = run(
        folder.path(),
        &[
            "--manifest",
            "new.toml",
            "--env",
            "production",
            "infra",
            "diff",
            "--from",
            MANIFEST,
            "--prices",
            "prices.toml",
        ],
    );

    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains("aws_db_instance.main, +300.00 EUR a month")
            && said.contains("\"db.m7g.large\" → \"db.m7g.xlarge\""),
        "{said}"
    );
    assert!(said.contains("no price: production/aws aws_cloudwatch_metric_alarm.db_connections"), "{said}");
}

#[test]
fn what_cannot_be_drawn_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(MANIFEST).unwrap();
    std::fs::write(folder.path().join("medeclipse.toml"), text.replace("10.0.0.0/16", "10.1.0.0/16"))
        .unwrap();

    let output = run(folder.path(), &["--env", "production", "infra", "render", "--out", "out"]);

    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("they could never be joined"));
    assert!(!folder.path().join("out").exists());
}
