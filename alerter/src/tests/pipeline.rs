use stream_runtime::log::NewRecord;
use telemetry_schemas::{
    BreachLevel::{Critical, Escalation, Warning},
    BreachStatus, EventTime, Millis, TtfBreach, topics,
};

use super::{
    installation::{Installation, eventually},
    receiver::FakeReceiver,
};
use crate::{
    receivers::webhook::sign,
    testing::{breach, resolved},
};

/// Waits for nothing, tells a webhook.
pub fn webhook(fake: &FakeReceiver) -> String {
    format!(
        "user_ids: plain
route: {{ receiver: hook, group_wait: 0s, group_interval: 0s }}
receivers:
  - {{ name: hook, webhook: {{ url: '{}', secret: s3cret, timeout: 1s }} }}
",
        fake.url("hook")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breach_is_told_when_it_rises_and_when_it_is_over() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let running = installation.start(&webhook(&fake)).await;
    for (count, level) in [Warning, Critical, Escalation].into_iter().enumerate() {
        installation.publish(breach("u-1", level)).await;
        eventually("the level is told", || fake.accepted().len() == count + 1).await;
    }
    for level in [Warning, Critical, Escalation] {
        installation.publish(resolved("u-1", level)).await;
    }
    eventually("the end is told", || fake.accepted().len() == 4).await;

    let hits = fake.accepted();
    let told: Vec<_> = hits.iter().map(|hit| (hit.status(), hit.level())).collect();
    assert_eq!(
        told,
        [("firing", "warning"), ("firing", "critical"), ("firing", "escalation"), ("resolved", "escalation")]
    );
    assert!(hits.iter().all(|hit| hit.user() == "u-1"));
    let outbox = installation.outbox();
    let mut ids: Vec<_> = hits.iter().map(|hit| hit.id.clone().expect("an id")).collect();
    let mut expected: Vec<_> = outbox.iter().map(|notification| notification.notification_id.clone()).collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected, "the outbox and nothing else");

    let signature = hits[0].signature.clone().expect("signed");
    let at: i64 = signature[2..signature.find(',').expect("two parts")].parse().expect("a time");
    assert_eq!(signature, sign(b"s3cret", at, &hits[0].raw));
    assert!((service_kit::clock::now_ms() / 1_000 - at).abs() < 60);

    eventually("deliveries are counted", || {
        running.metric(r#"ttf_alert_deliveries_total{outcome="delivered",receiver="hook"}"#) == Some(4.0)
    })
    .await;
    assert_eq!(running.metric(r#"ttf_alert_breaches_total{outcome="routed"}"#), Some(6.0));
    assert_eq!(running.metric(r#"ttf_alert_groups_open{level="escalation"}"#), Some(0.0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_breaches_and_what_is_over_already_are_told_to_nobody() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let old = TtfBreach {
        detected_at: EventTime(service_kit::clock::now_ms()).plus(Millis::from_minutes(-25 * 60)),
        ..breach("u-2", Warning)
    };
    installation.publish(TtfBreach { late: true, ..breach("u-1", Warning) }).await;
    installation.publish_as_it_is(&old).await;
    installation.publish(resolved("u-3", Warning)).await;
    installation.publish(breach("u-4", Warning)).await;
    installation.publish(resolved("u-4", Warning)).await;
    installation.publish_record(NewRecord::new(topics::TTF_BREACHES, "k", "no breach")).await;
    installation.publish(breach("u-5", Warning)).await;
    let running = installation.start(&webhook(&fake).replace("group_wait: 0s", "group_wait: 1s")).await;
    eventually("the one that counts is told", || fake.accepted().len() == 1).await;
    assert_eq!(fake.accepted()[0].user(), "u-5");
    assert_eq!(installation.outbox().len(), 1);
    for outcome in ["late", "too_old", "undecodable"] {
        let line = format!(r#"ttf_alert_breaches_total{{outcome="{outcome}"}}"#);
        assert_eq!(running.metric(&line), Some(1.0), "{outcome}");
    }
    assert_eq!(installation.read(topics::EVENTS_REJECTED).len(), 1, "what cannot be read is kept");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_route_tells_its_receiver() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let section = format!(
        "
route:
  receiver: team
  group_wait: 0s
  group_interval: 0s
  routes:
    - {{ receiver: on-call, matchers: ['level=~\"critical|escalation\"'], continue: true }}
    - {{ receiver: team }}
receivers:
  - {{ name: team, slack: {{ api_url: '{}' }} }}
  - {{ name: on-call, webhook: {{ url: '{}' }} }}
",
        fake.url("slack"),
        fake.url("hook")
    );
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("the team is told", || fake.accepted().len() == 1).await;
    installation.publish(breach("u-1", Critical)).await;
    eventually("both are told", || fake.accepted().len() == 3).await;
    installation.publish(resolved("u-1", Critical)).await;
    eventually("who was called hears the end", || fake.accepted().len() == 4).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("the team, too", || fake.accepted().len() == 5).await;
    let hooks: Vec<_> = fake.accepted().into_iter().filter(|hit| hit.id.is_some()).collect();
    let told: Vec<_> = hooks.iter().map(|hit| (hit.status(), hit.level())).collect();
    assert_eq!(told, [("firing", "critical"), ("resolved", "critical")], "only what its route matches");
    assert!(fake.accepted().iter().all(|hit| !hit.body.to_string().contains("u-1")), "users are hashed");
    assert_eq!(installation.outbox_count(BreachStatus::Resolved), 2);
    running.stop().await;
}
