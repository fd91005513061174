//! One line for people.

use serde_json::Value;

use crate::cli::Stream;

/// A short line: when, who, what.
pub fn for_people(stream: Stream, value: &Value) -> String {
    if let Some(error) = value.get("undecodable") {
        return format!(
            "undecodable record at {}[{}]@{}: {error}",
            value["topic"], value["partition"], value["offset"]
        );
    }
    match stream {
        Stream::Events => format!(
            "{}  {}  {}  {}",
            text(value, "timestamp"),
            text(value, "event_type"),
            text(value, "event_name"),
            subject(value)
        ),
        Stream::Records => format!(
            "{}  {}  {}  {}  r{}  total {}  now in {}{}",
            text(value, "emitted_at"),
            text(value, "user_id"),
            text(value, "journey"),
            text(value, "status"),
            value["revision"],
            value["total_ms"].as_i64().map_or("–".to_owned(), duration),
            value["current_stage"].as_str().unwrap_or("–"),
            value["breach_level"].as_str().map(|level| format!("  missed {level}")).unwrap_or_default(),
        ),
        Stream::Breaches => format!(
            "{}  {}  {}  {} {}{}{}",
            text(value, "detected_at"),
            text(value, "user_id"),
            text(value, "journey"),
            text(value, "level"),
            text(value, "status"),
            value["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default(),
            if value["late"] == Value::Bool(true) { "  late" } else { "" },
        ),
        Stream::Rejected => {
            let reasons: Vec<_> = value["reasons"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|reason| {
                    format!("{} at {}: {}", text(reason, "code"), text(reason, "path"), text(reason, "message"))
                })
                .collect();
            format!("{}  {}  {}", text(value, "received_at"), text(value, "source"), reasons.join("; "))
        }
        Stream::Notifications => format!(
            "{}  {}  {} {}  {}",
            text(value, "created_at"),
            text(value, "receiver"),
            text(value, "level"),
            text(value, "status"),
            text(value, "group_key"),
        ),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("–")
}

fn subject(value: &Value) -> &str {
    value["user_id"].as_str().or_else(|| value["anonymous_id"].as_str()).unwrap_or("–")
}

/// Milliseconds as `42 s`, `12 min 5 s`, `3 h 20 min`.
pub fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 && s % 60 == 0 => format!("{} min", s / 60),
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s if s < 86_400 && s % 3600 < 60 => format!("{} h", s / 3600),
        s if s < 86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        let shown: Vec<_> = [0, 42_900, 60_000, 725_000, 3_600_000, 12_000_000, 90_000_000].map(duration).into();
        assert_eq!(shown, ["0 s", "42 s", "1 min", "12 min 5 s", "1 h", "3 h 20 min", "1 d 1 h"]);
    }
}
