//! The unmodified clients of other products send to a running `ttf dev`, over a way with accidents.

use std::{collections::BTreeMap, time::Duration};

use ttf_tests::{
    clients,
    dev::{Dev, PIPE},
    flaky::{Accident, Flaky},
    wait,
};

/// Events each client sends, in batches of ten.
const EVENTS: usize = 40;

/// The one record among them that the gateway refuses.
const REFUSED: usize = 3;

/// How long a client may take to get everything delivered.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs a client's script to its end; panics when it says that something was not delivered.
async fn run(script: &'static str, url: String, more: &'static [&'static str]) {
    let count = EVENTS.to_string();
    let arguments: Vec<String> = [url, count].into_iter().chain(more.iter().map(|more| (*more).to_owned())).collect();
    tokio::task::spawn_blocking(move || clients::run(script, &arguments, LIMIT)).await.expect("the client delivers");
}

/// One client, its accidents, and the users it sends for.
struct Sender {
    script: &'static str,
    more: &'static [&'static str],
    prefix: &'static str,
    accidents: &'static [Accident],
}

use Accident::{None as Passed, Refused, ResetAfter, ResetBefore};

const ALL: &[Accident] = &[Refused, Passed, ResetAfter, Passed, Passed, ResetBefore, Passed];

/// For a client that sends everything at once after a failure.
const FEW_REQUESTS: &[Accident] = &[ResetAfter, Refused, ResetBefore, Passed];

const SENDERS: [Sender; 7] = [
    Sender { script: "segment_client.py", more: &[], prefix: "segment-py", accidents: ALL },
    Sender { script: "rudder_client.py", more: &[], prefix: "rudder-py", accidents: ALL },
    Sender { script: "posthog_client.py", more: &[], prefix: "posthog-v0", accidents: ALL },
    Sender { script: "posthog_client.py", more: &["v1"], prefix: "posthog-v1", accidents: ALL },
    Sender { script: "mixpanel_client.py", more: &[], prefix: "mixpanel-py", accidents: ALL },
    Sender { script: "segment.mjs", more: &[], prefix: "segment-node", accidents: ALL },
    Sender { script: "posthog.mjs", more: &[], prefix: "posthog-node", accidents: FEW_REQUESTS },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unmodified_clients_deliver_everything_once_whatever_happens_on_the_way() {
    let dev = Dev::start().await;
    let server = format!("127.0.0.1:{}", dev.port());
    let runs = SENDERS.iter().map(async |sender| {
        let way = Flaky::start(&server, sender.accidents).await;
        run(sender.script, format!("http://{}", way.address), sender.more).await;
        assert!(way.requests() >= 4, "{}: the accidents were met with repeats", sender.prefix);
    });
    futures::future::join_all(runs).await;

    let events = wait::until("everything is on the topic", PIPE, || async {
        let events = dev.topic("events");
        let tracked = events.iter().filter(|event| event["event_name"] == "Project Created").count();
        let expected = SENDERS.len() * (EVENTS - 1);
        if tracked >= expected { Ok(events) } else { Err(format!("{tracked} of {expected}")) }
    })
    .await;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event["event_name"] == "Project Created") {
        *times.entry(event["user_id"].as_str().expect("each has its user")).or_default() += 1;
    }
    for sender in &SENDERS {
        for number in (0..EVENTS).filter(|number| *number != REFUSED) {
            let user = format!("{}-{number}", sender.prefix);
            assert_eq!(times.remove(user.as_str()), Some(1), "{user} is there exactly once");
        }
    }
    assert_eq!(times, BTreeMap::new(), "nothing else is there");

    let refused = dev.topic("rejected");
    for sender in &SENDERS {
        let user = format!("{}-{REFUSED}", sender.prefix);
        let is_kept = refused.iter().any(|event| event["payload"].as_str().is_some_and(|bytes| bytes.contains(&user)));
        assert!(is_kept, "{user} is on the rejected topic");
    }
    let identified = |user: &str| {
        events.iter().any(|event| {
            event["user_id"] == user && event["event_type"] == "identify" && event["properties"]["plan"] == "pro"
        })
    };
    for user in ["segment-py-0", "posthog-v0-0", "posthog-v1-0", "mixpanel-py-0", "segment-node-0", "posthog-node-0"] {
        assert!(identified(user), "{user} is identified");
    }
    assert!(events.iter().any(|event| event["user_id"] == "mixpanel-py-imported"));
    assert!(!events.iter().any(|event| event.to_string().contains("phc_test")), "keys are not kept");
}
