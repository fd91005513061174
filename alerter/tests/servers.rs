//! Receivers against real servers: mail with TLS and authentication (aiosmtpd, started here with `TTF_TEST_PYTHON`), and
//! an Alertmanager (`TTF_TEST_ALERTMANAGER`). `make services-up` gives both.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver as Lines},
    },
    time::{Duration, Instant},
};

use alerter::{
    AlerterConfig,
    config::AlerterConfig as Config,
    message::{self, Message, Messages},
    receivers::{self, DeliveryError, Receiver},
    route::Routes,
};
use serde_json::Value;
use service_kit::config::{Sources, load_section};
use telemetry_schemas::{BreachLevel, BreachStatus, EventTime, Millis, TtfBreach, alert::Notification};
use tempfile::TempDir;

const DEFAULTS: &str = include_str!("../../config/telemetry.yaml");
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a refusal is understood.
type Meaning = fn(&DeliveryError) -> bool;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make services-up`, then source its env file"))
}

fn config(receiver: &str) -> AlerterConfig {
    let layer = format!(
        "alerter:\n  external_url: https://ttf.example.com\n  runbook_url: https://wiki.example.com/late\n  \
         user_ids: plain\n  route: {{ receiver: it }}\n  receivers: [{{ name: it, {receiver} }}]\n"
    );
    let config: Config =
        load_section(Sources::new(DEFAULTS).with_layer("the test", layer), "alerter").expect("it is sound");
    config.check().expect("it is sound");
    config
}

fn build(config: &AlerterConfig) -> Arc<dyn Receiver> {
    receivers::build(&config.receivers[0]).expect("it can be made")
}

/// One user's breaches of these levels as a message, in the words of the configuration.
fn message(config: &AlerterConfig, user: &str, levels: &[BreachLevel], status: BreachStatus, id: &str) -> Message {
    let now = EventTime(service_kit::clock::now_ms());
    let breaches = levels
        .iter()
        .map(|level| {
            let breach = message::sample_breach(user, *level);
            let shift = now.since(breach.detected_at).0 - 1_000;
            TtfBreach {
                status,
                due_at: breach.due_at.plus(Millis(shift)),
                signup_at: breach.signup_at.plus(Millis(shift)),
                detected_at: breach.detected_at.plus(Millis(shift)),
                ..breach
            }
        })
        .collect();
    let notification = message::notification_of(breaches, "it", now);
    let notification = Notification { notification_id: id.to_owned(), ..notification };
    Messages::new(config, Arc::new(Routes::new(config))).expect("sound").message(&notification).expect("in words")
}

/// The mail server; it ends with the value.
struct MailServer {
    child: Child,
    lines: Lines<Value>,
    starttls: u64,
    tls: u64,
    folder: TempDir,
}

impl MailServer {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "openssl makes a certificate");
        let mut child = Command::new(variable("TTF_TEST_PYTHON"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail.py"))
            .args([&certificate, &key])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the mail server starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let ports: Value = lines.recv_timeout(PATIENCE).expect("its ports");
        let port = |name: &str| ports[name].as_u64().expect("a port");
        Self { starttls: port("starttls"), tls: port("tls"), child, lines, folder }
    }

    fn section(&self, how: &str, to: &str) -> String {
        let port = if how == "tls" { self.tls } else { self.starttls };
        format!(
            "email: {{ smarthost: 'localhost:{port}', tls: {how}, ca_file: {}, username: ttf, password: s3cret, \
             from: 'TTF <ttf@example.com>', to: ['{to}'], timeout: 3s }}",
            self.folder.path().join("cert.pem").display()
        )
    }

    fn received(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("a mail arrives")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn mail_goes_over_tls_with_a_password_in_text_and_html_and_stays_in_one_thread() {
    let server = MailServer::start();
    for how in ["starttls", "tls"] {
        let config = config(&server.section(how, "team@example.com"));
        let email = build(&config);
        let first = message(&config, "ädä <x>", &[BreachLevel::Warning], BreachStatus::Firing, "one");
        let reference = email.deliver(&first, None).await.expect("it is taken");
        let mail = server.received();
        assert_eq!(
            (mail["how"].as_str(), mail["tls"].as_bool(), mail["login"].as_bool()),
            (Some(how), Some(true), Some(true))
        );
        assert_eq!(mail["to"][0], "team@example.com");
        assert_eq!(mail["headers"]["message-id"], "<one@example.com>");
        assert!(mail["headers"].get("references").is_none());
        assert_eq!(mail["headers"]["auto-submitted"], "auto-generated");
        assert_eq!(mail["defects"].as_array().map(Vec::len), Some(0), "{}", mail["defects"]);
        assert!(mail["longest_line"].as_u64() <= Some(998), "RFC 5322, 2.1.1: {}", mail["longest_line"]);
        let (text, html) = (&mail["parts"]["text/plain"], &mail["parts"]["text/html"]);
        // Slashes in HTML may be written as entities.
        let html = &Value::from(html.as_str().expect("an HTML part").replace("&#x2f;", "/"));
        for part in [
            "onboarding",
            "WARNING",
            "first_agent_to_first_workflow",
            "plan=team",
            "ttf.example.com",
            "wiki.example.com/late",
        ] {
            for body in [text, html] {
                assert!(body.as_str().is_some_and(|body| body.contains(part)), "{part}: {body}");
            }
        }
        assert!(text.as_str().is_some_and(|text| text.contains("ädä <x>")), "{text}");
        assert!(html.as_str().is_some_and(|html| html.contains("ädä &lt;x&gt;") && !html.contains("<x>")), "{html}");
        let subject = mail["headers"]["subject"].as_str().expect("a subject").to_owned();

        let over = message(&config, "ädä <x>", &[BreachLevel::Warning], BreachStatus::Resolved, "two");
        let again = email.deliver(&over, reference.as_deref()).await.expect("it is taken");
        assert_eq!(again, reference, "the thread goes on from the first mail");
        let mail = server.received();
        assert_eq!(mail["headers"]["message-id"], "<two@example.com>");
        assert_eq!(mail["headers"]["references"], "<one@example.com>");
        assert_eq!(mail["headers"]["in-reply-to"], "<one@example.com>");
        assert_eq!(mail["headers"]["subject"].as_str(), Some(format!("Re: {subject}").as_str()));
    }
}

#[tokio::test]
async fn a_mail_server_that_says_no_is_understood() {
    let server = MailServer::start();
    let cases: [(&str, Meaning); 6] = [
        ("later@example.com", |error| matches!(error, DeliveryError::Retry { perhaps_taken: false, .. })),
        ("nobody@example.com", |error| matches!(error, DeliveryError::Dead { .. })),
        ("spam@example.com", |error| matches!(error, DeliveryError::Refused { .. })),
        ("babble@example.com", |error| matches!(error, DeliveryError::Retry { .. })),
        ("hang@example.com", |error| matches!(error, DeliveryError::Retry { .. })),
        ("drop@example.com", |error| matches!(error, DeliveryError::Retry { perhaps_taken: true, .. })),
    ];
    for (to, is_right) in cases {
        let config = config(&server.section("starttls", to));
        let mail = message(&config, "u-1", &[BreachLevel::Critical], BreachStatus::Firing, "one");
        let error = build(&config).deliver(&mail, None).await.expect_err("it is not taken");
        assert!(is_right(&error), "{to}: {error:?}");
        assert!(!error.to_string().contains("example.com"), "no addresses: {error}");
    }
}

/// Its alarm may be taken back without a word when it is over before the server is there.
#[tokio::test]
async fn a_mail_server_that_is_not_there_has_certainly_taken_nothing() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    for host in [format!("127.0.0.1:{port}"), format!("no-such-host.invalid:{port}")] {
        let config = config(&format!(
            "email: {{ smarthost: '{host}', tls: none, from: 'TTF <ttf@example.com>', to: ['team@example.com'], timeout: 3s }}"
        ));
        let mail = message(&config, "u-1", &[BreachLevel::Critical], BreachStatus::Firing, "one");
        let error = build(&config).deliver(&mail, None).await.expect_err("nobody listens");
        assert!(matches!(error, DeliveryError::Retry { perhaps_taken: false, .. }), "{host}: {error:?}");
    }
}

#[tokio::test]
async fn a_mail_server_that_does_not_know_us_or_that_we_do_not_know_gets_nothing() {
    let server = MailServer::start();
    let section = server.section("starttls", "team@example.com");
    let of = |section: &str| {
        let config = config(section);
        let mail = message(&config, "u-1", &[BreachLevel::Critical], BreachStatus::Firing, "one");
        (build(&config), mail)
    };
    let (email, mail) = of(&section.replace("s3cret", "wrong"));
    let error = email.deliver(&mail, None).await.expect_err("the password is wrong");
    assert!(matches!(&error, DeliveryError::Dead { why } if why.contains("535")), "{error:?}");

    let ca = format!("ca_file: {}, ", server.folder.path().join("cert.pem").display());
    let (email, mail) = of(&section.replace(&ca, ""));
    let error = email.deliver(&mail, None).await.expect_err("nobody vouches for its certificate");
    assert!(matches!(error, DeliveryError::Retry { .. }), "{error:?}");
    assert!(server.lines.try_recv().is_err(), "nothing was said to it");
}

async fn alerts_at(url: &str, user: &str) -> Vec<Value> {
    let filter = format!("user_id=\"{user}\"");
    let request = reqwest::Client::new().get(format!("{url}/api/v2/alerts")).query(&[("filter", filter)]);
    let answer = request.send().await.expect("Alertmanager answers").text().await.expect("with text");
    serde_json::from_str(&answer).expect("JSON")
}

#[tokio::test]
async fn an_alertmanager_shows_an_alert_until_its_end() {
    let url = variable("TTF_TEST_ALERTMANAGER");
    let config = config(&format!("alertmanager: {{ url: '{url}/' }}"));
    let alertmanager = build(&config);
    let user = format!("u-{}", service_kit::clock::now_ms());
    let levels = [BreachLevel::Warning, BreachLevel::Critical];
    let firing = message(&config, &user, &levels, BreachStatus::Firing, "one");
    alertmanager.deliver(&firing, None).await.expect("it is taken");
    // The same again changes nothing.
    alertmanager.deliver(&firing, None).await.expect("it is taken");
    let shown = alerts_at(&url, &user).await;
    assert_eq!(shown.len(), 2, "{shown:?}");
    for alert in &shown {
        assert_eq!(alert["labels"]["alertname"], "TtfDeadlineMissed");
        assert_eq!(alert["annotations"]["runbook_url"], "https://wiki.example.com/late");
        let ends = EventTime::parse(alert["endsAt"].as_str().expect("an end")).expect("RFC 3339");
        let left = ends.since(EventTime(service_kit::clock::now_ms()));
        assert!(left > Millis::from_minutes(60), "it does not end by itself within minutes: {left:?}");
    }
    let over = message(&config, &user, &levels, BreachStatus::Resolved, "two");
    alertmanager.deliver(&over, None).await.expect("it is taken");
    let deadline = Instant::now() + PATIENCE;
    while !alerts_at(&url, &user).await.is_empty() {
        assert!(Instant::now() < deadline, "it is over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
