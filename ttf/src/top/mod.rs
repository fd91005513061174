//! `ttf top`: what the processors are doing, from their `/metrics` and, on Kafka, from their group.

mod group;
mod page;
mod render;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::future::join_all;
use group::{Group, GroupWatch};
pub use page::{Page, Sample};
use service_kit::clock::now_ms;
use telemetry_schemas::EventTime;
use view::{Told, View};

use crate::{cli::TopArgs, config, output};

/// A process that does not answer within this time counts as silent.
const ANSWER: Duration = Duration::from_secs(3);
/// How far back commit times are looked at.
const WINDOW: Duration = Duration::from_secs(30);

pub async fn run(args: TopArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let watch = Arc::new(GroupWatch::new(&config.log)?);
    let variable = std::env::var("TELEMETRY_URL").ok().filter(|url| !url.is_empty());
    let mut top = Top {
        asked: asked(&args.url, variable, config.gateway.listen, config.service.admin_listen),
        // Addresses that were only guessed need not be there.
        named: !args.url.is_empty(),
        ask: Ask::new()?,
        watch,
        looks: VecDeque::new(),
    };
    let interval = Duration::from_secs_f64(args.interval);
    let mut screen = Screen { terminal: std::io::stdout().is_terminal() && !args.json && !args.once };
    if args.once {
        top.look().await?;
        tokio::time::sleep(interval).await;
    }
    loop {
        let view = top.look().await?;
        if args.json {
            output::line(serde_json::to_string(&view)?)?;
        } else {
            screen.show(&view)?;
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(interval).await;
        if output::reader_gone() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Where to ask.
pub fn asked(named: &[String], variable: Option<String>, gateway: SocketAddr, admin: SocketAddr) -> Vec<String> {
    let local = |address: SocketAddr| {
        let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
        format!("http://{}", SocketAddr::new(ip, address.port()))
    };
    let mut asked: Vec<String> =
        if named.is_empty() { vec![variable.unwrap_or_else(|| local(gateway)), local(admin)] } else { named.to_vec() };
    for url in &mut asked {
        *url = url.trim_end_matches('/').trim_end_matches("/metrics").to_owned();
        if !url.contains("://") {
            url.insert_str(0, "http://");
        }
    }
    asked.dedup();
    asked
}

/// Asks processes for their pages.
pub struct Ask(reqwest::Client);

impl Ask {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(reqwest::Client::builder().timeout(ANSWER).build()?))
    }

    /// The pages by address, and why the others did not answer.
    pub async fn all(&self, urls: &[String]) -> (BTreeMap<String, Page>, BTreeMap<String, String>) {
        let answers = join_all(urls.iter().map(|url| self.one(url))).await;
        let mut pages = BTreeMap::new();
        let mut silent = BTreeMap::new();
        for (url, answer) in urls.iter().zip(answers) {
            match answer {
                Ok(page) => drop(pages.insert(url.clone(), page)),
                Err(error) => drop(silent.insert(url.clone(), error.root_cause().to_string())),
            }
        }
        (pages, silent)
    }

    async fn one(&self, url: &str) -> anyhow::Result<Page> {
        let answer = self.0.get(format!("{url}/metrics")).send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        if !status.is_success() {
            bail!("/metrics answers {status}");
        }
        Ok(Page::parse(&answer.text().await?))
    }
}

struct Top {
    asked: Vec<String>,
    /// The addresses were given by hand: one that is silent is worth a line.
    named: bool,
    ask: Ask,
    watch: Arc<GroupWatch>,
    /// The last half minute, oldest first.
    looks: VecDeque<Look>,
}

struct Look {
    at: Instant,
    pages: BTreeMap<String, Page>,
}

impl Top {
    async fn look(&mut self) -> anyhow::Result<View> {
        let (pages, mut silent) = self.ask.all(&self.asked).await;
        if !self.named && !pages.is_empty() {
            silent.clear();
        }
        // A cluster that does not answer is no reason to show nothing of those that do.
        let group = self.ask_group().await.unwrap_or_else(|error| {
            silent.insert("Kafka".to_owned(), format!("{error:#}"));
            None
        });
        if pages.is_empty() && group.is_none() {
            let why: Vec<_> = silent.iter().map(|(url, why)| format!("{url}: {why}")).collect();
            bail!("no process answers ({}); `ttf dev` starts one, --url names others", why.join("; "));
        }
        let now = Instant::now();
        self.looks.retain(|look| now.duration_since(look.at) <= WINDOW + ANSWER);
        let told: Vec<Told<'_>> = pages
            .iter()
            .map(|(url, page)| {
                let of = |look: &'_ Look| look.pages.contains_key(url);
                let before = self.looks.iter().rev().find(|look| of(look));
                Told {
                    url,
                    now: page,
                    before: before.map(|look| (&look.pages[url], now.duration_since(look.at).as_secs_f64())),
                    earlier: self.looks.iter().find(|look| of(look)).map(|look| &look.pages[url]),
                }
            })
            .collect();
        let view = view::view(EventTime(now_ms()).to_rfc3339(), &told, group.as_ref(), silent);
        self.looks.push_back(Look { at: now, pages });
        Ok(view)
    }

    /// What the group says; `None` where the log is not Kafka.
    async fn ask_group(&self) -> anyhow::Result<Option<Group>> {
        if !self.watch.is_kafka() {
            return Ok(None);
        }
        let watch = self.watch.clone();
        tokio::task::spawn_blocking(move || watch.look(now_ms())).await?.context("the group cannot be asked")
    }
}

/// Draws each view over the one before on a terminal, and one after the other elsewhere.
struct Screen {
    terminal: bool,
}

impl Screen {
    fn show(&mut self, view: &View) -> anyhow::Result<()> {
        if !self.terminal {
            return output::line(render::render(view, None));
        }
        let rows = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_row));
        let text = render::render(view, rows.filter(|rows| *rows > 0).map(|rows| rows - 1));
        let mut out = anstream::stdout().lock();
        // From the upper left corner, each line over what stood there, and nothing left below.
        write!(out, "\x1b[H")?;
        for line in text.lines() {
            writeln!(out, "{line}\x1b[K")?;
        }
        write!(out, "\x1b[J")?;
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_address_the_configured_ports_of_this_machine_are_asked() {
        let (gateway, admin) = ("0.0.0.0:8080".parse().unwrap(), "127.0.0.1:9464".parse().unwrap());
        assert_eq!(asked(&[], None, gateway, admin), ["http://127.0.0.1:8080", "http://127.0.0.1:9464"]);
        assert_eq!(asked(&[], Some("http://x/".into()), gateway, admin), ["http://x", "http://127.0.0.1:9464"]);
        let named = ["a:1".to_owned(), "https://b/metrics".to_owned()];
        assert_eq!(asked(&named, Some("http://x".into()), gateway, admin), ["http://a:1", "https://b"]);
    }
}
