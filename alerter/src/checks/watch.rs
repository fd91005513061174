//! From what is found at each look to alerts: something has to be so for a while before it is told. Pure.

use std::collections::{BTreeMap, HashMap};

use telemetry_schemas::{BreachKind, BreachLevel, BreachStatus, EventTime, Millis, TtfBreach};

/// What a look came to about one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub kind: BreachKind,
    pub tenant: String,
    pub journey: String,
    pub level: BreachLevel,
    /// The same at each look; with tenant, journey and level what the alert is known by.
    pub labels: BTreeMap<String, String>,
    pub stage: Option<String>,
    pub segments: BTreeMap<String, String>,
    pub is_bad: bool,
    /// What it says: `summary`, `value`, `baseline`, ….
    pub annotations: BTreeMap<String, String>,
}

/// Tenant of what concerns the installation.
const TENANT: &str = "default";
/// Journey of what is no journey's.
pub const JOURNEY: &str = "pipeline";

impl Finding {
    /// Something about the installation: alert `name`, critical.
    pub fn new(kind: BreachKind, name: &str, is_bad: bool, summary: String) -> Self {
        let labels = [("alertname", name), ("check", kind.as_str())];
        Self {
            kind,
            tenant: TENANT.to_owned(),
            journey: JOURNEY.to_owned(),
            level: BreachLevel::Critical,
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            stage: None,
            segments: BTreeMap::new(),
            is_bad,
            annotations: BTreeMap::from([("summary".to_owned(), summary)]),
        }
    }

    pub fn of(self, tenant: &str, journey: &str) -> Self {
        Self { tenant: tenant.to_owned(), journey: journey.to_owned(), ..self }
    }

    pub fn level(self, level: BreachLevel) -> Self {
        Self { level, ..self }
    }

    /// With a label more, unless it is empty.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.labels.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// With an annotation more.
    pub fn note(mut self, name: &str, value: String) -> Self {
        self.annotations.insert(name.to_owned(), value);
        self
    }

    fn id(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}:{}:{}:{}", self.tenant, self.journey, self.level.as_str(), labels.join(","))
    }

    fn alert(&self, status: BreachStatus, since: EventTime, now: EventTime) -> TtfBreach {
        TtfBreach {
            breach_id: format!("{}:{}:{}", self.id(), status.as_str(), since.0),
            tenant: self.tenant.clone(),
            journey: self.journey.clone(),
            user_id: String::new(),
            attempt: String::new(),
            kind: self.kind,
            level: self.level,
            threshold_ms: Millis(0),
            status,
            reason: None,
            signup_at: since,
            due_at: since,
            detected_at: now,
            late: false,
            current_stage: self.stage.clone(),
            segments: self.segments.clone(),
            record_revision: 0,
            experiments: BTreeMap::new(),
            release: None,
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub alert: TtfBreach,
    /// Whether this process said otherwise before, or it is bad. Where not, it is said to be good in case that an
    /// alerter before this one said it was bad.
    pub is_news: bool,
}

struct Standing {
    is_bad: bool,
    since: EventTime,
    /// What was told last; `None`: nothing yet, by this process.
    told: Option<bool>,
    last: Finding,
}

/// What is known of all things looked at.
#[derive(Default)]
pub struct Watch {
    standings: HashMap<String, Standing>,
}

impl Watch {
    /// Takes in a look and says what is to be told. What was not looked at this time is good, for nobody can say it is
    /// bad.
    pub fn observe(&mut self, findings: Vec<Finding>, hold: Millis, now: EventTime) -> Vec<Word> {
        let mut seen = std::collections::HashSet::new();
        for finding in findings {
            let id = finding.id();
            seen.insert(id.clone());
            self.stand(id, finding, now);
        }
        let unseen: Vec<_> = self
            .standings
            .iter()
            .filter(|(id, standing)| standing.is_bad && !seen.contains(*id))
            .map(|(id, standing)| (id.clone(), Finding { is_bad: false, ..standing.last.clone() }))
            .collect();
        for (id, finding) in unseen {
            self.stand(id, finding, now);
        }
        let mut told = Vec::new();
        for standing in self.standings.values_mut() {
            let has_held = now.since(standing.since) >= hold;
            if !has_held || standing.told == Some(standing.is_bad) {
                continue;
            }
            let is_news = standing.is_bad || standing.told.is_some();
            standing.told = Some(standing.is_bad);
            let status = if standing.is_bad { BreachStatus::Firing } else { BreachStatus::Resolved };
            told.push(Word { alert: standing.last.alert(status, standing.since, now), is_news });
        }
        self.standings.retain(|id, standing| standing.is_bad || standing.told != Some(false) || seen.contains(id));
        told.sort_by(|a, b| a.alert.breach_id.cmp(&b.alert.breach_id));
        told
    }

    fn stand(&mut self, id: String, finding: Finding, now: EventTime) {
        if let Some(standing) = self.standings.get_mut(&id) {
            if standing.is_bad != finding.is_bad {
                (standing.is_bad, standing.since) = (finding.is_bad, now);
            }
            standing.last = finding;
        } else {
            let standing = Standing { is_bad: finding.is_bad, since: now, told: None, last: finding };
            self.standings.insert(id, standing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Millis = Millis::from_secs(60);

    fn finding(is_bad: bool) -> Finding {
        Finding::new(BreachKind::Pipeline, "X", is_bad, String::new()).of("acme", "onboarding")
    }

    fn looks(looks: &[(i64, Option<bool>)]) -> Vec<(i64, BreachStatus)> {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for (second, is_bad) in looks {
            let findings = is_bad.map(finding).into_iter().collect();
            let now = EventTime(second * 1_000);
            told.extend(watch.observe(findings, HOLD, now).into_iter().map(|word| (*second, word.alert.status)));
        }
        told
    }

    #[test]
    fn what_is_bad_for_a_while_is_told_once_and_its_end_once() {
        let told = looks(&[
            (0, Some(true)),
            (59, Some(true)),
            (60, Some(true)),
            (90, Some(true)),
            (100, Some(false)),
            (159, Some(false)),
            (160, Some(false)),
            (220, Some(false)),
        ]);
        assert_eq!(told, [(60, BreachStatus::Firing), (160, BreachStatus::Resolved)]);
    }

    #[test]
    fn what_comes_and_goes_is_not_told() {
        let told =
            looks(&[(0, Some(true)), (50, Some(false)), (90, Some(true)), (140, Some(false)), (150, Some(true))]);
        assert_eq!(told, []);
    }

    #[test]
    fn what_can_no_longer_be_judged_is_over_after_a_while() {
        let told = looks(&[(0, Some(true)), (60, Some(true)), (70, None), (129, None), (130, None), (300, None)]);
        assert_eq!(told, [(60, BreachStatus::Firing), (130, BreachStatus::Resolved)]);
    }

    #[test]
    fn what_was_good_from_the_first_look_is_no_news() {
        let mut watch = Watch::default();
        let mut said = Vec::new();
        for (second, is_bad) in [(0, false), (60, false), (70, true), (130, true), (140, false), (200, false)] {
            let words = watch.observe(vec![finding(is_bad)], HOLD, EventTime(second * 1_000));
            said.extend(words.into_iter().map(|word| (second, word.alert.status, word.is_news)));
        }
        let expected = [
            (60, BreachStatus::Resolved, false),
            (130, BreachStatus::Firing, true),
            (200, BreachStatus::Resolved, true),
        ];
        assert_eq!(said, expected);
    }
}
