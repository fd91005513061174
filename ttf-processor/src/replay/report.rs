//! The sum over all users, as it is printed and written to a file.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde::Serialize;
use serde_json::Value;
use service_kit::redact::hash_id;

use super::{Class, Examined, FieldDiff, Finding, User, Verdict};

/// What of the examples may be shown.
#[derive(Debug, Clone, Copy)]
pub struct Showing {
    /// At most so many examples of each class.
    pub examples: usize,
    /// Ids of users, attempts and events as they are; otherwise hashes that mean nothing outside this run.
    pub ids: bool,
}

/// Exact figures of what was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    pub users: Users,
    /// Users left alone, by reason.
    pub incomplete: BTreeMap<&'static str, u64>,
    /// Of the incomplete users, those in whom even the window's own events show a difference.
    pub contradicted: u64,
    /// Attempts of the users that were compared.
    pub attempts: BTreeMap<Class, u64>,
    /// Field → in how many attempts it differs.
    pub fields: BTreeMap<String, u64>,
    /// Deadlines that came due since the processor last judged: it judges them itself.
    pub pending_deadlines: u64,
    pub examples: Vec<Example>,
}

/// Users by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Users {
    pub total: u64,
    pub equal: u64,
    pub differ: u64,
    pub incomplete: u64,
    pub moving: u64,
}

/// One attempt that is not equal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    pub class: Class,
    pub tenant: String,
    pub user: String,
    /// `null`: the user as a whole.
    pub journey: Option<String>,
    pub attempt: String,
    pub fields: Vec<FieldDiff>,
}

impl Report {
    /// Counts one user.
    pub fn count(&mut self, user: &User, examined: &Examined, showing: Showing) {
        self.users.total += 1;
        self.pending_deadlines += examined.judged.pending;
        match examined.verdict {
            Verdict::Equal => self.users.equal += 1,
            Verdict::Differs => self.users.differ += 1,
            Verdict::Moving => {
                self.users.moving += 1;
                return;
            }
            Verdict::Incomplete(gap) => {
                self.users.incomplete += 1;
                *self.incomplete.entry(gap.reason.as_str()).or_default() += 1;
                self.contradicted += u64::from(gap.contradicted);
                return;
            }
        }
        for finding in &examined.findings {
            *self.attempts.entry(finding.class).or_default() += 1;
            for field in &finding.fields {
                *self.fields.entry(field.field.clone()).or_default() += 1;
            }
            self.show(user, finding, showing);
        }
    }

    /// True when what was emitted is not what the events make of it.
    pub fn has_differences(&self) -> bool {
        self.users.differ > 0 || self.contradicted > 0
    }

    fn show(&mut self, user: &User, finding: &Finding, showing: Showing) {
        let shown = self.examples.iter().filter(|example| example.class == finding.class).count();
        if finding.class == Class::Equal || shown >= showing.examples {
            return;
        }
        let id = |id: &str| if showing.ids || id.is_empty() { id.to_owned() } else { hash_id(id) };
        let fields = finding.fields.iter().map(|field| FieldDiff {
            field: field.field.clone(),
            emitted: disguised(&field.field, &field.emitted, &id),
            recomputed: disguised(&field.field, &field.recomputed, &id),
        });
        self.examples.push(Example {
            class: finding.class,
            tenant: user.key.tenant.clone(),
            user: id(user.user_id()),
            journey: (!finding.journey.is_empty()).then(|| finding.journey.clone()),
            attempt: id(&finding.attempt),
            fields: fields.collect(),
        });
    }
}

/// Ids of events may be made of ids of users.
fn disguised(field: &str, value: &Value, id: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) if field.ends_with("event_id") => id(text).into(),
        other => other.clone(),
    }
}

impl Class {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::Extra => "extra",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Users { total, equal, differ, incomplete, moving } = self.users;
        writeln!(f, "users      {total}: {equal} equal, {differ} differ, {incomplete} incomplete, {moving} moving")?;
        let of = |class| self.attempts.get(&class).copied().unwrap_or(0);
        writeln!(
            f,
            "attempts   {} equal, {} differ, {} missing, {} extra",
            of(Class::Equal),
            of(Class::Differs),
            of(Class::Missing),
            of(Class::Extra)
        )?;
        if incomplete > 0 {
            let reasons: Vec<String> = self.incomplete.iter().map(|(why, count)| format!("{why} {count}")).collect();
            write!(f, "incomplete {}", reasons.join(", "))?;
            if self.contradicted > 0 {
                write!(f, "; {} of them differ in what the window does tell", self.contradicted)?;
            }
            writeln!(f)?;
        }
        if self.pending_deadlines > 0 {
            writeln!(f, "pending    {} deadlines are the processor's to judge", self.pending_deadlines)?;
        }
        if !self.fields.is_empty() {
            writeln!(f, "fields that differ, and in how many attempts:")?;
            let mut fields: Vec<_> = self.fields.iter().collect();
            fields.sort_by_key(|(field, count)| (std::cmp::Reverse(**count), field.as_str()));
            for (field, count) in fields {
                writeln!(f, "  {count:>10}  {field}")?;
            }
        }
        for example in &self.examples {
            write!(f, "{}", text(example)?)?;
        }
        Ok(())
    }
}

fn text(example: &Example) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let Example { class, tenant, user, journey, attempt, fields } = example;
    write!(text, "{}: tenant {tenant}, user {user}", class.as_str())?;
    if let Some(journey) = journey {
        write!(text, ", journey {journey}")?;
    }
    if !attempt.is_empty() {
        write!(text, ", attempt {attempt}")?;
    }
    writeln!(text)?;
    for FieldDiff { field, emitted, recomputed } in fields {
        writeln!(text, "    {field}: emitted {emitted}, recomputed {recomputed}")?;
    }
    Ok(text)
}
