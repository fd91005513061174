//! A webhook endpoint of the outside world: takes notifications and checks what it receives.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use serde_json::Value;

/// What was received.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub idempotency_key: String,
    pub body: Value,
}

/// Listens on loopback until dropped with its runtime.
#[derive(Clone)]
pub struct Receiver {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    pub url: String,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let receiver = Self { deliveries: Arc::default(), url: format!("http://{address}/hook") };
        let router = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().expect("no one panicked").clone()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, Json(body): Json<Value>) -> Result<(), String> {
    for name in
        ["version", "groupKey", "status", "receiver", "groupLabels", "commonLabels", "commonAnnotations", "alerts"]
    {
        if body.get(name).is_none() {
            return Err(format!("Alertmanager's webhook body has `{name}`"));
        }
    }
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    receiver.deliveries.lock().expect("no one panicked").push(Delivery { idempotency_key: key, body });
    Ok(())
}
