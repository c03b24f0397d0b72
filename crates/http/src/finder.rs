//! The index of messages as requests reach it: a few at a time, off the threads that serve.

use std::sync::Arc;

use base::{Error, Reply};
use search::{
    Messages,
    messages::{Hit, Query},
};
use store::Store;
use tokio::sync::Semaphore;

/// Searches at once; the others wait their turn.
const AT_ONCE: usize = 2;

/// The index of messages, and whose turn it is. Cheap to clone.
#[derive(Clone)]
pub struct Finder {
    index: Arc<Messages>,
    turns: Arc<Semaphore>,
}

impl Finder {
    /// A door to an index.
    #[must_use]
    pub fn new(index: Arc<Messages>) -> Finder {
        Finder { index, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Lets the index take in what is new, so that what was acknowledged is found.
    ///
    /// # Errors
    /// Faults of the index and the store.
    pub async fn catch_up(&self, store: &Store) -> Reply<()> {
        let store = store.clone();
        self.run(move |index| index.catch_up(&store).map(drop)).await
    }

    /// The hits from `skip` on, at most `limit`, and how many there are in all.
    ///
    /// # Errors
    /// Faults of the index.
    pub async fn find(
        &self,
        query: Arc<Query>,
        skip: usize,
        limit: usize,
    ) -> Reply<(Vec<Hit>, usize)> {
        self.run(move |index| index.find(&query, skip, limit)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Messages) -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        let gone = |_| Error::fault("the search index is closed");
        let _turn = self.turns.acquire().await.map_err(gone)?;
        let index = self.index.clone();
        let done = tokio::task::spawn_blocking(move || work(&index)).await;
        done.map_err(|e| Error::fault(format!("a search ended: {e}")))?
    }
}
