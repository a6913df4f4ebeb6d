use super::*;

const SEED: u64 = 20_261_124;

/// Sums `seconds` of one stream.
fn total(traffic: &Traffic, watch: u64, seconds: u64) -> (Arm, Arm) {
    let mut stream = traffic.stream(SEED, watch);
    let (mut candidate, mut stable) = (Arm::default(), Arm::default());
    for _ in 0..seconds {
        let second = stream.advance();
        for (sum, arm) in [(&mut candidate, &second.candidate), (&mut stable, &second.stable)] {
            sum.all.add(arm.all);
            sum.route.add(arm.route);
            sum.latencies.merge(&arm.latencies);
        }
    }
    (candidate, stable)
}

fn near(found: f64, expected: f64, share: f64) -> bool {
    (found / expected - 1.0).abs() <= share
}

#[test]
fn the_latency_has_the_quantiles_of_the_model() {
    let latency = Mixture::default();

    for (share, ms) in [(0.5, 81.6), (0.99, 386.0), (0.999, 751.0)] {
        assert!(near(latency.quantile_ms(share), ms, 0.003), "{share}: {}", latency.quantile_ms(share));
    }
}

#[test]
fn drawn_latencies_have_them_too_few_or_many_at_a_time() {
    for rps in [200.0, 40_000.0] {
        let traffic = Traffic::new(Scene::steady(rps, 0.5, 0.0, Mode::Independent));
        let (_, stable) = total(&traffic, 1, if rps > 1000.0 { 20 } else { 3000 });

        for (share, ms) in [(0.5, 81.6), (0.99, 386.0), (0.999, 751.0)] {
            let found = stable.latencies.quantile_ms(share).unwrap();
            assert!(near(found, ms, 0.04), "{share} at {rps}/s: {found}");
        }
    }
}

#[test]
fn requests_and_errors_come_at_their_rates() {
    let traffic = Traffic::new(Scene::steady(500.0, 0.1, 0.01, Mode::Independent));
    let (candidate, stable) = total(&traffic, 2, 4000);

    assert!(near(candidate.all.requests as f64, 0.1 * 500.0 * 4000.0, 0.01));
    assert!(near(stable.all.requests as f64, 0.9 * 500.0 * 4000.0, 0.005));
    assert!(near(stable.all.error_rate().unwrap(), 0.01, 0.03));
    assert!(near(candidate.all.error_rate().unwrap(), 0.01, 0.08));
    assert_eq!(stable.latencies.count(), stable.all.requests - stable.all.errors);
}

#[test]
fn bursts_keep_the_mean_and_multiply_the_spread() {
    let spread = |mode| {
        let traffic = Traffic::new(Scene::steady(200.0, 0.5, 0.01, mode));
        let totals: Vec<f64> =
            (0..200).map(|watch| total(&traffic, watch, 300).1.all.errors as f64).collect();
        let mean = totals.iter().sum::<f64>() / 200.0;
        (mean, totals.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 200.0 / mean)
    };
    let (calm, calm_spread) = spread(Mode::Independent);
    let (bursts, bursts_spread) = spread(Mode::Bursts);

    assert!(near(calm, 300.0, 0.02) && (0.7..1.4).contains(&calm_spread), "{calm} {calm_spread}");
    // Incidents: 20 s of every 3,620 at twenty times the rate add 10.5 %.
    assert!(near(bursts, 331.0, 0.15) && bursts_spread > 10.0, "{bursts} {bursts_spread}");
}

#[test]
fn a_seed_is_the_whole_story() {
    let traffic = Traffic::new(Scene::steady(100.0, 0.05, 0.001, Mode::Bursts).with(Fault::Errors(0.05)));
    let (mut one, mut same, mut other) = (traffic.stream(1, 7), traffic.stream(1, 7), traffic.stream(1, 8));

    let mut differs = false;
    for _ in 0..120 {
        let second = one.advance().clone();
        assert_eq!(&second, same.advance());
        differs |= &second != other.advance();
    }
    assert!(differs);
}

#[test]
fn faults_strike_the_candidate_alone_and_say_when() {
    let scene = || Scene::steady(1000.0, 0.5, 0.001, Mode::Independent);
    let sums = |fault| total(&Traffic::new(scene().with(fault)), 3, 400);
    let rate = |arm: &Arm| arm.all.error_rate().unwrap();

    let (candidate, stable) = sums(Fault::Errors(0.05));
    assert!(near(rate(&candidate), 0.05, 0.03) && near(rate(&stable), 0.001, 0.2));
    let (candidate, _) = sums(Fault::Crash { second: 300 });
    assert!(near(rate(&candidate), 0.25, 0.02));
    let (candidate, _) = sums(Fault::Leak { from: 0.001, to: 0.05, seconds: 400 });
    assert!(near(rate(&candidate), 0.0255, 0.03));
    let (candidate, stable) = sums(Fault::Route { traffic: 0.02, errors: 1.0 });
    assert_eq!(candidate.route.errors, candidate.route.requests);
    assert!(near(candidate.route.requests as f64, 0.02 * candidate.all.requests as f64, 0.05));
    assert!(stable.route.errors <= 10 && near(rate(&candidate), 0.02 + 0.98 * 0.001, 0.06));
    assert_eq!(Fault::Crash { second: 300 }.onset(), 300);
}

#[test]
fn latency_faults_move_the_quantile_they_name() {
    let scene = Scene::steady(1000.0, 0.5, 0.0, Mode::Independent);
    let of = |fault: Fault| fault.latency(scene.latency);

    assert!(near(of(Fault::P99Times(1.5)).quantile_ms(0.99), 1.5 * 386.0, 0.003));
    assert!(near(of(Fault::P99Times(1.5)).quantile_ms(0.5), 81.6, 0.02));
    assert!(near(of(Fault::AllTimes(1.1)).quantile_ms(0.5), 1.1 * 81.6, 0.003));
    let delayed = of(Fault::Delayed { share: 0.02, ms: 500.0 });
    assert!(near(1.0 - delayed.share_below(500.0), 0.0243, 0.03), "{}", 1.0 - delayed.share_below(500.0));
    let traffic = Traffic::new(scene.with(Fault::P99Times(1.5)));
    let (candidate, stable) = total(&traffic, 4, 400);
    assert!(near(candidate.latencies.quantile_ms(0.99).unwrap(), 579.0, 0.04));
    assert!(near(stable.latencies.quantile_ms(0.99).unwrap(), 386.0, 0.04));
}

#[test]
fn a_minute_sums_its_seconds() {
    let traffic = Traffic::new(Scene::steady(50.0, 0.2, 0.02, Mode::Independent));
    let mut stream = traffic.stream(SEED, 5);
    let mut sum = Counts::default();
    for at in 0..120 {
        let second = stream.advance();
        sum.add(second.stable.all);
        assert_eq!(second.minute.is_some(), (at + 1) % 60 == 0);
        if let Some(minutes) = second.minute {
            assert_eq!(minutes.stable.all, sum);
            assert!((60.0..110.0).contains(&minutes.stable.p50_ms.unwrap()));
            sum = Counts::default();
        }
    }
}

#[test]
fn a_recorded_load_is_followed() {
    let trace = Trace::parse("t,n\n2014-04-10 00:00:00,6000\n2014-04-10 00:01:00,600\n").unwrap();
    let load = Load::Recorded { trace: trace.into(), times: 2.0, from_second: 60 };
    let traffic = Traffic::new(Scene { load, ..Scene::steady(0.0, 0.5, 0.0, Mode::Independent) });
    let mut stream = traffic.stream(SEED, 6);
    let mut sum =
        |seconds: u64| (0..seconds).map(|_| stream.advance().stable.all.requests).sum::<u64>() as f64;

    assert!(near(sum(60), 600.0, 0.15));
    assert!(near(sum(60), 6000.0, 0.06));
}

#[test]
fn errors_of_one_version_come_in_clusters() {
    let traffic = Traffic::new(Scene::steady(1000.0, 0.5, 0.001, Mode::Bursts));
    let mut stream = traffic.stream(SEED, 9);
    let errors: Vec<f64> = (0..20_000).map(|_| stream.advance().stable.all.errors as f64).collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let after = errors.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>();
    let own = errors.iter().map(|count| (count - mean).powi(2)).sum::<f64>();

    assert!(after / own > 0.3, "neighbouring seconds are alike: {}", after / own);
}
