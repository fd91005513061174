//! `/metrics` of a running `ttf dev`: the documented names, with the documented labels.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use ttf_tests::{
    dev::{Dev, PIPE},
    observe,
    servers::workspace,
    wait,
};

/// Names with the labels that are promised; a histogram's series are its `_bucket`, `_sum` and `_count`.
const COUNTERS_AND_GAUGES: &[(&str, &[&str])] = &[
    ("ttf_gateway_requests_total", &["route", "code"]),
    ("ttf_events_received_total", &["tenant", "source"]),
    ("ttf_events_total", &["tenant", "source", "outcome"]),
    ("ttf_events_rejected_total", &["tenant", "reason"]),
    ("ttf_pii_redactions_total", &["class", "action"]),
    ("ttf_journeys_started_total", &["journey"]),
    ("ttf_journeys_completed_total", &["journey"]),
    ("ttf_journeys_in_progress", &["journey", "stage"]),
    ("ttf_stage_target_seconds", &["journey", "stage"]),
    ("ttf_stage_within_target_total", &["journey", "stage"]),
    ("ttf_breaches_total", &["journey", "level"]),
    ("ttf_breaches_open", &["journey", "level"]),
    ("ttf_journeys_open", &["journey", "version"]),
    ("ttf_journeys_resting", &["journey", "version"]),
    ("ttf_journey_effective_from_timestamp_seconds", &["journey", "version"]),
    ("ttf_processor_partitions", &[]),
    ("ttf_processor_partition_owned", &["partition", "worker"]),
    ("ttf_processor_open_transaction_age_seconds", &["worker"]),
    ("ttf_processor_records_in_total", &[]),
    ("ttf_processor_records_out_total", &[]),
    ("ttf_processor_timers_fired_total", &[]),
    ("ttf_processor_aborts_total", &["class"]),
    ("ttf_processor_restore_remaining_records", &["partition"]),
    ("ttf_processor_restored_records_total", &[]),
    ("ttf_processor_rebalances_total", &[]),
    ("ttf_consumer_lag_records", &["group", "topic", "partition"]),
    ("ttf_consumer_oldest_unprocessed_seconds", &["group", "topic", "partition"]),
    ("ttf_retention_headroom_seconds", &["group", "topic"]),
    ("ttf_sink_deliveries_total", &["sink", "outcome"]),
    ("ttf_sink_backlog_records", &["sink"]),
    ("ttf_alert_deliveries_total", &["receiver", "outcome"]),
    ("ttf_build_info", &["version", "commit"]),
    ("ttf_cohort_started", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_cohort_reached", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_cohort_completed", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_cohort_within_target", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_cohort_median_seconds", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_cohort_breaches_open", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_efficiency_score", &["tenant", "journey", "stage", "window", "segment"]),
    ("ttf_cohort_evaluations_total", &["outcome"]),
    ("ttf_cohorts_published", &[]),
];
const HISTOGRAMS: &[(&str, &[&str])] = &[
    ("ttf_gateway_request_duration_seconds", &["route"]),
    ("ttf_event_lag_seconds", &[]),
    ("ttf_stage_duration_seconds", &["journey", "stage", "segment"]),
    ("ttf_total_seconds", &["journey"]),
    ("ttf_processor_commit_duration_seconds", &[]),
    ("ttf_pipeline_latency_seconds", &[]),
    ("ttf_cohort_evaluation_seconds", &[]),
];

/// The label names of every series, by metric.
fn labels(page: &BTreeMap<String, f64>) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in page.keys() {
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        let names = labels.entry(name.to_owned()).or_default();
        names.extend(rest.trim_end_matches('}').split("\",").filter_map(|label| {
            let (name, _) = label.split_once("=\"")?;
            Some(name.to_owned())
        }));
    }
    labels
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_figures_are_there_with_their_labels_and_agree_with_what_was_sent() {
    let dev = Dev::start_with(&[("TELEMETRY__ARCHIVE__COHORTS__INTERVAL", "500ms")]).await;
    let now = jiff::Timestamp::now();
    let at = |minutes: i64| (now - jiff::SignedDuration::from_mins(minutes)).to_string();
    let milestone = |user: &str, name: &str, ago: i64| {
        json!({"event_name": name, "event_type": "ttf_milestone", "user_id": user, "timestamp": at(ago),
               "event_id": format!("{user}:{name}"), "context": {"ip": "203.0.113.7"}})
    };
    let names = ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"];
    let mut events: Vec<_> =
        names.iter().zip([30, 28, 20, 10, 5]).map(|(name, ago)| milestone("quick", name, ago)).collect();
    events.push(milestone("late", "signup", 100));
    events.push(json!({"event_name": "x"}));
    let (status, answer) = dev.post(&json!(events)).await;
    assert_eq!(status, 207, "{answer}");

    let cohort = |name: &str, window: &str| {
        let labels = "journey=\"onboarding\",segment=\"all\",stage=\"total\",tenant=\"default\"";
        format!("{name}{{{labels},window=\"{window}\"}}")
    };
    let one = |name: &str| format!("{name}{{journey=\"onboarding\"}}");
    let page = wait::until("the figures are complete", PIPE, || async {
        let page = observe::metrics(&dev.url).await;
        let value = |series: &str| page.get(series).copied().unwrap_or_default();
        let done = value(&one("ttf_journeys_completed_total")) >= 1.0
            && observe::sum(&page, "ttf_breaches_open") >= 1.0
            && observe::sum(&page, "ttf_sink_deliveries_total") > 0.0
            && observe::sum(&page, "ttf_alert_deliveries_total") > 0.0
            && observe::sum(&page, "ttf_pipeline_latency_seconds_count") > 0.0
            && ["24h", "7d"].iter().all(|window| {
                // Each window is a record of its own.
                value(&cohort("ttf_cohort_completed", window)) >= 1.0
                    && value(&cohort("ttf_cohort_breaches_open", window)) >= 1.0
            });
        if done { Ok(page) } else { Err(format!("{:?}", page.keys().collect::<Vec<_>>())) }
    })
    .await;

    let there = labels(&page);
    let mut missing = Vec::new();
    let mut check = |name: &str, shown: &str, wanted: &[&str]| match there.get(shown) {
        None => missing.push(format!("{name} is missing")),
        Some(labels) => missing.extend(
            wanted.iter().filter(|label| !labels.contains(**label)).map(|label| format!("{name} has no {label}")),
        ),
    };
    for (name, wanted) in COUNTERS_AND_GAUGES {
        check(name, name, wanted);
    }
    for (name, wanted) in HISTOGRAMS {
        check(name, &format!("{name}_count"), wanted);
    }
    assert!(missing.is_empty(), "{missing:#?}");

    // What the processor says of itself is explained, under the names it has.
    let explained = std::fs::read_to_string(workspace().join("docs/ttf-metrics.md")).expect("the page is there");
    let of_processor = |name: &&str| {
        [
            "ttf_processor_",
            "ttf_journey",
            "ttf_stage_",
            "ttf_breaches_",
            "ttf_total_",
            "ttf_consumer_",
            "ttf_retention_headroom_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    };
    let shown = there.keys().map(|name| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        histogram.unwrap_or(name)
    });
    let unexplained: BTreeSet<&str> =
        shown.filter(of_processor).filter(|name| !explained.contains(&format!("`{name}"))).collect();
    assert!(unexplained.is_empty(), "not in docs/ttf-metrics.md: {unexplained:?}");

    // All whole numbers.
    let series = |name: &str| page.get(name).map_or(0, |value| *value as u64);
    let sum = |name: &str| observe::sum(&page, name) as u64;
    let outcome = |outcome: &str| {
        series(&format!("ttf_events_total{{outcome=\"{outcome}\",source=\"http\",tenant=\"default\"}}"))
    };
    assert_eq!((outcome("accepted"), outcome("rejected")), (6, 1));
    assert_eq!(sum("ttf_events_received_total"), 7);
    assert_eq!(sum("ttf_events_total"), 7, "received is the sum of the outcomes");
    assert_eq!(series(&one("ttf_journeys_started_total")), 2);
    assert_eq!(series(&one("ttf_journeys_completed_total")), 1);
    assert_eq!(sum("ttf_journeys_in_progress"), 1);
    assert_eq!(series("ttf_breaches_open{journey=\"onboarding\",level=\"warning\"}"), 1);
    for window in ["24h", "7d"] {
        let figure = |name: &str| series(&cohort(name, window));
        assert_eq!((figure("ttf_cohort_started"), figure("ttf_cohort_within_target")), (2, 1), "{window}");
        // The second is still on the way: half are through after 25 minutes, and seen for more than the target.
        assert_eq!(figure("ttf_cohort_median_seconds"), 25 * 60, "{window}");
        assert_eq!(figure("ttf_efficiency_score"), 50, "{window}");
    }
    assert_eq!(series("ttf_total_seconds_sum{journey=\"onboarding\"}"), 25 * 60);
}
