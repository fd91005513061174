//! `ttf send`: NDJSON from a file or standard input to the gateway.

use std::{
    io::{BufRead, BufReader, IsTerminal, Read},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use crate::{
    cli::SendArgs,
    exit,
    gateway_client::{BatchAnswer, GatewayClient},
    output,
};

/// Rejected events shown one by one; the rest is counted.
const SHOWN: u64 = 20;

/// A request is closed at this size: well below what a gateway takes by default (5 MiB), with room for one more line.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// A longer line is told here: an event may have 32 KiB, and one such line would cost the others of its request.
const LINE_BYTES: usize = 512 * 1024;

/// What became of the lines.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    other: u64,
}

pub async fn run(args: SendArgs) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&args.gateway)?;
    let mut lines = open(&args.file)?;
    let progress = progress_bar();
    let mut tally = Tally::default();
    let mut first_line = 1;
    loop {
        let batch = next_batch(&mut *lines, args.batch as usize)?;
        if batch.lines == 0 {
            break;
        }
        for (line, error) in &batch.broken {
            tally.rejected += 1;
            if tally.rejected <= SHOWN {
                progress.suspend(|| eprintln!("line {}: {error}", first_line + line));
            }
        }
        if !batch.events.is_empty() {
            let body = serde_json::to_string(&serde_json::json!({ "events": batch.events }))?;
            let answer = client.send(body).await?;
            report(&answer, &batch.line_of, first_line, &mut tally, &progress);
        }
        first_line += batch.lines;
        progress.inc(batch.lines as u64);
    }
    progress.finish_and_clear();
    output::line(format_args!(
        "accepted {}, duplicate {}, rejected {}{}",
        tally.accepted,
        tally.duplicate,
        tally.rejected,
        if tally.other > 0 { format!(", not taken {}", tally.other) } else { String::new() }
    ))?;
    let failed = tally.rejected + tally.other > 0;
    Ok(if failed { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
}

fn report(answer: &BatchAnswer, line_of: &[usize], first_line: usize, tally: &mut Tally, progress: &ProgressBar) {
    tally.accepted += answer.accepted;
    tally.duplicate += answer.duplicate;
    tally.rejected += answer.rejected;
    for result in &answer.results {
        if matches!(result.status.as_str(), "limited" | "retry") {
            tally.other += 1;
        }
        if matches!(result.status.as_str(), "accepted" | "duplicate") || tally.rejected + tally.other > SHOWN {
            continue;
        }
        let line = first_line + line_of.get(result.index).copied().unwrap_or(result.index);
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        progress.suspend(|| {
            eprintln!("line {line}: {} at {}: {}", part(&result.code), part(&result.path), part(&result.message));
            if let Some(hint) = &result.hint {
                eprintln!("  hint: {hint}");
            }
        });
    }
}

struct Batch {
    lines: usize,
    events: Vec<Map<String, Value>>,
    /// Event index → line within the batch.
    line_of: Vec<usize>,
    broken: Vec<(usize, String)>,
}

/// Reads up to `size` lines. Events without an id get one here, so that a repeated request counts once.
fn next_batch(lines: &mut dyn BufRead, size: usize) -> anyhow::Result<Batch> {
    let mut batch = Batch { lines: 0, events: Vec::new(), line_of: Vec::new(), broken: Vec::new() };
    let mut text = String::new();
    let mut bytes = 0;
    while batch.lines < size && bytes < REQUEST_BYTES {
        text.clear();
        if lines.read_line(&mut text).context("cannot read the events")? == 0 {
            break;
        }
        let line = batch.lines;
        batch.lines += 1;
        if text.trim().is_empty() {
            continue;
        }
        if text.len() > LINE_BYTES {
            batch.broken.push((line, format!("longer than {} KiB", LINE_BYTES / 1024)));
            continue;
        }
        bytes += text.len();
        match serde_json::from_str::<Map<String, Value>>(&text) {
            Ok(mut event) => {
                event.entry("event_id").or_insert_with(|| Value::String(uuid::Uuid::now_v7().to_string()));
                batch.events.push(event);
                batch.line_of.push(line);
            }
            Err(error) => batch.broken.push((line, format!("not JSON: {error}"))),
        }
    }
    Ok(batch)
}

/// Opens a file, or standard input for `-`.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
    };
    Ok(Box::new(BufReader::new(input)))
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} events, {per_sec}").expect("a constant template");
    ProgressBar::new_spinner().with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_good_lines_apart_from_broken_ones_and_knows_their_numbers() {
        let text =
            "{\"event_name\":\"a\",\"event_id\":\"1\"}\n\nnot json\n{\"event_name\":\"b\"}\n{\"event_name\":\"c\"}\n";
        let mut lines = BufReader::new(text.as_bytes());
        let batch = next_batch(&mut lines, 4).unwrap();
        assert_eq!(batch.lines, 4);
        assert_eq!(batch.line_of, [0, 3]);
        assert_eq!(batch.broken.len(), 1);
        assert_eq!(batch.broken[0].0, 2);
        assert_eq!(batch.events[0]["event_id"], "1");
        assert!(batch.events[1]["event_id"].as_str().unwrap().len() > 30, "an id is made once, before sending");
        let rest = next_batch(&mut lines, 4).unwrap();
        assert_eq!(rest.lines, 1);
    }

    #[test]
    fn a_batch_ends_before_it_is_more_than_a_request_may_be() {
        let line = format!("{{\"padding\":\"{}\"}}\n", "x".repeat(400_000));
        let text = line.repeat(30);
        let mut lines = BufReader::new(text.as_bytes());
        let mut sizes = Vec::new();
        loop {
            let batch = next_batch(&mut lines, 2_500).unwrap();
            if batch.lines == 0 {
                break;
            }
            sizes.push(batch.events.len());
        }
        assert_eq!(sizes, [11, 11, 8]);
    }

    #[test]
    fn a_line_no_gateway_would_take_costs_no_other_line() {
        let text = format!("{{\"a\":1}}\n{{\"padding\":\"{}\"}}\n{{\"b\":1}}\n", "x".repeat(LINE_BYTES));
        let batch = next_batch(&mut BufReader::new(text.as_bytes()), 10).unwrap();
        assert_eq!(batch.line_of, [0, 2]);
        assert_eq!(batch.broken, [(1, "longer than 512 KiB".to_owned())]);
    }
}
