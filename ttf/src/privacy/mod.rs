//! `ttf erase`, `ttf certificate`, `ttf export`: what people are owed.

pub mod args;
mod state;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use reqwest::StatusCode;
use serde_json::{Value, json};
use service_kit::{Kit, config::Secret};
use sink_archiver::{
    database::{self, Database},
    live_view,
    privacy::{access, certificate::Certificate},
};
use telemetry_schemas::EventTime;

use self::args::{CertificateArgs, EraseArgs, ExportArgs};
use crate::{
    audit::{self, Act},
    cli::ConfigArgs,
    config::{self, Config},
    exit,
    gateway_client::{self, GatewayClient},
    output,
};

const POLL: Duration = Duration::from_millis(500);

/// Asks the gateway to forget a user; with `--wait` follows it to the certificate.
pub async fn erase(args: EraseArgs) -> anyhow::Result<ExitCode> {
    let client = GatewayClient::new(&args.gateway)?;
    let body = json!({"user_id": args.user_id, "reason": args.reason});
    let response = client.ask(client.post("/api/v1/privacy/erasures").json(&body)).await?;
    if response.status() != StatusCode::ACCEPTED {
        bail!("{} answered {}: {}", client.url(), response.status(), gateway_client::message_of(response).await);
    }
    let answer: Value = response.json().await?;
    let id = answer["erasure_id"].as_str().context("the gateway's answer names no erasure")?.to_owned();
    let Some(patience) = args.wait else {
        if args.json {
            output::line(serde_json::to_string_pretty(&answer)?)?;
        } else {
            output::line(format_args!("erasure {id} is accepted; `ttf certificate {id}` shows how far it is"))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let (_, database) = open(&args.config).await?;
    let deadline = Instant::now() + patience.as_std();
    loop {
        let found = database.certificates(Some(&id)).await?.pop();
        let is_complete = found.as_ref().is_some_and(Certificate::is_complete);
        if is_complete || Instant::now() >= deadline {
            let shown = found.map_or(json!({"erasure_id": id, "status": "accepted"}), |found| found.to_json());
            output::line(serde_json::to_string_pretty(&shown)?)?;
            return Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Shows what was erased where and when.
pub async fn certificate(args: CertificateArgs) -> anyhow::Result<ExitCode> {
    let (_, database) = open(&args.config).await?;
    let found = database.certificates(args.erasure_id.as_deref()).await?;
    if let Some(id) = &args.erasure_id {
        let found = found.first().with_context(|| format!("no store has carried out erasure {id} yet"))?;
        output::line(serde_json::to_string_pretty(&found.to_json())?)?;
    } else {
        let open: Vec<Value> = found.iter().map(Certificate::to_json).collect();
        output::line(serde_json::to_string_pretty(&open)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints everything that is kept about a user, as JSON, and notes in the audit log that it was done.
pub async fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let (config, database) = open(&args.config).await?;
    let view = live_view::over(Arc::clone(&database), &config.archive, &Kit::new("ttf"))?;
    let now = EventTime(service_kit::clock::now_ms());
    let kept = access::gather(&*database, &*view, &args.tenant, &args.user_id, now).await?;
    let mut shown = serde_json::to_value(&kept)?;
    let (tenant, user_id) = (args.tenant.clone(), args.user_id.clone());
    let state = tokio::task::spawn_blocking(move || {
        let log = stream_runtime::log::open(&config.log, "ttf-export").context("the log cannot be opened")?;
        let codec = config::codec(&config)?;
        let state = state::read(&*log, &codec, &tenant, &user_id)?;
        let act = Act { action: "export", target: format!("a user of tenant {tenant}"), details: Vec::new() };
        audit::write(&*log, &codec, &audit::operator(), vec![act])?;
        anyhow::Ok(state)
    });
    shown["processor_state"] = state.await??;
    output::line(serde_json::to_string_pretty(&shown)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn open(args: &ConfigArgs) -> anyhow::Result<(Config, Arc<dyn Database>)> {
    let config = config::load(args)?;
    let database = database::open(&config.archive.database)?;
    database.open_ledger(config.archive.erasure_key.as_ref().map(Secret::expose)).await?;
    Ok((config, database))
}
