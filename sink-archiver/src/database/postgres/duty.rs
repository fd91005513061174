//! A duty is a session's advisory lock: the server gives it back when the session ends, however that happens.

use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object};

use super::errors::unavailable;
use crate::database::{DatabaseError, Duty, Held};

const PATIENCE: Duration = Duration::from_secs(5);

/// A connection of its own, which has the lock.
struct Session(ClientWrapper);

/// Takes the duty; `None` while another session has it.
pub(super) async fn take(client: Object, duty: Duty) -> Result<Option<Box<dyn Held>>, DatabaseError> {
    // Not one of the pool's any more: it must not come back to it with the lock.
    let session = Session(Object::take(client));
    let row = session
        .0
        .query_one(include_str!("queries/take_duty.sql"), &[&duty.lock()])
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(if row.get(0) { Some(Box::new(session)) } else { None })
}

#[async_trait]
impl Held for Session {
    async fn is_held(&self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.0.simple_query("SELECT 1")).await, Ok(Ok(_)))
    }
}
