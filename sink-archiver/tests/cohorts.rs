//! The cohort evaluator: its estimates next to those of lifelines (in the Python named by `TTF_TEST_PYTHON`), and the
//! whole of it on SQLite and the embedded log.

mod common;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use common::cohort_suite;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use service_kit::config::HumanDuration;
use sink_archiver::{
    cohorts::curve::{Curve, Observation},
    database::{Database, Sqlite},
};

const TARGET: f64 = 3_600_000.0;
const QUANTILES: [f64; 3] = [0.25, 0.5, 0.9];

/// Cohorts of all kinds: with and without ties, hardly anybody censored, nearly everybody censored, nobody.
fn cohorts() -> Vec<Vec<Observation>> {
    let observation = |step: f64, share: f64| {
        ((0..40_000_000_u32), (0.0..1.0_f64)).prop_map(move |(time, chance)| Observation {
            time: (f64::from(time) / step).floor() * step,
            completed: chance < share,
        })
    };
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut cohorts = Vec::new();
    for step in [1.0, 600_000.0, 5_000_000.0] {
        for share in [1.0, 0.8, 0.3, 0.02, 0.0] {
            for size in [1..3_usize, 3..20, 20..300] {
                let some = proptest::collection::vec(observation(step, share), size);
                for _ in 0..5 {
                    cohorts.push(some.new_tree(&mut runner).expect("a cohort").current());
                }
            }
        }
    }
    cohorts
}

#[test]
fn the_estimates_are_those_of_lifelines() {
    let python = std::env::var("TTF_TEST_PYTHON")
        .expect("TTF_TEST_PYTHON must name a Python with lifelines; `make services-up` makes one");
    let cohorts = cohorts();
    let asked: Vec<_> =
        cohorts.iter().map(|cohort| cohort.iter().map(|o| (o.time, o.completed)).collect::<Vec<_>>()).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/referee.py");
    let mut referee = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the referee starts");
    let question = serde_json::json!({"target": TARGET, "quantiles": QUANTILES, "cohorts": asked});
    referee.stdin.take().expect("piped").write_all(question.to_string().as_bytes()).expect("asked");
    let output = referee.wait_with_output().expect("answered");
    assert!(output.status.success(), "the referee failed");
    let answers: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answers.len(), cohorts.len());
    let mut undefined = 0;
    for (cohort, answer) in cohorts.into_iter().zip(answers) {
        let what = format!("{cohort:?}");
        let curve = Curve::of(cohort).expect("somebody");
        for (p, expected) in QUANTILES.iter().zip(answer["quantiles"].as_array().expect("a list")) {
            assert_eq!(curve.quantile(*p), expected.as_f64(), "quantile {p} of {what}");
        }
        for pair in answer["curve"].as_array().expect("a list") {
            let (time, share) = (pair[0].as_f64().expect("a time"), pair[1].as_f64().expect("a share"));
            assert!((curve.within(time) - share).abs() < 1e-9, "F({time}) is not {share} in {what}");
        }
        let expected = answer["efficiency"].as_f64().expect("a score");
        match curve.efficiency(TARGET) {
            Some(score) => assert!((score - expected).abs() < 1e-6, "{score} is not {expected} in {what}"),
            None => undefined += 1,
        }
    }
    assert!(undefined < 20, "{undefined} scores were not given");
}

/// `1h30m` in milliseconds.
fn duration(text: &str) -> i64 {
    text.parse::<HumanDuration>().expect("a duration").millis()
}

/// With at most one decimal.
fn rounded(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[test]
fn the_cohorts_of_the_page_are_right() {
    let page = include_str!("../../docs/ttf-metrics.md");
    let blocks: Vec<_> = page.split("```cohort\n").skip(1).collect();
    assert!(!blocks.is_empty(), "the page has no example of a cohort");
    for block in blocks {
        let (block, _) = block.split_once("```").expect("every block is closed");
        let (signups, printed) = block.split_once("---\n").expect("signups, then what comes of them");
        let observations: Vec<_> = signups
            .lines()
            .map(|line| {
                let (became, at) = line.split_once(' ').expect("what became of a signup, and when");
                assert!(["completed", "open"].contains(&became), "`{became}` is neither completed nor open");
                Observation { time: duration(at) as f64, completed: became == "completed" }
            })
            .collect();
        let curve = Curve::of(observations.clone()).expect("somebody");
        // Times are whole milliseconds.
        let quantile = |p: f64| curve.quantile(p).expect("the curve gets there") as i64;
        for line in printed.lines() {
            let (of, value) = line.rsplit_once(' ').expect("a figure and its value");
            match of {
                "median" => assert_eq!(quantile(0.5), duration(value), "{line}"),
                "p90" => assert_eq!(quantile(0.9), duration(value), "{line}"),
                "E =" => assert_eq!(rounded(curve.efficiency(TARGET).expect("a score")), value, "{line}"),
                share => {
                    let at = share.strip_prefix("F(").and_then(|rest| rest.strip_suffix(") =")).expect("F(t) = share");
                    assert_eq!(rounded(curve.within(duration(at) as f64)), value, "{line}");
                }
            }
        }
        let completers = observations.into_iter().filter(|one| one.completed).collect();
        let mean = Curve::of(completers).and_then(|curve| curve.efficiency(TARGET)).expect("all have arrived");
        assert!(page.contains(&format!("would have been {}", rounded(mean))), "{mean}");
    }
}

/// Two archives on one file, as two processes have them.
async fn two() -> (tempfile::TempDir, [Arc<dyn Database>; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Sqlite::open(&folder.path().join("ttf.sqlite")).expect("opened");
    let (one, other) = (open(), open());
    one.migrate().await.expect("migrated");
    for database in [&one, &other] {
        database.open_ledger(None).await.expect("opened");
    }
    (folder, [Arc::new(one), Arc::new(other)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_publishes_and_the_other_takes_over() {
    let (_folder, databases) = two().await;
    cohort_suite::one_of_two_publishes_and_the_other_takes_over(databases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_are_the_figures_of_the_journeys_in_the_database() {
    let (_folder, [database, _]) = two().await;
    cohort_suite::what_is_published_are_the_figures_of_the_journeys(database).await;
}
