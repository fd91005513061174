//! Each kind of receiver behind HTTP with everything an answer can be: what may pass is tried again until it is taken,
//! what is refused is given up and holds up nothing, and a dead one is found to work again.

use telemetry_schemas::BreachLevel::Warning;

use super::{
    installation::{Installation, Running, eventually},
    receiver::{Answer, FakeReceiver},
};
use crate::testing::breach;

/// Every kind, told at once, one after the other, at this address of it.
fn kinds(fake: &FakeReceiver) -> [(&'static str, String); 5] {
    let key = "0123456789abcdef0123456789abcdef";
    let url = |path| fake.url(path);
    [
        ("webhook", format!("webhook: {{ url: '{}', timeout: 1s }}", url("hook"))),
        ("slack", format!("slack: {{ api_url: '{}', timeout: 1s }}", url("slack"))),
        (
            "slack web api",
            format!("slack: {{ api_url: '{}', token: xoxb-token, channel: C0123456789, timeout: 1s }}", url("api")),
        ),
        ("pagerduty", format!("pagerduty: {{ routing_key: {key}, url: '{}', timeout: 1s }}", url("v2/enqueue"))),
        ("alertmanager", format!("alertmanager: {{ url: '{}', timeout: 1s }}", url("am"))),
    ]
}

fn section(receiver: &str) -> String {
    format!(
        "user_ids: plain
route: {{ receiver: it, group_wait: 0s, group_interval: 0s }}
receivers: [{{ name: it, {receiver} }}]
delivery: {{ break_after: 100, break_pause: 100ms, longest_pause: 200ms, fallback_after: 1h }}
"
    )
}

fn outcome(running: &Running, outcome: &str) -> u64 {
    let line = format!(r#"ttf_alert_deliveries_total{{outcome="{outcome}",receiver="it"}}"#);
    running.metric(&line).unwrap_or_default() as u64
}

/// Runs for every kind at once: each waits for itself only.
async fn for_each_kind<F: Future<Output = ()> + Send + 'static>(
    run: impl Fn(&'static str, FakeReceiver, Installation, Running) -> F,
) {
    let mut running = tokio::task::JoinSet::new();
    for index in 0..5 {
        let fake = FakeReceiver::start().await;
        let (kind, receiver) = kinds(&fake)[index].clone();
        let installation = Installation::new();
        let alerter = installation.start(&section(&receiver)).await;
        running.spawn(run(kind, fake, installation, alerter));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no test of a kind panics");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_may_pass_is_tried_again_by_every_kind_until_it_is_taken() {
    for_each_kind(|kind, fake, installation, running| async move {
        let passing = [
            Answer::Status(500),
            Answer::Drop,
            Answer::TakeAndDrop,
            Answer::Hang,
            Answer::RetryAfter(429, 2),
            Answer::Status(403),
            Answer::Status(404),
            Answer::Status(410),
        ];
        fake.answer(passing);
        installation.publish(breach("u-1", Warning)).await;
        eventually(&format!("{kind}: it is taken in the end"), || fake.accepted().len() == 1).await;
        let hits = fake.hits();
        assert_eq!(hits.len(), passing.len() + 1, "{kind}: once for each answer");
        let pause = hits[5].at - hits[4].at;
        assert!(pause >= std::time::Duration::from_secs(2), "{kind}: {pause:?} after it asked for two seconds");
        let counted = || (outcome(&running, "retried"), outcome(&running, "delivered")) == (passing.len() as u64, 1);
        eventually(&format!("{kind}: all of it is counted"), counted).await;
        let is_up = || running.metric(r#"ttf_alert_receiver_up{receiver="it"}"#) == Some(1.0);
        eventually(&format!("{kind}: it is known to work"), is_up).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_refused_is_given_up_by_every_kind_and_holds_up_nothing() {
    for_each_kind(|kind, fake, installation, running| async move {
        // Any yes is a yes of a webhook; the others say more.
        let has_a_form = !["webhook", "alertmanager"].contains(&kind);
        let refusals = if has_a_form { vec![Answer::Status(400), Answer::Rubbish] } else { vec![Answer::Status(400)] };
        for (index, refusal) in refusals.iter().enumerate() {
            fake.answer([*refusal]);
            installation.publish(breach(&format!("u-{index}"), Warning)).await;
            let is_counted = || outcome(&running, "failed") == index as u64 + 1;
            eventually(&format!("{kind}: {refusal:?} is given up"), is_counted).await;
        }
        installation.publish(breach("u-9", Warning)).await;
        eventually(&format!("{kind}: the next one is taken"), || fake.accepted().len() == 1).await;
        assert_eq!(fake.hits().len(), refusals.len() + 1, "{kind}: none is tried again");
        running.stop().await;
    })
    .await;
}

/// What answers is no HTTP at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_even_http_is_tried_again() {
    use tokio::io::AsyncWriteExt as _;

    let fake = FakeReceiver::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let target = fake.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.expect("a connection");
        first.write_all(b"\x15\x03\x01\x00\x02\x02rubbish\r\n\r\n").await.expect("it is sent");
        drop(first);
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            let mut server = tokio::net::TcpStream::connect(&target).await.expect("the receiver");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let installation = Installation::new();
    let receiver = format!("webhook: {{ url: 'http://127.0.0.1:{port}/hook', timeout: 1s }}");
    let running = installation.start(&section(&receiver)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is taken in the end", || fake.accepted().len() == 1).await;
    eventually("the first try is counted", || outcome(&running, "retried") == 1).await;
    running.stop().await;
}
