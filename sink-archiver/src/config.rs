//! Sections `archive` and `retention` of the configuration.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use service_kit::config::{ByteSize, HumanDuration, Secret};

/// Section `archive`: where events, records and breaches are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    pub database: DatabaseConfig,
    /// The object store: S3 or a folder.
    pub s3: ObjectsConfig,
    /// When the objects of a partition are closed.
    pub rotation: RotationConfig,
    pub live_view: LiveViewConfig,
    /// The figures of cohorts, worked out from the database.
    pub cohorts: CohortsConfig,
    /// Key of the hashes under which erased users are remembered. `None`: made at random once and kept in the
    /// database.
    pub erasure_key: Option<Secret>,
}

/// How the figures of cohorts are worked out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortsConfig {
    /// Time between two evaluations.
    pub interval: HumanDuration,
    /// Each is a window of signups that ends now; an evaluation reads the longest.
    pub windows: Vec<HumanDuration>,
    /// Values of a segment that get figures of their own: those with most signups.
    pub segment_values: usize,
}

/// `archive.database.kind: sqlite | postgres`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DatabaseConfig {
    Sqlite(SqliteConfig),
    Postgres(PostgresConfig),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The database file; it and its folder are made when missing.
    pub path: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:5432/database`.
    pub url: Secret,
    /// Connections of one process at most; and one more for each duty it has (cohorts, upkeep, retention).
    #[serde(default = "default_pool")]
    pub pool: usize,
    /// A statement that takes longer is given up and tried again.
    #[serde(default = "default_statement_timeout")]
    pub statement_timeout: HumanDuration,
}

/// `archive.s3.kind: folder | s3`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectsConfig {
    Folder(FolderConfig),
    S3(S3Config),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderConfig {
    /// Made when missing.
    pub path: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    pub bucket: String,
    pub region: String,
    /// For S3 servers other than AWS: `https://host:port`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Without keys the usual AWS sources are asked (instance profile, web identity).
    #[serde(default)]
    pub access_key: Option<Secret>,
    #[serde(default)]
    pub secret_key: Option<Secret>,
    /// Allows an `http://` endpoint.
    #[serde(default)]
    pub allow_http: bool,
    /// Everything is kept below this path in the bucket.
    #[serde(default)]
    pub prefix: String,
    /// A call that fails is repeated for this long before the whole batch is tried again.
    #[serde(default = "default_retry_timeout")]
    pub retry_timeout: HumanDuration,
    /// How the server encrypts what is put.
    #[serde(default)]
    pub encryption: Encryption,
    /// For `encryption: kms`: id or ARN of the key. `None`: the bucket's own.
    #[serde(default)]
    pub kms_key: Option<String>,
    /// A larger object is put in parts of this size; S3 takes no smaller ones than 5 MiB.
    #[serde(default = "default_part_size")]
    pub part_size: ByteSize,
    /// How long objects cannot be changed by anybody. Takes a bucket that was made with object lock.
    #[serde(default)]
    pub object_lock: Option<ObjectLockConfig>,
}

impl ObjectsConfig {
    /// How long objects cannot be changed; `None` for a folder.
    pub fn object_lock(&self) -> Option<ObjectLockConfig> {
        match self {
            Self::Folder(_) => None,
            Self::S3(s3) => s3.object_lock,
        }
    }
}

/// Server-side encryption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// As the bucket does by itself.
    #[default]
    Bucket,
    /// `AES256`, under keys the server keeps (SSE-S3).
    Aes256,
    /// Under a key of the key management service (SSE-KMS).
    Kms,
}

/// `archive.s3.object_lock`: the retention every new object gets, set on the bucket by `ttf retention apply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectLockConfig {
    pub mode: ObjectLockMode,
    /// Rounded up to days.
    pub keep: HumanDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectLockMode {
    /// Somebody with a special right may still delete.
    Governance,
    /// Nobody may, not even the account's owner.
    Compliance,
}

/// When the objects of a partition are closed: whichever comes first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationConfig {
    pub records: usize,
    /// Uncompressed, as in the topic.
    pub bytes: ByteSize,
    /// By the records' own times; by the clock on a quiet topic.
    pub interval: HumanDuration,
    /// Over all partitions of a process; the largest is closed when it is exceeded.
    pub memory: ByteSize,
}

/// `archive.live_view.kind: memory | redis`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LiveViewConfig {
    Memory(MemoryConfig),
    Redis(RedisConfig),
}

impl LiveViewConfig {
    /// After this nothing is left of what nobody asked for. What is in memory goes with the process, and an update that
    /// does not reach it does not exist.
    pub fn ttl(&self) -> std::time::Duration {
        match self {
            Self::Memory(_) => std::time::Duration::ZERO,
            Self::Redis(redis) => redis.ttl.as_std(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Users kept at most; the least recently used goes first.
    pub users: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://user:password@host:6379/0`.
    pub url: Secret,
    /// Start of the names of all keys, so that several installations can share a server.
    #[serde(default = "default_key_prefix")]
    pub key_prefix: String,
    /// A user nobody asked for and nothing happened to goes after this.
    #[serde(default = "default_ttl")]
    pub ttl: HumanDuration,
    /// A slower answer counts as none.
    #[serde(default = "default_redis_timeout")]
    pub timeout: HumanDuration,
}

/// Section `retention`: how long each kind of data is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Raw events in the database.
    pub realtime: HumanDuration,
    /// Records, breaches and roll-ups in the database.
    pub analytics: HumanDuration,
    /// The object archive.
    pub compliance: HumanDuration,
    /// Tenants with times of their own; what is left out is as for everybody.
    #[serde(default)]
    pub tenants: BTreeMap<String, TenantRetention>,
    /// False: days are closed and verified and plans are made, but nothing is deleted.
    #[serde(default = "default_enforce")]
    pub enforce: bool,
    /// How often the job runs.
    #[serde(default = "default_retention_interval")]
    pub interval: HumanDuration,
}

/// A tenant's own times.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRetention {
    pub realtime: Option<HumanDuration>,
    pub analytics: Option<HumanDuration>,
    pub compliance: Option<HumanDuration>,
}

fn default_pool() -> usize {
    4
}

fn default_statement_timeout() -> HumanDuration {
    HumanDuration::from_secs(30)
}

fn default_retry_timeout() -> HumanDuration {
    HumanDuration::from_secs(20)
}

fn default_enforce() -> bool {
    true
}

fn default_retention_interval() -> HumanDuration {
    HumanDuration::from_secs(60 * 60)
}

fn default_part_size() -> ByteSize {
    ByteSize::from_bytes(16 * 1024 * 1024)
}

fn default_ttl() -> HumanDuration {
    HumanDuration::from_secs(24 * 60 * 60)
}

fn default_key_prefix() -> String {
    "ttf:live".to_owned()
}

fn default_redis_timeout() -> HumanDuration {
    HumanDuration::from_millis(250)
}
