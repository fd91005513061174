//! A broker that cannot take any more: every event is either in Kafka or its sender was told to come again.

use super::*;

/// One id to each request, sent by several senders at once; the ids that were taken and those that were told to come again.
async fn outcomes(sender: &Arc<Sender>, name: &str, count: usize) -> (BTreeSet<String>, BTreeSet<String>) {
    let requests: Vec<_> = (0..count)
        .map(|number| {
            let (sender, id) = (sender.clone(), format!("{name}-{number}"));
            tokio::spawn(async move {
                let answer = sender.send(&id).await;
                let is_taken = answer.status() == 202;
                if !is_taken {
                    assert_comes_again(&answer);
                }
                (id, is_taken)
            })
        })
        .collect();
    let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for request in requests {
        let (id, is_taken) = request.await.expect("no sender fails");
        if is_taken {
            taken.insert(id)
        } else {
            refused.insert(id)
        };
    }
    (taken, refused)
}

fn ids(gateway: &Gateway) -> BTreeSet<String> {
    gateway.events().iter().filter_map(|event| event["event_id"].as_str()).map(str::to_owned).collect()
}

async fn sums(gateway: &Gateway) -> (f64, f64) {
    let metrics = ttf_tests::observe::metrics(&format!("http://{}/metrics", gateway.admin)).await;
    let sum = |name: &str| ttf_tests::observe::sum(&metrics, name);
    (sum("ttf_events_received_total"), sum("ttf_events_total"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_writes_or_is_full_costs_no_event_that_was_acknowledged() {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    const REQUESTS: usize = 30;
    let cluster = Cluster::own();
    let kafka = cluster.own_kafka().expect("its own");
    let gateway = Gateway::start(&cluster, json!({ "kafka_ingress": { "enabled": false } })).await;
    let sender = Arc::new(Sender::to(&gateway));
    let mut acknowledged = outcomes(&sender, "before", REQUESTS).await.0;
    assert_eq!(acknowledged.len(), REQUESTS);

    // Up and answering, it refuses every write.
    let of_events = ["--alter", "--entity-type", "topics", "--entity-name", topics::EVENTS];
    kafka.tool(CONFIGS, &[&of_events[..], &["--add-config", "max.message.bytes=1"]].concat());
    let probes = AtomicUsize::new(0);
    wait::until("writes are refused", PATIENCE, || async {
        let answer = sender.send(&format!("probe-{}", probes.fetch_add(1, Ordering::Relaxed))).await;
        if answer.status() == 503 { Ok(()) } else { Err(answer.status().to_string()) }
    })
    .await;
    let (taken, refused) = outcomes(&sender, "refusing", REQUESTS).await;
    assert_eq!((taken.len(), refused.len()), (0, REQUESTS), "it cannot take anything");
    kafka.tool(CONFIGS, &[&of_events[..], &["--delete-config", "max.message.bytes"]].concat());
    for id in refused {
        sender.insist(&id).await;
        acknowledged.insert(id);
    }

    kafka.fill_broker(1);
    let (taken, refused) = outcomes(&sender, "full", REQUESTS).await;
    assert!(refused.len() > REQUESTS / 2, "nothing but what fits into a page is taken: {taken:?}");
    acknowledged.extend(taken);
    // One that ran out of room ends by itself, or not at all.
    kafka.kill_broker(1);
    kafka.start_broker(1);
    for id in refused {
        sender.insist(&id).await;
        acknowledged.insert(id);
    }

    let there = ids(&gateway);
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged, but not in Kafka: {lost:?}");
    wait::until("each event has its outcome", PATIENCE, || async {
        let (received, decided) = sums(&gateway).await;
        if (received - decided).abs() < 0.5 { Ok(()) } else { Err(format!("{received} came, {decided} are decided")) }
    })
    .await;
}
