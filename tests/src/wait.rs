//! Waiting for a condition with a deadline.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Asks every 50 ms until `condition` holds; panics with its last complaint when the time is over.
pub async fn until<F, Fut, T>(what: &str, limit: Duration, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let complaint = match condition().await {
            Ok(value) => return value,
            Err(complaint) => complaint,
        };
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}: {complaint}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
