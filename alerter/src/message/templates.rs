//! The templates: the built-in ones, those of a folder that stand in for them, and the addresses of the configuration.
//! Compiled once; what Slack, HTML or an address would read as mark-up is escaped wherever it comes from.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        /// The built-in templates, by name.
        pub const BUILT_IN: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../templates/", $name)))),*];
    };
}

templates![
    "changes.jinja",
    "description.jinja",
    "email_html.jinja",
    "email_subject.jinja",
    "email_text.jinja",
    "internal.jinja",
    "line.jinja",
    "pagerduty_summary.jinja",
    "slack_fallback.jinja",
    "slack_footer.jinja",
    "slack_overview.jinja",
    "slack_person.jinja",
    "slack_title.jinja",
    "slack_update.jinja",
    "summary.jinja",
];

/// Name of the template of addresses of journeys.
pub const JOURNEY_URL: &str = "alerter.journey_url";
/// Name of the template of addresses of runbooks.
pub const RUNBOOK_URL: &str = "alerter.runbook_url";

const SLACK: AutoEscape = AutoEscape::Custom("slack");
const URL: AutoEscape = AutoEscape::Custom("url");

/// A template that is damaged, with its place; or a folder of templates that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TemplateError {
    /// The file, or the name of a built-in template.
    pub place: String,
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// See the [module](self).
pub struct Templates {
    environment: Environment<'static>,
    folder: Option<PathBuf>,
    /// Names of the templates that come from the folder.
    replaced: Vec<String>,
}

impl Templates {
    /// Compiles them.
    ///
    /// # Errors
    /// The first template that is damaged, with its line; a file in the folder that stands in for none; an address that
    /// is no template.
    pub fn load(
        folder: Option<&Path>,
        journey_url: Option<&str>,
        runbook_url: Option<&str>,
    ) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(escaping);
        environment.set_formatter(write_value);
        environment.add_test("link", |value: &Value| value.as_str().is_some_and(is_link));
        let mut templates = Self { environment, folder: folder.map(Path::to_owned), replaced: Vec::new() };
        for (name, source) in BUILT_IN {
            templates.add(name, (*source).to_owned())?;
        }
        if let Some(folder) = folder {
            for (name, source) in read(folder)? {
                templates.replaced.push(name.clone());
                templates.add(&name, source)?;
            }
        }
        for (name, source) in [(JOURNEY_URL, journey_url), (RUNBOOK_URL, runbook_url)] {
            if let Some(source) = source {
                templates.add(name, source.to_owned())?;
            }
        }
        Ok(templates)
    }

    fn add(&mut self, name: &str, source: String) -> Result<(), TemplateError> {
        let added = self.environment.add_template_owned(name.to_owned(), source);
        added.map_err(|error| self.located(name, &error))
    }

    /// The text a template makes of these values, without blanks around it.
    pub fn render(&self, name: &str, values: impl Serialize) -> Result<String, TemplateError> {
        let rendered = self.environment.get_template(name).and_then(|template| template.render(values));
        Ok(rendered.map_err(|error| self.located(name, &error))?.trim().to_owned())
    }

    /// Like [`Self::render`]; `None` when there is no such template, or it makes nothing.
    pub fn render_if_there(&self, name: &str, values: impl Serialize) -> Result<Option<String>, TemplateError> {
        if self.environment.get_template(name).is_err() {
            return Ok(None);
        }
        Ok(Some(self.render(name, values)?).filter(|text| !text.is_empty()))
    }

    fn located(&self, name: &str, error: &minijinja::Error) -> TemplateError {
        let name = error.name().unwrap_or(name);
        let place = match &self.folder {
            Some(folder) if self.replaced.iter().any(|replaced| replaced == name) => {
                folder.join(name).display().to_string()
            }
            _ => name.to_owned(),
        };
        let message =
            error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
        TemplateError { place, line: error.line(), message }
    }
}

/// The templates in a folder. A name that is none of the built-in ones is a typing error that would never be noticed.
fn read(folder: &Path) -> Result<Vec<(String, String)>, TemplateError> {
    let unreadable = |place: &Path, error: &std::io::Error| TemplateError {
        place: place.display().to_string(),
        line: None,
        message: format!("cannot be read: {error}"),
    };
    let mut templates = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // Kubernetes mounts a ConfigMap with links and folders whose names begin with a dot.
        if name.starts_with('.') || path.is_dir() {
            continue;
        }
        if BUILT_IN.iter().all(|(known, _)| *known != name) {
            let known: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            return Err(TemplateError {
                place: path.display().to_string(),
                line: None,
                message: format!("stands in for no template; there are {}", known.join(", ")),
            });
        }
        let source = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        templates.push((name.to_owned(), source));
    }
    templates.sort();
    Ok(templates)
}

/// What can be followed.
pub fn is_link(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn escaping(name: &str) -> AutoEscape {
    match name {
        JOURNEY_URL | RUNBOOK_URL => URL,
        name if name.starts_with("slack_") => SLACK,
        "email_html.jinja" => AutoEscape::Html,
        _ => AutoEscape::None,
    }
}

fn write_value(out: &mut Output, state: &State, value: &Value) -> Result<(), minijinja::Error> {
    if value.is_safe() {
        return minijinja::escape_formatter(out, state, value);
    }
    match state.auto_escape() {
        // <https://docs.slack.dev/messaging/formatting-message-text/#escaping>
        SLACK => {
            let text = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            // What a user sent stays plain text: no bold, no code, no new lines.
            out.write_str(&text.replace(['*', '`', '~', '\n', '\r'], " "))?;
            Ok(())
        }
        URL => {
            for byte in value.to_string().bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    write!(out, "{}", char::from(byte))?;
                } else {
                    write!(out, "%{byte:02X}")?;
                }
            }
            Ok(())
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}
