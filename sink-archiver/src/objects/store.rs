//! The object store: S3 or a folder. Everything is put only where nothing is yet.
//!
//! What is larger than a part goes up in parts under a name nobody reads, and is then copied to its own name where
//! nothing is: the server does both, and the condition holds as for a single put.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    CopyMode, CopyOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    WriteMultipart,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut, S3CopyIfNotExists},
    local::LocalFileSystem,
    path::Path,
};
use stream_runtime::sink::SinkError;

use super::{bucket::Bucket, names::Names};
use crate::config::{Encryption, ObjectsConfig, S3Config};

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
    /// What is larger goes up in parts of this size; `None`: everything in one.
    part_size: Option<usize>,
    /// `None` for what is no S3.
    bucket: Option<Arc<Bucket>>,
}

/// Parts of one object that are on their way at once.
const CONCURRENT_PARTS: usize = 4;
/// S3 takes no smaller parts, but for the last one.
const SMALLEST_PART: usize = 5 * 1024 * 1024;

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
                if s3.kms_key.is_some() && s3.encryption != Encryption::Kms {
                    let message = "archive.s3.kms_key is for `encryption: kms`; objects would not be under this key";
                    return Err(SinkError::Fatal(message.to_owned()));
                }
                let objects = s3_builder(s3)
                    .build()
                    .map_err(|error| SinkError::Fatal(format!("archive.s3 cannot be used: {error}")))?;
                let objects = Arc::new(objects);
                let bucket = Arc::new(Bucket::new(Arc::clone(&objects))?);
                let part_size = Some(s3.part_size.as_usize().max(SMALLEST_PART));
                Ok(Self { part_size, bucket: Some(bucket), ..Self::on(objects, &s3.prefix) })
            }
        }
    }

    /// A store of any kind.
    pub fn on(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, names: Names::below(prefix), part_size: None, bucket: None }
    }

    /// The bucket's own settings; `None` for what is no S3.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_deref()
    }

    /// Puts an object where none is.
    pub async fn create(&self, path: &Path, bytes: Bytes) -> Result<Put, SinkError> {
        if let Some(part_size) = self.part_size.filter(|part_size| bytes.len() > *part_size) {
            return self.create_in_parts(path, bytes, part_size).await;
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(path, PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(Put::Written),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::Present),
            Err(error) => Err(unavailable("put", &error)),
        }
    }

    async fn create_in_parts(&self, path: &Path, bytes: Bytes, part_size: usize) -> Result<Put, SinkError> {
        if self.exists(path).await? {
            return Ok(Put::Present);
        }
        let staged = self.names.staged(&hex::encode(rand::random::<[u8; 16]>()));
        let upload = self.objects.put_multipart(&staged).await.map_err(|error| unavailable("put in parts", &error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, part_size);
        let mut rest = bytes;
        while !rest.is_empty() {
            upload.wait_for_capacity(CONCURRENT_PARTS).await.map_err(|error| unavailable("put in parts", &error))?;
            upload.put(rest.split_to(part_size.min(rest.len())));
        }
        upload.finish().await.map_err(|error| unavailable("put in parts", &error))?;
        let create = CopyOptions::new().with_mode(CopyMode::Create);
        let copied = match self.objects.copy_opts(&staged, path, create).await {
            Ok(()) => Ok(Put::Written),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::Present),
            Err(error) => Err(unavailable("copy", &error)),
        };
        // What stays because this fails goes by the bucket's lifecycle.
        if let Err(error) = self.delete(&staged).await {
            tracing::warn!(%error, "an object's parts were left in the staging folder");
        }
        copied
    }

    /// Deletes an object; one that is not there is no error.
    pub async fn delete(&self, path: &Path) -> Result<(), SinkError> {
        match self.objects.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unavailable("delete", &error)),
        }
    }

    /// The names of the folders directly below a folder, in order.
    pub async fn folders(&self, folder: &Path) -> Result<Vec<Path>, SinkError> {
        let found = self.objects.list_with_delimiter(Some(folder)).await;
        let mut folders = found.map_err(|error| unavailable("list", &error))?.common_prefixes;
        folders.sort_unstable();
        Ok(folders)
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
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_retry(RetryConfig { retry_timeout: config.retry_timeout.as_std(), ..RetryConfig::default() });
    builder = match config.encryption {
        Encryption::Bucket => builder,
        Encryption::Aes256 => builder.with_config(encryption_key(), "AES256"),
        Encryption::Kms => match &config.kms_key {
            Some(key) => builder.with_sse_kms_encryption(key),
            None => builder.with_config(encryption_key(), "aws:kms"),
        },
    };
    if config.object_lock.is_some() {
        // A locked bucket takes no put without one.
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
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

fn encryption_key() -> AmazonS3ConfigKey {
    "aws_server_side_encryption".parse().expect("a setting the client knows")
}

/// Whatever fails is tried again: a bucket that is gone may come back, and nothing is skipped.
fn unavailable(operation: &str, error: &Error) -> SinkError {
    SinkError::Unavailable(format!("object store {operation}: {error}"))
}
