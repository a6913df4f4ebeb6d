use super::*;
use crate::script;

#[test]
fn the_status_says_what_serves_what_is_waited_for_and_whether_there_is_a_way_back() {
    let text = status(&script::status());

    let wanted = "\
local on 127.0.0.1:8080   api http://127.0.0.1:9   engine 4242, leads until 10:00:12 UTC   version 0.1.0

web   d-7 baking step 1 of 2
  waiting for 42s of the bake
  not enough evidence: candidate 1 of 120 failed, stable 2 of 2300, p 0.400
            REVISION  RELEASE            READY  WEIGHT
 stable     2         0123456789ab (v2)  1/2    95 %
 candidate  3         0123456789ab (v3)  1/2    5 %
  rollback ready: revision 2 serves
  led by process 4242 on web-1 until 10:00:12 UTC, epoch 7
";
    assert_eq!(text, wanted);
}

#[test]
fn an_environment_without_edge_or_services_says_so_and_what_to_do() {
    let mut empty = script::status();
    empty.edge = None;
    empty.services.clear();

    let text = status(&empty);

    assert!(text.starts_with("local: the edge does not answer"));
    assert!(text.contains("medeclipse deploy"));
}

#[test]
fn a_pause_a_hold_and_maintenance_show_in_the_stage() {
    let mut service = script::status().services.remove(0);
    service.paused = true;
    service.held = Some("stable fails too".into());
    service.maintenance = true;

    assert_eq!(
        stage(&service),
        "d-7 baking step 1 of 2, paused, held: stable fails too, maintenance: requests wait"
    );
}

#[test]
fn what_holds_a_rollout_is_said_once() {
    let mut service = script::status().services.remove(0);
    service.held = Some("stable fails too".into());
    service.waiting_for = Some("doubt to end: stable fails too".into());

    assert_eq!(waiting(&service), "waiting for doubt to end");
    assert_eq!(now(&service).matches("stable fails too").count(), 1);
}

#[test]
fn an_event_is_one_line_with_its_time() {
    let (_, record) = script::promoted().swap_remove(2);

    let line = event(&crate::events::parse(&record).unwrap());

    assert_eq!(line, "10:00:42 web d-7 revision 3 gets 100 % of the requests");
}
