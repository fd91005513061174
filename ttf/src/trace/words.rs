//! What was found, in lines for people.

use serde_json::Value;

/// The answer, a line each.
pub fn for_people(found: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let place = |value: &Value| format!("{} [{}] @ {}", text(&value["topic"]), value["partition"], value["offset"]);
    let gateway = &found["gateway"];
    let mut lines = vec![format!("gateway  {}", text(&gateway["outcome"]))];
    for event in gateway["events"].as_array().into_iter().flatten() {
        let (name, at, source) = (text(&event["event_name"]), text(&event["received_at"]), text(&event["source"]));
        lines.push(format!("event    {}  {name}, received {at} from {source}", place(event)));
    }
    for event in gateway["rejected"].as_array().into_iter().flatten() {
        let reasons: Vec<String> =
            event["reasons"].as_array().into_iter().flatten().map(|reason| text(&reason["code"])).collect();
        lines.push(format!("rejected {}  {}", place(event), reasons.join(", ")));
    }
    let record = &found["record"];
    for (name, word) in [("caused", "caused"), ("latest_of_user", "the user's latest is")] {
        if let Some(told) = record.get(name) {
            let (journey, revision) = (text(&told["journey"]), &told["revision"]);
            lines.push(format!("record   {}  {word} {journey} revision {revision}", place(told)));
        }
    }
    let (row, object) = (&found["row"], &found["object"]);
    if let Some(at) = row["received_at"].as_str() {
        lines.push(format!("row      in {}, received {at}", text(&row["table"])));
    }
    if let Some(path) = object["path"].as_str() {
        lines.push(format!("object   {path}"));
    }
    for (name, value) in [("record", record), ("row", row), ("object", object)] {
        if let Some(why) = value["why"].as_str() {
            let state = if value["known"] == true { "not there" } else { "unknown" };
            lines.push(format!("{name:<8} {state}: {why}"));
        }
    }
    if gateway["outcome"] == "unknown" {
        lines.push(
            "nothing on the topics has this id since the given time: it never came, came longer ago (--from), or was a duplicate of one"
                .to_owned(),
        );
    }
    lines
}
