use super::*;
use proptest::prelude::*;

const TERMS: Terms = Terms { ttl: Millis(900) };

fn owner(pid: u32) -> Owner {
    let process = Identity { pid, start: 1, boot: "b".to_owned() };
    Owner { host: "h".to_owned(), process, pids: "n".to_owned() }
}

fn text(pid: u32) -> String {
    owner(pid).to_string()
}

fn lease(pid: u32, epoch: u64, until: u64) -> Lease {
    Lease { epoch, owner: text(pid), until: Millis(until) }
}

#[test]
fn r25_a_lease_that_nobody_has_or_that_was_given_back_is_free() {
    let mut watch = Watch::new(TERMS);
    let given_back = lease(1, 4, 0);

    assert_eq!(watch.look(None, &text(2), Fate::Unknown, Millis(0)), Standing::Free);
    assert_eq!(watch.look(Some(&given_back), &text(2), Fate::Runs, Millis(0)), Standing::Free);
}

#[test]
fn r25_a_fresh_lease_is_never_pushed_aside_and_a_silent_one_is_after_its_life() {
    let mut watch = Watch::new(TERMS);
    // Its own clock is hours off: only what we see counts.
    let held = lease(1, 4, 3);

    let first = watch.look(Some(&held), &text(2), Fate::Runs, Millis(10_000));
    let renewed = watch.look(Some(&lease(1, 4, 303)), &text(2), Fate::Runs, Millis(10_899));
    let just_before = watch.look(Some(&lease(1, 4, 303)), &text(2), Fate::Runs, Millis(11_798));
    let after = watch.look(Some(&lease(1, 4, 303)), &text(2), Fate::Unknown, Millis(11_799));

    assert_eq!(first, Standing::Held { free_at: Millis(10_900) });
    assert_eq!(renewed, Standing::Held { free_at: Millis(11_799) });
    assert_eq!(just_before, Standing::Held { free_at: Millis(11_799) });
    assert_eq!(after, Standing::Silent);
}

#[test]
fn o11_an_owner_that_has_ended_is_followed_at_once() {
    let mut watch = Watch::new(TERMS);

    assert_eq!(watch.look(Some(&lease(1, 4, 9000)), &text(2), Fate::Ended, Millis(0)), Standing::Ended);
}

#[test]
fn an_owner_knows_its_own_fate_and_that_of_an_earlier_boot_and_nothing_of_other_machines() {
    let own = Owner::own().unwrap();
    let other_start = Identity { start: own.process.start + 1, ..own.process.clone() };
    let other_boot = Identity { boot: "other".to_owned(), ..own.process.clone() };

    assert_eq!(own.fate(), Fate::Runs);
    assert_eq!(own.to_string().parse(), Ok(own.clone()));
    assert_eq!(Owner::fate_of(&own.to_string()), Fate::Runs);
    assert_eq!(Owner::fate_of("pid 12"), Fate::Unknown);
    assert!(!own.end().unwrap(), "it would have killed itself");
    assert_eq!(Owner { process: other_start, ..own.clone() }.fate(), Fate::Ended);
    assert_eq!(Owner { process: other_boot, ..own.clone() }.fate(), Fate::Ended);
    assert_eq!(Owner { pids: "pid:[1]".to_owned(), ..own.clone() }.fate(), Fate::Unknown);
    assert_eq!(Owner { host: "elsewhere".to_owned(), ..own }.fate(), Fate::Unknown);
}

/// The row beside a journal, and which appends it let in.
#[derive(Default)]
struct Row {
    lease: Option<Lease>,
    accepted: Vec<(u64, u32)>,
}

impl Row {
    fn take(&mut self, seen: Option<&Lease>, new: Lease) -> bool {
        let unchanged = self.lease.as_ref() == seen;
        if unchanged {
            self.lease = Some(new);
        }
        unchanged
    }

    fn renew(&mut self, epoch: u64, until: Millis) -> bool {
        match &mut self.lease {
            Some(lease) if lease.epoch == epoch => lease.until = until,
            _ => return false,
        }
        true
    }

    fn append(&mut self, epoch: u64, pid: u32) -> bool {
        let leads = self.lease.as_ref().is_some_and(|lease| lease.epoch == epoch);
        if leads {
            self.accepted.push((epoch, pid));
        }
        leads
    }
}

/// One engine: it may be stopped between any two of its steps, and its clock is off and runs at its own pace.
struct Engine {
    pid: u32,
    offset: u64,
    pace_percent: u64,
    watch: Watch,
    seen: Option<Option<Lease>>,
    epoch: Option<u64>,
    renewed_at: Millis,
}

#[derive(Debug, Clone)]
enum Step {
    Look(usize),
    Take(usize),
    Renew(usize),
    Append(usize),
    Pass(u64),
}

impl Engine {
    fn now(&self, time: u64) -> Millis {
        Millis(self.offset + time * self.pace_percent / 100)
    }

    fn look(&mut self, row: &Row, time: u64) -> Option<Standing> {
        let now = self.now(time);
        let standing = self.watch.look(row.lease.as_ref(), &text(self.pid), Fate::Unknown, now);
        self.seen = standing.may_take().then(|| row.lease.clone());
        Some(standing)
    }

    /// Takes what was seen to be free; between the two anything may have happened.
    fn take(&mut self, row: &mut Row, time: u64) -> Option<u64> {
        let seen = self.seen.take()?;
        let epoch = seen.as_ref().map_or(0, |lease| lease.epoch) + 1;
        let new = Lease { epoch, owner: text(self.pid), until: self.now(time).plus(TERMS.ttl) };
        row.take(seen.as_ref(), new).then(|| {
            self.epoch = Some(epoch);
            self.renewed_at = self.now(time);
            epoch
        })
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2usize).prop_map(Step::Look),
        2 => (0..2usize).prop_map(Step::Take),
        3 => (0..2usize).prop_map(Step::Renew),
        4 => (0..2usize).prop_map(Step::Append),
        3 => prop_oneof![1..200u64, 800..2000u64].prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn o11_two_owners_never_append_under_the_same_or_interleaved_epochs(
        steps in prop::collection::vec(step(), 1..200),
        offsets in prop::array::uniform2(0..10_000_000u64),
        paces in prop::array::uniform2(80..120u64),
    ) {
        let mut row = Row::default();
        let mut engines: Vec<Engine> = (0..2).map(|n| Engine {
            pid: n as u32 + 1, offset: offsets[n], pace_percent: paces[n], watch: Watch::new(TERMS),
            seen: None, epoch: None, renewed_at: Millis(0),
        }).collect();
        let (mut time, mut last_renewal) = (0u64, 0u64);
        for step in steps {
            match step {
                Step::Pass(by) => time += by,
                Step::Look(n) => {
                    let holder = row.lease.as_ref().map(|lease| lease.owner.clone());
                    let standing = engines[n].look(&row, time);
                    if standing == Some(Standing::Silent) {
                        // Never pushed aside while fresh, by the slower of all clocks.
                        prop_assert!(holder != Some(text(engines[n].pid)));
                        prop_assert!(time - last_renewal >= TERMS.ttl.0 * 100 / 120, "pushed aside after {} ms", time - last_renewal);
                    }
                }
                Step::Take(n) => {
                    let before = row.lease.as_ref().map_or(0, |lease| lease.epoch);
                    if let Some(epoch) = engines[n].take(&mut row, time) {
                        prop_assert!(epoch > before, "token {epoch} after {before}");
                        last_renewal = time;
                    }
                }
                Step::Renew(n) => {
                    let until = engines[n].now(time).plus(TERMS.ttl);
                    if let Some(epoch) = engines[n].epoch && row.renew(epoch, until) {
                        last_renewal = time;
                    }
                }
                Step::Append(n) => {
                    if let Some(epoch) = engines[n].epoch {
                        row.append(epoch, engines[n].pid);
                    }
                }
            }
        }
        // Epochs only grow, and each is one owner's.
        prop_assert!(row.accepted.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[0] == pair[1]), "{:?}", row.accepted);
    }
}

#[test]
fn tests_alone_may_shorten_a_lease_and_nobody_lengthens_it() {
    assert_eq!(Terms::default().ttl, TTL);
    assert_eq!(Terms::default().renew_every(), Millis(4000));
}
