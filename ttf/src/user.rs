//! `ttf user ID`: where a user is, against target, and what is next and due.

use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::Value;
use service_kit::clock::now_ms;
use telemetry_schemas::{Anomaly, EventTime, JourneyStatus, TtfRecord, json::from_json};
use ttf_processor::JourneyDefinition;

use crate::{
    cli::UserArgs,
    config, exit,
    gateway_client::{self, GatewayClient},
    output,
    tail::duration,
};

pub async fn run(args: UserArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let client = GatewayClient::new(&args.gateway)?;
    let path = format!("/api/v1/users/{}/journey", percent_encode(&args.user_id));
    let response = client.ask(client.get(&path)).await?;
    match response.status().as_u16() {
        200 => {}
        404 => {
            anstream::eprintln!("ttf: nothing is known of user `{}`", args.user_id);
            return Ok(ExitCode::from(exit::FAILURE));
        }
        status => bail!("{} answered {status}: {}", client.url(), gateway_client::message_of(response).await),
    }
    let body: Value = response.json().await?;
    if args.json {
        output::line(serde_json::to_string_pretty(&body)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let records = body["journeys"].as_array().cloned().unwrap_or_default();
    for record in records {
        let record: TtfRecord = from_json(record).context("the gateway's answer is not a record")?;
        let definition = config.journeys.iter().find(|definition| definition.id == record.journey);
        output::line(describe(&record, definition, now_ms()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole picture of one attempt, as text.
fn describe(record: &TtfRecord, definition: Option<&JourneyDefinition>, now_ms: i64) -> String {
    let attempt = if record.attempt.is_empty() { String::new() } else { format!(", attempt {}", record.attempt) };
    let status = match record.status {
        JourneyStatus::InProgress => "in progress",
        JourneyStatus::Completed => "completed",
        JourneyStatus::Abandoned => "abandoned",
        JourneyStatus::Erased => "erased",
        JourneyStatus::Unknown => "unknown",
    };
    let mut lines = vec![
        format!(
            "{}  {}{attempt}: {status}, signed up {} ({} ago)",
            record.user_id,
            record.journey,
            record.signup_at,
            duration((now_ms - record.signup_at.0).max(0))
        ),
        stages(record).to_string(),
    ];
    if let Some(total) = record.total_ms {
        let score = record.efficiency_score.map_or(String::new(), |score| format!(", efficiency score {score:.0}"));
        lines.push(format!("first value after {}{score}", duration(total.0)));
    }
    if let Some(level) = record.breach_level {
        lines.push(format!("missed deadline: {}", level.as_str()));
    }
    if record.status == JourneyStatus::InProgress {
        lines.extend(next(record, definition, now_ms));
    }
    lines.join("\n") + "\n"
}

fn stages(record: &TtfRecord) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["stage", "reached at", "took", "target", ""]);
    for column in 2..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for stage in &record.stages {
        let remark = match (stage.anomaly, stage.met) {
            (Some(Anomaly::Skipped), _) => "skipped",
            (Some(Anomaly::OutOfOrder), _) => "out of order",
            (_, Some(true)) => "in time",
            (_, Some(false)) => "over target",
            _ if record.current_stage.as_deref() == Some(&stage.id) => "← is here",
            _ => "",
        };
        table.add_row([
            stage.id.clone(),
            stage.to_at.map_or("–".to_owned(), EventTime::to_rfc3339),
            stage.duration_ms.map_or("–".to_owned(), |took| duration(took.0)),
            duration(stage.target_ms.0),
            remark.to_owned(),
        ]);
    }
    table
}

/// What the user has to do next, by when, and which deadline comes next.
fn next(record: &TtfRecord, definition: Option<&JourneyDefinition>, now_ms: i64) -> Vec<String> {
    let mut lines = Vec::new();
    let current = record.stages.iter().find(|stage| record.current_stage.as_deref() == Some(&stage.id));
    if let (Some(stage), Some(definition)) = (current, definition) {
        let milestone =
            definition.stages.iter().find(|s| s.id == stage.id).map_or(stage.id.as_str(), |s| s.to.as_str());
        if let Some(from) = stage.from_at {
            lines.push(format!("next: {milestone}, {}", due(from.plus(stage.target_ms), now_ms)));
        }
    }
    let deadlines = definition.into_iter().flat_map(|definition| &definition.deadlines);
    for deadline in deadlines {
        let at = EventTime(record.signup_at.0 + deadline.after.millis());
        if at.0 > now_ms && Some(deadline.level) > record.breach_level {
            lines.push(format!("{} deadline: {}", deadline.level.as_str(), due(at, now_ms)));
            break;
        }
    }
    lines
}

fn due(at: EventTime, now_ms: i64) -> String {
    if at.0 >= now_ms {
        format!("due {at} (in {})", duration(at.0 - now_ms))
    } else {
        format!("was due {at} ({} ago)", duration(now_ms - at.0))
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_percent_encoded_in_paths() {
        assert_eq!(percent_encode("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
