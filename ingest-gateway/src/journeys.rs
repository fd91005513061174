//! The gateway's view of what is known of a user's journeys; the binary says where that comes from.

use async_trait::async_trait;
use telemetry_schemas::TtfRecord;

/// The live view.
#[async_trait]
pub trait JourneyLookup: Send + Sync {
    /// The latest record of each attempt of this user; empty when nothing is known. An error means that the view is
    /// away.
    async fn journeys(&self, tenant: &str, user_id: &str) -> anyhow::Result<Vec<TtfRecord>>;
}
