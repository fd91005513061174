//! `ttf tail`: prints what flows through a topic, read from Kafka or from a running `ttf dev`.

mod line;
pub use line::duration;
mod read;
pub use read::scan;
pub mod server;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, bail};
use futures::StreamExt;
use serde_json::Value;
use stream_runtime::log::LogConfig;
use telemetry_schemas::{EventTime, topics};
use tokio_util::io::StreamReader;

use crate::{
    cli::{ConfigArgs, GatewayArgs, Stream, TailArgs, TailSource},
    config, gateway_client, output,
};

/// Where to start reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Beginning,
    Now,
    Time(EventTime),
}

impl From {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "now" => Ok(Self::Now),
            time => EventTime::parse(time).map(Self::Time).map_err(|_| {
                anyhow::anyhow!("`{time}` is neither `beginning`, `now`, nor a time such as 2026-01-31T09:00:00Z")
            }),
        }
    }
}

impl Stream {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Records => "records",
            Self::Breaches => "breaches",
            Self::Rejected => "rejected",
            Self::Notifications => "notifications",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Events, Self::Records, Self::Breaches, Self::Rejected, Self::Notifications]
            .into_iter()
            .find(|stream| stream.name() == name)
    }

    pub const fn topic(self) -> &'static str {
        match self {
            Self::Events => topics::EVENTS,
            Self::Records => topics::TTF_RECORDS,
            Self::Breaches => topics::TTF_BREACHES,
            Self::Rejected => topics::EVENTS_REJECTED,
            Self::Notifications => topics::ALERT_NOTIFICATIONS,
        }
    }
}

pub async fn run(args: TailArgs) -> anyhow::Result<ExitCode> {
    let from = From::parse(&args.from)?;
    match args.source(|name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        TailSource::Config(path) => from_log(&args, path, from).await?,
        TailSource::Url(url) => from_dev(&args, &url).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn from_log(args: &TailArgs, path: PathBuf, from: From) -> anyhow::Result<()> {
    let config = config::load(&ConfigArgs { config: Some(path) })?;
    if matches!(config.log, LogConfig::Embedded(_)) {
        bail!("an embedded log is read through the process that holds it: use `--url http://127.0.0.1:8080`");
    }
    let (stream, follow, json) = (args.stream, !args.no_follow, args.json);
    tokio::task::spawn_blocking(move || {
        let log = stream_runtime::log::open(&config.log, "ttf-tail")?;
        let codec = config::codec(&config)?;
        read::read(
            &log,
            &codec,
            stream,
            from,
            follow,
            &mut |value| match value.map(|value| print(stream, &value, json)) {
                Some(Err(_)) => ControlFlow::Break(()),
                None if output::reader_gone() => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            },
        )
    })
    .await?
}

async fn from_dev(args: &TailArgs, url: &str) -> anyhow::Result<()> {
    let client = gateway_client::GatewayClient::new(&GatewayArgs { url: url.to_owned(), api_key: None })?;
    let request = client
        .get(&format!("/dev/v1/tail/{}", args.stream.name()))
        .query(&[("from", args.from.as_str()), ("follow", if args.no_follow { "false" } else { "true" })])
        .timeout(std::time::Duration::from_secs(365 * 24 * 3600));
    let response = client.ask(request).await?;
    match response.status().as_u16() {
        200 => {}
        404 => bail!("{url} has no tail: it is not a `ttf dev` (for Kafka give --config)"),
        status => bail!("{url} answered {status}: {}", gateway_client::message_of(response).await),
    }
    let body = StreamReader::new(response.bytes_stream().map(|chunk| chunk.map_err(std::io::Error::other)));
    let mut lines = tokio::io::AsyncBufReadExt::lines(body);
    while let Some(text) = lines.next_line().await.context("the connection broke")? {
        if text.is_empty() {
            if output::reader_gone() {
                break;
            }
            continue;
        }
        let value: Value = serde_json::from_str(&text).context("not a line of JSON")?;
        // A closed pipe (`ttf tail … | head`) ends the tail in peace.
        if print(args.stream, &value, args.json).is_err() {
            break;
        }
    }
    Ok(())
}

fn print(stream: Stream, value: &Value, json: bool) -> anyhow::Result<()> {
    if json { output::line(value) } else { output::line(line::for_people(stream, value)) }
}

/// What the dev server and the Kafka reader share.
pub type SharedLog = Arc<dyn stream_runtime::log::Log>;
