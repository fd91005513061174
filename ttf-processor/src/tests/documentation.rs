//! The examples of `docs/ttf-metrics.md` are run, and must come out as they are printed there.

use std::fmt::Write as _;

use service_kit::config::HumanDuration;
use telemetry_schemas::{Anomaly, BreachStatus, EventTime, Millis};

use super::driver::Driver;
use crate::journey::{
    score,
    testing::{MINUTE, NINE, event, onboarding},
};

const PAGE: &str = include_str!("../../../docs/ttf-metrics.md");

/// The fenced blocks of this kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let blocks: Vec<_> = PAGE
        .split(&format!("```{kind}\n"))
        .skip(1)
        .map(|rest| rest.split_once("```").expect("every block is closed").0)
        .collect();
    assert!(!blocks.is_empty(), "no example of this kind is left");
    blocks
}

/// `09:04:00` on the day of the examples.
fn time(text: &str) -> EventTime {
    let parts: Vec<i64> = text.split(':').map(|part| part.parse().expect("a time of day")).collect();
    NINE.plus(Millis(((parts[0] - 9) * 60 + parts[1]) * MINUTE + parts[2] * 1_000))
}

fn duration(text: &str) -> Millis {
    Millis(text.parse::<HumanDuration>().expect("a duration").millis())
}

/// `1h30m`
fn written(duration: Millis) -> String {
    let (hours, minutes, seconds) = (duration.0 / (60 * MINUTE), duration.0 / MINUTE % 60, duration.0 / 1_000 % 60);
    let mut text = String::new();
    for (amount, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s")] {
        if amount > 0 {
            write!(text, "{amount}{unit}").expect("writing to a string works");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// With at most one decimal.
fn rounded(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// What the processor makes of the events of an example, in the words of the page.
fn run(events: &str) -> String {
    let mut driver = Driver::onboarding();
    for line in events.lines() {
        let (at, what) = line.split_once(' ').expect("a time and an event");
        match what {
            "is read up to" => drop(driver.pass(time(at))),
            name => drop(driver.say([event(name, time(at))])),
        }
    }
    let record = driver.last();
    let mut text = String::new();
    for stage in &record.stages {
        write!(text, "{}: ", stage.id).unwrap();
        match stage.duration_ms {
            Some(duration) => write!(text, "{} of {}", written(duration), written(stage.target_ms)).unwrap(),
            None => text.push('-'),
        }
        text.push_str(match stage.met {
            Some(true) => ", met",
            Some(false) => ", not met",
            None => "",
        });
        text.push_str(match stage.anomaly {
            Some(Anomaly::OutOfOrder) => ", out_of_order",
            Some(Anomaly::Skipped) => ", skipped",
            _ => "",
        });
        text.push('\n');
    }
    match record.total_ms.zip(record.efficiency_score) {
        Some((total, score)) => {
            let target = Millis(onboarding().total.target.millis());
            writeln!(text, "total: {} of {}, score {}", written(total), written(target), rounded(score)).unwrap();
        }
        None => text.push_str("total: -\n"),
    }
    let status = serde_json::to_value(record.status).unwrap();
    write!(text, "status: {}", status.as_str().unwrap()).unwrap();
    if let Some(stage) = &record.current_stage {
        write!(text, " in {stage}").unwrap();
    }
    let mut breaches: Vec<String> = Vec::new();
    for level in telemetry_schemas::BreachLevel::ALL {
        if let Some(last) = driver.breaches.iter().rev().find(|breach| breach.level == level) {
            let reason = serde_json::to_value(last.reason).unwrap();
            breaches.push(match last.status {
                BreachStatus::Firing => format!("{} firing", level.as_str()),
                _ => format!("{} resolved ({})", level.as_str(), reason.as_str().unwrap()),
            });
        }
    }
    let breaches = if breaches.is_empty() { "none".to_owned() } else { breaches.join(", ") };
    writeln!(text, "\nbreaches: {breaches}").unwrap();
    text
}

#[test]
fn the_journeys_of_the_page_come_out_as_printed() {
    for block in blocks("journey") {
        let (events, printed) = block.split_once("---\n").expect("events, then what comes of them");
        assert_eq!(run(events), printed, "after\n{events}");
    }
}

#[test]
fn the_scores_of_the_page_are_right() {
    let target = Millis(onboarding().total.target.millis());
    for line in blocks("score").concat().lines() {
        let (total, printed) = line.split_once(": ").expect("a total and its score");
        assert_eq!(rounded(score::efficiency(duration(total), target)), printed, "{line}");
    }
}

#[test]
fn the_table_of_stages_is_the_default_journey() {
    for stage in onboarding().stages {
        let minutes = stage.target.millis() / MINUTE;
        let row = format!("| `{}` | `{}` → `{}` | {minutes} min |", stage.id, stage.from, stage.to);
        assert!(PAGE.contains(&row), "{row}");
    }
}
