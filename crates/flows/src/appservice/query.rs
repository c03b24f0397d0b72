//! Users and rooms that an application service makes when someone asks for them (spec: Application Service API,
//! "Querying").

use std::{sync::Arc, time::Duration};

use base::{Error, Reply, User};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use protocol::appservice::Registration;
use ruma::{OwnedUserId, RoomAliasId, UserId};
use store::{
    Store, View,
    schema::{ACCOUNTS, ALIASES, GHOSTS},
    user,
};

use super::{Ask, Bridges};

/// For one try: someone waits, and the application service may make a room with a hundred members meanwhile.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Tries before it counts as silent (spec: "retry several times before timing out").
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Questions at once for one request.
const AT_ONCE: usize = 8;

/// What an application service says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It exists, and is made.
    Exists,
    /// It does not exist.
    Not,
    /// Nothing that can be understood.
    Nothing,
}

async fn ask(bridges: &Bridges, service: &Registration, path: [&str; 2]) -> Said {
    let ask = Ask {
        method: Method::GET,
        path: &path,
        legacy: &path,
        query: &[],
        body: Bytes::new(),
        timeout: TIMEOUT,
    };
    for attempt in 1..=TRIES {
        match bridges.ask(service, &ask).await {
            Ok(answer) if answer.status.is_success() => return Said::Exists,
            Ok(answer) if answer.status.is_client_error() => return Said::Not,
            Ok(answer) => {
                tracing::info!(appservice = service.id, status = %answer.status, "no answer to a query");
            }
            Err(failure) => {
                tracing::info!(appservice = service.id, %failure, "no answer to a query");
            }
        }
        if attempt < TRIES {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Said::Nothing
}

fn silent() -> Error {
    Error::refused(408, "M_UNKNOWN", "The application service that knows this does not answer.")
}

/// Is this a user of this server without an account, for whom some application service may answer?
fn is_unknown(view: &View, bridges: &Bridges, id: &UserId) -> Reply<bool> {
    if !user::is_local(view, id) || !bridges.services().all().any(|service| service.has_user(id)) {
        return Ok(false);
    }
    match user::find(view, id)? {
        Some(user) => Ok(!view.has(&ACCOUNTS, (user,))?),
        None => Ok(true),
    }
}

async fn ask_for_user(bridges: &Bridges, id: &UserId) -> Said {
    let mut said = Said::Not;
    for service in bridges.services().all() {
        if service.has_user(id) && service.url.is_some() {
            match ask(bridges, service, ["users", id.as_str()]).await {
                Said::Exists => return Said::Exists,
                Said::Nothing => said = Said::Nothing,
                Said::Not => {}
            }
        }
    }
    said
}

/// Before users are invited: those without an account who are in the namespace of an application service are asked for
/// there, and may then be invited whether it has made the account or not. (Most bridges answer every question with
/// 404, and make the account when they are told of the invite.)
///
/// # Errors
/// 408 if an application service that must be asked does not answer.
pub async fn introduce(store: &Store, bridges: &Bridges, ids: &[OwnedUserId]) -> Reply<()> {
    if bridges.services().is_empty() || ids.is_empty() {
        return Ok(());
    }
    let (of, all) = (bridges.clone(), ids.to_vec());
    let unknown = store.read(move |view| {
        let mut unknown = Vec::new();
        for id in all {
            if is_unknown(view, &of, &id)? && !is_ghost(view, &id)? {
                unknown.push(id);
            }
        }
        Ok(unknown)
    });
    let unknown = unknown.await?;
    if unknown.is_empty() {
        return Ok(());
    }
    let asked =
        stream::iter(unknown.clone()).map(|id| async move { ask_for_user(bridges, &id).await });
    let said: Vec<Said> = asked.buffer_unordered(AT_ONCE).collect().await;
    if said.contains(&Said::Nothing) {
        return Err(silent());
    }
    let write = store.write(None, move |tx| {
        for id in &unknown {
            let ghost: User = user::intern(tx, id)?;
            if !tx.has(&ACCOUNTS, (ghost,))? {
                tx.put(&GHOSTS, (ghost,), &());
            }
        }
        Ok(())
    });
    write.await.map(drop)
}

fn is_ghost(view: &View, id: &UserId) -> Reply<bool> {
    user::find(view, id)?.map_or(Ok(false), |user| view.has(&GHOSTS, (user,)))
}

/// Before a user is looked up: one without an account is asked for where they may be known. Says whether it is worth
/// looking again.
///
/// # Errors
/// 408 as [`introduce`].
pub async fn look_for_user(store: &Store, bridges: &Bridges, id: &UserId) -> Reply<bool> {
    if bridges.services().is_empty() {
        return Ok(false);
    }
    let (of, asked) = (bridges.clone(), id.to_owned());
    if !store.read(move |view| is_unknown(view, &of, &asked)).await? {
        return Ok(false);
    }
    match ask_for_user(bridges, id).await {
        Said::Exists => Ok(true),
        Said::Not => Ok(false),
        Said::Nothing => Err(silent()),
    }
}

/// Before an alias is resolved: one that nobody has made is asked for where it may be known.
///
/// # Errors
/// 408 as [`introduce`].
pub async fn look_for_alias(store: &Store, bridges: &Bridges, alias: &RoomAliasId) -> Reply<()> {
    let services = bridges.services();
    let may_know = |s: &&Arc<Registration>| s.has_alias(alias.as_str()) && s.url.is_some();
    let may_know: Vec<_> = services.all().filter(may_know).cloned().collect();
    if alias.server_name() != store.server_name() || may_know.is_empty() {
        return Ok(());
    }
    let key = alias.as_str().to_owned();
    if store.read(move |view| view.has(&ALIASES, (key,))).await? {
        return Ok(());
    }
    let mut silence = false;
    for service in may_know {
        match ask(bridges, &service, ["rooms", alias.as_str()]).await {
            Said::Exists => return Ok(()),
            Said::Nothing => silence = true,
            Said::Not => {}
        }
    }
    if silence { Err(silent()) } else { Ok(()) }
}
