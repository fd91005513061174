//! Making, deleting and counting.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::executor::block_on;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode as Code,
};
use serde::Serialize;
use telemetry_schemas::topics::{CATALOGUE, EVENTS};

use crate::clients::{self, TIMEOUT};

/// How long a topic may take to be gone, or a group to be empty.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// Groups whose offsets are forgotten
    #[arg(long, value_delimiter = ',')]
    groups: Vec<String>,
    /// Topics to be deleted
    #[arg(long, value_delimiter = ',')]
    delete: Vec<String>,
    /// Delete every topic of the catalogue, too, but that of events
    #[arg(long)]
    catalogue: bool,
    /// Topics to be made then
    #[arg(long, value_delimiter = ',')]
    create: Vec<String>,
    /// How many partitions those have
    #[arg(long, default_value_t = 12)]
    partitions: i32,
}

#[derive(Debug, Serialize)]
pub struct Reset {
    groups: usize,
    deleted: usize,
    created: usize,
}

pub fn reset(brokers: &str, args: &ResetArgs) -> anyhow::Result<Reset> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().context("cannot make an admin client")?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let names = |names: &[String]| -> Vec<String> { names.iter().filter(|name| !name.is_empty()).cloned().collect() };
    let (groups, mut deleted, created) = (names(&args.groups), names(&args.delete), names(&args.create));
    if args.catalogue {
        deleted.extend(CATALOGUE.iter().filter(|topic| topic.name != EVENTS).map(|topic| topic.name.to_owned()));
    }
    for group in &groups {
        until(group, || match &block_on(admin.delete_groups(&[group], &options))?[..] {
            [Err((_, code))] if is_passing(*code) => Ok(false),
            [Err((_, code))] if *code != Code::GroupIdNotFound => bail!("cannot delete group {group}: {code}"),
            _ => Ok(true),
        })?;
    }
    if !deleted.is_empty() {
        let names: Vec<&str> = deleted.iter().map(String::as_str).collect();
        for result in block_on(admin.delete_topics(&names, &options))? {
            match result {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((name, code)) => bail!("cannot delete topic {name}: {code}"),
            }
        }
        for name in &deleted {
            until(name, || Ok(!exists(&admin, name)?))?;
        }
    }
    for name in &created {
        let topic = NewTopic::new(name, args.partitions, TopicReplication::Fixed(1));
        until(name, || match &block_on(admin.create_topics([&topic], &options))?[..] {
            // One of that name is still being deleted, or it was made by the try before this one.
            [Err((_, Code::TopicAlreadyExists))] => exists(&admin, name),
            [Err((_, code))] => bail!("cannot make topic {name}: {code}"),
            _ => Ok(false),
        })?;
    }
    Ok(Reset { groups: groups.len(), deleted: deleted.len(), created: created.len() })
}

/// A member that was killed stays in its group for a session time-out, and a new broker has no coordinator yet.
fn is_passing(code: Code) -> bool {
    use Code::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NonEmptyGroup, NotCoordinator};
    matches!(code, NonEmptyGroup | CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
}

fn exists(admin: &AdminClient<DefaultClientContext>, name: &str) -> anyhow::Result<bool> {
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT).context("no answer from the brokers")?;
    Ok(metadata.topics().iter().any(|topic| topic.name() == name))
}

fn until(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > deadline {
            bail!("`{what}` is not as wanted after {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[derive(Debug, clap::Args)]
pub struct EndsArgs {
    #[arg(long)]
    topic: String,
}

#[derive(Debug, Serialize)]
pub struct Ends {
    partitions: usize,
    /// Between oldest and end, over all partitions: transaction markers are in it.
    offsets: i64,
}

pub fn ends(brokers: &str, args: &EndsArgs) -> anyhow::Result<Ends> {
    let spans = clients::spans(&clients::reader(brokers, "read_uncommitted").create()?, &args.topic)?;
    Ok(Ends { partitions: spans.len(), offsets: spans.iter().map(|span| span.high - span.low).sum() })
}
