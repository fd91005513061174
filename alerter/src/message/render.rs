//! What the templates make of a notification.

use minijinja::{Value, context};
use sha2::{Digest, Sha256};
use telemetry_schemas::{BreachKind, BreachLevel, TtfBreach, alert::Notification};

use super::{
    Alert, EmailTexts, Naming, Person, SlackTexts, clip,
    facts::{Facts, PersonFacts, is_nobodys},
    templates::{JOURNEY_URL, RUNBOOK_URL, TemplateError, Templates, is_link},
};
use crate::route::{self, Labels};

/// Names of alerts, as Alertmanager's consumers expect one.
const DEADLINE_MISSED: &str = "TtfDeadlineMissed";
const COHORT_BEHIND: &str = "TtfCohortBehind";
const APPLICATION: &str = "TtfApplicationTrouble";
const PIPELINE: &str = "TtfPipelineTrouble";

/// Characters of an address.
const MAX_URL: usize = 2_000;

/// Puts facts into words.
pub struct Renderer<'a> {
    pub templates: &'a Templates,
    pub naming: &'a Naming,
}

impl Renderer<'_> {
    /// Fills in what the facts need templates for.
    pub fn complete(&self, facts: &mut Facts) -> Result<(), TemplateError> {
        facts.changes = self.templates.render("changes.jinja", &*facts)?;
        let mut people = std::mem::take(&mut facts.people);
        for person in &mut people {
            self.link(facts, person)?;
        }
        facts.people = people;
        Ok(())
    }

    /// The addresses a person's part of the message leads to.
    fn link(&self, facts: &Facts, person: &mut PersonFacts) -> Result<(), TemplateError> {
        let values = context! {
            // It is an address already, and stays one.
            external_url => facts.external_url.clone().map(Value::from_safe_string),
            tenant => facts.tenant,
            journey => facts.journey,
            user => person.user,
            attempt => person.attempt.clone().unwrap_or_default(),
            level => person.level,
            stage => person.stage.clone().unwrap_or_default(),
        };
        let journey = self.templates.render_if_there(JOURNEY_URL, &values)?.or_else(|| facts.external_url.clone());
        person.journey_url = journey.map(|url| clip(&url, MAX_URL)).filter(|url| is_link(url));
        let runbook = self.templates.render_if_there(RUNBOOK_URL, &values)?;
        person.runbook_url = runbook.map(|url| clip(&url, MAX_URL));
        Ok(())
    }

    /// The facts as templates see them, made once: a group of a thousand is too much to be copied for each of them.
    pub fn values(facts: &Facts) -> Value {
        Value::from_serialize(facts)
    }

    pub fn people(&self, facts: &Facts, values: &Value) -> Result<Vec<Person>, TemplateError> {
        let person = |person: &PersonFacts| {
            Ok(Person {
                slack: self.templates.render("slack_person.jinja", context! { person, facts => values })?,
                journey_url: person.journey_url.clone(),
                runbook_url: person.runbook_url.clone(),
                stage: person.stage.clone(),
                segments: person.segments.clone(),
                late: person.late.clone(),
            })
        };
        facts.people.iter().map(person).collect()
    }

    pub fn slack(&self, facts: &Facts, values: &Value) -> Result<SlackTexts, TemplateError> {
        Ok(SlackTexts {
            title: self.templates.render("slack_title.jinja", values)?,
            overview: if facts.late > 1 { Some(self.templates.render("slack_overview.jinja", values)?) } else { None },
            footer: self.templates.render("slack_footer.jinja", values)?,
            fallback: self.templates.render("slack_fallback.jinja", values)?,
            update: self.templates.render("slack_update.jinja", values)?,
        })
    }

    pub fn email(&self, values: &Value) -> Result<EmailTexts, TemplateError> {
        Ok(EmailTexts {
            subject: self
                .templates
                .render("email_subject.jinja", values)?
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            text: self.templates.render("email_text.jinja", values)?,
            html: self.templates.render("email_html.jinja", values)?,
        })
    }

    pub fn alerts(
        &self,
        notification: &Notification,
        facts: &Facts,
        values: &Value,
    ) -> Result<Vec<Alert>, TemplateError> {
        notification.alerts.iter().map(|breach| self.alert(breach, facts, values)).collect()
    }

    fn alert(&self, breach: &TtfBreach, facts: &Facts, values: &Value) -> Result<Alert, TemplateError> {
        let mut person = facts.person(breach, self.naming);
        self.link(facts, &mut person)?;
        let values = context! { person => &person, facts => values };
        let mut annotations = Labels::from([
            ("summary".to_owned(), self.templates.render("summary.jinja", &values)?),
            ("description".to_owned(), self.templates.render("description.jinja", &values)?),
        ]);
        if is_nobodys(breach) {
            let more = breach.annotations.iter().filter(|(name, _)| *name != "summary" && is_label(name));
            annotations.extend(more.map(|(name, value)| (name.clone(), clip(value, 400))));
        } else {
            annotations.insert("deadline".to_owned(), person.deadline.clone());
            annotations.insert("late".to_owned(), person.late.clone());
            annotations.insert("signed_up_at".to_owned(), breach.signup_at.to_rfc3339());
        }
        let optional = [
            ("stage", person.stage),
            ("segments", Some(person.segments).filter(|segments| !segments.is_empty())),
            ("journey_url", person.journey_url),
            ("runbook_url", person.runbook_url),
        ];
        annotations.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let labels = labels(breach, self.naming);
        Ok(Alert {
            status: breach.status,
            due_at: breach.due_at,
            detected_at: breach.detected_at,
            fingerprint: fingerprint(&labels),
            labels,
            annotations,
        })
    }
}

/// Labels stay the same from an alert's beginning to its end, so that consumers know it again; what may change is in
/// the annotations.
fn labels(breach: &TtfBreach, naming: &Naming) -> Labels {
    let severity = match breach.level {
        BreachLevel::Critical | BreachLevel::Escalation => "critical",
        BreachLevel::Warning | BreachLevel::Unknown => "warning",
    };
    let name = match breach.kind {
        BreachKind::Cohort => COHORT_BEHIND,
        BreachKind::Application => APPLICATION,
        BreachKind::Pipeline => PIPELINE,
        BreachKind::Deadline | BreachKind::Predicted | BreachKind::Unknown => DEADLINE_MISSED,
    };
    let mut labels = breach.labels.clone();
    labels.retain(|name, _| is_label(name));
    labels.extend(route::labels(breach));
    // Where it has a name of its own, that tells it apart from others about the same thing.
    if !breach.labels.contains_key("alertname") {
        labels.insert("alertname".to_owned(), name.to_owned());
    }
    labels.insert("severity".to_owned(), severity.to_owned());
    let user = if breach.user_id.is_empty() { String::new() } else { naming.user(&breach.tenant, &breach.user_id) };
    labels.insert("user_id".to_owned(), user);
    // Alertmanager knows no empty labels.
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// Whether Prometheus takes it as the name of a label.
fn is_label(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && !name.starts_with("__")
}

fn fingerprint(labels: &Labels) -> String {
    let mut hash = Sha256::new();
    for part in labels.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}
