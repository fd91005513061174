//! Whether events come in, are taken, and are worked off; by how far topics and groups have come. Pure.

use std::collections::{BTreeMap, VecDeque};

use service_kit::config::HumanDuration;
use telemetry_schemas::{BreachKind::Pipeline as OfPipeline, BreachLevel, EventTime, Millis};

use super::watch::Finding;
use crate::config::PipelineChecks;

/// How far a group has come on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub group: &'static str,
    pub topic: &'static str,
    pub partition: i32,
    /// Everything before it is processed.
    pub next: i64,
    pub end: i64,
    /// The first record that is still kept at the limit of the headroom: what is before it will be deleted soon. `None`:
    /// not asked, because nothing waits, or age deletes nothing.
    pub endangered_before: Option<i64>,
}

/// One look at the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub at: EventTime,
    /// Sum of the end offsets of events that were taken.
    pub events: i64,
    /// And of those that were rejected.
    pub rejected: i64,
    pub places: Vec<Place>,
}

/// The looks of the longest time that anything is judged by.
#[derive(Default)]
pub struct Pipeline {
    samples: VecDeque<Sample>,
    flow: Option<Flow>,
}

/// Events that came in without a pause that would be an alert.
#[derive(Debug, Clone, Copy)]
struct Flow {
    since: EventTime,
    until: EventTime,
    events: i64,
}

impl Pipeline {
    /// Takes a look in and judges.
    pub fn look(&mut self, sample: Sample, config: &PipelineChecks) -> Vec<Finding> {
        let now = sample.at;
        // A clock that was set back begins anew.
        if self.samples.back().is_some_and(|last| last.at > now) {
            *self = Self::default();
        }
        if let Some(came) = self.samples.back().map(|last| sample.events - last.events).filter(|came| *came > 0) {
            let pause = config.ingestion_stopped.map_or(i64::MAX, HumanDuration::millis);
            let known = self.flow.filter(|flow| now.since(flow.until) < Millis(pause));
            let flow = known.unwrap_or(Flow { since: now, until: now, events: 0 });
            self.flow = Some(Flow { until: now, events: flow.events + came, ..flow });
        }
        self.samples.push_back(sample);
        let keep = config.window.millis().max(config.lag.millis());
        while self.samples.get(1).is_some_and(|second| now.since(second.at) >= Millis(keep)) {
            self.samples.pop_front();
        }
        let mut findings: Vec<Finding> = self.stopped(now, config).into_iter().collect();
        findings.extend(self.rejected(now, config));
        findings.extend(self.behind(now, config));
        findings
    }

    fn ago(&self, now: EventTime, time: HumanDuration) -> Option<&Sample> {
        self.samples.iter().rev().find(|sample| now.since(sample.at) >= Millis(time.millis()))
    }

    /// Nothing came in for so long, after it had come in for as long without such a pause, and more than a few. Nothing
    /// can be said before anything came in: also not that what another alerter told of is over.
    fn stopped(&self, now: EventTime, config: &PipelineChecks) -> Option<Finding> {
        let (limit, flow) = (Millis(config.ingestion_stopped?.millis()), self.flow?);
        let quiet = now.since(flow.until);
        let was_steady = flow.until.since(flow.since) >= limit && flow.events >= config.minimum_volume;
        let summary = format!("No event was taken in for {} min", quiet.0 / 60_000);
        Some(Finding::new(OfPipeline, "TtfIngestionStopped", was_steady && quiet >= limit, summary))
    }

    fn rejected(&self, now: EventTime, config: &PipelineChecks) -> Option<Finding> {
        let (then, last) = (self.ago(now, config.window)?, self.samples.back()?);
        let (taken, rejected) = (last.events - then.events, last.rejected - then.rejected);
        let all = taken + rejected;
        #[allow(clippy::cast_precision_loss)]
        let share = if all > 0 { rejected as f64 / all as f64 } else { 0.0 };
        let is_bad = all >= config.minimum_volume && share >= config.rejected_share;
        let summary = format!("{:.0} % of {all} records were rejected in the last {}", share * 100.0, config.window);
        Some(Finding::new(OfPipeline, "TtfRejectedShareHigh", is_bad, summary).level(BreachLevel::Warning))
    }

    /// A group is behind by `lag` when it has not processed what was there that long ago.
    fn behind(&self, now: EventTime, config: &PipelineChecks) -> Vec<Finding> {
        let Some(last) = self.samples.back() else { return Vec::new() };
        let then = self.ago(now, config.lag);
        let mut worst: BTreeMap<(&str, &str), Behind> = BTreeMap::new();
        for place in &last.places {
            let end_then = then.and_then(|sample| {
                let same = |other: &&Place| {
                    (other.group, other.topic, other.partition) == (place.group, place.topic, place.partition)
                };
                sample.places.iter().find(same).map(|other| other.end)
            });
            let waits = place.next < place.end;
            let known = worst.entry((place.group, place.topic)).or_default();
            known.records += (place.end - place.next).max(0);
            known.is_late |= end_then.is_some_and(|end| place.next < end);
            known.is_unsure |= waits && end_then.is_none();
            known.is_endangered |= waits && place.endangered_before.is_some_and(|before| place.next < before);
        }
        let mut findings = Vec::new();
        for ((group, topic), Behind { records, is_late, is_unsure, is_endangered }) in worst {
            let found = |name, is_bad, summary| {
                Finding::new(OfPipeline, name, is_bad, summary).label("group", group).label("topic", topic)
            };
            // What waits may have waited for long before this alerter began to look.
            if is_late || !is_unsure {
                let lag = format!("{group} is more than {} behind on {topic}: {records} records wait", config.lag);
                findings.push(found("TtfPipelineLag", is_late, lag).level(BreachLevel::Warning));
            }
            let headroom = format!(
                "{group} has not read records of {topic} that will be deleted within {}: {records} wait",
                config.headroom
            );
            findings.push(found("TtfRetentionHeadroomLow", is_endangered, headroom));
        }
        findings
    }
}

/// How far a group is behind on a topic.
#[derive(Debug, Clone, Copy, Default)]
struct Behind {
    records: i64,
    is_late: bool,
    /// Something waits, and nobody looked long enough ago to know how long.
    is_unsure: bool,
    is_endangered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PipelineChecks {
        crate::testing::config("").checks.pipeline.expect("on by default")
    }

    fn sample(minute: i64, events: i64, rejected: i64, next: i64) -> Sample {
        let place = Place {
            group: "ttf-processor",
            topic: "telemetry.events.v1",
            partition: 0,
            next,
            end: events,
            endangered_before: None,
        };
        Sample { at: EventTime(minute * 60_000), events, rejected, places: vec![place] }
    }

    fn bad(samples: impl IntoIterator<Item = Sample>) -> Vec<String> {
        let mut pipeline = Pipeline::default();
        let mut last = Vec::new();
        for sample in samples {
            last = pipeline.look(sample, &config());
        }
        last.into_iter().filter(|finding| finding.is_bad).map(|finding| finding.labels["alertname"].clone()).collect()
    }

    #[test]
    fn ingestion_that_never_began_has_not_stopped() {
        assert_eq!(bad((0..60).map(|minute| sample(minute, 500, 0, 500))), Vec::<String>::new());
    }

    #[test]
    fn ingestion_that_stopped_is_told_after_its_time() {
        let until = |last: i64| (0..=last).map(|minute| sample(minute, minute.min(20) * 100, 0, minute.min(20) * 100));
        assert_eq!(bad(until(34)), Vec::<String>::new());
        assert_eq!(bad(until(35)), ["TtfIngestionStopped"]);
    }

    #[test]
    fn a_burst_a_trickle_and_what_was_never_steady_have_not_stopped() {
        let burst = (0..=60).map(|minute| sample(minute, if minute < 2 { 0 } else { 5_000 }, 0, 5_000));
        assert_eq!(bad(burst), Vec::<String>::new());
        let trickle = (0..=60).map(|minute| sample(minute, minute.min(40), 0, minute.min(40)));
        assert_eq!(bad(trickle), Vec::<String>::new());
        // A few hundred every twenty minutes.
        let now_and_then = (0..=119).map(|minute| sample(minute, minute / 20 * 300, 0, minute / 20 * 300));
        assert_eq!(bad(now_and_then), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known_yet() {
        let named = |samples: Vec<Sample>| -> Vec<String> {
            let mut pipeline = Pipeline::default();
            let mut last = Vec::new();
            for sample in samples {
                last = pipeline.look(sample, &config());
            }
            last.into_iter().map(|finding| finding.labels["alertname"].clone()).collect()
        };
        // An alerter that has begun to look when everything stood still: it may be that it was told already.
        assert_eq!(named(vec![sample(0, 500, 0, 10), sample(1, 500, 0, 10)]), ["TtfRetentionHeadroomLow"]);
        let caught_up = vec![sample(0, 500, 0, 10), sample(1, 600, 0, 600)];
        assert_eq!(named(caught_up), ["TtfIngestionStopped", "TtfPipelineLag", "TtfRetentionHeadroomLow"]);
    }

    #[test]
    fn a_rejected_share_counts_within_its_window_and_with_enough_records() {
        let busy =
            |rejected: i64| (0..20).map(move |minute| sample(minute, minute * 100, minute * rejected, minute * 100));
        assert_eq!(bad(busy(20)), Vec::<String>::new());
        assert_eq!(bad(busy(30)), ["TtfRejectedShareHigh"]);
        assert_eq!(bad((0..20).map(|minute| sample(minute, minute, minute, minute))), Vec::<String>::new());
    }

    #[test]
    fn a_group_is_behind_when_what_was_there_long_ago_still_waits() {
        let with = |behind: i64| (0..20).map(move |minute| sample(minute, minute * 100, 0, (minute - behind) * 100));
        assert_eq!(bad(with(4)), Vec::<String>::new());
        assert_eq!(bad(with(6)), ["TtfPipelineLag"]);
    }

    #[test]
    fn what_waits_and_will_be_deleted_is_told() {
        let mut waiting = sample(1, 100, 0, 10);
        waiting.places[0].endangered_before = Some(11);
        assert_eq!(bad([sample(0, 100, 0, 10), waiting.clone()]), ["TtfRetentionHeadroomLow"]);
        waiting.places[0].endangered_before = Some(10);
        assert_eq!(bad([sample(0, 100, 0, 10), waiting]), Vec::<String>::new());
    }
}
