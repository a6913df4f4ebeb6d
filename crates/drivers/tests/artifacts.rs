//! Asks the artefact store what an operator would: same content, same name; bad input, clear answer; nothing lost.

#![allow(clippy::unwrap_used)]

mod support;

use drivers::artifacts::{Bounds, Cause, Store};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;
use support::SmallDisk;
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("artifacts")).unwrap();
    (dir, store)
}

/// Makes a small application: a program, a file, a link inside, an empty folder.
fn app(at: &Path) {
    fs::create_dir_all(at.join("bin")).unwrap();
    fs::create_dir_all(at.join("empty")).unwrap();
    fs::write(at.join("bin/serve"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("bin/serve"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at.join("page.html"), "hello").unwrap();
    symlink("../page.html", at.join("bin/page")).unwrap();
}

fn scratch_is_empty(store: &Path) -> bool {
    fs::read_dir(store.join("artifacts/tmp"))
        .unwrap()
        .all(|entry| entry.unwrap().file_name().to_string_lossy().starts_with('.'))
}

#[test]
fn the_same_content_has_the_same_digest_wherever_it_lies() {
    let (dir, store) = store();
    app(&dir.path().join("one"));
    app(&dir.path().join("two"));

    let one = store.put(&dir.path().join("one")).unwrap();
    let two = store.put(&dir.path().join("two")).unwrap();

    assert_eq!(one, two);
    assert_eq!((one.files, one.bytes), (2, 15));
    assert!(store.contains(&one.digest));
    store.verify(&one.digest).unwrap();
}

#[test]
fn content_name_executable_bit_link_and_empty_folder_are_each_part_of_the_digest() {
    let (dir, store) = store();
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("content", |at| fs::write(at.join("page.html"), "hellO").unwrap()),
        ("name", |at| fs::rename(at.join("page.html"), at.join("page.htm")).unwrap()),
        ("bit", |at| fs::set_permissions(at.join("bin/serve"), fs::Permissions::from_mode(0o644)).unwrap()),
        ("link", |at| {
            fs::remove_file(at.join("bin/page")).unwrap();
            symlink("serve", at.join("bin/page")).unwrap();
        }),
        ("folder", |at| fs::remove_dir(at.join("empty")).unwrap()),
        ("nothing", |_| {}),
    ];
    let mut digests = BTreeSet::new();

    for (name, change) in changes {
        let at = dir.path().join(name);
        app(&at);
        change(&at);
        digests.insert(store.put(&at).unwrap().digest);
    }

    assert_eq!(digests.len(), changes.len());
}

#[test]
fn a_single_file_is_stored_as_a_folder_with_that_file_read_only() {
    let (dir, store) = store();
    let file = dir.path().join("clinic");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();

    let stored = store.put(&file).unwrap();

    let kept = store.path(&stored.digest).join("clinic");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o555);
    assert_eq!(fs::read_to_string(kept).unwrap(), "#!/bin/sh\n");
    store.verify(&stored.digest).unwrap();
    assert!(scratch_is_empty(dir.path()));
}

#[test]
fn a_missing_path_says_what_why_and_what_next() {
    let (dir, store) = store();

    let error = store.put(&dir.path().join("dist/app")).unwrap_err();

    assert!(error.to_string().starts_with("store the artefact `"), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "there is no file or folder of this name");
    assert_eq!(error.next(), "check the path, or build the artefact first");
    assert!(scratch_is_empty(dir.path()));
}

#[test]
fn an_unreadable_file_is_named_and_nothing_is_left_behind() {
    let (dir, store) = store();
    let at = dir.path().join("app");
    app(&at);
    fs::set_permissions(at.join("page.html"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(at.join("page.html")).is_ok() {
        eprintln!("skipped: the superuser reads every file");
        return;
    }

    let error = store.put(&at).unwrap_err();

    assert!(
        matches!(&error.cause, Cause::Unreadable { path, .. } if path.ends_with("page.html")),
        "{error:?}"
    );
    assert!(error.next().contains("readable"));
    assert!(scratch_is_empty(dir.path()));
}

#[test]
fn a_file_that_fails_while_it_is_read_is_unreadable_also_for_the_superuser() {
    let (dir, store) = store();

    let error = store.put(Path::new("/proc/self/mem")).unwrap_err();

    assert!(matches!(error.cause, Cause::Unreadable { .. }), "{error:?}");
    assert!(scratch_is_empty(dir.path()));
}

#[test]
fn links_that_lead_out_of_the_tree_are_refused_however_they_are_written() {
    for (number, target) in
        ["/etc/passwd", "../../etc", "..", "up/../../x", "up/../page.html"].iter().enumerate()
    {
        let (dir, store) = store();
        let at = dir.path().join(format!("app{number}"));
        app(&at);
        symlink("..", at.join("bin/up")).unwrap();
        let link = if *target == ".." { at.join("link") } else { at.join("bin/link") };
        symlink(target, link).unwrap();

        let error = store.put(&at).unwrap_err();

        assert!(matches!(&error.cause, Cause::LinkLeadsOut { .. }), "{target}: {error:?}");
        assert!(scratch_is_empty(dir.path()));
    }
}

#[test]
fn a_socket_in_the_tree_is_refused_by_name() {
    let (dir, store) = store();
    let at = dir.path().join("app");
    app(&at);
    let _listener = UnixListener::bind(at.join("control.sock")).unwrap();

    let error = store.put(&at).unwrap_err();

    assert!(matches!(&error.cause, Cause::Special { path } if path.ends_with("control.sock")), "{error:?}");
}

#[test]
fn too_many_entries_too_many_bytes_and_too_deep_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("app");
    app(&at);
    let put =
        |bounds| Store::open_with(dir.path().join("artifacts"), bounds).unwrap().put(&at).unwrap_err().cause;

    assert!(matches!(put(Bounds { entries_max: 4, ..Bounds::default() }), Cause::TooMany { max: 4 }));
    assert!(matches!(put(Bounds { bytes_max: 14, ..Bounds::default() }), Cause::TooLarge { max: 14 }));
    assert!(matches!(put(Bounds { depth_max: 0, ..Bounds::default() }), Cause::TooDeep { max: 0 }));
    assert!(scratch_is_empty(dir.path()));
}

#[test]
fn a_changed_artefact_fails_its_verification() {
    let (dir, store) = store();
    let at = dir.path().join("app");
    app(&at);
    let stored = store.put(&at).unwrap();
    let page = store.path(&stored.digest).join("page.html");

    fs::set_permissions(&page, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(page, "other").unwrap();

    let error = store.verify(&stored.digest).unwrap_err();
    assert!(matches!(error.cause, Cause::Damaged { .. }));
    assert!(matches!(store.verify(&"0".repeat(64)).unwrap_err().cause, Cause::NotStored));
}

#[test]
fn a_collection_never_removes_what_is_kept_nor_what_is_young() {
    let (dir, store) = store();
    let mut digests = Vec::new();
    for content in ["rollback target", "old", "older"] {
        let file = dir.path().join("clinic");
        fs::write(&file, content).unwrap();
        digests.push(store.put(&file).unwrap().digest);
    }
    let keep = BTreeSet::from([digests[0].clone()]);

    let young = store.collect_garbage(&keep, Duration::from_secs(3600)).unwrap();
    let removed = store.collect_garbage(&keep, Duration::ZERO).unwrap();

    assert!(young.is_empty());
    assert_eq!(BTreeSet::from_iter(removed), BTreeSet::from_iter(digests[1..].iter().cloned()));
    store.verify(&digests[0]).unwrap();
    assert!(!store.contains(&digests[1]));
    assert!(scratch_is_empty(dir.path()));
}

#[test]
fn a_disk_that_is_full_is_said_so_and_keeps_no_half_artefact() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a small disk needs the superuser");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clinic");
    fs::write(&file, vec![7_u8; 4 << 20]).unwrap();
    let store = Store::open(disk.path().join("artifacts")).unwrap();

    let error = store.put(&file).unwrap_err();

    assert!(matches!(error.cause, Cause::DiskFull { .. }), "{error:?}");
    assert!(error.next().starts_with("free space on the disk"));
    assert!(scratch_is_empty(disk.path()));
    fs::write(&file, "small").unwrap();
    store.put(&file).unwrap();
}
