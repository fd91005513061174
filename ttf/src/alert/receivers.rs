//! `ttf alert preview` and `ttf alert test`.

use std::{io::Read as _, path::Path, process::ExitCode};

use alerter::tryout;
use anyhow::Context as _;
use serde_json::Value;
use telemetry_schemas::{TtfBreach, alert::Notification, json::from_json};

use super::args::{PreviewArgs, TestArgs};
use crate::{config, output};

/// Prints what the receiver would be sent.
pub fn preview(args: &PreviewArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?.alerter;
    let text = match &args.breach {
        None => tryout::preview_breaches(&config, &args.receiver, tryout::sample_breaches())?,
        Some(file) => {
            let value = read(file)?;
            if value.get("notification_id").is_some() {
                let notification: Notification = from_json(value).context("the file holds no notification")?;
                tryout::preview(&config, &args.receiver, &notification)?
            } else {
                tryout::preview_breaches(&config, &args.receiver, breaches(value)?)?
            }
        }
    };
    output::line(format_args!("{text}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Sends the receiver a test.
pub async fn test(args: TestArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?.alerter;
    let what = format!("receiver `{}`", args.receiver);
    tryout::try_out(&config, &args.receiver).await.with_context(|| what.clone())?;
    output::line(format_args!("{what} took a test alarm and its end"))?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    serde_json::from_str(&text).with_context(|| format!("{} holds no JSON", file.display()))
}

fn breaches(value: Value) -> anyhow::Result<Vec<TtfBreach>> {
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    values.into_iter().map(|value| from_json(value).context("the file holds something that is no breach")).collect()
}
