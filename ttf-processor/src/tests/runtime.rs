//! The processor on its runtime and a log in memory, with crashes, lost state and poison.

use std::{collections::BTreeMap, sync::Arc};

use service_kit::{Metrics, config::MetricsConfig};
use stream_runtime::{
    keyed::test_driver::{Setup, TestDriver},
    log::NewRecord,
};
use telemetry_schemas::{
    AvroMessage, BreachLevel, Codec, Event, EventTime, JourneyStatus, Millis, RecordKey, TtfBreach, TtfRecord,
    erasure::Erasure, rejected::RejectedEvent, topics,
};

use crate::{
    codec::JourneyCodec,
    figures::Figures,
    journey::{
        Journeys,
        testing::{MINUTE, NINE, at, event, onboarding},
    },
    oracle,
    processor::JourneyProcessor,
};

struct Pipe {
    driver: TestDriver<JourneyProcessor, JourneyCodec>,
    metrics: Metrics,
}

impl Pipe {
    fn new() -> Self {
        let journeys = Arc::new(Journeys::new(&[onboarding()]).unwrap());
        let metrics = Metrics::default();
        let labels = MetricsConfig { segment_by: None, segment_values: Vec::new() };
        let figures = Figures::new(&metrics, journeys.clone(), labels).unwrap();
        let setup = Setup {
            partitions: 3,
            start_ms: NINE.0,
            ..Setup::new(
                &[topics::EVENTS, topics::ERASURES],
                topics::TTF_STATE,
                &[topics::TTF_RECORDS, topics::TTF_BREACHES, topics::EVENTS_REJECTED],
            )
        };
        let processor = JourneyProcessor::new(journeys, figures);
        let codec = JourneyCodec::new(Codec::without_registry());
        Self { driver: TestDriver::new(&setup, processor, codec).unwrap(), metrics }
    }

    fn send(&mut self, event: &Event) {
        let key = RecordKey::user(&*event.tenant, event.user_id.as_deref().unwrap_or_default()).to_bytes();
        let value = Codec::without_registry().encode(event).unwrap();
        self.driver.pipe_input(NewRecord::new(topics::EVENTS, key, value)).unwrap();
    }

    fn read<T: AvroMessage>(&mut self, topic: &str) -> Vec<T> {
        let records = self.driver.read_all(topic).unwrap();
        records.iter().map(|it| Codec::without_registry().decode(it.value.as_ref().unwrap()).unwrap()).collect()
    }

    fn figure(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|it| it == line)
    }
}

/// Users at various points of their way, the hindmost events shuffled to the front.
fn cohort() -> Vec<Event> {
    let steps = ["signup", "project_created", "agent_created", "workflow_created", "first_success"];
    let mut events = Vec::new();
    for user in 0..20_i64 {
        for (step, name) in steps.iter().enumerate().take(1 + (user as usize % 5)) {
            let mut event = event(name, at(user + step as i64 * (user + 5)));
            event.user_id = Some(format!("u-{user}"));
            event.event_id = format!("{user}-{step}");
            events.push(event);
        }
    }
    events.sort_by_key(|event| (event.event_id.len() * 7 + event.timestamp.0 as usize / 13) % 11);
    events
}

#[test]
fn crashes_and_lost_state_come_to_what_the_oracle_says() {
    let mut pipe = Pipe::new();
    let events = cohort();
    for (index, event) in events.iter().enumerate() {
        pipe.send(event);
        match index % 10 {
            3 => pipe.driver.commit().unwrap(),
            6 => pipe.driver.crash_and_restart().unwrap(),
            9 => pipe.driver.lose_state_and_restart().unwrap(),
            _ => {}
        }
    }
    let until = at(130);
    // Timers are set by a commit.
    pipe.driver.commit().unwrap();
    pipe.driver.advance_to(until.0).unwrap();
    pipe.driver.commit().unwrap();

    let expected = oracle::expected(&[onboarding()], &events, until);
    assert_eq!(expected.len(), 20);
    let mut last: BTreeMap<String, TtfRecord> = BTreeMap::new();
    for record in pipe.read::<TtfRecord>(topics::TTF_RECORDS) {
        last.insert(record.user_id.clone(), record);
    }
    let breaches: Vec<TtfBreach> = pipe.read(topics::TTF_BREACHES);
    for journey in &expected {
        journey.check_record(&last[&journey.user_id]).unwrap();
        journey.check_breaches(breaches.iter().filter(|it| it.user_id == journey.user_id)).unwrap();
    }
    let open =
        expected.iter().flat_map(|it| &it.breaches).filter(|it| it.level == BreachLevel::Warning && !it.resolved);
    assert!(pipe.figure(&format!(r#"ttf_breaches_open{{journey="onboarding",level="warning"}} {}"#, open.count())));
    assert!(pipe.figure(r#"ttf_journeys_started_total{journey="onboarding"} 20"#));
    let on_their_way = expected
        .iter()
        .filter(|it| it.status == JourneyStatus::InProgress)
        .filter(|it| it.current_stage.as_deref() == Some("first_agent_to_first_workflow"));
    assert!(pipe.figure(&format!(
        r#"ttf_journeys_in_progress{{journey="onboarding",stage="first_agent_to_first_workflow"}} {}"#,
        on_their_way.count()
    )));
}

#[test]
fn gauges_are_right_after_a_restart_with_and_without_local_state() {
    let mut pipe = Pipe::new();
    pipe.send(&event("signup", at(0)));
    pipe.driver.commit().unwrap();
    let line = r#"ttf_journeys_in_progress{journey="onboarding",stage="signup_to_first_project"} 1"#;
    assert!(pipe.figure(line));
    pipe.driver.crash_and_restart().unwrap();
    pipe.driver.settle().unwrap();
    assert!(pipe.figure(line));
    pipe.driver.lose_state_and_restart().unwrap();
    pipe.driver.settle().unwrap();
    assert!(pipe.figure(line));
}

#[test]
fn an_erasure_travels_the_whole_way() {
    let mut pipe = Pipe::new();
    pipe.send(&event("signup", at(0)));
    pipe.driver.commit().unwrap();
    let erasure = Erasure {
        erasure_id: "e-1".to_owned(),
        tenant: "default".to_owned(),
        user_id: "u-1".to_owned(),
        erased_at: at(5),
        requested_by: "someone".to_owned(),
        reason: None,
    };
    let key = RecordKey::user("default", "u-1").to_bytes();
    let value = Codec::without_registry().encode(&erasure).unwrap();
    pipe.driver.pipe_input(NewRecord::new(topics::ERASURES, key, value)).unwrap();
    pipe.driver.commit().unwrap();
    let statuses: Vec<_> = pipe.read::<TtfRecord>(topics::TTF_RECORDS).iter().map(|it| it.status).collect();
    assert_eq!(statuses, [JourneyStatus::InProgress, JourneyStatus::Erased]);
}

#[test]
fn poison_goes_to_the_rejected_topic_and_nothing_stops() {
    let mut pipe = Pipe::new();
    let key = RecordKey::user("default", "u-1").to_bytes();
    pipe.driver.pipe_input(NewRecord::new(topics::EVENTS, key, b"not avro".to_vec())).unwrap();
    pipe.send(&event("signup", at(0)));
    pipe.driver.commit().unwrap();
    let rejected: Vec<RejectedEvent> = pipe.read(topics::EVENTS_REJECTED);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].reasons[0].code, "undecodable");
    assert_eq!(pipe.read::<TtfRecord>(topics::TTF_RECORDS).len(), 1);
}

#[test]
fn a_deadline_waits_for_its_grace() {
    let mut pipe = Pipe::new();
    pipe.send(&event("signup", at(0)));
    let due = EventTime(NINE.0 + 75 * MINUTE).plus(Millis(5_000));
    pipe.driver.advance_to(due.0 - 1).unwrap();
    pipe.driver.commit().unwrap();
    assert_eq!(pipe.read::<TtfBreach>(topics::TTF_BREACHES), []);
    pipe.driver.advance_to(due.0).unwrap();
    pipe.driver.commit().unwrap();
    let breaches: Vec<TtfBreach> = pipe.read(topics::TTF_BREACHES);
    assert_eq!(breaches.len(), 1);
    assert_eq!(breaches[0].detected_at, due);
}
