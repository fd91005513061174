//! A receiver behind HTTP that checks strictly and answers as told.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::strict;
use crate::receivers::webhook::{IDEMPOTENCY_KEY, SIGNATURE};

/// What it answers.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    Status(u16),
    RetryAfter(u16, u64),
    /// 200 with a body Slack would not send.
    Rubbish,
    /// What Slack's Web API answers when it does not do it.
    SlackError(&'static str),
    /// Never answers.
    Hang,
    /// Takes the request and drops the connection.
    Drop,
    /// Does what is asked and drops the connection before it says so.
    TakeAndDrop,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Hit {
    pub at: Instant,
    pub id: Option<String>,
    pub signature: Option<String>,
    pub body: Value,
    pub raw: Bytes,
    /// Whether the answer said yes.
    pub accepted: bool,
}

impl Hit {
    pub fn status(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    /// The level of the notification: that of its first alert.
    pub fn level(&self) -> &str {
        self.body["alerts"][0]["labels"]["level"].as_str().unwrap_or_default()
    }

    pub fn user(&self) -> &str {
        self.body["alerts"][0]["labels"]["user_id"].as_str().unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    hits: Vec<Hit>,
    /// Answers to the next requests; then `then`.
    script: VecDeque<Answer>,
    then: Option<Answer>,
    /// Violations of a provider's contract.
    violations: Vec<String>,
    /// `PagerDuty`: when events came, and which incidents are open.
    events: Vec<Instant>,
    incidents: BTreeSet<String>,
    /// Slack: the messages there are, and when the last came to the channel.
    messages: Vec<String>,
    posted: Option<Instant>,
}

#[derive(Clone)]
pub struct FakeReceiver {
    shared: Arc<Mutex<Shared>>,
    address: std::net::SocketAddr,
}

impl FakeReceiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let fake = Self { shared: Arc::default(), address: listener.local_addr().expect("bound") };
        let routes = Router::new()
            .route("/hook", post(hook))
            .route("/slack", post(slack))
            .route("/api/chat.postMessage", post(slack_post))
            .route("/api/chat.update", post(slack_update))
            .route("/v2/enqueue", post(pagerduty))
            .route("/v2/change/enqueue", post(pagerduty_change))
            .route("/am/api/v2/alerts", post(alertmanager))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        fake
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// These answers next, then yes.
    pub fn answer(&self, script: impl IntoIterator<Item = Answer>) {
        self.shared.lock().script = script.into_iter().collect();
    }

    /// This answer to everything the script does not cover; `None`: yes.
    pub fn answer_always(&self, answer: Option<Answer>) {
        self.shared.lock().then = answer;
    }

    /// Everything that came.
    pub fn hits(&self) -> Vec<Hit> {
        let shared = self.shared.lock();
        assert!(shared.violations.is_empty(), "{:?}", shared.violations);
        shared.hits.clone()
    }

    /// What was answered with yes.
    pub fn accepted(&self) -> Vec<Hit> {
        self.hits().into_iter().filter(|hit| hit.accepted).collect()
    }

    fn check(&self, is_so: bool, what: &str) {
        if !is_so {
            self.shared.lock().violations.push(format!("violated: {what}"));
        }
    }

    fn take(&self, headers: &HeaderMap, raw: Bytes, check: fn(&Value)) -> Option<Answer> {
        let body: Value = serde_json::from_slice(&raw).unwrap_or(Value::Null);
        let violation = std::panic::catch_unwind(|| {
            check(&body);
            let content = headers["content-type"].to_str().expect("a type");
            assert_eq!(content.split(';').next(), Some("application/json"));
        });
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut shared = self.shared.lock();
        if violation.is_err() {
            shared.violations.push(body.to_string());
        }
        let answer = shared.script.pop_front().or(shared.then);
        shared.hits.push(Hit {
            at: Instant::now(),
            id: header(IDEMPOTENCY_KEY),
            signature: header(SIGNATURE),
            accepted: answer.is_none(),
            body,
            raw,
        });
        answer
    }
}

async fn hook(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    match fake.take(&headers, raw, strict::alertmanager) {
        None => StatusCode::OK.into_response(),
        Some(answer) => give(answer).await,
    }
}

async fn slack(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    match fake.take(&headers, raw, strict::slack) {
        None => "ok".into_response(),
        Some(answer) => give(answer).await,
    }
}

/// Slack's Web API: a message a second and channel, replies only to messages that are there.
async fn slack_post(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&raw).unwrap_or_default();
    let answer = fake.take(&headers, raw, strict::slack_post);
    fake.check(headers.get("authorization").is_some_and(|token| token == "Bearer xoxb-token"), "the token");
    let now = Instant::now();
    {
        let mut shared = fake.shared.lock();
        let gap = shared.posted.replace(now).map(|posted| now - posted);
        if gap.is_some_and(|gap| gap < Duration::from_secs(1)) {
            shared.violations.push(format!("two messages to the channel within {gap:?}"));
        }
    }
    if let Some(thread) = body["thread_ts"].as_str() {
        fake.check(fake.shared.lock().messages.iter().any(|ts| ts == thread), "a reply to a message that is there");
    }
    let ts = match answer {
        None | Some(Answer::TakeAndDrop) => {
            let mut shared = fake.shared.lock();
            let ts = format!("1769851800.{:06}", shared.messages.len());
            shared.messages.push(ts.clone());
            ts
        }
        Some(answer) => return give(answer).await,
    };
    if let Some(answer) = answer {
        return give(answer).await;
    }
    Json(json!({"ok": true, "channel": "C0123456789", "ts": ts, "message": {"text": "…"}})).into_response()
}

async fn slack_update(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&raw).unwrap_or_default();
    if let Some(answer) = fake.take(&headers, raw, strict::slack_update) {
        return give(answer).await;
    }
    fake.check(body["channel"] == "C0123456789", "the channel's id, as Slack said it");
    let ts = body["ts"].as_str().unwrap_or_default();
    if fake.shared.lock().messages.iter().all(|known| known != ts) {
        return give(Answer::SlackError("message_not_found")).await;
    }
    Json(json!({"ok": true, "channel": "C0123456789", "ts": ts, "text": "…"})).into_response()
}

/// `PagerDuty`: 120 events a minute, and nothing is resolved that was not triggered.
async fn pagerduty(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&raw).unwrap_or_default();
    let answer = fake.take(&headers, raw, strict::pagerduty);
    let now = Instant::now();
    let in_a_minute = {
        let mut shared = fake.shared.lock();
        shared.events.push(now);
        shared.events.iter().filter(|at| now - **at < Duration::from_secs(60)).count()
    };
    fake.check(in_a_minute <= 120, "120 events a minute");
    let key = body["dedup_key"].as_str().unwrap_or_default().to_owned();
    if !matches!(answer, None | Some(Answer::TakeAndDrop)) {
        return give(answer.unwrap_or(Answer::Hang)).await;
    }
    if body["event_action"] == "trigger" {
        fake.shared.lock().incidents.insert(key.clone());
    } else {
        let is_open = fake.shared.lock().incidents.contains(&key);
        fake.check(is_open, "only what was triggered is acknowledged or resolved");
    }
    if let Some(answer) = answer {
        return give(answer).await;
    }
    let said = json!({"status": "success", "message": "Event processed", "dedup_key": key});
    (StatusCode::ACCEPTED, Json(said)).into_response()
}

async fn pagerduty_change(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    match fake.take(&headers, raw, strict::pagerduty_change) {
        None => (StatusCode::ACCEPTED, Json(json!({"status": "success", "message": "Change event processed"})))
            .into_response(),
        Some(answer) => give(answer).await,
    }
}

async fn alertmanager(State(fake): State<FakeReceiver>, headers: HeaderMap, raw: Bytes) -> Response {
    match fake.take(&headers, raw, strict::alertmanager_alerts) {
        None => StatusCode::OK.into_response(),
        Some(answer) => give(answer).await,
    }
}

async fn give(answer: Answer) -> Response {
    let code = |code| StatusCode::from_u16(code).expect("a status");
    match answer {
        Answer::Status(status) => code(status).into_response(),
        Answer::RetryAfter(status, seconds) => (code(status), [(RETRY_AFTER, seconds.to_string())]).into_response(),
        Answer::SlackError(error) => Json(json!({"ok": false, "error": error})).into_response(),
        Answer::Rubbish => "<html>welcome</html>".into_response(),
        Answer::Hang => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            StatusCode::OK.into_response()
        }
        // Ends the connection without a word, and without a panic's message.
        Answer::Drop | Answer::TakeAndDrop => std::panic::resume_unwind(Box::new("the connection is dropped")),
    }
}
