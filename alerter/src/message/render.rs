//! The templates, compiled once. What Slack would read as mark-up is escaped wherever it comes from.

use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value, context};
use serde::Serialize;
use sha2::{Digest, Sha256};
use telemetry_schemas::{BreachLevel, TtfBreach, alert::Notification};

use super::{
    Alert, Naming, Person, SlackTexts,
    facts::{Facts, PersonFacts},
};
use crate::route::{self, Labels};

const TEMPLATES: [(&str, &str); 8] = [
    ("changes.jinja", include_str!("../../templates/changes.jinja")),
    ("line.jinja", include_str!("../../templates/line.jinja")),
    ("summary.jinja", include_str!("../../templates/summary.jinja")),
    ("description.jinja", include_str!("../../templates/description.jinja")),
    ("slack_title.jinja", include_str!("../../templates/slack_title.jinja")),
    ("slack_person.jinja", include_str!("../../templates/slack_person.jinja")),
    ("slack_footer.jinja", include_str!("../../templates/slack_footer.jinja")),
    ("slack_fallback.jinja", include_str!("../../templates/slack_fallback.jinja")),
];

const SLACK: AutoEscape = AutoEscape::Custom("slack");

/// Name of the alerts of missed deadlines, as Alertmanager's consumers expect one.
const ALERT_NAME: &str = "TtfDeadlineMissed";

pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    pub fn new() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|name| if name.starts_with("slack_") { SLACK } else { AutoEscape::None });
        environment.set_formatter(write_value);
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment })
    }

    fn render(&self, name: &str, values: impl Serialize) -> Result<String, minijinja::Error> {
        Ok(self.environment.get_template(name)?.render(values)?.trim().to_owned())
    }

    pub fn changes(&self, facts: &Facts) -> Result<String, minijinja::Error> {
        self.render("changes.jinja", facts)
    }

    pub fn line(&self, facts: &Facts) -> Result<String, minijinja::Error> {
        self.render("line.jinja", facts)
    }

    pub fn people(&self, facts: &Facts) -> Result<Vec<Person>, minijinja::Error> {
        let person =
            |person: &PersonFacts| Ok(Person { slack: self.render("slack_person.jinja", context! { person, facts })? });
        facts.people.iter().map(person).collect()
    }

    pub fn slack(&self, facts: &Facts) -> Result<SlackTexts, minijinja::Error> {
        Ok(SlackTexts {
            title: self.render("slack_title.jinja", facts)?,
            footer: self.render("slack_footer.jinja", facts)?,
            fallback: self.render("slack_fallback.jinja", facts)?,
        })
    }

    pub fn alerts(
        &self,
        notification: &Notification,
        facts: &Facts,
        naming: &Naming,
    ) -> Result<Vec<Alert>, minijinja::Error> {
        let alert = |breach: &TtfBreach| {
            let person = facts.person(breach, naming);
            let values = context! { person => &person, facts };
            let mut annotations = Labels::from([
                ("summary".to_owned(), self.render("summary.jinja", &values)?),
                ("description".to_owned(), self.render("description.jinja", &values)?),
                ("deadline".to_owned(), person.deadline.clone()),
                ("late".to_owned(), person.late.clone()),
                ("signed_up_at".to_owned(), breach.signup_at.to_rfc3339()),
            ]);
            if let Some(stage) = &person.stage {
                annotations.insert("stage".to_owned(), stage.clone());
            }
            if !person.segments.is_empty() {
                annotations.insert("segments".to_owned(), person.segments.clone());
            }
            let labels = labels(breach, naming);
            Ok(Alert {
                status: breach.status,
                due_at: breach.due_at,
                detected_at: breach.detected_at,
                fingerprint: fingerprint(&labels),
                labels,
                annotations,
            })
        };
        notification.alerts.iter().map(alert).collect()
    }
}

/// Labels stay the same from an alert's beginning to its end, so that consumers know it again; what may change is in
/// the annotations.
fn labels(breach: &TtfBreach, naming: &Naming) -> Labels {
    let severity = match breach.level {
        BreachLevel::Critical | BreachLevel::Escalation => "critical",
        BreachLevel::Warning | BreachLevel::Unknown => "warning",
    };
    let mut labels = route::labels(breach);
    labels.insert("alertname".to_owned(), ALERT_NAME.to_owned());
    labels.insert("severity".to_owned(), severity.to_owned());
    labels.insert("user_id".to_owned(), naming.user(&breach.tenant, &breach.user_id));
    // Alertmanager knows no empty labels.
    labels.retain(|_, value| !value.is_empty());
    labels
}

fn fingerprint(labels: &Labels) -> String {
    let mut hash = Sha256::new();
    for part in labels.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// Slack reads `&`, `<` and `>` as mark-up: <https://docs.slack.dev/messaging/formatting-message-text/#escaping>.
fn write_value(out: &mut Output, state: &State, value: &Value) -> Result<(), minijinja::Error> {
    if state.auto_escape() == SLACK && !value.is_safe() {
        let text = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // What a user sent stays plain text: no bold, no code, no new lines.
        out.write_str(&text.replace(['*', '`', '~', '\n', '\r'], " "))?;
        return Ok(());
    }
    minijinja::escape_formatter(out, state, value)
}
