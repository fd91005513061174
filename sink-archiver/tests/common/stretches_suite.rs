//! What is asked for by time: whole chunks or partitions go, roll-ups go with the stages they are made of.

use sink_archiver::{
    objects::tally::Came,
    retention::{Census, Expiry, Scope, Table},
};
use telemetry_schemas::EventTime;

use super::sql_suite::Sql;

const DAY: i64 = 86_400_000;
const WEEK: i64 = 7 * DAY;
const MONTH: i64 = 30 * DAY;

/// Long enough ago for no partition to be there yet.
fn long_ago() -> i64 {
    (service_kit::clock::now_ms() / DAY) * DAY - 20 * WEEK
}

fn everybody() -> Scope {
    Scope::AllBut(Vec::new())
}

async fn event(fixture: &dyn Sql, tenant: &str, at: i64, received_at: i64) {
    fixture
        .execute(&format!(
            "INSERT INTO events SELECT '{tenant}', 'http', gen_random_uuid()::text, 'x', 'track', to_timestamp({at} / 1000.0), \
             NULL, NULL, to_timestamp({received_at} / 1000.0), 'ada', NULL, NULL, NULL, '{{}}', '{{}}', false"
        ))
        .await;
}

async fn stage(fixture: &dyn Sql, tenant: &str, signup_at: i64, to_at: i64) {
    fixture
        .execute(&format!(
            "INSERT INTO stage_durations SELECT '{tenant}', 'onboarding', gen_random_uuid()::text, '', 's', 0, \
             to_timestamp({signup_at} / 1000.0), to_timestamp({signup_at} / 1000.0), to_timestamp({to_at} / 1000.0), \
             5, 10, true, NULL, '{{}}', '{{}}', NULL"
        ))
        .await;
}

/// Chunks, or partitions but for the default one, of a table.
async fn parts(fixture: &dyn Sql, table: &str) -> Vec<String> {
    let sql = if has_chunks(fixture).await {
        format!(
            "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks \
             WHERE hypertable_name = '{table}' ORDER BY range_start"
        )
    } else {
        format!(
            "SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
             WHERE inhparent = '{table}'::regclass AND pg_get_expr(relpartbound, inhrelid) <> 'DEFAULT' ORDER BY 1"
        )
    };
    fixture.query(&sql).await
}

async fn has_chunks(fixture: &dyn Sql) -> bool {
    fixture.query("SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL").await == ["t"]
}

/// A partition around each of some instants, where the database does not make its own chunks.
async fn partitions(fixture: &dyn Sql, table: &str, around: impl Iterator<Item = i64>, length: i64) {
    if has_chunks(fixture).await {
        return;
    }
    for (n, at) in around.enumerate() {
        let (from, to) = ((at - length / 2) / 1_000, (at + length / 2) / 1_000);
        let sql = format!(
            "DO $$ BEGIN EXECUTE format('CREATE TABLE {table}_part_{n} PARTITION OF {table} FOR VALUES FROM (%L) TO (%L)', \
             to_timestamp({from}), to_timestamp({to})); END $$"
        );
        fixture.execute(&sql).await;
    }
}

async fn compress(fixture: &dyn Sql, table: &str) {
    if has_chunks(fixture).await {
        let compressed = format!("SELECT compress_chunk(chunk, true) FROM show_chunks('{table}') AS chunk");
        assert!(!fixture.query(&compressed).await.is_empty());
    }
}

/// Expires one table; tells what was past its time before, and how much went.
async fn expire(fixture: &dyn Sql, expiry: &Expiry) -> (Census, u64) {
    let database = fixture.database();
    let census = database.expiring(expiry.clone()).await.expect("counted");
    let gone = database.expire(expiry.clone(), census.oldest).await.expect("expired");
    (census, gone)
}

pub async fn whole_parts_are_dropped_and_rows_that_have_to_stay_keep_theirs(fixture: &dyn Sql) {
    let now = long_ago();
    let week = |n: i64| now - n * WEEK;
    partitions(fixture, "events", (0..=8).map(week), WEEK).await;
    let made_ahead = parts(fixture, "events").await.len() - if has_chunks(fixture).await { 0 } else { 9 };
    for n in (0..=8).filter(|n| *n != 7) {
        event(fixture, "acme", week(n), week(n)).await;
        event(fixture, "acme", week(n) + 1, week(n)).await;
    }
    // Of the sixth week one came so late that it is not verified yet; of the seventh there is a tenant who keeps longer.
    event(fixture, "acme", week(6) + 2, now).await;
    event(fixture, "bank", week(7), week(7)).await;
    compress(fixture, "events").await;
    assert_eq!(parts(fixture, "events").await.len() - made_ahead, 9);

    let came = |tenant: &str, from, to| Came {
        table: Table::Events,
        tenant: tenant.to_owned(),
        from: EventTime(from),
        to: EventTime(to),
        not_before: EventTime(week(6) + 1),
    };
    let count = async |came: Came| fixture.database().count(&came).await.expect("counted");
    assert_eq!(count(came("acme", week(8), now)).await, 11, "five weeks of two, and of the sixth what is not too old");
    assert_eq!(count(came("acme", week(1), week(0))).await, 2);
    assert_eq!(count(came("bank", week(8), now)).await, 0);

    let mut expiry = Expiry {
        table: Table::Events,
        scope: Scope::AllBut(vec!["bank".to_owned()]),
        before: EventTime(week(3) - WEEK / 2),
        written_before: EventTime(now - DAY),
    };
    let (census, gone) = expire(fixture, &expiry).await;
    assert_eq!((census.rows, census.waiting, census.oldest), (8, 1, Some(EventTime(week(8)))));
    assert_eq!(gone, 8);
    let left = "SELECT tenant, count(*) FROM events GROUP BY 1 ORDER BY 1";
    assert_eq!(fixture.query(left).await, ["acme\t9", "bank\t1"], "four weeks of two, and the late one");
    let there = parts(fixture, "events").await.len() - made_ahead;
    // The fourth week's may reach beyond the instant; the fifth and the eighth are gone.
    assert!(there == 6 || there == 7, "{there} parts are left");

    expiry.written_before = EventTime(now + DAY);
    let (census, gone) = expire(fixture, &expiry).await;
    assert_eq!((census.rows, census.waiting, gone), (1, 0, 1), "once it is verified");
    assert_eq!(parts(fixture, "events").await.len() - made_ahead, there - 1, "and its part with it");
    expiry.scope = Scope::Only("bank".to_owned());
    assert_eq!(expire(fixture, &expiry).await.1, 1);
    assert_eq!(parts(fixture, "events").await.len() - made_ahead, there - 2);
    assert_eq!(fixture.query(left).await, ["acme\t8"]);
}

pub async fn roll_ups_go_with_the_stages_they_are_made_of(fixture: &dyn Sql) {
    let now = long_ago();
    let month = |n: i64| now - n * MONTH;
    partitions(fixture, "stage_durations", (0..=3).map(month), MONTH).await;
    for n in 0..=3 {
        stage(fixture, "acme", month(n), month(n) + 1).await;
        stage(fixture, "bank", month(n), month(n) + 1).await;
    }
    // One stage of the second month ended so late that it is not verified yet.
    stage(fixture, "acme", month(2) + 2, now).await;
    fixture.roll_up().await;
    let before = parts(fixture, "stage_durations").await.len();
    let hours = "SELECT tenant, sum(started) FROM stage_rollup_hourly GROUP BY 1 ORDER BY 1";
    assert_eq!(fixture.query(hours).await, ["acme\t5", "bank\t4"]);
    let expiry = |table, tenant: Option<&str>| Expiry {
        table,
        scope: tenant.map_or_else(everybody, |tenant| Scope::Only(tenant.to_owned())),
        before: EventTime(now - MONTH / 2),
        written_before: EventTime(now - DAY),
    };
    // By hour; and by day, where that is kept too.
    let kinds = if has_chunks(fixture).await { 2 } else { 1 };
    let planned = fixture.database().expiring(expiry(Table::Rollups, None)).await.expect("counted");
    assert_eq!((planned.rows, planned.waiting), (5 * kinds, kinds), "a plan counts what the stages' going sets free");

    let (census, gone) = expire(fixture, &expiry(Table::StageDurations, None)).await;
    assert_eq!((census.rows, census.waiting, gone), (6, 1, 6));
    let dropped = before - parts(fixture, "stage_durations").await.len();
    // The first month's may reach beyond the instant.
    assert!(dropped == 1 || dropped == 2, "{dropped} parts were dropped");
    // What was rolled up does not come back with what is dropped.
    assert_ne!(fixture.query(hours).await, ["acme\t2", "bank\t1"]);
    let of_acme = expire(fixture, &expiry(Table::Rollups, Some("acme"))).await;
    assert_eq!(of_acme.0.waiting, kinds);
    assert_eq!(of_acme.1, 2 * kinds, "only of this tenant");
    let (census, gone) = expire(fixture, &expiry(Table::Rollups, None)).await;
    assert_eq!((census.rows, census.waiting, gone), (3 * kinds, kinds, 3 * kinds));
    fixture.roll_up().await;
    assert_eq!(fixture.query(hours).await, ["acme\t2", "bank\t1"]);
    let days = "SELECT tenant, sum(started) FROM stage_rollup_daily GROUP BY 1 ORDER BY 1";
    assert_eq!(fixture.query(days).await, ["acme\t2", "bank\t1"]);
}
