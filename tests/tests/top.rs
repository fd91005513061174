//! `ttf top` against running processes: one `ttf dev`, and processors on Kafka that come and go.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use ttf_tests::{
    command::{self, Ran},
    dev::{Dev, PIPE},
    process::{Ttf, free_port},
    servers::OwnKafka,
    wait,
};

const START: Duration = Duration::from_secs(60);

fn signup(user: &str) -> Value {
    json!({"event_name": "signup", "event_type": "ttf_milestone", "user_id": user, "event_id": format!("{user}:signup")})
}

fn view(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).expect("one JSON object")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_look_at_ttf_dev_shows_every_partition_owned_and_nothing_behind() {
    let dev = Dev::start().await;
    let users: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
    let events: Vec<_> = users.iter().map(|user| signup(user)).collect();
    dev.post(&json!(events)).await;
    for user in &users {
        dev.milestones(user, 1).await;
    }
    let view = wait::until("nothing is behind", PIPE, || async {
        let view = view(dev.run(&["top", "--once", "--json", "--interval", "0.2", "--url", &dev.url]));
        let behind = view["partitions"].as_array().expect("a list").iter().any(|it| it["lag_records"] != 0);
        if behind { Err(view.to_string()) } else { Ok(view) }
    })
    .await;
    let partitions = view["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 4);
    for (number, partition) in partitions.iter().enumerate() {
        assert_eq!((&partition["partition"], &partition["owner"]), (&json!(number), &json!("ttf-processor-0-0")));
    }
    assert_eq!((&view["problems"], &view["silent"]), (&json!([]), &json!({})));
    assert_eq!(view["journeys"]["in_progress"], 20);
    let process = &view["processes"][0];
    assert!(process["commit_p50_ms"].as_f64().is_some_and(|p50| p50 > 0.0), "{process}");
    assert_eq!((&process["rebalances"], &process["restore_remaining_records"]), (&json!(1), &json!(0)));
    let consumers = view["consumers"].as_array().unwrap();
    let events = consumers.iter().find(|it| it["group"] == "ttf-processor" && it["topic"] == "telemetry.events.v1");
    let headroom = events.expect("the processor reads events")["retention_headroom_seconds"].as_f64();
    assert!(headroom.is_some_and(|left| left > 6.9 * 86_400.0), "7 d are kept: {headroom:?}");

    // By the environment alone, for people: plain where nobody sees colours.
    let shown = dev.run(&["top", "--once", "--interval", "0.1"]).ok();
    assert!(shown.contains("1 processor · 4 of 4 partitions owned · lag 0"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let ran = command::run(dev.folder(), &["top", "--once", "--url", &nobody]);
    ran.assert_one_line(1, &["no process answers", &nobody, "Connection refused"]);
    let both = view_of(&dev, &[&dev.url, &nobody]);
    assert_eq!(both["problems"].as_array().map(Vec::len), Some(1), "{both}");
    assert!(both["silent"][&nobody].is_string());
}

fn view_of(dev: &Dev, urls: &[&str]) -> Value {
    let mut arguments = vec!["top", "--once", "--json", "--interval", "0.1"];
    arguments.extend(urls.iter().flat_map(|url| ["--url", url]));
    view(dev.run(&arguments))
}

/// A processor of its own ordinal, state and port.
struct Processor {
    process: Ttf,
    url: String,
}

impl Processor {
    async fn start(folder: &Path, config: &str, ordinal: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let env = [
            ("TELEMETRY__SERVICE__ADMIN_LISTEN", address.as_str()),
            ("TELEMETRY__PROCESSOR__ORDINAL", ordinal),
            ("TELEMETRY__PROCESSOR__STATE_DIR", &format!("state-{ordinal}")),
        ];
        let name = format!("processor-{ordinal}");
        let mut process = Ttf::start_with(&name, folder, &["processor", "--config", config], &env);
        let url = format!("http://{address}");
        process.ready(&format!("{url}/ready"), START).await;
        Self { process, url }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_followed_over_two_processors_and_lag_shows_when_none_runs() {
    let kafka = OwnKafka::start();
    let folder = tempfile::Builder::new().prefix("ttf-top-").tempdir().expect("a temporary folder");
    let settings = json!({
        "log": { "kind": "kafka", "brokers": kafka.brokers, "properties": { "session.timeout.ms": "6000" } },
        "topics": { "partitions": 4, "replication_factor": 1, "min_insync_replicas": 1 },
        "gateway": { "listen": format!("127.0.0.1:{}", free_port()), "auth": { "mode": "open" } },
    });
    fs::write(folder.path().join("ttf.yaml"), settings.to_string()).expect("a writable folder");
    let config = "ttf.yaml";
    command::run(folder.path(), &["topics", "apply", "--config", config]).ok();
    let top = |urls: &[&str], ask_group: bool| {
        let mut arguments = vec!["top", "--once", "--json", "--interval", "0.2"];
        arguments.extend(urls.iter().flat_map(|url| ["--url", url]));
        if ask_group {
            arguments.extend(["--config", config]);
        }
        view(command::run(folder.path(), &arguments))
    };
    let owners = |view: &Value| -> Vec<String> {
        let partitions = view["partitions"].as_array().expect("a list");
        partitions.iter().map(|it| it["owner"].as_str().unwrap_or("nobody").to_owned()).collect()
    };

    let first = Processor::start(folder.path(), config, "0").await;
    let mut second = Processor::start(folder.path(), config, "1").await;
    let both = [first.url.as_str(), &second.url];
    let shared = wait::until("each has half of the partitions", PIPE, || async {
        let view = top(&both, false);
        let mut sorted = owners(&view);
        sorted.sort_unstable();
        let halves = ["ttf-processor-0-0", "ttf-processor-0-0", "ttf-processor-1-0", "ttf-processor-1-0"];
        if sorted == halves { Ok(view) } else { Err(view.to_string()) }
    })
    .await;
    assert_eq!(shared["problems"], json!([]), "{shared}");
    assert_eq!(shared["processes"].as_array().map(Vec::len), Some(2));

    // Asked alone, the first does not know who has the rest; with the group it shows.
    let alone = top(&[&first.url], false);
    assert_eq!(owners(&alone).iter().filter(|owner| *owner == "nobody").count(), 2, "{alone}");
    assert!(alone["problems"][0].as_str().is_some_and(|it| it.ends_with("have no owner among the processes asked")));
    let with_group = top(&[&first.url], true);
    assert_eq!(owners(&with_group), owners(&shared), "{with_group}");
    assert_eq!(with_group["problems"], json!([]));

    // A processor that dies keeps its partitions for a session time-out, then the other one has all.
    second.process.kill();
    wait::until("the first takes over", PIPE, || async {
        let view = top(&[&first.url], false);
        let moved = owners(&view).iter().all(|owner| owner == "ttf-processor-0-0")
            && view["partitions"].as_array().expect("a list").iter().all(|it| !it["lag_records"].is_null());
        if moved { Ok(()) } else { Err(view.to_string()) }
    })
    .await;

    let mut first = first;
    assert!(first.process.terminate(START).success());
    let mut gateway = Ttf::start_with(
        "gateway",
        folder.path(),
        &["gateway", "--config", config],
        &[("TELEMETRY__SERVICE__ADMIN_LISTEN", &format!("127.0.0.1:{}", free_port()))],
    );
    let gateway_url = format!("http://{}", settings["gateway"]["listen"].as_str().expect("an address"));
    gateway.ready(&format!("{gateway_url}/ready"), START).await;
    let events: Vec<_> = (0..50).map(|n| signup(&format!("u{n}"))).collect();
    let client = ttf_tests::http::client();
    let sent = client.post(format!("{gateway_url}/api/v1/events")).json(&events).send().await.expect("it answers");
    assert_eq!(sent.status(), 202);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    wait::until("the lag shows although no processor runs", PIPE, || async {
        let view = top(&[&nobody], true);
        let lag = |it: &Value| it["lag_records"].as_i64();
        let total: Option<i64> = view["partitions"].as_array().expect("a list").iter().map(lag).sum();
        let unowned = owners(&view).iter().all(|owner| owner == "nobody");
        if total == Some(50) && unowned { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
}
