//! What holds for PostgreSQL alone and with TimescaleDB: roll-ups, views, comments, the queries of the docs.

use std::path::Path;

use async_trait::async_trait;
use stream_runtime::sink::Sink;
use telemetry_schemas::{BreachStatus, Event, EventTime, EventType, TtfRecord};

use super::{T0, Topics, archiver, breach, event, record, suite::Fixture};

/// A database that speaks PostgreSQL.
#[async_trait]
pub trait Sql: Fixture {
    /// The rows of a query, each with its columns as text, tab-separated.
    async fn query(&self, sql: &str) -> Vec<String>;

    /// Brings the roll-ups up to date.
    async fn roll_up(&self) {
        self.database().maintain().await.expect("maintained");
    }
}

const HOUR: i64 = 3_600_000;

/// A record whose signup is some hours after [`T0`] (22:13 on a day); the user has done `stages` of 4.
fn journey(user: &str, hours: i64, stages: i64) -> TtfRecord {
    let mut record = record(user, stages);
    record.signup_at = EventTime(T0 + hours * HOUR);
    for stage in &mut record.stages {
        stage.from_at = stage.from_at.map(|at| EventTime(at.0 + hours * HOUR));
        stage.to_at = stage.to_at.map(|at| EventTime(at.0 + hours * HOUR));
    }
    record
}

fn told(user: &str, n: i64, event_type: EventType, properties: &serde_json::Value) -> Event {
    let properties = properties.as_object().cloned().expect("an object");
    Event { event_type, properties, ..event(user, n) }
}

fn sample() -> Topics {
    let mut topics = Topics::default();
    for (user, hours, stages) in [("ada", 0, 4), ("bob", 0, 2), ("cleo", 30, 4), ("dan", 31, 1)] {
        topics.record(&journey(user, hours, stages));
    }
    topics.breach(&breach("bob", BreachStatus::Firing));
    topics.breach(&breach("ada", BreachStatus::Resolved));
    for n in 0..10 {
        let status = if n == 0 { "error" } else { "ok" };
        let measured = serde_json::json!({"operation": "GET /x", "duration_ms": (n + 1) * 10, "status": status});
        topics.event(&told("ada", n, EventType::Performance, &measured));
        let failed = serde_json::json!({"error_type": "timeout", "handled": n % 2 == 0, "operation": "GET /x", "severity": "error"});
        topics.event(&told("bob", n, EventType::Error, &failed));
    }
    topics
}

async fn write(fixture: &dyn Sql, topics: &Topics) {
    let mut archiver = archiver(&fixture.database(), "writer");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
    assert!(archiver.dead_letters.all().is_empty());
}

pub async fn the_views_say_what_was_written(fixture: &dyn Sql) {
    write(fixture, &sample()).await;
    fixture.database().maintain().await.expect("maintained");
    let query = async |sql: &str| fixture.query(sql).await;
    assert_eq!(
        query("SELECT user_id, status, total_minutes::float8, breaches_open FROM v_user_journeys ORDER BY 1").await,
        ["ada\tcompleted\t5\t0", "bob\tin_progress\t\t1", "cleo\tcompleted\t5\t0", "dan\tin_progress\t\t0"]
    );
    assert_eq!(
        query("SELECT stage, duration_minutes::float8, target_minutes::float8 FROM v_stage_durations WHERE user_id = 'bob' ORDER BY ordinal").await,
        ["stage-0\t1\t5", "stage-1\t1\t5", "stage-2\t\t5", "stage-3\t\t5"]
    );
    assert_eq!(
        query("SELECT day::date, stage, started, reached, completed, within_target, mean_minutes::float8 FROM v_funnel_daily WHERE stage IN ('stage-0', 'stage-3') ORDER BY 1, ordinal").await,
        [
            "2023-11-14\tstage-0\t2\t2\t2\t2\t1",
            "2023-11-14\tstage-3\t2\t2\t1\t1\t1",
            "2023-11-16\tstage-0\t2\t2\t2\t2\t1",
            "2023-11-16\tstage-3\t2\t2\t1\t1\t1",
        ]
    );
    assert_eq!(
        query(
            "SELECT day::date, signups, completed, completed_share::float8, median_minutes FROM v_ttf_daily ORDER BY 1"
        )
        .await,
        ["2023-11-14\t2\t1\t0.5\t5", "2023-11-16\t2\t1\t0.5\t5"]
    );
    assert_eq!(
        query("SELECT user_id, level, threshold_minutes::float8 FROM v_breaches_open").await,
        ["bob\twarning\t75"]
    );
    assert_eq!(
        query("SELECT operation, requests, errors, p50_ms, p99_ms FROM v_app_performance").await,
        ["GET /x\t10\t1\t55\t99.1"]
    );
    assert_eq!(query("SELECT error_type, errors, unhandled, users FROM v_app_errors").await, ["timeout\t10\t5\t1"]);
    assert_eq!(
        query("SELECT topic, next_offset, idle_seconds < 300 FROM v_pipeline_health ORDER BY 1").await,
        ["telemetry.events.v1\t20\tt", "telemetry.ttf.breaches.v1\t2\tt", "telemetry.ttf.records.v1\t4\tt"]
    );
}

/// The roll-ups, and the same worked out from the stages.
async fn rolled_up(fixture: &dyn Sql) -> [Vec<String>; 2] {
    const FIGURES: &str = "sum(started), sum(reached), sum(ended), sum(completed), sum(within_target), \
         sum(duration_sum_ms)::bigint, sum(within_quarter), sum(within_triple), sum(since_signup_sum_ms)::bigint";
    const FROM_STAGES: &str = "count(*), count(from_at), count(to_at), count(duration_ms), count(*) FILTER (WHERE met), \
         sum(duration_ms)::bigint, count(*) FILTER (WHERE duration_ms * 4 <= target_ms), \
         count(*) FILTER (WHERE duration_ms <= target_ms * 3), sum(extract(epoch FROM to_at - signup_at) * 1000)::bigint";
    let hours =
        format!("SELECT bucket, stage, segments, {FIGURES} FROM stage_rollup_hourly GROUP BY 1, 2, 3 ORDER BY 1, 2");
    let stages = format!(
        "SELECT date_trunc('hour', signup_at), stage, segments, {FROM_STAGES} FROM stage_durations GROUP BY 1, 2, 3 ORDER BY 1, 2"
    );
    [fixture.query(&hours).await, fixture.query(&stages).await]
}

pub async fn roll_ups_follow_late_and_changed_stages(fixture: &dyn Sql) {
    write(fixture, &sample()).await;
    fixture.database().maintain().await.expect("maintained");
    let [hours, stages] = rolled_up(fixture).await;
    assert_eq!(hours, stages);
    assert_eq!(hours.len(), 3 * 4, "three hours with signups, four stages");
    // A later revision moves bob's signup into another hour, dan goes on, and somebody of long ago turns up.
    let mut topics = sample();
    topics.record(&journey("bob", 2, 3));
    topics.record(&journey("dan", 31, 4));
    topics.record(&journey("eve", -24 * 300, 4));
    let more = topics.from(telemetry_schemas::topics::TTF_RECORDS, 4);
    let mut archiver = archiver(&fixture.database(), "writer");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(&more).await.expect("written");
    fixture.database().maintain().await.expect("maintained");
    let [hours, stages] = rolled_up(fixture).await;
    assert_eq!(hours, stages);
    let days = "SELECT count(*), sum(started) FROM stage_rollup_daily";
    assert_eq!(fixture.query(days).await, ["16\t20"], "four days of four stages; five signups in each stage");
}

pub async fn every_column_has_a_comment(fixture: &dyn Sql) {
    let without = "SELECT relname || '.' || attname FROM pg_class \
         JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped \
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition \
           AND col_description(pg_class.oid, attnum) IS NULL ORDER BY 1";
    assert_eq!(fixture.query(without).await, Vec::<String>::new());
    let views = "SELECT relname FROM pg_class WHERE relkind = 'v' AND relname LIKE 'v\\_%' AND relnamespace = 'public'::regnamespace \
         AND obj_description(oid) IS NULL";
    assert_eq!(fixture.query(views).await, Vec::<String>::new());
}

pub async fn the_queries_of_the_docs_run(fixture: &dyn Sql) {
    write(fixture, &sample()).await;
    fixture.database().maintain().await.expect("maintained");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let queries: Vec<&str> = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(queries.len() >= 10, "{} queries", queries.len());
    for query in queries {
        // Grafana's macros, as its PostgreSQL data source replaces them.
        let query = query
            .replace("$__timeFilter(day)", "day BETWEEN '2023-11-01T00:00:00Z' AND '2023-12-01T00:00:00Z'")
            .replace("$__timeFilter(hour)", "hour BETWEEN '2023-11-01T00:00:00Z' AND '2023-12-01T00:00:00Z'")
            .replace("'$tenant'", "'acme'");
        assert!(!query.contains('$'), "a macro is not known here: {query}");
        let rows = fixture.query(&query).await;
        let may_be_empty = query.contains("now()");
        assert!(may_be_empty || !rows.is_empty(), "no rows from: {query}");
    }
}

/// One test per behaviour, each on a database of its own.
#[macro_export]
macro_rules! postgres_suite {
    ($fixture:path: $($suite:ident::$behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                common::$suite::$behaviour(&$fixture().await).await;
            }
        )*
    };
    ($fixture:path) => {
        postgres_suite!($fixture:
            sql_suite::the_views_say_what_was_written,
            sql_suite::roll_ups_follow_late_and_changed_stages,
            sql_suite::every_column_has_a_comment,
            sql_suite::the_queries_of_the_docs_run,
            stretches_suite::whole_parts_are_dropped_and_rows_that_have_to_stay_keep_theirs,
            stretches_suite::roll_ups_go_with_the_stages_they_are_made_of,
        );
    };
}
