//! The books balance: received = Σ outcomes, whatever is sent and whatever the log does.

use proptest::prelude::*;
use serde_json::{Value, json};
use service_kit::config::HumanDuration;

use super::harness::{Fate, Scripted, Setup, answer, start_with, track};

fn any_event() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => "[a-z]{1,8}".prop_map(|user| track(&user)),
        1 => Just(json!({"event_name": "x", "event_type": "track"})),
        1 => Just(json!(17)),
        1 => Just(json!({"event_name": "x", "event_type": "test", "extra": 1})),
    ]
}

fn any_body() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::collection::vec(any_event(), 1..12).prop_map(|events| json!({"events": events}).to_string()),
        1 => any_event().prop_map(|event| event.to_string()),
        1 => Just("{".to_owned()),
        1 => Just("[]".to_owned()),
    ]
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Acknowledge),
        2 => Just(Fate::Fail),
        1 => Just(Fate::QueueFull),
        1 => Just(Fate::Hang),
    ]
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    accepted: u64,
    rejected: u64,
    duplicate: u64,
    retry: u64,
}

async fn run(bodies: Vec<String>, script: Vec<Fate>) -> Result<(), TestCaseError> {
    let publisher = Scripted::new(script);
    let mut setup = Setup { publisher: Some(publisher.clone()), ..Setup::default() };
    setup.config.ack_timeout = HumanDuration::from_millis(20);
    let gateway = start_with(setup).await;
    let requests = bodies.into_iter().map(|body| gateway.post_to("/api/v1/events?verbose=1").body(body).send());
    let mut told = Told::default();
    for response in futures::future::join_all(requests).await {
        let (status, answer) = answer(response.unwrap()).await;
        let results = answer["results"].as_array().unwrap();
        let count = |wanted: &str| results.iter().filter(|result| result["status"] == wanted).count() as u64;
        let (accepted, rejected) = (count("accepted"), count("rejected"));
        let (duplicate, retry) = (count("duplicate"), count("retry"));
        prop_assert_eq!(accepted + rejected + duplicate + retry, results.len() as u64);
        for (name, told) in [("accepted", accepted), ("rejected", rejected), ("duplicate", duplicate)] {
            prop_assert_eq!(answer[name].as_u64(), Some(told), "{}", name);
        }
        let expected = match (accepted + duplicate, rejected, retry) {
            (0, _, 1..) => 503,
            (_, 0, 0) => 202,
            (0, _, 0) if answer["code"] == "rejected" => 422,
            (0, 1, 0) => 400,
            _ => 207,
        };
        prop_assert_eq!(status, expected, "{}", answer);
        told = Told {
            accepted: told.accepted + accepted,
            rejected: told.rejected + rejected,
            duplicate: told.duplicate + duplicate,
            retry: told.retry + retry,
        };
    }
    let counted = |outcome: &str| gateway.metric("ttf_events_total", &[&format!("outcome=\"{outcome}\"")]);
    let books = Told {
        accepted: counted("accepted"),
        rejected: counted("rejected"),
        duplicate: counted("duplicate"),
        retry: counted("retry"),
    };
    prop_assert_eq!(&books, &told, "the metrics say what the senders were told");
    prop_assert_eq!(
        gateway.metric("ttf_events_received_total", &[]),
        told.accepted + told.rejected + told.duplicate + told.retry
    );
    prop_assert_eq!(gateway.metric("ttf_events_rejected_total", &[]), told.rejected);
    prop_assert_eq!(publisher.taken.lock().len() as u64, told.accepted + told.rejected, "what is final is on the log");
    gateway.kit.shutdown().cancel();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_event_has_exactly_one_outcome(
        bodies in prop::collection::vec(any_body(), 1..8),
        script in prop::collection::vec(any_fate(), 1..10),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(bodies, script))?;
    }
}
