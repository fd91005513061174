//! Application telemetry and cohort figures on /metrics.

use serde_json::json;
use service_kit::config::MetricsConfig;
use stream_runtime::log::{Log, NewRecord};
use telemetry_schemas::{Codec, EventTime, Millis, cohort::CohortSummary, topics};

use super::harness::{Setup, eventually, start, start_with};

#[tokio::test]
async fn accepted_performance_and_error_events_are_metrics() {
    let gateway = start().await;
    let performance = |status: serde_json::Value| {
        let mut properties = json!({"operation": "search", "duration_ms": 250});
        properties.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        json!({"event_name": "api", "event_type": "performance", "properties": properties})
    };
    let error = json!({"event_name": "e", "event_type": "error", "properties": {"error_type": "Timeout"}});
    let wrong = json!({"event_name": "e", "event_type": "error", "properties": {"error_type": ""}});
    let all = json!([
        performance(json!({})),
        performance(json!({"http_status": 503})),
        performance(json!({"status": "ok", "http_status": 500})),
        error,
        wrong
    ]);
    assert_eq!(gateway.send(all.to_string()).await.0, 207);
    assert_eq!(
        gateway.metric("ttf_app_request_duration_seconds_count", &[r#"operation="search""#, r#"status="ok""#]),
        2
    );
    assert_eq!(
        gateway.metric("ttf_app_request_duration_seconds_count", &[r#"operation="search""#, r#"status="error""#]),
        1
    );
    assert_eq!(gateway.metric("ttf_app_request_duration_seconds_bucket", &[r#"status="error""#, r#"le="0.25""#]), 1);
    assert_eq!(gateway.metric("ttf_app_errors_total", &["Timeout"]), 1);
    assert_eq!(gateway.metric("ttf_app_errors_total", &[]), 1);
}

fn cohort(tenant: &str, segment: Option<(&str, &str)>, started: i64) -> CohortSummary {
    CohortSummary {
        tenant: tenant.into(),
        journey: "onboarding".into(),
        stage: "total".into(),
        window: "24h".into(),
        segment_name: segment.map(|(name, _)| name.into()),
        segment_value: segment.map(|(_, value)| value.into()),
        started,
        reached: started,
        completed: 3,
        within_target: 2,
        median_ms: Some(Millis(90_500)),
        p90_ms: None,
        efficiency_score: Some(71.5),
        breaches_open: 1,
        evaluated_at: EventTime(1_795_392_000_000),
    }
}

#[tokio::test]
async fn the_latest_summary_of_each_cohort_is_on_metrics() {
    let metrics = MetricsConfig { segment_by: Some("plan".into()), segment_values: vec!["pro".into()] };
    let gateway = start_with(Setup { metrics, ..Setup::default() }).await;
    let publisher = gateway.log.publisher().unwrap();
    let publish = |key: &str, cohort: Option<CohortSummary>| {
        let value = cohort.map(|cohort| Codec::without_registry().encode(&cohort).unwrap());
        let record = NewRecord {
            value: value.map(Into::into),
            ..NewRecord::new(topics::TTF_COHORTS, key.to_owned(), Vec::new())
        };
        publisher.publish(record.with_partition(0)).unwrap()
    };
    publish("everyone", Some(cohort("acme", None, 10))).await.unwrap();
    publish("everyone", Some(cohort("acme", None, 11))).await.unwrap();
    publish("pro", Some(cohort("acme", Some(("plan", "pro")), 5))).await.unwrap();
    publish("free", Some(cohort("acme", Some(("plan", "free")), 6))).await.unwrap();
    publish("country", Some(cohort("acme", Some(("country", "pro")), 7))).await.unwrap();
    publish("stranger", Some(cohort("stranger", None, 8))).await.unwrap();
    let started = |segment: &str| gateway.metric("ttf_cohort_started{", &[&format!("segment=\"{segment}\"")]);
    eventually("the cohorts are shown", || started("all") == 11 && started("pro") == 5).await;
    assert_eq!(gateway.metric("ttf_cohort_started{", &[]), 16, "no others");
    let text = gateway.get("/metrics").await.text().await.unwrap();
    assert!(text.contains(r#"ttf_cohort_median_seconds{journey="onboarding",segment="all",stage="total",tenant="acme",window="24h"} 90.5"#), "{text}");
    assert!(text.contains("ttf_efficiency_score{") && !text.contains("ttf_cohort_p90_seconds{"));
    publish("pro", None).await.unwrap();
    eventually("a deleted cohort is gone", || started("pro") == 0).await;
    assert_eq!(started("all"), 11);
}
