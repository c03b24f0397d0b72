//! Third-party networks: what all application services say of them, put together (spec: Client-Server API,
//! "Third-party networks"; Application Service API, the same).

use std::{sync::Arc, time::Duration};

use base::{Error, Reply};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use protocol::appservice::Registration;
use serde_json::{Map, Value};

use super::{Ask, Bridges};

/// Someone looks at a list that grows with each answer, and one silent bridge must not keep it from them.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Questions at once for one request.
const AT_ONCE: usize = 8;
/// Users or locations in one answer.
const FOUND_MAX: usize = 10_000;

/// What may be looked for in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its places: `/thirdparty/location`.
    Location,
    /// Its people: `/thirdparty/user`.
    User,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Location => "location",
            What::User => "user",
        }
    }

    /// The field that says of what on Matrix an entry speaks.
    fn key(self) -> &'static str {
        match self {
            What::Location => "alias",
            What::User => "userid",
        }
    }
}

async fn get(
    bridges: &Bridges,
    service: &Registration,
    path: &[&str],
    query: &[(String, String)],
) -> Option<Value> {
    let legacy: Vec<&str> = ["_matrix", "app", "unstable"].iter().chain(path).copied().collect();
    let ask = Ask {
        method: Method::GET,
        path,
        legacy: &legacy,
        query,
        body: Bytes::new(),
        timeout: TIMEOUT,
    };
    match bridges.ask(service, &ask).await {
        Ok(answer) if answer.status.is_success() => serde_json::from_slice(&answer.body).ok(),
        Ok(_) => None,
        Err(failure) => {
            tracing::info!(appservice = service.id, %failure, "nothing about a third-party network");
            None
        }
    }
}

/// The networks that there are, by name.
pub async fn protocols(bridges: &Bridges) -> Map<String, Value> {
    let mut names: Vec<String> =
        bridges.services().all().flat_map(|service| service.protocols.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let mut known = Map::new();
    for name in names {
        if let Some(about) = about(bridges, &name).await {
            known.insert(name, about);
        }
    }
    known
}

/// What is known of a network.
///
/// # Errors
/// 404 `M_NOT_FOUND` if no application service bridges to it.
pub async fn protocol(bridges: &Bridges, name: &str) -> Reply<Value> {
    about(bridges, name).await.ok_or_else(|| Error::not_found("There is no such network here."))
}

fn serving<'a>(bridges: &'a Bridges, name: &'a str) -> impl Iterator<Item = &'a Arc<Registration>> {
    let reached = bridges.services().all().filter(|service| service.url.is_some());
    reached.filter(move |service| service.protocols.iter().any(|protocol| protocol == name))
}

/// The first application service describes it; each adds its instances, named by who has them.
async fn about(bridges: &Bridges, name: &str) -> Option<Value> {
    let path = ["thirdparty", "protocol", name];
    let ask = |service: Arc<Registration>| {
        let path = &path;
        async move { (get(bridges, &service, path, &[]).await, service) }
    };
    let asked: Vec<_> = serving(bridges, name).cloned().map(ask).collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut about: Option<Map<String, Value>> = None;
    let mut instances = Vec::new();
    for (answer, service) in answers {
        let Some(Value::Object(mut answer)) = answer else { continue };
        if let Some(Value::Array(own)) = answer.remove("instances") {
            instances.extend(own.into_iter().filter_map(|one| instance(&service, one)));
        }
        about.get_or_insert(answer);
    }
    let mut about = about?;
    about.insert("instances".to_owned(), instances.into());
    Some(about.into())
}

fn instance(service: &Registration, mut instance: Value) -> Option<Value> {
    let fields = instance.as_object_mut()?;
    let network = fields.get("network_id")?.as_str()?;
    let id = format!("{}|{network}", service.id);
    fields.insert("instance_id".to_owned(), id.into());
    Some(instance)
}

/// Places or people of a network that have these fields.
///
/// # Errors
/// 404 `M_NOT_FOUND` if there are none.
pub async fn find(
    bridges: &Bridges,
    what: What,
    network: &str,
    fields: &[(String, String)],
) -> Reply<Vec<Value>> {
    let path = ["thirdparty", what.name(), network];
    gather(bridges, serving(bridges, network).cloned().collect(), what, &path, fields).await
}

/// What a room alias or a user id stands for in other networks.
///
/// # Errors
/// 404 `M_NOT_FOUND` if it stands for nothing.
pub async fn reverse(bridges: &Bridges, what: What, name: &str) -> Reply<Vec<Value>> {
    let path = ["thirdparty", what.name()];
    let bridging =
        |service: &&Arc<Registration>| service.url.is_some() && !service.protocols.is_empty();
    let services = bridges.services().all().filter(bridging).cloned().collect();
    let query = [(what.key().to_owned(), name.to_owned())];
    gather(bridges, services, what, &path, &query).await
}

async fn gather(
    bridges: &Bridges,
    services: Vec<Arc<Registration>>,
    what: What,
    path: &[&str],
    query: &[(String, String)],
) -> Reply<Vec<Value>> {
    let ask = |service: Arc<Registration>| async move { get(bridges, &service, path, query).await };
    let asked: Vec<_> = services.into_iter().map(ask).collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut found = Vec::new();
    for answer in answers {
        let Some(Value::Array(entries)) = answer else { continue };
        found.extend(entries.into_iter().filter(|entry| is_entry(what, entry)));
    }
    found.truncate(FOUND_MAX);
    if found.is_empty() {
        return Err(Error::not_found("Nothing was found."));
    }
    Ok(found)
}

/// Has it what the spec asks of it? Clients rely on that.
fn is_entry(what: What, entry: &Value) -> bool {
    let text = |key: &str| entry.get(key).is_some_and(Value::is_string);
    text(what.key()) && text("protocol") && entry.get("fields").is_some_and(Value::is_object)
}
