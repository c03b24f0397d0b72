//! Giving up what lies below the floor. The floor was raised by a commit, under the lock of the log;
//! from then on nobody asks for what is deleted here, so it may be late, interrupted or done twice.

use tokio_postgres::Config;

use crate::{
    Options,
    connection::{Connection, Purpose},
    history::big,
    trouble::Outcome,
};

/// Owners deleted at once: a writer that changes one of them waits for so many at most.
const OWNERS_AT_ONCE: i64 = 5_000;

/// Deletes commits and owners that nobody needs any more. What fails is left to the next time.
pub(crate) async fn trim(config: Config, options: Options, floor: u64) {
    if let Err(trouble) = try_trim(&config, &options, floor).await {
        tracing::debug!(error = %trouble.error, floor, "trimming was put off");
    }
}

async fn try_trim(config: &Config, options: &Options, floor: u64) -> Outcome<()> {
    let connection = Connection::open(config, options, Purpose::Read).await?;
    let client = connection.client();
    let floor = big(floor);
    connection.trip(client.execute("delete from commits where version <= $1", &[&floor])).await?;
    // Rows that a writer holds are skipped instead of waited for: two that wait for each other's
    // rows would deadlock, and such a row is no longer old anyway.
    let sql = "delete from owners where owner in (select owner from owners \
               where version <= $1 limit $2 for update skip locked)";
    loop {
        let deleted = connection.trip(client.execute(sql, &[&floor, &OWNERS_AT_ONCE])).await?;
        if deleted < OWNERS_AT_ONCE.unsigned_abs() {
            return Ok(());
        }
    }
}
