//! What other services serve through the gateway below `/api/v1/` is for admins.

use axum::{Extension, Router, routing::get};
use service_kit::Operator;

use super::harness::{Setup, start_with};
use crate::AuthMode;

#[tokio::test]
async fn routes_of_other_services_are_for_admins_and_know_who_asks() {
    let who = async |Extension(operator): Extension<Operator>| format!("{} of {}", operator.name, operator.tenant);
    let extra = Router::new().route("/api/v1/alerts", get(who)).route("/dev/v1/open", get(async || "open"));
    let mut setup = Setup { extra, ..Setup::default() };
    setup.config.auth.mode = AuthMode::Required;
    let gateway = start_with(setup).await;
    let ask = async |key: &str, path: &str| {
        let request = gateway.client.get(format!("http://{}{path}", gateway.address));
        let request = if key.is_empty() { request } else { request.bearer_auth(key) };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for (key, status) in [("", 401), ("wrong", 401), ("acme-secret", 403), ("acme-reader", 403)] {
        assert_eq!(ask(key, "/api/v1/alerts").await.0, status, "{key}");
    }
    let (status, said) = ask("acme-admin", "/api/v1/alerts").await;
    assert!(status == 200 && said.ends_with("of acme"), "{status}: {said}");
    assert_eq!(ask("", "/dev/v1/open").await, (200, "open".to_owned()));
}
