//! `ttf demo`: simulates a cohort of users against a running gateway and shows what TTF makes of it.
//!
//! The signups of the past hours are replayed in order, `--speed-up` times faster than they happened; each user's
//! history up to the real now is sent when their signup's turn comes, and what happens after that is sent live.
//! The table is made from what the gateway answers about each user, never from what was simulated.

mod cohort;
mod table;

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cohort::User;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use service_kit::clock::now_ms;
use telemetry_schemas::{JourneyStatus, TtfRecord, json::from_json};
use ttf_processor::{JourneyDefinition, journey::definition::DeadlineDefinition};

use crate::{cli::DemoArgs, config, gateway_client::GatewayClient, output};

/// Users a request: at most five events each.
const USERS_A_REQUEST: usize = 200;
/// Users asked about at the same time.
const LOOKUPS: usize = 16;
/// Users asked about per refresh while the replay runs; the last table asks about all.
const SAMPLE: usize = 1_000;
const REFRESH: Duration = Duration::from_secs(1);
/// How long the last events may take through the pipe before the table is shown as it is.
const SETTLE: Duration = Duration::from_secs(30);

pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let definition = config.journeys.into_iter().next().context("no journey is configured")?;
    let client = GatewayClient::new(&args.gateway)?;
    let started = now_ms();
    let prefix = format!("demo_{:x}", started / 1000);
    let users = cohort::simulate(args.users, args.hours, started, args.seed, &prefix);
    let mut screen = Screen::new();
    let mut known = HashMap::new();
    let mut sent = 0;
    let mut sent_until = started;
    let mut events = 0_u64;
    let begin = Instant::now();
    output::line(format_args!(
        "{} users signed up within the last {} h; replaying {}× faster against {}",
        args.users,
        args.hours,
        args.speed_up,
        client.url()
    ))?;
    while sent < users.len() {
        let simulated_ms = started - (args.hours * 3_600_000.0) as i64
            + (begin.elapsed().as_secs_f64() * 1_000.0 * args.speed_up) as i64;
        let now = now_ms();
        let due = users[sent..].partition_point(|user| user.signup_ms <= simulated_ms.min(now)) + sent;
        // What those sent before did in the meantime, then the newly signed up with their whole past.
        events += send(&client, &users[..sent], sent_until, now).await?;
        events += send(&client, &users[sent..due], i64::MIN, now).await?;
        (sent, sent_until) = (due, now);
        ask(&client, &users[..sent], SAMPLE, &mut known).await?;
        screen.refresh(&table::render(&definition, &known, sent, users.len(), now_ms()))?;
        if sent < users.len() {
            tokio::time::sleep(REFRESH).await;
        }
    }
    let settled = settle(&client, &definition, &users, sent_until, &mut known).await?;
    screen.show(&table::render(&definition, &known, sent, users.len(), now_ms()))?;
    output::line(format_args!("{events} events sent and acknowledged in {:.1} s", begin.elapsed().as_secs_f64()))?;
    if !settled {
        output::line(format_args!(
            "not every event has come through the pipe yet: {} s were not enough",
            SETTLE.as_secs()
        ))?;
    }
    if let Some(user) = example(&known) {
        output::line(format_args!("look at one of them:  ttf user {user}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends what happened to these users after `after_ms` and up to `until_ms`; returns how many events that were.
async fn send(client: &GatewayClient, users: &[User], after_ms: i64, until_ms: i64) -> anyhow::Result<u64> {
    let mut count = 0;
    for users in users.chunks(USERS_A_REQUEST) {
        let events: Vec<Value> = users.iter().flat_map(|user| user.events(after_ms, until_ms)).collect();
        if events.is_empty() {
            continue;
        }
        count += events.len() as u64;
        let answer = client.send(json!({ "events": events }).to_string()).await?;
        if answer.rejected > 0 {
            let why = answer.results.first().and_then(|result| result.message.clone()).unwrap_or_default();
            bail!("the gateway rejected {} events: {why}", answer.rejected);
        }
    }
    Ok(count)
}

/// Asks for the journeys of up to `most` users that are not known to be completed.
async fn ask(
    client: &GatewayClient,
    users: &[User],
    most: usize,
    known: &mut HashMap<String, TtfRecord>,
) -> anyhow::Result<()> {
    let open: Vec<_> = users
        .iter()
        .filter(|user| known.get(&user.id).is_none_or(|record| record.completed_at.is_none()))
        .take(most)
        .map(|user| user.id.clone())
        .collect();
    let mut answers = stream::iter(open).map(|id| journey(client.clone(), id)).buffer_unordered(LOOKUPS);
    while let Some(answer) = answers.next().await {
        if let Some(record) = answer? {
            known.insert(record.user_id.clone(), record);
        }
    }
    Ok(())
}

async fn journey(client: GatewayClient, user_id: String) -> anyhow::Result<Option<TtfRecord>> {
    let response = client.ask(client.get(&format!("/api/v1/users/{user_id}/journey"))).await?;
    match response.status().as_u16() {
        200 => {}
        404 => return Ok(None),
        status => bail!("{} answered {status} for a user's journey", client.url()),
    }
    let mut body: Value = response.json().await?;
    let first = body["journeys"].get_mut(0).map(Value::take);
    first.map(|record| from_json(record).context("the gateway's answer is not a record")).transpose()
}

/// Waits until the gateway knows of every user as many milestones as were sent, and of every deadline that had
/// passed by then.
async fn settle(
    client: &GatewayClient,
    definition: &JourneyDefinition,
    users: &[User],
    sent_until: i64,
    known: &mut HashMap<String, TtfRecord>,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + SETTLE;
    let passed_by = now_ms();
    loop {
        ask(client, users, usize::MAX, known).await?;
        let complete = users.iter().all(|user| {
            let sent = user.milestones.iter().filter(|(_, at)| *at <= sent_until).count();
            known.get(&user.id).is_some_and(|record| {
                table::milestones_reached(record) >= sent && judged(definition, record, passed_by)
            })
        });
        if complete || Instant::now() > deadline {
            return Ok(complete);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Whether the record knows of every deadline that the user had missed by `now_ms`.
fn judged(definition: &JourneyDefinition, record: &TtfRecord, now_ms: i64) -> bool {
    let missed = |deadline: &&DeadlineDefinition| record.signup_at.0 + deadline.after.millis() <= now_ms;
    record.status != JourneyStatus::InProgress
        || definition.deadlines.iter().filter(missed).all(|deadline| record.breach_level >= Some(deadline.level))
}

/// A user worth a look: late if there is one.
fn example(known: &HashMap<String, TtfRecord>) -> Option<&str> {
    let late = known.values().filter(|record| record.completed_at.is_none() && record.breach_level.is_some());
    late.chain(known.values()).next().map(|record| record.user_id.as_str())
}

/// Draws a table over the one before on a terminal, and only the last one elsewhere.
struct Screen {
    terminal: bool,
    lines: usize,
}

impl Screen {
    fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), lines: 0 }
    }

    /// Shows an interim table, on a terminal only.
    fn refresh(&mut self, text: &str) -> std::io::Result<()> {
        if self.terminal { self.show(text) } else { Ok(()) }
    }

    fn show(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = anstream::stdout().lock();
        if self.terminal && self.lines > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.lines)?;
        }
        self.lines = text.lines().count();
        writeln!(out, "{text}")?;
        out.flush()
    }
}
