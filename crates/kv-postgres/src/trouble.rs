//! What can go wrong on a connection, and whether another try may help.

use std::time::Duration;

use kv::KvError;
use tokio_postgres::error::SqlState;

/// Result of a trip to the server.
pub(crate) type Outcome<T> = Result<T, Trouble>;

/// A failed trip.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: KvError,
    /// The connection or the moment is to blame, not what was asked.
    pub(crate) again: bool,
}

impl Trouble {
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Trouble { error: KvError::Unavailable(message.into()), again: true }
    }

    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Trouble { error: KvError::Unavailable(message.into()), again: false }
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Trouble { error: KvError::Corrupt(message.into()), again: false }
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        Trouble::passing(format!("PostgreSQL gave no answer within {} ms", after.as_millis()))
    }
}

impl From<KvError> for Trouble {
    fn from(error: KvError) -> Self {
        Trouble { error, again: false }
    }
}

impl From<Trouble> for KvError {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // Closed, reset, refused, no such socket; or our own misuse, which a bounded retry survives.
            return Trouble::passing(chain(&error));
        };
        let code = said.code();
        let message = format!("PostgreSQL says: {} ({})", said.message(), code.code());
        if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED {
            return Trouble::corrupt(message);
        }
        // Connection, transaction rollback, resources and operator intervention (restart, shutdown,
        // cancelled by a timeout) pass; so does a lock that was not to be had.
        let passes = ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class))
            || *code == SqlState::LOCK_NOT_AVAILABLE;
        if passes { Trouble::passing(message) } else { Trouble::lasting(message) }
    }
}

/// The error with its causes: the outer one says only "db error" or "error connecting to server".
fn chain(error: &tokio_postgres::Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message.push_str(": ");
        message.push_str(&inner.to_string());
        cause = inner.source();
    }
    message
}
