//! A receiver behind HTTP that checks strictly and answers as told.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use parking_lot::Mutex;
use serde_json::Value;
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
    /// Never answers.
    Hang,
    /// Takes the request and drops the connection.
    Drop,
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
        let routes = Router::new().route("/hook", post(hook)).route("/slack", post(slack)).with_state(fake.clone());
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

    fn take(&self, headers: &HeaderMap, raw: Bytes, check: fn(&Value)) -> Option<Answer> {
        let body: Value = serde_json::from_slice(&raw).unwrap_or(Value::Null);
        let violation = std::panic::catch_unwind(|| {
            check(&body);
            assert_eq!(headers["content-type"], "application/json");
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

async fn give(answer: Answer) -> Response {
    let code = |code| StatusCode::from_u16(code).expect("a status");
    match answer {
        Answer::Status(status) => code(status).into_response(),
        Answer::RetryAfter(status, seconds) => (code(status), [(RETRY_AFTER, seconds.to_string())]).into_response(),
        Answer::Rubbish => "<html>welcome</html>".into_response(),
        Answer::Hang => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            StatusCode::OK.into_response()
        }
        // Ends the connection without a word, and without a panic's message.
        Answer::Drop => std::panic::resume_unwind(Box::new("the connection is dropped")),
    }
}
