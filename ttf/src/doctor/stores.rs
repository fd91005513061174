//! Database, Redis, object store and schema registry.

use std::time::Duration;

use redis::Client;
use service_kit::clock::now_ms;
use sink_archiver::{
    config::{DatabaseConfig, ObjectsConfig},
    database::{DatabaseError, Postgres},
    objects::store::{Put, Store},
};

use super::{
    clock,
    report::{Check, Part},
};

/// PostgreSQL 14.
const OLDEST_POSTGRES: i32 = 140_000;
const OLDEST_REDIS: u32 = 6;

pub async fn database(config: &DatabaseConfig) -> Vec<Check> {
    let mut part = Part::new("database");
    match config {
        DatabaseConfig::Sqlite(sqlite) => part.ok("kind", format!("sqlite, {}", sqlite.path.display())),
        DatabaseConfig::Postgres(config) => {
            let looked = match Postgres::open(config) {
                Ok(database) => database.inspect().await.map(|found| (found, now_ms())),
                Err(error) => Err(error),
            };
            match looked {
                Err(error) => {
                    let todo = database_todo(&error);
                    part.wrong("reachable", error.to_string(), todo);
                }
                Ok((found, now_ms)) => {
                    let tls = if found.tls { "TLS" } else { "no TLS" };
                    part.ok("reachable", format!("PostgreSQL {}, {tls}", found.version_text));
                    if found.version < OLDEST_POSTGRES {
                        part.wrong("version", found.version_text.clone(), "use PostgreSQL 14 or later");
                    }
                    match &found.timescaledb {
                        Some(version) => part.ok("timescaledb", version),
                        None => part.skipped("timescaledb", "not there: big tables are plain ones"),
                    }
                    if found.read_only {
                        part.wrong(
                            "writable",
                            "it is a standby, which takes no writes",
                            "name the primary in `archive.database.url`",
                        );
                    } else if !found.may_create && (found.schema.is_none() || found.pending > 0) {
                        part.wrong(
                            "rights",
                            "this user may make no tables",
                            "GRANT CREATE, USAGE ON SCHEMA public TO the user, or apply migrations as the owner",
                        );
                    } else if found.not_writable.is_empty() {
                        part.ok("rights", "may read and write");
                    } else {
                        part.wrong(
                            "rights",
                            format!("may not write: {}", found.not_writable),
                            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO the user",
                        );
                    }
                    match (found.schema, found.pending) {
                        (None, _) => part.skipped("schema", "none yet: the first archiver makes it"),
                        (Some(version), 0) => part.ok("schema", format!("version {version}, the newest")),
                        (Some(version), pending) => part.warning(
                            "schema",
                            format!("version {version}, {pending} changes are pending"),
                            "the next start of an archiver applies them; dump the database first",
                        ),
                    }
                    if found.connections * 10 >= i64::from(found.max_connections) * 9 {
                        part.warning(
                            "connections",
                            format!("{} of {}", found.connections, found.max_connections),
                            "raise max_connections, or lower `archive.database.pool`",
                        );
                    }
                    part.ok("size", format!("{} MiB", found.bytes / 1_048_576));
                    clock::compare(&mut part, found.now_ms, now_ms);
                }
            }
        }
    }
    part.checks
}

fn database_todo(error: &DatabaseError) -> &'static str {
    let text = error.to_string().to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["28p01", "28000", "password"]) {
        "compare user and password in `archive.database.url` with the server's, and pg_hba.conf"
    } else if says(&["3d000"]) {
        "create the database: createdb"
    } else if says(&["certificate", "unknownissuer", "notvalidforname"]) {
        "name the server's authority: `?sslmode=verify-full&sslrootcert=/path/ca.crt`, and the name in its certificate"
    } else if says(&["tls", "ssl"]) {
        "compare `sslmode` in `archive.database.url` with `ssl` of the server"
    } else if says(&["schema version"]) {
        "use the program that made the schema, or a newer one"
    } else {
        "is `archive.database.url` right, does the server run, does the network let us through?"
    }
}

/// `name` is the setting that has the address.
pub async fn redis(name: &'static str, url: &str, timeout: Duration) -> Vec<Check> {
    let mut part = Part::new(name);
    match ask_redis(url, timeout).await {
        Err(error) => {
            // The error of a refused address may repeat it.
            let text = if error.kind() == redis::ErrorKind::InvalidClientConfig {
                "not a Redis address".to_owned()
            } else {
                error.to_string()
            };
            let lower = text.to_lowercase();
            let todo = if lower.contains("noauth") || lower.contains("wrongpass") || lower.contains("authentication") {
                "compare user and password in the address with the server's"
            } else if lower.contains("certificate") || lower.contains("tls") {
                "TLS: name the server's authority by SSL_CERT_FILE, and use the name in its certificate"
            } else if lower.contains("noperm") {
                "grant the user GET, SET, EVAL and keys `ttf:*`"
            } else {
                "is the address right, does the server run, does the network let us through? Nothing is lost meanwhile"
            };
            part.wrong("reachable", text, todo);
        }
        Ok(found) => {
            part.ok("reachable", format!("Redis {}", found.version));
            let major = found.version.split('.').next().and_then(|text| text.parse::<u32>().ok());
            if major.is_some_and(|major| major < OLDEST_REDIS) {
                part.wrong("version", found.version.clone(), "use Redis 6 or later");
            }
            part.ok("rights", "may read and write");
            if found.max_bytes > 0 && found.used_bytes * 10 >= found.max_bytes * 9 {
                part.warning(
                    "memory",
                    format!("{} of {} MiB", found.used_bytes >> 20, found.max_bytes >> 20),
                    "raise maxmemory: what is pushed out is published again when it is repeated",
                );
            }
            clock::compare(&mut part, found.now_ms, now_ms());
        }
    }
    part.checks
}

struct Redis {
    version: String,
    used_bytes: u64,
    max_bytes: u64,
    now_ms: i64,
}

async fn ask_redis(url: &str, timeout: Duration) -> redis::RedisResult<Redis> {
    let ask = async {
        let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let value = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let key = format!("ttf:doctor:{}", uuid::Uuid::now_v7());
        let _: () = redis::cmd("SET").arg(&key).arg(1).arg("EX").arg(10).query_async(&mut connection).await?;
        let _: i64 = redis::cmd("DEL").arg(&key).query_async(&mut connection).await?;
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
        Ok(Redis {
            version: value("redis_version"),
            used_bytes: value("used_memory").parse().unwrap_or_default(),
            max_bytes: value("maxmemory").parse().unwrap_or_default(),
            now_ms: seconds * 1_000 + micros / 1_000,
        })
    };
    match tokio::time::timeout(timeout, ask).await {
        Ok(answer) => answer,
        Err(_) => Err((redis::ErrorKind::Io, "no answer in time").into()),
    }
}

pub async fn objects(config: &ObjectsConfig, timeout: Duration) -> Vec<Check> {
    let mut part = Part::new("objects");
    let ObjectsConfig::S3(s3) = config else {
        if let ObjectsConfig::Folder(folder) = config {
            part.ok("kind", format!("folder, {}", folder.path.display()));
        }
        return part.checks;
    };
    // The store's client tries for long, and leaves out why a connection failed.
    if let Some(endpoint) = &s3.endpoint
        && let Some(why) = why_not(endpoint, timeout).await
    {
        let todo = s3_todo(&why);
        part.wrong("reachable", why, todo);
        return part.checks;
    }
    let tried = async {
        let store = Store::open(config)?;
        let path = store.names.staged(&format!("doctor-{}", uuid::Uuid::now_v7()));
        let first = store.create(&path, bytes::Bytes::from_static(b"ttf doctor")).await?;
        let again = store.create(&path, bytes::Bytes::from_static(b"ttf doctor, again")).await?;
        let read = store.read(&path).await?;
        let removed = store.delete(&path).await;
        Ok::<_, stream_runtime::sink::SinkError>((first, again, read, removed))
    };
    match tokio::time::timeout(timeout, tried).await {
        Err(_) => part.wrong(
            "reachable",
            "no answer in time",
            "is `archive.s3.endpoint` right, and does the network let us through?",
        ),
        Ok(Err(error)) => {
            let text = error.to_string();
            let todo = s3_todo(&text);
            part.wrong("reachable", text, todo);
        }
        Ok(Ok((first, again, read, removed))) => {
            // Without an address of its own it is the provider's, which has TLS.
            let is_plain = s3.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
            let tls = if is_plain { "no TLS" } else { "TLS" };
            part.ok("reachable", format!("bucket {}, {tls}", s3.bucket));
            if first == Put::Written && again == Put::Present && read.as_deref() == Some(b"ttf doctor") {
                part.ok("conditional put", "what is there is not overwritten");
            } else {
                part.wrong(
                    "conditional put",
                    "an object that was there was overwritten: the server ignores If-None-Match",
                    "use a server that knows conditional puts: AWS S3, or a newer release of yours",
                );
            }
            if let Err(error) = removed {
                part.warning("may delete", error.to_string(), "erasure and retention need s3:DeleteObject");
            }
        }
    }
    if let Some(endpoint) = &s3.endpoint {
        clock_of(&mut part, endpoint, timeout).await;
    }
    part.checks
}

fn s3_todo(text: &str) -> &'static str {
    let text = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // Not the bare numbers: an address may contain them.
    if says(&["nosuchbucket", "status code: 404", "not found"]) {
        "create the bucket, or correct `archive.s3.bucket`"
    } else if says(&["requesttimetooskewed"]) {
        "set this machine's clock"
    } else if says(&[
        "status code: 401",
        "status code: 403",
        "forbidden",
        "accessdenied",
        "invalidaccesskey",
        "signature",
    ]) {
        "compare `archive.s3.access_key` and `secret_key` with the store's; s3:PutObject, GetObject, ListBucket are needed"
    } else if says(&["certificate"]) {
        "name the server's authority by SSL_CERT_FILE"
    } else {
        "is `archive.s3.endpoint` right, does the server run, does the network let us through?"
    }
}

pub async fn registry(url: &str, timeout: Duration) -> Vec<Check> {
    let mut part = Part::new("registry");
    let asked = match reqwest::Client::builder().timeout(timeout).build() {
        Ok(client) => client.get(format!("{}/subjects", url.trim_end_matches('/'))).send().await,
        Err(error) => Err(error),
    };
    match asked {
        // The address may have a password in it.
        Err(error) => part.wrong(
            "reachable",
            cause(error.without_url()),
            "is `schema_registry.url` right, and does it run? Records with schemas that are not cached wait",
        ),
        Ok(answer) => {
            let status = answer.status();
            let now = now_ms();
            let date = clock::date_of(answer.headers());
            if status.is_success() {
                match answer.json::<Vec<String>>().await {
                    Ok(subjects) => part.ok("reachable", format!("{} subjects", subjects.len())),
                    Err(_) => part.wrong(
                        "reachable",
                        "it answers, but not as a schema registry",
                        "correct the path in `schema_registry.url`",
                    ),
                }
            } else if matches!(status.as_u16(), 401 | 403) {
                part.wrong(
                    "reachable",
                    format!("it answers {status}"),
                    "compare user and password in `schema_registry.url`",
                );
            } else {
                part.wrong("reachable", format!("it answers {status}"), "correct the path in `schema_registry.url`");
            }
            if let Some(date) = date {
                clock::compare(&mut part, date, now);
            }
        }
    }
    part.checks
}

async fn clock_of(part: &mut Part, url: &str, timeout: Duration) {
    let Ok(client) = reqwest::Client::builder().timeout(timeout).build() else { return };
    // Whatever it answers has its time.
    if let Ok(answer) = client.get(url).send().await
        && let Some(date) = clock::date_of(answer.headers())
    {
        clock::compare(part, date, now_ms());
    }
}

/// Why nobody answers there; `None` when somebody does.
async fn why_not(url: &str, timeout: Duration) -> Option<String> {
    let client = reqwest::Client::builder().timeout(timeout).build().ok()?;
    client.get(url).send().await.err().map(|error| cause(error.without_url()))
}

fn cause(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::s3_todo;

    #[test]
    fn an_address_is_not_taken_for_a_status() {
        let plain = "Error performing PUT http://127.0.0.1:40307/b in 65.4ms - Server returned non-2xx status code: 400 Bad Request";
        assert!(s3_todo(plain).contains("archive.s3.endpoint"));
        let refused =
            "Error performing PUT http://127.0.0.1:9000/b in 5ms - Server returned non-2xx status code: 403 Forbidden";
        assert!(s3_todo(refused).contains("secret_key"));
        assert!(s3_todo("Server returned non-2xx status code: 404 Not Found").contains("create the bucket"));
    }
}
