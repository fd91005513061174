//! The gateway's answers about alerts as text for people. Pure.

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::Value;

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn labels(value: &Value) -> String {
    let labels = value.as_object().into_iter().flatten();
    labels.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn table(header: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> Vec<String> {
    if rows.is_empty() {
        return vec![nothing.to_owned()];
    }
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    vec![table.to_string()]
}

pub fn list(answer: &Value) -> Vec<String> {
    let row = |alert: &Value| {
        let told: Vec<_> = each(&alert["told"]).map(|told| text(&told["receiver"])).collect();
        vec![
            text(&alert["id"]).chars().take(12).collect(),
            text(&alert["status"]),
            text(&alert["level"]),
            text(&alert["users"]),
            text(&alert["since"]),
            told.join(" "),
            text(&alert["assigned_to"]),
            labels(&alert["labels"]),
        ]
    };
    let rows = each(&answer["alerts"]).map(row).collect();
    table(&["id", "status", "level", "users", "since", "told", "assigned", "labels"], rows, "nothing is open")
}

pub fn silences(answer: &Value) -> Vec<String> {
    let row = |silence: &Value| {
        let matchers: Vec<_> = each(&silence["matchers"]).map(text).collect();
        let names = ["id", "status", "ends_at", "created_by", "comment"].map(|name| text(&silence[name]));
        names.into_iter().chain([matchers.join(" ")]).collect()
    };
    let rows = each(&answer["silences"]).map(row).collect();
    table(&["id", "status", "ends", "by", "comment", "matchers"], rows, "there are no silences")
}

fn head(answer: &Value) -> Vec<String> {
    let mut lines = vec![
        format!("{}  {}  {}", text(&answer["id"]), text(&answer["status"]), text(&answer["level"])),
        format!("labels       {}", labels(&answer["labels"])),
        format!(
            "firing       {} alerts of {} users, since {}",
            text(&answer["firing"]),
            text(&answer["users"]),
            text(&answer["since"])
        ),
    ];
    for (name, word) in [
        ("acknowledged_by", "taken by"),
        ("assigned_to", "assigned to"),
        ("silenced_until", "silent until"),
        ("next_look_at", "next look"),
    ] {
        if !answer[name].is_null() {
            lines.push(format!("{word:<12} {}", text(&answer[name])));
        }
    }
    lines
}

pub fn whole(answer: &Value) -> Vec<String> {
    let mut lines = head(answer);
    for alert in each(&answer["alerts"]) {
        let summary = alert["annotations"]["summary"].as_str().map_or(String::new(), |text| format!("  {text}"));
        let suppressed = alert["suppressed"].as_str().map_or(String::new(), |why| format!("  [{why}]"));
        lines.push(format!("  {}  {}{summary}{suppressed}", text(&alert["status"]), labels(&alert["labels"])));
    }
    lines
}

pub fn why(answer: &Value) -> Vec<String> {
    let mut lines = head(answer);
    lines.push("decisions, the oldest first".to_owned());
    for decided in each(&answer["decisions"]) {
        let told: Vec<_> = each(&decided["told"]).map(text).collect();
        let told = if told.is_empty() { String::new() } else { format!(" -> {}", told.join(", ")) };
        let times = match decided["times"].as_i64() {
            Some(times) if times > 1 => format!(" ({times} times until {})", text(&decided["last_at"])),
            _ => String::new(),
        };
        let detail = decided["detail"].as_str().filter(|detail| !detail.is_empty());
        let detail = detail.map_or(String::new(), |detail| format!(" [{detail}]"));
        let (at, reason) = (text(&decided["at"]), text(&decided["reason"]));
        lines.push(format!("  {at}  {reason}{told}{times}: {}{detail}", text(&decided["meaning"])));
    }
    let deliveries: Vec<_> = each(&answer["deliveries"]).collect();
    if !deliveries.is_empty() {
        lines.push("what receivers have heard".to_owned());
    }
    lines.extend(deliveries.into_iter().flat_map(delivery));
    lines
}

/// What one receiver has heard, and what it was not told.
fn delivery(answer: &Value) -> Vec<String> {
    let heard: Vec<_> = each(&answer["heard_by"]).map(text).collect();
    let receiver = text(&answer["receiver"]);
    let mut said = match (heard.is_empty(), heard == [receiver.clone()]) {
        (true, _) => "has not heard of it, or has heard its end".to_owned(),
        (_, true) => "has heard of it".to_owned(),
        _ => format!("heard by {}", heard.join(", ")),
    };
    if answer["is_being_tried"] == true {
        said.push_str("; is being told");
    }
    let mut lines = vec![format!("  {receiver}: {said}")];
    lines.extend(each(&answer["undelivered"]).map(|entry| {
        let detail = entry["detail"].as_str().filter(|detail| !detail.is_empty());
        let detail = detail.map_or(String::new(), |detail| format!(" [{detail}]"));
        let (at, decision, outcome) = (text(&entry["at"]), text(&entry["decision"]), text(&entry["outcome"]));
        format!("    {at}  {decision}  {outcome}: {}{detail}", text(&entry["meaning"]))
    }));
    lines
}

pub fn accepted(answer: &Value) -> Vec<String> {
    let until = answer["until"].as_str().or(answer["ends_at"].as_str());
    let until = until.map_or(String::new(), |until| format!(", until {until}"));
    vec![format!("accepted: {}{until}", text(&answer["id"]))]
}

pub fn destinations(answer: &Value) -> Vec<String> {
    let line = |routed: &Value| {
        let group_by: Vec<_> = each(&routed["group_by"]).map(text).collect();
        let step = |step: &Value| {
            format!(", then {} after {} s", text(&step["receiver"]), step["after_ms"].as_i64().unwrap_or(0) / 1_000)
        };
        let steps: String = each(&routed["escalation"]).map(step).collect();
        let closed = routed["closed"].as_str().map_or(String::new(), |why| format!(" (not now: {why})"));
        format!("{}{steps}, grouped by {}{closed}", text(&routed["receiver"]), group_by.join(", "))
    };
    let mut lines: Vec<_> = each(&answer["destinations"]).map(line).collect();
    lines.extend(answer["suppressed"].as_str().map(|why| format!("not told now: {why}")));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn why_tells_each_decision_with_its_meaning_and_its_receivers() {
        let answer = json!({
            "id": "3d1f", "status": "acknowledged", "level": "critical", "firing": 2, "users": 1,
            "since": "2026-01-31T09:28:55.000Z", "labels": { "tenant": "acme" }, "acknowledged_by": "ada",
            "decisions": [
                { "at": "t1", "last_at": "t1", "times": 1, "reason": "first_notification", "meaning": "told", "told": ["log"], "detail": "" },
                { "at": "t2", "last_at": "t9", "times": 7, "reason": "silenced", "meaning": "not told", "told": [], "detail": "by ada" },
            ],
        });
        let text = why(&answer).join("\n");
        assert!(text.contains("t1  first_notification -> log: told"), "{text}");
        assert!(text.contains("t2  silenced (7 times until t9): not told [by ada]"), "{text}");
        assert!(text.contains("taken by     ada"), "{text}");
    }

    #[test]
    fn why_tells_what_each_receiver_has_heard_and_what_was_not_delivered() {
        let answer = json!({
            "id": "3d1f", "decisions": [],
            "deliveries": [
                { "receiver": "pager", "heard_by": [], "is_being_tried": false, "undelivered": [
                    { "at": "t1", "decision": "first_notification", "outcome": "failed", "meaning": "given up", "detail": "answered 400" },
                ] },
                { "receiver": "team", "heard_by": ["team"], "is_being_tried": true, "undelivered": [] },
                { "receiver": "lead", "heard_by": ["mail"], "is_being_tried": false, "undelivered": [] },
            ],
        });
        let text = why(&answer).join("\n");
        assert!(text.contains("  pager: has not heard of it, or has heard its end\n"), "{text}");
        assert!(text.contains("    t1  first_notification  failed: given up [answered 400]"), "{text}");
        assert!(text.contains("  team: has heard of it; is being told"), "{text}");
        assert!(text.contains("  lead: heard by mail"), "{text}");
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(list(&json!({ "alerts": [] })), ["nothing is open"]);
        assert_eq!(silences(&json!({ "silences": [] })), ["there are no silences"]);
    }
}
