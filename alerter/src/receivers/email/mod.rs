//! Mail over SMTP, with a text and an HTML part. Messages of a group refer to its first one, so that mail programs show
//! them as one thread; a message's id is that of its notification, so that servers and programs that look for doubles
//! find them.

mod compose;

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::Mailbox,
    transport::smtp::{
        self,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

pub use self::compose::compose;
use super::{DeliveryError, Pace, Receiver, Reference};
use crate::{
    config::{EmailConfig, EmailTls},
    message::Message,
};

/// Mails a minute that an ordinary provider takes without complaint.
const PER_MINUTE: u32 = 60;

/// The server does not believe who we are (RFC 4954).
const NOT_AUTHENTICATED: [u16; 4] = [530, 534, 535, 538];
/// There is no such mailbox, or not for us (RFC 5321).
const NO_MAILBOX: [u16; 3] = [550, 551, 553];

/// See the [module](self).
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// For the whole conversation: the transport's own counts only until the server has greeted us.
    timeout: Duration,
}

impl Email {
    /// # Errors
    /// When an address is none, or `ca_file` holds no certificate.
    pub fn new(config: &EmailConfig) -> anyhow::Result<Self> {
        let (host, port) = config.smarthost.rsplit_once(':').context("`smarthost` is no `host:port`")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port.parse().context("`smarthost` has no port")?)
            .timeout(Some(config.timeout.as_std()))
            .tls(match config.tls {
                EmailTls::None => Tls::None,
                EmailTls::Starttls => Tls::Required(tls(host, config)?),
                EmailTls::Tls => Tls::Wrapper(tls(host, config)?),
            });
        if let Some((username, password)) = config.username.clone().zip(config.password.as_ref()) {
            builder = builder.credentials(Credentials::new(username, password.expose().to_owned()));
        }
        let to: Result<_, _> = config.to.iter().map(|mailbox| mailbox.parse()).collect();
        Ok(Self {
            transport: builder.build(),
            from: config.from.parse().context("`from` is no address")?,
            to: to.context("`to` has something that is no address")?,
            timeout: config.timeout.as_std(),
        })
    }
}

fn tls(host: &str, config: &EmailConfig) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = &config.ca_file {
        let pem = std::fs::read(file).with_context(|| format!("cannot read `ca_file` {}", file.display()))?;
        let certificate =
            Certificate::from_pem(&pem).with_context(|| format!("`ca_file` {} is no certificate", file.display()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().context("cannot set up TLS")
}

#[async_trait]
impl Receiver for Email {
    async fn deliver(&self, message: &Message, before: Option<&str>) -> Result<Reference, DeliveryError> {
        let (mail, id) = compose(message, &self.from, &self.to, before)
            .map_err(|error| DeliveryError::refused(format!("the mail cannot be written: {error}")))?;
        match tokio::time::timeout(self.timeout, self.transport.send(mail)).await {
            Ok(sent) => drop(sent.map_err(|error| refused(&error))?),
            Err(_) => return Err(DeliveryError::unknown("the mail server did not answer in time")),
        }
        // The thread goes on from the group's first mail.
        Ok(Some(before.map_or(id, str::to_owned)))
    }

    fn preview(&self, message: &Message) -> String {
        match compose(message, &self.from, &self.to, None) {
            Ok((mail, _)) => String::from_utf8_lossy(&mail.formatted()).replace("\r\n", "\n"),
            Err(error) => format!("the mail cannot be written: {error}"),
        }
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn pace(&self) -> Option<Pace> {
        Some(Pace { burst: 5, ..Pace::per_minute(PER_MINUTE) })
    }
}

/// What an error of the conversation means. A server's words may hold addresses and are left out.
fn refused(error: &smtp::Error) -> DeliveryError {
    if let Some(code) = error.status() {
        let code = u16::from(code);
        let why = format!("the mail server answered {code}");
        return match code {
            code if NOT_AUTHENTICATED.contains(&code) || NO_MAILBOX.contains(&code) => DeliveryError::dead(why),
            400..500 => DeliveryError::later(why, None),
            _ => DeliveryError::refused(why),
        };
    }
    if error.is_tls() {
        DeliveryError::later("the connection to the mail server cannot be protected", None)
    } else if error.is_timeout() {
        DeliveryError::unknown("the mail server did not answer in time")
    } else if error.is_client() {
        // It offers no way we know to say who we are, or no STARTTLS.
        DeliveryError::dead("the mail server does not offer what the configuration asks for")
    } else if is_unconnected(error) {
        DeliveryError::later("the mail server cannot be reached", None)
    } else {
        DeliveryError::unknown("the connection to the mail server broke, or it answered something else")
    }
}

/// Whether no connection came about, so that nothing was said. lettre knows, and tells it by its text alone.
fn is_unconnected(error: &smtp::Error) -> bool {
    error.to_string().starts_with("Connection error")
}
