//! The tables, made at the first open.

use kv::Tree;
use tokio_postgres::error::SqlState;

use crate::{
    connection::Connection,
    trouble::{Outcome, Trouble},
};

/// The layout that this code reads and writes.
const FORMAT: i32 = 1;

/// The lock under which the tables are made: "althing" in ASCII, so that it collides with nobody.
const SCHEMA_LOCK: i64 = 0x61_6c_74_68_69_6e_67;

const TABLES: &str = "
create table if not exists log_head (
    one smallint primary key check (one = 1),
    version bigint not null,
    seq bigint not null,
    floor bigint not null
);
create table if not exists owners (owner bytea primary key, version bigint not null);
create table if not exists commits (
    version bigint primary key,
    first bigint not null,
    id bytea not null,
    changes bytea not null
);
create table if not exists format (one smallint primary key check (one = 1), format integer not null);
";

/// Makes what is missing and refuses what this code cannot read.
pub(crate) async fn prepare(connection: &Connection) -> Outcome<()> {
    // Asking first lets a role without the right to create tables open a database that has them.
    if let Some(format) = format_found(connection).await? {
        return check(format);
    }
    let trees = (0..Tree::COUNT).map(|t| {
        format!(
            "create table if not exists tree_{t} (key bytea primary key, value bytea not null);"
        )
    });
    let trees: String = trees.collect();
    // Two statements that make the same table at once fail even with "if not exists". The format row
    // comes last: where it is, everything is.
    let sql = format!(
        "begin; select pg_advisory_xact_lock({SCHEMA_LOCK}); {TABLES} {trees}
         insert into log_head (one, version, seq, floor) values (1, 0, {}, 0) on conflict do nothing;
         insert into format (one, format) values (1, {FORMAT}) on conflict do nothing; commit",
        kv::LOG_BEGIN.0
    );
    connection.batch(&sql).await?;
    match format_found(connection).await? {
        Some(format) => check(format),
        None => Err(Trouble::corrupt("the table \"format\" is empty")),
    }
}

async fn format_found(connection: &Connection) -> Outcome<Option<i32>> {
    let asked = connection.client().query("select format from format where one = 1", &[]);
    match connection.try_trip(asked).await? {
        Ok(rows) => Ok(rows.first().map(|row| row.try_get(0)).transpose()?),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn check(format: i32) -> Outcome<()> {
    if format == FORMAT {
        return Ok(());
    }
    Err(Trouble::corrupt(format!("the database has format {format}, this program knows {FORMAT}")))
}
