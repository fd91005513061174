//! What is open and why, and what to do about it. It asks the gateway, as any other client may.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    desk_args::{
        AckArgs, AssignArgs, ListArgs, OneArgs, OutputArgs, RoutesTestArgs, SignedArgs, SilenceArgs, SilencesArgs,
    },
    page,
};
use crate::{
    audit, config, exit,
    gateway_client::{self, GatewayClient},
    output,
};

pub async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let query = [("filter", args.matchers.join(",")), ("over", args.over.to_string())];
    let client = GatewayClient::new(&args.output.gateway)?;
    let answer = ask(&client, client.get("/api/v1/alerts").query(&query)).await?;
    show(&args.output, &answer, page::list)
}

pub async fn silences(args: SilencesArgs) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&args.output.gateway)?;
    let answer = ask(&client, client.get("/api/v1/silences")).await?;
    show(&args.output, &answer, page::silences)
}

pub async fn one(args: OneArgs) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&args.output.gateway)?;
    let answer = ask(&client, client.get(&format!("/api/v1/alerts/{}", segment(&args.id)?))).await?;
    show(&args.output, &answer, page::whole)
}

pub async fn why(args: OneArgs) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&args.output.gateway)?;
    let answer = ask(&client, client.get(&format!("/api/v1/alerts/{}/why", segment(&args.id)?))).await?;
    show(&args.output, &answer, page::why)
}

pub async fn ack(args: AckArgs) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/alerts/{}/ack", segment(&args.one.id)?);
    order(&args.one.output, &path, signed(&args.signed)).await
}

pub async fn assign(args: AssignArgs) -> anyhow::Result<ExitCode> {
    let mut body = signed(&args.signed);
    body["assignee"] = args.assignee.into();
    order(&args.one.output, &format!("/api/v1/alerts/{}/assign", segment(&args.one.id)?), body).await
}

pub async fn silence(args: SilenceArgs) -> anyhow::Result<ExitCode> {
    let mut body = signed(&args.signed);
    match &args.end {
        Some(end) => body["ends_at"] = end.as_str().into(),
        None => body["duration"] = args.duration.as_str().into(),
    }
    if let [id] = args.what.as_slice()
        && !id.contains(['=', '!'])
    {
        if args.start.is_some() {
            bail!("a group is silenced at once; give matchers for a silence that begins later");
        }
        return order(&args.output, &format!("/api/v1/alerts/{}/silence", segment(id)?), body).await;
    }
    body["matchers"] = json!(args.what);
    if let Some(start) = args.start {
        body["starts_at"] = start.into();
    }
    order(&args.output, "/api/v1/silences", body).await
}

/// A silence of its own has a UUID, a group a hash without hyphens.
pub async fn unsilence(args: OneArgs) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&args.output.gateway)?;
    let id = segment(&args.id)?;
    let request = if id.contains('-') {
        client.delete(&format!("/api/v1/silences/{id}"))
    } else {
        client.post(&format!("/api/v1/alerts/{id}/unsilence")).json(&json!({}))
    };
    let answer = ask(&client, request).await?;
    show(&args.output, &answer, page::accepted)
}

async fn order(output: &OutputArgs, path: &str, body: Value) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&output.gateway)?;
    let answer = ask(&client, client.post(path).json(&body)).await?;
    show(output, &answer, page::accepted)
}

async fn ask(client: &GatewayClient, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = client.ask(request).await?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        bail!("{} answered {status}: {}", client.url(), gateway_client::message_of(response).await);
    }
    response.json().await.context("the answer is no JSON")
}

fn signed(signed: &SignedArgs) -> Value {
    let author = signed.author.clone().unwrap_or_else(audit::operator);
    json!({ "author": author, "comment": signed.comment })
}

/// Ids are letters, digits and hyphens; of a whole key the last part counts.
fn segment(id: &str) -> anyhow::Result<&str> {
    let id = id.rsplit(':').next().unwrap_or_default();
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_id { Ok(id) } else { bail!("`{id}` is no id; `ttf alert list` shows them") }
}

fn show(args: &OutputArgs, answer: &Value, people: impl Fn(&Value) -> Vec<String>) -> anyhow::Result<ExitCode> {
    if args.json {
        output::line(serde_json::to_string_pretty(answer)?)?;
    } else {
        for line in people(answer) {
            output::line(line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// By the configuration alone: nothing has to run.
pub fn routes_test(args: &RoutesTestArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let mut labels = BTreeMap::new();
    for pair in &args.labels {
        let (name, value) = pair.split_once('=').with_context(|| format!("`{pair}` is no LABEL=VALUE"))?;
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if !alerter::config::is_label(name) {
            bail!("alerts have no label `{name}`");
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    let routes = alerter::route::Routes::new(&config.alerter);
    let mutes = alerter::mutes::Mutes::new(&config.alerter);
    let now = telemetry_schemas::EventTime(service_kit::clock::now_ms());
    let answer = alerter::desk::view::destinations(&routes, &labels, &mutes, now);
    let lines = if args.json { vec![serde_json::to_string_pretty(&answer)?] } else { page::destinations(&answer) };
    for line in lines {
        output::line(line)?;
    }
    let found = answer["destinations"].as_array().is_some_and(|found| !found.is_empty());
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}
