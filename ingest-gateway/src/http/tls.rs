//! TLS from files, read again while the gateway runs: certificates are renewed without a restart.

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::RwLock;
use prometheus::IntCounterVec;
use service_kit::Kit;
use sha2::{Digest, Sha256};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::config::TlsConfig;

/// HTTP/2 as clients ask for it in the handshake (RFC 9113, 3.2).
pub const HTTP_2: &[u8] = b"h2";

/// Files that cannot be served from.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("gateway.tls: cannot read {path}: {error}")]
    Unreadable { path: PathBuf, error: String },
    #[error("gateway.tls: {certificate} and {key} do not go together: {error}")]
    Unusable { certificate: PathBuf, key: PathBuf, error: rustls::Error },
}

/// What connections are accepted with now; cheap to clone.
#[derive(Clone)]
pub struct Certificates {
    config: TlsConfig,
    current: Arc<RwLock<(Fingerprint, TlsAcceptor)>>,
}

type Fingerprint = [u8; 32];

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// Files that are missing, hold no certificate or key, or do not go together.
    pub fn load(config: TlsConfig) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(read(&config)?));
        Ok(Self { config, current })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().1.clone()
    }

    /// Reads the files again; true when they have changed. New connections get what they hold from then on.
    ///
    /// # Errors
    /// As [`Certificates::load`]; what was there stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let new = read(&self.config)?;
        let is_changed = self.current.read().0 != new.0;
        if is_changed {
            *self.current.write() = new;
        }
        Ok(is_changed)
    }

    /// Looks for changes until the process ends.
    pub fn watch(self, interval: Duration, reloads: IntCounterVec, kit: &Kit) {
        let shutdown = kit.shutdown();
        kit.spawn("gateway certificates", async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(interval) => {}
                }
                let certificates = self.clone();
                let outcome = match tokio::task::spawn_blocking(move || certificates.reload()).await? {
                    Ok(false) => continue,
                    Ok(true) => {
                        tracing::info!("the certificate was renewed");
                        "renewed"
                    }
                    // Files are replaced one after the other; the next look finds both.
                    Err(error) => {
                        tracing::warn!(%error, "the certificate in use stays");
                        "refused"
                    }
                };
                reloads.with_label_values(&[outcome]).inc();
            }
        });
    }
}

fn read(config: &TlsConfig) -> Result<(Fingerprint, TlsAcceptor), TlsError> {
    let unreadable = |path: &PathBuf, error: String| TlsError::Unreadable { path: path.clone(), error };
    let bytes = |path: &PathBuf| std::fs::read(path).map_err(|error| unreadable(path, error.to_string()));
    let (chain, key) = (bytes(&config.certificate)?, bytes(&config.key)?);
    let certificates = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(&config.certificate, error.to_string()))?;
    // The parser's words could show a part of the key.
    let private = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| unreadable(&config.key, "it holds no private key in PEM".to_owned()))?;
    let unusable =
        |error| TlsError::Unusable { certificate: config.certificate.clone(), key: config.key.clone(), error };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(unusable)?;
    server.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    let fingerprint = Sha256::new().chain_update(&chain).chain_update(&key).finalize().into();
    Ok((fingerprint, TlsAcceptor::from(Arc::new(server))))
}
