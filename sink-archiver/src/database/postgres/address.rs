//! What `archive.database.url` says: where the database is, and how safe the way to it must be.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use tokio_postgres::{
    Config,
    config::{SslMode, SslNegotiation},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::database::DatabaseError;

/// A parsed URL.
pub(super) struct Address {
    pub(super) config: Config,
    /// `None`: without TLS.
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// The URL, without what only libpq knows.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    url: String,
    /// `sslrootcert`: the authorities to trust in place of the system's.
    authorities: Option<PathBuf>,
}

impl Address {
    /// Reads the URL. With `sslmode` `require`, `verify-ca` or `verify-full` the connection has TLS or there is none, and the
    /// server's certificate is held against its name and the authorities, in all three; else there is no TLS.
    pub(super) fn parse(url: &str) -> Result<Self, DatabaseError> {
        let parts = parts(url);
        let mut config: Config = parts.url.parse().map_err(|error| refused(&error))?;
        if config.get_application_name().is_none() {
            config.application_name("ttf-archiver");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        let is_wanted =
            config.get_ssl_mode() == SslMode::Require || config.get_ssl_negotiation() == SslNegotiation::Direct;
        if !is_wanted {
            config.ssl_mode(SslMode::Disable);
            return Ok(Self { config, tls: None });
        }
        let authorities = match &parts.authorities {
            Some(path) => read(path)?,
            // Of what cannot be read there is still the rest.
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut trusted = RootCertStore::empty();
        trusted.add_parsable_certificates(authorities);
        if trusted.is_empty() {
            return Err(DatabaseError::Fatal(
                "archive.database.url asks for TLS, and there is no authority to trust: install ca-certificates, or name \
                 a file by sslrootcert"
                    .to_owned(),
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DatabaseError::Fatal(format!("TLS to the database: {error}")))?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        Ok(Self { config, tls: Some(MakeRustlsConnect::new(client)) })
    }
}

/// The parser's words repeat parts of the URL, which has a password in it, except where it names an option.
fn refused(error: &tokio_postgres::Error) -> DatabaseError {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let option =
        cause.strip_prefix("unknown option ").filter(|name| name.len() < 40 && !name.contains(['@', ':', '/']));
    DatabaseError::Fatal(match option {
        Some(option) => format!("archive.database.url: unknown option {option}"),
        None => "archive.database.url is not a PostgreSQL URL".to_owned(),
    })
}

/// Takes out of a URL what the driver does not know.
fn parts(url: &str) -> Parts {
    let Some((before, query)) = url.split_once('?') else {
        return Parts { url: url.to_owned(), authorities: None };
    };
    let mut authorities = None;
    let mut kept = Vec::new();
    for option in query.split('&') {
        match option.split_once('=') {
            Some(("sslrootcert", "system")) => {}
            Some(("sslrootcert", path)) => authorities = Some(PathBuf::from(path)),
            // The certificate is always held against the name.
            Some(("sslmode", "verify-ca" | "verify-full")) => kept.push("sslmode=require"),
            _ => kept.push(option),
        }
    }
    let url = if kept.is_empty() { before.to_owned() } else { format!("{before}?{}", kept.join("&")) };
    Parts { url, authorities }
}

fn read(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, DatabaseError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| DatabaseError::Fatal(format!("archive.database.url: sslrootcert {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match Address::parse(url) {
            Err(DatabaseError::Fatal(text)) => text,
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("{url} was taken"),
        }
    }

    #[test]
    fn tls_is_there_where_it_is_asked_for_and_nowhere_else() {
        for (query, wanted) in [
            ("", false),
            ("?sslmode=disable", false),
            ("?sslmode=prefer", false),
            ("?sslmode=require", true),
            ("?sslmode=verify-ca", true),
            ("?connect_timeout=3&sslmode=verify-full&sslrootcert=system", true),
        ] {
            let address = Address::parse(&format!("postgres://ttf:secret@db:5432/ttf{query}")).expect(query);
            assert_eq!(address.tls.is_some(), wanted, "{query}");
            let mode = if wanted { SslMode::Require } else { SslMode::Disable };
            assert_eq!(address.config.get_ssl_mode(), mode, "{query}");
        }
    }

    #[test]
    fn what_only_libpq_knows_is_taken_out() {
        let found = parts("postgres://db/ttf?sslrootcert=/tls/ca.crt&sslmode=verify-full&options=-c%20a=b");
        assert_eq!(found.authorities, Some(PathBuf::from("/tls/ca.crt")));
        assert_eq!(found.url, "postgres://db/ttf?sslmode=require&options=-c%20a=b");
        assert_eq!(parts("postgres://db/ttf?sslrootcert=/ca").url, "postgres://db/ttf");
    }

    #[test]
    fn a_refused_url_shows_no_secret() {
        assert_eq!(
            refusal("postgres://ttf:hunter2@db/ttf?sslcert=/x"),
            "archive.database.url: unknown option `sslcert`"
        );
        for url in ["postgres://ttf:hunter2@db:port/ttf", "postgres//ttf:hunter2@db", "host=db password='hunter2"] {
            let text = refusal(url);
            assert!(!text.contains("hunter2"), "{text}");
        }
        let text = refusal("postgres://ttf:hunter2@db/ttf?sslmode=require&sslrootcert=/nowhere.pem");
        assert!(text.contains("/nowhere.pem") && !text.contains("hunter2"), "{text}");
    }
}
