//! Reads the archive: rows of SQLite or PostgreSQL, and Parquet objects of a folder or S3.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, local::LocalFileSystem, path::Path as Key};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{servers, system::Store};

/// One row, each column as text (`None`: NULL).
pub type Row = Vec<Option<String>>;

/// What an object of a dataset says, by column.
pub struct Object {
    pub key: String,
    pub batches: Vec<RecordBatch>,
}

impl Store {
    /// Runs a query that both databases understand; columns must be text or integers.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Row>, String> {
        match self {
            Self::Embedded { database, .. } => sqlite_rows(database, sql),
            Self::Servers { database, .. } => postgres_rows(database, sql).await,
        }
    }

    /// The single number a query gives.
    pub async fn count(&self, sql: &str) -> Result<usize, String> {
        let rows = self.rows(sql).await?;
        let text = rows.first().and_then(|row| row.first()).and_then(Clone::clone).ok_or("no row")?;
        text.parse().map_err(|_| format!("`{text}` is not a number"))
    }

    /// Every Parquet object of a dataset.
    pub async fn objects(&self, dataset: &str) -> Result<Vec<Object>, String> {
        let (store, prefix): (Arc<dyn ObjectStore>, String) = match self {
            Self::Embedded { objects, .. } => {
                if !objects.exists() {
                    return Err("no object yet".to_owned());
                }
                (Arc::new(LocalFileSystem::new_with_prefix(objects).map_err(text)?), String::new())
            }
            Self::Servers { bucket_prefix, .. } => (Arc::new(s3()?), format!("{bucket_prefix}/")),
        };
        let listed: Vec<_> =
            store.list(Some(&Key::from(format!("{prefix}dataset={dataset}")))).try_collect().await.map_err(text)?;
        let mut objects = Vec::new();
        for meta in listed {
            let bytes = store.get(&meta.location).await.map_err(text)?.bytes().await.map_err(text)?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(text)?.build().map_err(text)?;
            let batches = reader.collect::<Result<Vec<_>, _>>().map_err(text)?;
            objects.push(Object { key: meta.location.to_string(), batches });
        }
        Ok(objects)
    }
}

impl Object {
    /// A column's values as text, over all batches.
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        let mut values = Vec::new();
        for batch in &self.batches {
            let column = batch.column_by_name(name).unwrap_or_else(|| panic!("{} has no column {name}", self.key));
            if let Some(texts) = column.as_any().downcast_ref::<StringArray>() {
                values.extend(texts.iter().map(|value| value.map(ToOwned::to_owned)));
            } else if let Some(numbers) = column.as_any().downcast_ref::<Int64Array>() {
                values.extend(numbers.iter().map(|value| value.map(|value| value.to_string())));
            } else {
                panic!("column {name} is a {}", column.data_type());
            }
        }
        values
    }

    /// The names of its columns.
    pub fn columns(&self) -> Vec<String> {
        let schema = self.batches.first().map(RecordBatch::schema);
        schema.map(|schema| schema.fields().iter().map(|field| field.name().clone()).collect()).unwrap_or_default()
    }

    /// `topic-partition` from its name, `…/<topic>-<partition>-<start offset>.parquet`.
    pub fn topic_partition(&self) -> String {
        let name = self.key.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('-').map(|(partition, _)| partition.to_owned()).unwrap_or_default()
    }
}

/// (topic-partition, offset) → how often the objects hold it.
pub fn offsets(objects: &[Object]) -> BTreeMap<(String, String), usize> {
    let mut seen = BTreeMap::new();
    for object in objects {
        for offset in object.column("offset") {
            *seen.entry((object.topic_partition(), offset.unwrap_or_default())).or_default() += 1;
        }
    }
    seen
}

fn s3() -> Result<impl ObjectStore, String> {
    AmazonS3Builder::new()
        .with_bucket_name("ttf-test")
        .with_region("us-east-1")
        .with_allow_http(true)
        .with_endpoint(servers::require("TTF_TEST_S3_ENDPOINT"))
        .with_access_key_id(servers::require("TTF_TEST_S3_ACCESS_KEY"))
        .with_secret_access_key(servers::require("TTF_TEST_S3_SECRET_KEY"))
        .build()
        .map_err(text)
}

fn sqlite_rows(database: &Path, sql: &str) -> Result<Vec<Row>, String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(database, flags).map_err(text)?;
    let mut statement = connection.prepare(sql).map_err(text)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..columns)
            .map(|index| {
                Ok(match row.get_ref(index)? {
                    rusqlite::types::ValueRef::Null => None,
                    rusqlite::types::ValueRef::Integer(number) => Some(number.to_string()),
                    other => Some(other.as_str().unwrap_or_default().to_owned()),
                })
            })
            .collect::<rusqlite::Result<Row>>()
    });
    rows.map_err(text)?.collect::<Result<Vec<_>, _>>().map_err(text)
}

async fn postgres_rows(url: &str, sql: &str) -> Result<Vec<Row>, String> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(text)?;
    tokio::spawn(connection);
    let messages = client.simple_query(sql).await.map_err(text)?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).map(ToOwned::to_owned)).collect())
            }
            _ => None,
        })
        .collect())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
