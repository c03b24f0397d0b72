//! Committing a group: lock, check, write, and find out what became of it when the connection breaks.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base::Seq;
use kv::{Batch, KvResult, Owner, Tree, Verdict, Version};
use tokio_postgres::types::ToSql;

use crate::{
    Core,
    connection::{Connection, Purpose, Sql, Step, pipeline},
    follow::CHANNEL,
    history::{Group, OWNER_BYTES, big, count, encode, group, never_back},
    plan::{Basis, Plan},
    trim::trim,
    trouble::{Outcome, Trouble},
    wait::Backoff,
};

/// The connection that commits.
#[derive(Default)]
pub(crate) struct Writer {
    connection: Option<Connection>,
}

/// How far a group has come.
enum Work {
    /// Its functions haven't been called: all can be decided anew.
    Asked(Vec<Batch>),
    /// Its functions are used up: it can be written as it is, on the version it builds on, or not at all.
    /// It may have been written.
    Planned(Box<Plan>),
}

/// What one try needs and leaves.
struct Attempt<'a> {
    core: &'a Arc<Core>,
    work: Work,
    relied: Vec<[u8; OWNER_BYTES]>,
    /// The name of a lost connection whose transaction may still be open on the server.
    lost: Option<String>,
}

impl Writer {
    pub(crate) async fn commit(
        &mut self,
        core: &Arc<Core>,
        group: Vec<Batch>,
    ) -> KvResult<Vec<Verdict>> {
        let mut relied: Vec<Owner> =
            group.iter().flat_map(|batch| batch.relied.iter().copied()).collect();
        relied.sort_unstable();
        relied.dedup();
        let relied = relied.iter().map(|owner| owner.0.to_be_bytes()).collect();
        let mut attempt = Attempt { core, work: Work::Asked(group), relied, lost: None };
        let deadline = Instant::now() + Duration::from_millis(core.options.commit_ms);
        let mut backoff = Backoff::new();
        loop {
            // Taken out, so that a connection is kept only if all went well.
            let kept = self.connection.take().filter(Connection::is_usable);
            let was_kept = kept.is_some();
            match attempt.run(kept).await {
                Ok((connection, plan)) => {
                    self.connection = Some(connection);
                    return Ok(finish(core, *plan));
                }
                Err(trouble) if !trouble.again || Instant::now() >= deadline => {
                    return Err(trouble.error);
                }
                Err(trouble) => {
                    tracing::warn!(error = %trouble.error, "commit is tried again");
                    // One that lay idle may simply have been closed: no reason to wait.
                    if !was_kept {
                        backoff.pause().await;
                    }
                }
            }
        }
    }
}

impl Attempt<'_> {
    async fn run(&mut self, kept: Option<Connection>) -> Outcome<(Connection, Box<Plan>)> {
        let connection = match kept {
            Some(connection) => connection,
            None => self.core.connect(Purpose::Commit).await?,
        };
        if let Some(lost) = &self.lost {
            end_lost(&connection, lost).await?;
            self.lost = None;
        }
        let result = self.on(&connection).await;
        if result.is_err() {
            self.lost = Some(connection.name().to_owned());
        }
        result.map(|plan| (connection, plan))
    }

    async fn on(&mut self, connection: &Connection) -> Outcome<Box<Plan>> {
        let basis = lock(self.core, connection, &self.relied).await?;
        let plan = match std::mem::replace(&mut self.work, Work::Asked(Vec::new())) {
            Work::Asked(group) => {
                let mut plan = Plan::new(group, &basis, rand::random())?;
                plan.raise_floor(self.core.options.history);
                Box::new(plan)
            }
            Work::Planned(plan) => plan,
        };
        let known = resolve(connection, &plan, &basis).await;
        let written = match known {
            Ok(true) => {
                connection.end_unattended();
                return Ok(plan);
            }
            Ok(false) => write(self.core, connection, &plan).await,
            Err(trouble) => Err(trouble),
        };
        match written {
            Ok(()) => Ok(plan),
            Err(trouble) => {
                self.work = Work::Planned(plan);
                Err(trouble)
            }
        }
    }
}

/// Ends what a lost connection left open: its server process may not have noticed, and would hold
/// the lock. One that is at work is left to finish; the lock is waited for.
async fn end_lost(connection: &Connection, name: &str) -> Outcome<()> {
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
               where application_name = $1 and state like 'idle in transaction%'";
    let ended = async { connection.client().query(sql, &[&name]).await };
    if let Err(error) = connection.try_trip(ended).await? {
        tracing::debug!(%error, "a lost connection could not be ended");
    }
    Ok(())
}

/// Begins, takes the lock of the log, and reads under it what the decision needs, in one trip. Each
/// statement sees what was committed before it began, so those behind the lock see everything.
async fn lock(
    core: &Core,
    connection: &Connection,
    relied: &[[u8; OWNER_BYTES]],
) -> Outcome<Basis> {
    let lock = connection.prepared(Sql::LockHead).await?;
    let owners = connection.prepared(Sql::Owners).await?;
    let changes = connection.prepared(Sql::ChangesAfter).await?;
    let client = connection.client();
    let seen = core.history.clock.seen();
    let after = big(seen.0);
    let relied: Vec<&[u8]> = relied.iter().map(<[u8; OWNER_BYTES]>::as_slice).collect();
    let (head, owners, changes) = connection
        .trip(async {
            let owners = async {
                if relied.is_empty() { Ok(vec![]) } else { client.query(&owners, &[&relied]).await }
            };
            let (begun, head, owners, changes) = tokio::join!(
                biased;
                client.batch_execute("begin isolation level read committed read write"),
                client.query_one(&lock, &[]),
                owners,
                async { client.query(&changes, &[&after]).await },
            );
            begun?;
            Ok((head?, owners?, changes?))
        })
        .await?;
    let mut basis = Basis {
        version: count(&head, 0)?,
        head: count(&head, 1)?,
        floor: count(&head, 2)?,
        owners: HashMap::with_capacity(owners.len()),
    };
    for row in &owners {
        let owner = <[u8; OWNER_BYTES]>::try_from(row.try_get::<_, &[u8]>(0)?)
            .map_err(|_| Trouble::corrupt("an owner is not of 16 bytes"))?;
        basis.owners.insert(Owner(u128::from_be_bytes(owner)), count(row, 1)?);
    }
    never_back(seen, Version(basis.version))?;
    let groups = changes.iter().map(|row| group(row, 0)).collect::<Outcome<Vec<Group>>>()?;
    core.history.catch_up(Version(basis.version), groups);
    Ok(basis)
}

/// Under the lock: is there nothing (more) to write for this plan? The lost transaction that may have
/// written it held the lock until it ended, so what is found now is final.
async fn resolve(connection: &Connection, plan: &Plan, basis: &Basis) -> Outcome<bool> {
    if plan.version == plan.base {
        return Ok(true);
    }
    if plan.base == basis.version {
        return Ok(false);
    }
    let rows = connection.query(Sql::CommitId, &[&big(plan.version)]).await?;
    let id = rows.first().map(|row| row.try_get::<_, &[u8]>(0)).transpose()?;
    if id == Some(plan.id.as_slice()) {
        return Ok(true);
    }
    Err(Trouble::lasting("the connection was lost before the commit, and another node was quicker"))
}

/// A tree's rows as columns.
struct Columns<'a> {
    tree: Tree,
    put_keys: Vec<&'a [u8]>,
    put_values: Vec<&'a [u8]>,
    deleted: Vec<&'a [u8]>,
}

fn columns(plan: &Plan) -> Vec<Columns<'_>> {
    let trees = plan.trees.iter().map(|(tree, rows)| {
        let mut columns = Columns {
            tree: Tree(*tree),
            put_keys: Vec::with_capacity(rows.len()),
            put_values: Vec::with_capacity(rows.len()),
            deleted: Vec::new(),
        };
        for (key, value) in rows {
            match value {
                Some(value) => {
                    columns.put_keys.push(key);
                    columns.put_values.push(value);
                }
                None => columns.deleted.push(key),
            }
        }
        columns
    });
    trees.collect()
}

/// Writes the plan and commits, in one trip.
async fn write(core: &Core, connection: &Connection, plan: &Plan) -> Outcome<()> {
    let columns = columns(plan);
    let owners = plan.owners();
    let owner_keys: Vec<[u8; OWNER_BYTES]> = owners.keys().map(|o| o.0.to_be_bytes()).collect();
    let owner_keys: Vec<&[u8]> = owner_keys.iter().map(<[u8; OWNER_BYTES]>::as_slice).collect();
    let owner_versions: Vec<i64> = owners.values().map(|v| big(*v)).collect();
    let (version, head, floor) = (big(plan.version), big(plan.head), big(plan.floor));
    let (first, id, changes) = (big(plan.base + 1), plan.id.as_slice(), encode(&plan.changes));
    let payload = plan.head.to_string();

    let mut requests: Vec<(Sql, Vec<&(dyn ToSql + Sync)>)> = Vec::new();
    for rows in &columns {
        if !rows.put_keys.is_empty() {
            requests.push((Sql::Put(rows.tree), vec![&rows.put_keys, &rows.put_values]));
        }
        if !rows.deleted.is_empty() {
            requests.push((Sql::Delete(rows.tree), vec![&rows.deleted]));
        }
    }
    if !owners.is_empty() {
        requests.push((Sql::PutOwners, vec![&owner_keys, &owner_versions]));
    }
    requests.push((Sql::AddCommit, vec![&version, &first, &id, &changes]));
    requests.push((Sql::MoveHead, vec![&version, &head, &floor]));
    if core.notifies && plan.head > plan.head_before {
        requests.push((Sql::Notify, vec![&CHANNEL, &payload]));
    }

    let mut prepared = Vec::with_capacity(requests.len());
    for (sql, parameters) in requests {
        prepared.push((connection.prepared(sql).await?, parameters));
    }
    let client = connection.client();
    let mut steps: Vec<Step<'_>> = Vec::with_capacity(prepared.len() + 1);
    for (statement, parameters) in &prepared {
        steps.push(Box::pin(async { client.query(statement, parameters).await.map(drop) }));
    }
    // After a failed statement the server makes a rollback of it, and the pipeline says what failed.
    steps.push(Box::pin(client.batch_execute("commit")));
    connection.trip(pipeline(steps)).await
}

/// After the commit: brings the clock forward, tells of the head, tidies up now and then.
fn finish(core: &Arc<Core>, plan: Plan) -> Vec<Verdict> {
    if plan.version > plan.base {
        let own = Group { first: plan.base + 1, last: plan.version, changes: plan.changes };
        core.history.catch_up(Version(plan.version), vec![own]);
    }
    if plan.head > plan.head_before {
        core.heads.tell(Seq(plan.head));
    }
    if plan.floor_raised
        && let Some(handle) = core.threads.handle()
    {
        handle.spawn(trim(core.config.clone(), core.options.clone(), plan.floor));
    }
    plan.verdicts
}
