use super::*;
use drivers::platform::process::proc::Identity;
use std::path::Path;
use std::process::{Child, Command};

const TERMS: Terms = Terms { ttl: Millis(600) };

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another process that could be an engine.
fn sleeper() -> (Killed, Owner) {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let owner = Owner { process: Identity::of(child.id()).unwrap(), ..Owner::own().unwrap() };
    (Killed(child), owner)
}

async fn lead(folder: &Path, owner: &Owner) -> Leadership {
    Leadership::lead(folder.to_owned(), owner.clone(), TERMS, Arc::new(Clock::start())).await.unwrap()
}

#[test]
fn r25_one_leads_a_second_waits_and_leads_at_once_when_the_first_gives_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_child, other) = sleeper();
    runtime().block_on(async {
        let first = lead(folder.path(), &other).await;
        let (path, own) = (folder.path().to_owned(), Owner::own().unwrap());
        let second = tokio::spawn(async move { lead(&path, &own).await });
        for _ in 0..3 {
            assert!(first.renew().unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!second.is_finished(), "it pushed a live owner aside");
        }

        first.release();
        let second = second.await.unwrap();

        assert_eq!(second.lease().epoch, 2);
        assert!(second.before.is_none());
    });
}

#[test]
fn o11_an_owner_that_was_killed_is_followed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (child, other) = sleeper();
    runtime().block_on(async {
        lead(folder.path(), &other).await;
        drop(child);
        let killed = std::time::Instant::now();

        let second = lead(folder.path(), &Owner::own().unwrap()).await;

        assert!(killed.elapsed() < Duration::from_millis(TERMS.ttl.0 / 2), "{:?}", killed.elapsed());
        assert_eq!(second.lease().epoch, 2);
    });
}

#[test]
fn o11_a_silent_owner_is_followed_after_its_lease_and_finds_out_when_it_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let (_child, other) = sleeper();
    runtime().block_on(async {
        let first = lead(folder.path(), &other).await;

        let second = lead(folder.path(), &Owner::own().unwrap()).await;

        assert!(!first.is_fresh());
        assert_eq!(second.before, Some(other));
        let lost = first.renew().unwrap().unwrap();
        assert_eq!((lost.owner, lost.epoch), (Owner::own().unwrap().to_string(), 2));
        first.release();
        assert!(second.renew().unwrap().is_none(), "the one before gave back what was not its own");
    });
}

#[test]
fn a_damaged_file_keeps_nobody_from_leading() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("leader.json"), "{ not json").unwrap();

    runtime().block_on(async {
        assert_eq!(lead(folder.path(), &Owner::own().unwrap()).await.lease().epoch, 1);
    });
}
