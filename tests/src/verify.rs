//! Holds everything a system shows against what a scenario must come to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use telemetry_schemas::{BreachStatus, TtfBreach, TtfRecord, alert::Notification, json::to_json};

use crate::{
    observe,
    receiver::Receiver,
    scenario::{Expected, Malformed, Scenario},
    store,
    system::System,
    wait,
};

const LIMIT: Duration = Duration::from_secs(90);

/// What was sent how often, as far as a sender can know.
pub struct Sent {
    /// Lines sent, each once as far as acknowledged; more may have come in when a sender had to repeat.
    pub events: usize,
    /// Different (channel, event id) pairs among the valid ones.
    pub distinct: usize,
    /// True when batches may have come in twice (the gateway was killed).
    pub repeated: bool,
}

/// Waits until the whole system agrees with the oracle; panics with the first disagreement left at the end.
pub async fn everything(system: &System, scenario: &Scenario, expected: &Expected, sent: &Sent, receiver: &Receiver) {
    let records = wait::until("records equal the oracle's", LIMIT, || async {
        let records = system.topics.read_as::<TtfRecord>("records");
        expected.check_records(&records).map(|()| records)
    })
    .await;
    let breaches = wait::until("breaches equal the oracle's", LIMIT, || async {
        let breaches = system.topics.read_as::<TtfBreach>("breaches");
        expected.check_breaches(&breaches).map(|()| breaches)
    })
    .await;
    let outbox = wait::until("notifications equal the oracle's", LIMIT, || async {
        let outbox = system.topics.read_as::<Notification>("notifications");
        expected.check_notifications(&outbox, &breaches).map(|()| outbox)
    })
    .await;
    wait::until("every notification is delivered or left out for a reason", LIMIT, || async {
        delivered(receiver, &outbox)?;
        left_out_are_counted(system, receiver, &outbox, sent.repeated).await
    })
    .await;
    rejected(system, &scenario.malformed, sent).await;
    let events = system.topics.read("events");
    rows(system, &records, &breaches, events.len(), sent).await;
    objects(system, events.len(), &records, &breaches).await;
    live_view(system, &records).await;
    books_balance(system, sent).await;
}

/// Every entry of the outbox was received, and nothing else. An alarm that was over before it could be delivered is left
/// out as a whole, from its beginning to its end: which are is a matter of the machine's speed, but most are not.
fn delivered(receiver: &Receiver, outbox: &[Notification]) -> Result<(), String> {
    let wanted: BTreeSet<_> = outbox.iter().map(|entry| entry.notification_id.clone()).collect();
    if wanted.len() != outbox.len() {
        return Err(format!("{} outbox entries have only {} ids", outbox.len(), wanted.len()));
    }
    let got = received(receiver);
    let arrived = || format!("{} of {} notifications arrived", got.len(), wanted.len());
    if got == wanted {
        return Ok(());
    }
    if !got.is_subset(&wanted) || got.len() * 2 < wanted.len() {
        return Err(arrived());
    }
    let mut alarms: BTreeMap<_, Vec<Vec<&Notification>>> = BTreeMap::new();
    for entry in outbox {
        let of_group = alarms.entry((&entry.receiver, &entry.group_key)).or_default();
        match of_group.last_mut() {
            Some(alarm) if alarm.last().is_some_and(|last| last.status != BreachStatus::Resolved) => alarm.push(entry),
            _ => of_group.push(vec![entry]),
        }
    }
    let is_told = |entry: &&Notification| got.contains(&entry.notification_id);
    let is_over = |alarm: &[&Notification]| alarm.last().is_some_and(|last| last.status == BreachStatus::Resolved);
    let is_right = |alarm: &[&Notification]| alarm.iter().all(is_told) || is_over(alarm) && !alarm.iter().any(is_told);
    match alarms.values().flatten().find(|alarm| !is_right(alarm)) {
        None => Ok(()),
        Some(alarm) => {
            let told = alarm.iter().filter(|entry| is_told(entry)).count();
            Err(format!("{}; of one alarm {told} of {}", arrived(), alarm.len()))
        }
    }
}

/// What was not delivered is counted as that, unless the process that counted it has died since.
async fn left_out_are_counted(
    system: &System,
    receiver: &Receiver,
    outbox: &[Notification],
    killed: bool,
) -> Result<(), String> {
    let mut counted = 0.0;
    for url in system.metrics_urls() {
        let left_out =
            |name: &str| name.starts_with("ttf_alert_deliveries_total{") && name.contains("resolved_before_");
        counted += observe::metrics(&url).await.iter().filter(|(name, _)| left_out(name)).map(|(_, n)| n).sum::<f64>();
    }
    let missing = outbox.len() - received(receiver).len();
    let agrees = if killed { counted <= missing as f64 } else { (counted - missing as f64).abs() < 0.5 };
    if agrees { Ok(()) } else { Err(format!("{missing} notifications are missing, {counted} are counted as left out")) }
}

fn received(receiver: &Receiver) -> BTreeSet<String> {
    receiver.deliveries().into_iter().map(|delivery| delivery.idempotency_key).collect()
}

/// Every malformed event is on the rejected topic, with its reason and its original bytes.
async fn rejected(system: &System, malformed: &[Malformed], sent: &Sent) {
    wait::until("every malformed event is on the rejected topic", LIMIT, || async {
        let mut left: BTreeMap<(String, String), usize> = BTreeMap::new();
        for value in system.topics.read("rejected") {
            let code = value["reasons"][0]["code"].as_str().unwrap_or_default().to_owned();
            let payload = value["payload"].as_str().unwrap_or_default().to_owned();
            *left.entry((payload, code)).or_default() += 1;
        }
        for malformed in malformed {
            match left.remove(&(malformed.bytes.clone(), malformed.code.to_owned())) {
                Some(1) => {}
                Some(_) if sent.repeated => {}
                found => return Err(format!("{} ({}) was found {found:?}", malformed.bytes, malformed.code)),
            }
        }
        if left.is_empty() { Ok(()) } else { Err(format!("rejected without cause: {left:?}")) }
    })
    .await;
}

/// The database holds each event, record and breach once, and the newest state of each journey.
async fn rows(system: &System, records: &[TtfRecord], breaches: &[TtfBreach], events: usize, sent: &Sent) {
    let store = &system.store;
    assert!(events >= sent.distinct, "{events} events on the topic, {} different ones were sent", sent.distinct);
    for (table, count) in [("events", sent.distinct), ("ttf_records", records.len()), ("breaches", breaches.len())] {
        wait::until(&format!("rows of {table}"), LIMIT, || async {
            let there = store.count(&format!("SELECT count(*) FROM {table}")).await?;
            if there == count { Ok(()) } else { Err(format!("{there} rows, not {count}")) }
        })
        .await;
    }
    let newest = newest(records);
    let sql = "SELECT user_id, attempt, revision, status, total_ms, current_stage, breach_level FROM journeys";
    wait::until("the current journeys", LIMIT, || async {
        let rows: BTreeSet<_> = store.rows(sql).await?.into_iter().collect();
        let wanted: BTreeSet<_> = newest.values().map(|record| journey_row(record)).collect();
        if rows == wanted {
            return Ok(());
        }
        Err(format!("differ: {:?}", rows.symmetric_difference(&wanted).take(4).collect::<Vec<_>>()))
    })
    .await;
}

fn journey_row(record: &TtfRecord) -> store::Row {
    let value = to_json(record);
    let text = |name: &str| match &value[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    ["user_id", "attempt", "revision", "status", "total_ms", "current_stage", "breach_level"].map(text).into()
}

/// The objects hold each offset of each topic once, and nobody's id in clear.
async fn objects(system: &System, events: usize, records: &[TtfRecord], breaches: &[TtfBreach]) {
    for (dataset, count) in [("events", events), ("records", records.len()), ("breaches", breaches.len())] {
        wait::until(&format!("objects of {dataset}"), LIMIT, || async {
            let objects = system.store.objects(dataset).await?;
            let offsets = store::offsets(&objects);
            if let Some((offset, times)) = offsets.iter().find(|(_, times)| **times > 1) {
                return Err(format!("{offset:?} is there {times} times"));
            }
            if offsets.len() != count {
                return Err(format!("{} rows, not {count}", offsets.len()));
            }
            for object in &objects {
                assert!(!object.columns().contains(&"user_id".to_owned()), "{} names users", object.key);
                for pseudonym in object.column("user_pseudonym").into_iter().flatten() {
                    assert!(!pseudonym.contains("user_"), "{} names users", object.key);
                }
            }
            Ok(())
        })
        .await;
    }
}

/// `GET /api/v1/users/{id}/journey` shows the newest record of each attempt of each user, and 404 for those without.
async fn live_view(system: &System, records: &[TtfRecord]) {
    let mut by_user: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for record in newest(records).into_values() {
        by_user.entry(&record.user_id).or_default().insert(to_json(record).to_string());
    }
    let client = crate::http::client();
    for (user, wanted) in by_user {
        wait::until("the live view", LIMIT, || async {
            let answer = client.get(format!("{}/api/v1/users/{user}/journey", system.url)).send().await;
            let body: Value = answer.map_err(|e| e.to_string())?.json().await.map_err(|e| e.to_string())?;
            let shown: BTreeSet<_> =
                body["journeys"].as_array().into_iter().flatten().map(ToString::to_string).collect();
            if shown == wanted { Ok(()) } else { Err(format!("{user}: {shown:?} is not {wanted:?}")) }
        })
        .await;
    }
    let nobody = client.get(format!("{}/api/v1/users/nobody/journey", system.url)).send().await.expect("an answer");
    assert_eq!(nobody.status(), 404);
}

/// What came in equals the sum of what became of it.
async fn books_balance(system: &System, sent: &Sent) {
    let (mut received, mut outcomes) = (0.0, 0.0);
    for url in system.metrics_urls() {
        let metrics = observe::metrics(&url).await;
        received += observe::sum(&metrics, "ttf_events_received_total");
        outcomes += observe::sum(&metrics, "ttf_events_total");
    }
    assert!((received - outcomes).abs() < 0.5, "received {received}, outcomes {outcomes}");
    if !sent.repeated {
        assert!((received - sent.events as f64).abs() < 0.5, "received {received}, sent {}", sent.events);
    }
}

fn newest(records: &[TtfRecord]) -> BTreeMap<(String, String, String), &TtfRecord> {
    let mut newest: BTreeMap<_, &TtfRecord> = BTreeMap::new();
    for record in records {
        let key = (record.user_id.clone(), record.journey.clone(), record.attempt.clone());
        let entry = newest.entry(key).or_insert(record);
        if record.revision > entry.revision {
            *entry = record;
        }
    }
    newest
}
