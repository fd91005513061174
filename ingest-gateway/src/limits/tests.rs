//! Limits without and with Redis. The latter start a server of their own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use service_kit::Metrics;

use super::*;

const NOW: EventTime = EventTime(1_795_392_000_000);

fn limits(json: &str) -> RateLimits {
    serde_json::from_str(json).expect("are limits")
}

fn events(events: usize) -> Cost {
    Cost { events, bytes: 0 }
}

fn alone() -> Limits {
    Limits::new(None, Duration::from_millis(200), LimitMetrics::new(&Metrics::default())).expect("there is no Redis")
}

fn ask(rate: f64, burst: f64, cost: f64) -> Ask {
    Ask { id: "b".into(), rate, burst, cost }
}

#[test]
fn the_burst_is_let_through_at_once_and_then_the_rate_holds() {
    let mut buckets = HashMap::new();
    let mut take = |cost: f64, at: f64| bucket::take(&mut buckets, &[ask(2.0, 10.0, cost)], at);
    assert_eq!(take(10.0, 0.0).refused, None);
    let refused = take(3.0, 1.0);
    assert_eq!((refused.refused, refused.wait), (Some(0), 0.5));
    assert_eq!(take(3.0, 1.5).refused, None);
    assert_eq!(take(10.0, 3_600.0).refused, None);
    assert_eq!(take(1.0, 3_600.0).refused, Some(0));
}

#[test]
fn a_request_larger_than_the_bucket_needs_a_full_one_and_is_paid_for() {
    let mut buckets = HashMap::new();
    let mut take = |cost: f64, at: f64| bucket::take(&mut buckets, &[ask(1.0, 5.0, cost)], at).refused;
    assert_eq!(take(20.0, 0.0), None);
    assert_eq!(take(1.0, 15.0), Some(0));
    assert_eq!(take(1.0, 16.1), None);
}

#[test]
fn one_refusal_takes_nothing_from_the_other_buckets() {
    let mut buckets = HashMap::new();
    let two = |cost: f64| [Ask { id: "a".into(), ..ask(1.0, 100.0, cost) }, ask(1.0, 5.0, cost)];
    assert_eq!(bucket::take(&mut buckets, &two(5.0), 0.0).tokens, [95.0, 0.0]);
    let refused = bucket::take(&mut buckets, &two(5.0), 0.0);
    assert_eq!((refused.refused, refused.tokens), (Some(1), vec![95.0, 0.0]));
}

proptest! {
    #[test]
    fn never_more_than_the_burst_and_the_rate_allow(costs in proptest::collection::vec((1u32..20, 0u32..500), 1..100)) {
        let (rate, burst) = (7.0, 20.0);
        let (mut buckets, mut at, mut taken) = (HashMap::new(), 0.0, 0.0);
        for (cost, pause) in costs {
            at += f64::from(pause) / 1_000.0;
            if bucket::take(&mut buckets, &[ask(rate, burst, f64::from(cost))], at).refused.is_none() {
                taken += f64::from(cost);
            }
        }
        prop_assert!(taken <= burst + rate * at + 1e-6, "{taken} in {at} s");
    }
}

#[tokio::test]
async fn the_headers_say_how_the_caller_stands() {
    let limits_of_tenant = limits(r#"{"events_per_second": 10, "events_burst": 20, "bytes_per_second": "1MiB"}"#);
    let allowance = Allowance::new("acme", &limits_of_tenant, Some(("web", &limits(r#"{"events_per_month": 1000}"#))));
    let limits = alone();
    let standing = limits.take(&allowance, events(15), NOW).await.expect("there are limits");
    let mut headers = HeaderMap::new();
    standing.put_headers(&mut headers);
    insta::assert_snapshot!(headers["ratelimit-policy"].to_str().unwrap(), @r#""tenant-events";q=20;w=2, "tenant-bytes";q=10485760;w=10;qu="content-bytes", "key-month";q=1000;w=2678400"#);
    assert!(headers["ratelimit"].to_str().unwrap().starts_with(r#""tenant-events";r=5;t="#));
    assert!(!headers.contains_key("retry-after"));
    let standing = limits.take(&allowance, events(15), NOW).await.expect("there are limits");
    standing.put_headers(&mut headers);
    assert_eq!(headers["retry-after"], "1");
    assert!(!standing.is_quota);
}

#[tokio::test]
async fn a_quota_lasts_until_the_month_is_over() {
    let allowance = Allowance::new("acme", &limits(r#"{"events_per_month": 100}"#), None);
    let limits = alone();
    assert_eq!(limits.take(&allowance, events(60), NOW).await.unwrap().retry_after, None);
    let refused = limits.take(&allowance, events(60), NOW).await.unwrap();
    let (left, month) = (seconds_left_of_month(NOW), month_of(NOW));
    assert_eq!((refused.is_quota, refused.retry_after), (true, Some(left as u32)), "{month}");
    let next = EventTime(NOW.0 + (left * 1_000.0) as i64);
    assert_ne!(month_of(next), month);
    assert_eq!(limits.take(&allowance, events(60), next).await.unwrap().retry_after, None);
}

#[tokio::test]
async fn who_has_no_token_is_refused_at_the_door_and_others_are_not() {
    let slow = |tenant: &str| Allowance::new(tenant, &limits(r#"{"events_per_second": 1, "events_burst": 5}"#), None);
    let limits = alone();
    assert!(limits.at_the_door(&slow("noisy")).is_ok());
    limits.take(&slow("noisy"), events(5), NOW).await;
    assert!(limits.take(&slow("noisy"), events(5), NOW).await.unwrap().retry_after.is_some());
    assert_eq!(limits.at_the_door(&slow("noisy")), Err((1, false)));
    assert!(limits.at_the_door(&slow("quiet")).is_ok());
    assert!(limits.take(&Allowance::default(), events(1_000_000), NOW).await.is_none());
}

/// A Redis of this test alone.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let process = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn();
        let process = process.expect("redis-server is needed: apt-get install redis-server");
        let redis = Self { process, port };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "redis-server does not come up");
            std::thread::yield_now();
        }
        redis
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn stop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn gateways_share_a_limit_through_redis_and_keep_to_it_alone_when_it_goes() {
    let mut redis = Redis::start();
    let metrics = LimitMetrics::new(&Metrics::default());
    let gateway = || Limits::new(Some(&redis.url()), Duration::from_secs(2), metrics.clone()).expect("is an address");
    let (one, other) = (gateway(), gateway());
    let allowance = Allowance::new("acme", &limits(r#"{"events_per_second": 1, "events_burst": 1000}"#), None);
    assert_eq!(one.take(&allowance, events(600), NOW).await.unwrap().retry_after, None);
    let refused = other.take(&allowance, events(600), NOW).await.unwrap().retry_after.expect("it is the same bucket");
    assert!((150..=200).contains(&refused), "{refused}");
    assert_eq!(metrics.alone.get(), 0);

    redis.stop();
    let started = Instant::now();
    assert!(
        one.take(&allowance, events(600), NOW).await.unwrap().retry_after.is_some(),
        "it forgot what it let through"
    );
    assert_eq!(other.take(&allowance, events(600), NOW).await.unwrap().retry_after, None);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(metrics.alone.get() >= 2);
}
