//! What the archive's database and objects say about an event. An archive that does not answer is said to be unknown.

use std::{fmt::Display, time::Duration};

use serde_json::{Value, json};
use sink_archiver::{
    ArchiveConfig, database,
    objects::store::Store,
    whereabouts::{self, Sought, Whereabouts},
};

/// For one answer of the database or of the object store.
const PATIENCE: Duration = Duration::from_secs(20);

/// (row, object) of an event; of an id that is on no topic nobody can say more.
pub async fn ask(config: &ArchiveConfig, sought: Option<&Sought>) -> (Value, Value) {
    let Some(sought) = sought else {
        let nothing =
            unknown("the archive has what is on the topic of events, and the id is not there since the given time");
        return (nothing.clone(), nothing);
    };
    let row = async {
        let database = database::open(&config.database).map_err(|error| error.to_string())?;
        whereabouts::row(&*database, sought).await.map_err(|error| error.to_string())
    };
    let object = async {
        let store = Store::open(&config.s3).map_err(|error| error.to_string())?;
        whereabouts::object(&store, sought).await.map_err(|error| error.to_string())
    };
    let (row, object) = tokio::join!(tokio::time::timeout(PATIENCE, row), tokio::time::timeout(PATIENCE, object));
    (told("the database", row), told("the archive", object))
}

fn told(who: &str, asked: Result<Result<Whereabouts, String>, impl Display>) -> Value {
    match asked {
        Ok(Ok(Whereabouts::Row { received_at })) => {
            json!({"known": true, "table": "events", "received_at": received_at})
        }
        Ok(Ok(Whereabouts::Object { path })) => json!({"known": true, "path": path}),
        Ok(Ok(Whereabouts::Waiting { next_offset })) => json!({
            "known": true, "next_offset": next_offset,
            "why": format!("{who} has not come to it yet; of this partition it has everything before offset {next_offset}"),
        }),
        Ok(Ok(Whereabouts::Gone)) => json!({
            "known": true,
            "why": format!("{who} is past it and does not hold it: its user was erased, its time is over, or it was a replay"),
        }),
        Ok(Err(error)) => unknown(&format!("{who} cannot be asked: {error}")),
        Err(_) => unknown(&format!("{who} did not answer within {} s", PATIENCE.as_secs())),
    }
}

fn unknown(why: &str) -> Value {
    json!({"known": false, "why": why})
}
