//! Image work: slow and hungry, so a few at a time, a few waiting, and a refusal for the rest.

use std::{sync::Arc, time::Duration};

use base::{Error, Reply};
use tokio::{sync::Semaphore, time::timeout};

use crate::picture;

/// Pictures worked on at once: each may take [`picture::DECODED_BYTES_MAX`] of memory and a whole core.
const WORKING_MAX: usize = 2;
/// Requests that may wait for that: at 0.2 s for a large photograph, the last one waits for a few seconds.
const WAITING_MAX: usize = 32;
/// When to come back if there are more.
const RETRY_MS: u64 = 2_000;
/// From when on nobody waits for a picture any more. The limits of [`picture`] make this a rare thing.
const TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct Pool {
    waiting: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            waiting: Arc::new(Semaphore::new(WAITING_MAX + WORKING_MAX)),
            working: Arc::new(Semaphore::new(WORKING_MAX)),
        }
    }
}

impl Pool {
    /// Loads and works, when it is its turn. Work that nobody waits for any more still keeps its place until it is
    /// done: there are never more than the bound.
    ///
    /// # Errors
    /// 429 if too many wait, 413 if it takes too long, and what `load` and `work` say.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        load: impl Future<Output = Reply<Vec<u8>>>,
        work: impl FnOnce(&[u8]) -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        let Ok(place) = self.waiting.clone().try_acquire_owned() else { return Err(too_many()) };
        let job = async {
            let turn = self.working.clone().acquire_owned().await;
            let turn = turn.map_err(|e| Error::fault(format!("image work: {e}")))?;
            let bytes = load.await?;
            let job = tokio::task::spawn_blocking(move || {
                let _places = (place, turn);
                work(&bytes)
            });
            job.await.unwrap_or_else(|error| {
                // A decoder that a strange file makes panic is not ours, and the file has no thumbnail.
                tracing::warn!(%error, "image work broke off");
                Err(picture::impossible())
            })
        };
        timeout(TIME_MAX, job).await.unwrap_or_else(|_| Err(picture::too_large()))
    }
}

fn too_many() -> Error {
    let mut refusal = Error::refusal(429, "M_LIMIT_EXCEEDED", "too many thumbnails are being made");
    refusal.retry_after_ms = Some(RETRY_MS);
    refusal.into()
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn only_so_many_wait_and_the_rest_is_refused() {
        let pool = Pool::default();
        let (open, opened) = tokio::sync::watch::channel(false);
        let job = || {
            let (pool, mut opened) = (pool.clone(), opened.clone());
            async move {
                let load = async {
                    opened.wait_for(|open| *open).await.unwrap();
                    Ok(vec![1])
                };
                pool.run(load, |bytes| Ok(bytes.len())).await
            }
        };
        let mut jobs: Vec<_> = (0..WORKING_MAX + WAITING_MAX).map(|_| Box::pin(job())).collect();
        for job in &mut jobs {
            assert!(job.now_or_never().is_none());
        }
        match job().await {
            Err(Error::Refused(refusal)) => assert_eq!(refusal.status, 429),
            other => panic!("{other:?}"),
        }
        open.send_replace(true);
        assert!(join_all(jobs).await.into_iter().all(|done| done.is_ok_and(|len| len == 1)));
        assert_eq!(job().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let pool = Pool::default();
        for _ in 0..WORKING_MAX + 1 {
            let panics = |_: &[u8]| -> Reply<()> { panic!("a test") };
            match pool.run(async { Ok(Vec::new()) }, panics).await {
                Err(Error::Refused(refusal)) => assert_eq!(refusal.errcode, "M_UNKNOWN"),
                other => panic!("{other:?}"),
            }
        }
    }
}
