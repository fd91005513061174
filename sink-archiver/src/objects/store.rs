//! The object store: S3 or a folder. Everything is put only where nothing is yet.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    aws::{AmazonS3Builder, S3ConditionalPut},
    local::LocalFileSystem,
    path::Path,
};
use stream_runtime::sink::SinkError;

use super::names::Names;
use crate::config::{ObjectsConfig, S3Config};

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Written,
    /// Something was there and was left as it is.
    Present,
}

/// An object store and the names in it.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    pub names: Names,
}

impl Store {
    /// Opens the configured store; an S3 bucket is first asked when first used.
    pub fn open(config: &ObjectsConfig) -> Result<Self, SinkError> {
        match config {
            ObjectsConfig::Folder(folder) => {
                let cannot = |error: &dyn std::fmt::Display| {
                    SinkError::Fatal(format!("cannot open archive folder {}: {error}", folder.path.display()))
                };
                std::fs::create_dir_all(&folder.path).map_err(|error| cannot(&error))?;
                let objects = LocalFileSystem::new_with_prefix(&folder.path).map_err(|error| cannot(&error))?;
                Ok(Self::on(Arc::new(objects.with_fsync(true)), ""))
            }
            ObjectsConfig::S3(s3) => {
                let objects = s3_builder(s3)
                    .build()
                    .map_err(|error| SinkError::Fatal(format!("archive.s3 cannot be used: {error}")))?;
                Ok(Self::on(Arc::new(objects), &s3.prefix))
            }
        }
    }

    /// A store of any kind.
    pub fn on(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, names: Names::below(prefix) }
    }

    /// Puts an object where none is.
    pub async fn create(&self, path: &Path, bytes: Bytes) -> Result<Put, SinkError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(path, PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(Put::Written),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::Present),
            Err(error) => Err(unavailable("put", &error)),
        }
    }

    /// The object's bytes; `None` when there is none.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>, SinkError> {
        match self.objects.get(path).await {
            Ok(found) => found.bytes().await.map(Some).map_err(|error| unavailable("get", &error)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable("get", &error)),
        }
    }

    pub async fn exists(&self, path: &Path) -> Result<bool, SinkError> {
        match self.objects.head(path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(unavailable("head", &error)),
        }
    }

    /// The names of the objects below a folder, in no order.
    pub async fn list(&self, folder: &Path) -> Result<Vec<Path>, SinkError> {
        let found = self.objects.list(Some(folder)).map_ok(|object| object.location);
        found.try_collect().await.map_err(|error| unavailable("list", &error))
    }
}

fn s3_builder(config: &S3Config) -> AmazonS3Builder {
    // The HTTP client takes the process's TLS provider; whoever comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_allow_http(config.allow_http)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig { retry_timeout: config.retry_timeout.as_std(), ..RetryConfig::default() });
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(key) = &config.access_key {
        builder = builder.with_access_key_id(key.expose());
    }
    if let Some(key) = &config.secret_key {
        builder = builder.with_secret_access_key(key.expose());
    }
    builder
}

/// Whatever fails is tried again: a bucket that is gone may come back, and nothing is skipped.
fn unavailable(operation: &str, error: &Error) -> SinkError {
    SinkError::Unavailable(format!("object store {operation}: {error}"))
}
