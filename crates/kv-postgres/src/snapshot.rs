//! A snapshot: one read-only transaction on one connection.

use std::{collections::HashMap, sync::Arc};

use base::Seq;
use kv::{Bytes, Direction, KvError, KvResult, Snapshot, Tree, Version};
use tokio_postgres::Row;

use crate::{
    Core,
    connection::{Connection, Sql},
    history::{Group, big, count, group, never_back},
    pool::{Lease, lease},
    trouble::{Outcome, Trouble},
};

/// A consistent view of the database.
pub(crate) struct PgSnapshot {
    core: Arc<Core>,
    lease: Lease,
    version: Version,
    head: Seq,
}

/// What the first trip of a snapshot finds.
struct Found {
    version: Version,
    head: Seq,
    groups: Vec<Group>,
}

impl PgSnapshot {
    /// Begins the transaction and brings the clock up to it, in one trip.
    pub(crate) async fn open(core: &Arc<Core>) -> KvResult<PgSnapshot> {
        // Read before the transaction begins: what was seen then must be in it.
        let seen = core.history.clock.seen();
        let (lease, found) = lease(core, async |connection| begin(connection, seen).await).await?;
        let snapshot =
            PgSnapshot { core: core.clone(), lease, version: found.version, head: found.head };
        never_back(seen, found.version)?;
        core.history.catch_up(found.version, found.groups);
        Ok(snapshot)
    }

    async fn rows(
        &self,
        sql: Sql,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> KvResult<Vec<Row>> {
        Ok(self.lease.connection()?.query(sql, parameters).await?)
    }
}

async fn begin(connection: &Connection, seen: Version) -> Outcome<Found> {
    let statement = connection.prepared(Sql::Head).await?;
    let client = connection.client();
    let seen = big(seen.0);
    let rows = connection
        .trip(async {
            // The first poll of a request sends it, so the order here is the order on the wire.
            let (begun, rows) = tokio::join!(
                biased;
                client.batch_execute("begin isolation level repeatable read read only"),
                async { client.query(&statement, &[&seen]).await },
            );
            begun?;
            rows
        })
        .await?;
    let first = rows.first().ok_or_else(|| Trouble::corrupt("the table \"log_head\" is empty"))?;
    let (version, head) = (Version(count(first, 0)?), Seq(count(first, 1)?));
    let mut groups = Vec::new();
    for row in &rows {
        if row.try_get::<_, Option<i64>>(2)?.is_some() {
            groups.push(group(row, 2)?);
        }
    }
    Ok(Found { version, head, groups })
}

/// The size of the database on the server's disk.
pub(crate) async fn disk_bytes(core: &Arc<Core>) -> KvResult<u64> {
    let question = "select pg_database_size(current_database())";
    let (_, bytes) = lease(core, async |connection| {
        let row = connection.trip(connection.client().query_one(question, &[])).await?;
        count(&row, 0)
    })
    .await?;
    Ok(bytes)
}

fn known(tree: Tree) -> KvResult<()> {
    if tree.0 < Tree::COUNT {
        return Ok(());
    }
    Err(KvError::Unavailable(format!("there is no tree {}", tree.0)))
}

fn bytes<'a>(row: &Row, column: usize) -> Outcome<Bytes<'a>> {
    Ok(Bytes::Owned(row.try_get::<_, Vec<u8>>(column)?))
}

impl Snapshot for PgSnapshot {
    fn head(&self) -> Seq {
        self.head
    }

    fn version(&self) -> Version {
        self.version
    }

    fn get<'a>(&'a self, tree: Tree, key: &[u8]) -> KvResult<Option<Bytes<'a>>> {
        known(tree)?;
        let rows = self.core.wait(self.rows(Sql::Get(tree), &[&key]))?;
        Ok(rows.first().map(|row| bytes(row, 0)).transpose()?)
    }

    fn get_many<'a>(&'a self, tree: Tree, keys: &[Vec<u8>]) -> KvResult<Vec<Option<Bytes<'a>>>> {
        known(tree)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.core.wait(self.rows(Sql::GetMany(tree), &[&keys]))?;
        let mut found: HashMap<&[u8], &Row> = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert(row.try_get(0).map_err(Trouble::from)?, row);
        }
        let in_order = keys.iter().map(|key| {
            let row = found.get(key.as_slice());
            Ok(row.map(|row| bytes(row, 1)).transpose()?)
        });
        in_order.collect()
    }

    fn scan<'a>(
        &'a self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> KvResult<Vec<(Bytes<'a>, Bytes<'a>)>> {
        known(tree)?;
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let sql = match direction {
            Direction::Forward => Sql::Forward(tree),
            Direction::Backward => Sql::Backward(tree),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.core.wait(self.rows(sql, &[&from, &to, &limit]))?;
        rows.iter().map(|row| Ok((bytes(row, 0)?, bytes(row, 1)?))).collect()
    }
}

impl Drop for PgSnapshot {
    // Ends the transaction without waiting; the lease gives the connection back after this.
    fn drop(&mut self) {
        if let Ok(connection) = self.lease.connection()
            && connection.is_usable()
        {
            connection.end_unattended();
        }
    }
}
