//! A view as tables for people. Pure.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};

use telemetry_schemas::BreachLevel;

use super::view::{Consumer, Partition, Process, View};
use crate::tail::duration;

const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
/// What stands where nothing is known.
const NONE: &str = "–";

/// The view in at most `rows` lines, where given: then the partitions that need a look least are left out first.
pub fn render(view: &View, rows: Option<usize>) -> String {
    let mut text = headline(view);
    for problem in &view.problems {
        let _ = write!(text, "\n{RED}! {problem}{PLAIN}");
    }
    let processes = processes(&view.processes);
    let consumers = consumers(&view.consumers);
    let before = text.lines().count() + lines(processes.as_ref()) + lines(consumers.as_ref());
    let mut partitions: Vec<&Partition> = view.partitions.iter().collect();
    let mut left_out = 0;
    // A line above each table, one for the header of this one, and one that says what is left out.
    if let Some(room) = rows.map(|rows| rows.saturating_sub(before + 3).max(1))
        && partitions.len() > room
    {
        partitions
            .sort_by_key(|it| (it.owner.is_some(), it.restore_remaining_records == 0, -it.lag_records.unwrap_or(0)));
        left_out = partitions.len() - room;
        partitions.truncate(room);
    }
    for table in [processes, partition_table(&partitions), consumers].into_iter().flatten() {
        let _ = write!(text, "\n\n{table}");
    }
    if left_out > 0 {
        let _ = write!(text, "\n{left_out} more partitions, all with an owner and less behind");
    }
    text
}

fn lines(table: Option<&Table>) -> usize {
    table.map_or(0, |table| 1 + table.to_string().lines().count())
}

fn headline(view: &View) -> String {
    let owned = view.partitions.iter().filter(|partition| partition.owner.is_some()).count();
    let processors = view.processes.len();
    let mut text = format!(
        "{BOLD}{}{PLAIN}  {processors} processor{} · {owned} of {} partitions owned · lag {} · oldest {}",
        view.at,
        if processors == 1 { "" } else { "s" },
        view.partitions.len(),
        view.lag_records().map_or(NONE.to_owned(), |lag| count(lag.unsigned_abs())),
        age(view.oldest_unprocessed_seconds()),
    );
    if let Some(journeys) = &view.journeys {
        let _ = write!(text, "\njourneys in progress {}", count(journeys.in_progress));
        let known = |level: &BreachLevel| {
            Some(format!("{} {}", count(*journeys.breaches_open.get(level.as_str())?), level.as_str()))
        };
        let open: Vec<String> = BreachLevel::ALL.iter().filter_map(known).collect();
        if !open.is_empty() {
            let _ = write!(text, " · breaches open: {}", open.join(", "));
        }
    }
    text
}

fn processes(processes: &[Process]) -> Option<Table> {
    let header = [
        "processor",
        "workers",
        "partitions",
        "in/s",
        "out/s",
        "commit p50",
        "p99",
        "uncommitted",
        "aborts",
        "rebalances",
        "restore left",
        "restored/s",
        "state",
    ];
    let rows = processes.iter().map(|it| {
        vec![
            address(&it.url),
            it.workers.len().to_string(),
            it.partitions.to_string(),
            rate(it.records_in_per_second),
            rate(it.records_out_per_second),
            millis(it.commit_p50_ms),
            millis(it.commit_p99_ms),
            age(Some(it.open_transaction_seconds).filter(|age| *age > 0.0)),
            aborts(it),
            it.rebalances.to_string(),
            if it.restore_remaining_records == 0 { NONE.to_owned() } else { count(it.restore_remaining_records) },
            if it.restore_remaining_records == 0 { NONE.to_owned() } else { rate(it.restored_per_second) },
            it.state_bytes.map_or(NONE.to_owned(), bytes),
        ]
    });
    table(&header, 1, rows)
}

fn partition_table(partitions: &[&Partition]) -> Option<Table> {
    let header = ["partition", "owner", "on", "lag", "oldest", "restore left", "state", "entries"];
    let rows = partitions.iter().map(|it| {
        vec![
            it.partition.to_string(),
            it.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
            it.process.as_deref().map_or(NONE.to_owned(), address),
            it.lag_records.map_or(NONE.to_owned(), |lag| count(lag.unsigned_abs())),
            age(it.oldest_unprocessed_seconds.filter(|_| it.lag_records != Some(0))),
            if it.restore_remaining_records == 0 { NONE.to_owned() } else { count(it.restore_remaining_records) },
            it.state_bytes.map_or(NONE.to_owned(), bytes),
            it.state_entries.map_or(NONE.to_owned(), count),
        ]
    });
    table(&header, 3, rows)
}

fn consumers(consumers: &[Consumer]) -> Option<Table> {
    let header = ["group", "topic", "partitions", "lag", "oldest", "deleted in"];
    let rows = consumers.iter().map(|it| {
        vec![
            it.group.clone(),
            it.topic.clone(),
            it.partitions.to_string(),
            count(it.lag_records.unsigned_abs()),
            age(Some(it.oldest_unprocessed_seconds).filter(|_| it.lag_records > 0)),
            age(it.retention_headroom_seconds.filter(|_| it.lag_records > 0)),
        ]
    });
    table(&header, 2, rows)
}

/// A table whose columns from `numbers` on are numbers; none without rows.
fn table(header: &[&str], numbers: usize, rows: impl Iterator<Item = Vec<String>>) -> Option<Table> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    let mut empty = true;
    for row in rows {
        empty = false;
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    (!empty).then_some(table)
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

fn aborts(process: &Process) -> String {
    let all: Vec<String> =
        process.aborts.iter().filter(|(_, n)| **n > 0).map(|(class, n)| format!("{n} {class}")).collect();
    if all.is_empty() { "0".to_owned() } else { all.join(", ") }
}

fn age(seconds: Option<f64>) -> String {
    match seconds {
        None => NONE.to_owned(),
        Some(seconds) if seconds < 0.0 => "overdue".to_owned(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) => duration((seconds * 1_000.0) as i64),
    }
}

fn millis(millis: Option<f64>) -> String {
    match millis {
        None => NONE.to_owned(),
        Some(millis) if millis < 10.0 => format!("{millis:.1} ms"),
        Some(millis) => format!("{millis:.0} ms"),
    }
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or(NONE.to_owned(), |rate| if rate < 10.0 { format!("{rate:.1}") } else { count(rate.round() as u64) })
}

/// With thousands apart: `1 234 567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // Narrow and not to be broken.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(partitions: i32) -> View {
        let partition = |partition: i32| Partition {
            partition,
            owner: (partition != 2).then(|| "ttf-processor-0-0".to_owned()),
            process: Some("http://127.0.0.1:9464".to_owned()),
            lag_records: Some(i64::from(partition) * 1_000),
            oldest_unprocessed_seconds: Some(0.25),
            ..Partition::default()
        };
        View { partitions: (0..partitions).map(partition).collect(), problems: vec!["look".into()], ..View::default() }
    }

    #[test]
    fn what_does_not_fit_a_terminal_is_what_needs_no_look() {
        let all = render(&view(12), None);
        assert_eq!(all.matches("127.0.0.1:9464").count(), 12, "{all}");
        let fitted = render(&view(12), Some(10));
        assert!(fitted.lines().count() <= 10, "{fitted}");
        assert!(fitted.contains("nobody") && fitted.contains("11\u{202f}000") && !fitted.contains(" 1\u{202f}000"));
        assert!(fitted.ends_with("more partitions, all with an owner and less behind"), "{fitted}");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!((count(7), count(1_234_567)), ("7".to_owned(), "1\u{202f}234\u{202f}567".to_owned()));
        assert_eq!((bytes(512), bytes(1 << 20)), ("512 B".to_owned(), "1.0 MiB".to_owned()));
        assert_eq!((age(Some(0.25)), age(Some(-1.0)), age(None)), ("0.2 s".into(), "overdue".into(), NONE.into()));
    }
}
