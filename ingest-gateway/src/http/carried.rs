//! Work that is carried to its end even when whoever waits for it goes away.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// A future that goes on as a task of its own when it is dropped before its end.
///
/// A task for every request would do the same, and cost each of them a hand-over between threads and back.
pub struct Carried<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
    /// Whoever waits for the tasks waits for this, too.
    token: Option<TaskTrackerToken>,
}

impl<T: Send + 'static> Carried<T> {
    pub fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), token: Some(tasks.token()) }
    }
}

impl<T: Send + 'static> Future for Carried<T> {
    type Output = T;

    /// # Panics
    /// When polled after its end, and when the work does.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out, so that work that panics is not gone on with.
        let mut work = self.work.take().expect("a future is not polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        let (Some(work), token) = (self.work.take(), self.token.take()) else { return };
        // Without a runtime the process is at its end.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                work.await;
                drop(token);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let tasks = TaskTracker::new();
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut carried = Carried::new(&tasks, async move {
            let _ = gone.await;
            let _ = done.send(());
        });
        assert!(futures::poll!(&mut carried).is_pending());
        drop(carried);
        tasks.close();
        assert_eq!(tasks.len(), 1, "it is waited for");
        go.send(()).unwrap();
        tasks.wait().await;
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_waited_for_is_answered_and_leaves_nothing() {
        let tasks = TaskTracker::new();
        assert_eq!(Carried::new(&tasks, async { 7 }).await, 7);
        drop(Carried::new(&tasks, std::future::ready(1)));
        tasks.close();
        tasks.wait().await;
    }
}
