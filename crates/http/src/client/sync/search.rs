//! `POST /search` (spec: Client-Server API, "Server Side Search").

use std::{collections::BTreeSet, sync::Arc};

use ::search::{
    messages::{Key, Order, Query},
    words::words,
};
use ::sync::{
    filter::RoomEvents,
    search::{self as found, AROUND_MAX, Around, Form, Found},
};
use base::{Error, Reply};
use http::Method;
use ruma::api::client::filter::RoomEventFilter;
use serde::Deserialize;

use crate::{
    answer::Json,
    asked::Asked,
    client::{query::known, reader},
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

/// Results of a page when the client does not say, and the most of one page.
const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
/// Events on each side of a result when the client wants some and does not say (spec).
const AROUND_DEFAULT: usize = 5;
/// Candidates looked at for one page: what a searcher may not see, or a filter refuses, must not be looked through
/// without end. The page then ends early, with a token to go on from.
const CANDIDATES_MAX: usize = 1_000;
/// Bytes of a search term.
const TERM_BYTES_MAX: usize = 4_096;

pub(super) fn routes() -> Routes {
    Routes::default().raw_flow(Method::POST, &["/_matrix/client/v3/search"], Auth::Required, search)
}

#[derive(Deserialize)]
struct Body {
    search_categories: Categories,
}

#[derive(Deserialize)]
struct Categories {
    room_events: Option<Criteria>,
}

#[derive(Deserialize)]
struct Criteria {
    search_term: String,
    keys: Option<Vec<String>>,
    #[serde(default)]
    filter: RoomEventFilter,
    order_by: Option<String>,
    event_context: Option<EventContext>,
    #[serde(default)]
    include_state: bool,
    groupings: Option<Groupings>,
}

#[derive(Deserialize)]
struct EventContext {
    before_limit: Option<usize>,
    after_limit: Option<usize>,
    #[serde(default)]
    include_profile: bool,
}

#[derive(Deserialize)]
struct Groupings {
    #[serde(default)]
    group_by: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    key: String,
}

impl Criteria {
    fn keys(&self) -> BTreeSet<Key> {
        match &self.keys {
            Some(keys) => keys.iter().filter_map(|key| Key::parse(key)).collect(),
            None => BTreeSet::from([Key::Body, Key::Name, Key::Topic]),
        }
    }

    fn order(&self) -> Reply<Order> {
        match self.order_by.as_deref() {
            None | Some("rank") => Ok(Order::Rank),
            Some("recent") => Ok(Order::Recent),
            Some(_) => Err(Error::invalid_param("order_by is neither rank nor recent")),
        }
    }

    fn form(&self) -> Form {
        let side = |given: Option<usize>| given.unwrap_or(AROUND_DEFAULT).min(AROUND_MAX);
        let around = self.event_context.as_ref().map(|context| Around {
            before: side(context.before_limit),
            after: side(context.after_limit),
            profiles: context.include_profile,
        });
        let groups = |name: &str| {
            let given = self.groupings.iter().flat_map(|groupings| &groupings.group_by);
            given.into_iter().any(|group| group.key == name)
        };
        Form {
            around,
            include_state: self.include_state,
            by_room: groups("room_id"),
            by_sender: groups("sender"),
        }
    }
}

async fn search(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let Some(criteria) = asked.json::<Body>()?.search_categories.room_events else {
        return Ok(r#"{"search_categories":{}}"#.to_owned().into());
    };
    if criteria.search_term.len() > TERM_BYTES_MAX {
        return Err(Error::invalid_param("the search term is too long"));
    }
    let skip = asked.query("next_batch").filter(|token| !token.is_empty());
    let skip = skip.map(|token| token.parse::<usize>()).transpose();
    let skip = skip.map_err(|_| Error::invalid_param("next_batch is not a token of ours"))?;
    let (keys, order, form) = (criteria.keys(), criteria.order()?, criteria.form());
    let filter = Arc::new(RoomEvents::compile(&criteria.filter));
    let limit = filter.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);

    outside.finder.catch_up(&outside.store).await?;
    let (user, its_filter) = (caller.user, filter.clone());
    let rooms = outside.store.read(move |view| found::rooms(view, user, &its_filter)).await?;
    let term = criteria.search_term;
    let highlights = words(&term);
    let query = Arc::new(Query { term, rooms, keys, order });
    let page = page(&outside, &caller, filter, query, skip.unwrap_or_default(), limit).await?;
    let answer = move |view: &store::View| {
        let Page { found, count, next } = &page;
        found::answer(view, &reader(&caller), &form, found, *count, &highlights, next.as_deref())
    };
    outside.store.read(answer).await.map(Json::from)
}

struct Page {
    found: Vec<Found>,
    count: usize,
    next: Option<String>,
}

/// Looks through the candidates from `skip` on until the page is full.
async fn page(
    outside: &Outside,
    caller: &Caller,
    filter: Arc<RoomEvents>,
    query: Arc<Query>,
    skip: usize,
    limit: usize,
) -> Reply<Page> {
    let (mut page, mut at) = (Page { found: Vec::new(), count: 0, next: None }, skip);
    while page.found.len() < limit && at - skip < CANDIDATES_MAX {
        let (hits, count) = outside.finder.find(query.clone(), at, limit).await?;
        page.count = count;
        if hits.is_empty() {
            return Ok(page);
        }
        let candidates: Vec<_> = hits.iter().map(|hit| (hit.event, hit.rank)).collect();
        let (caller, filter) = (caller.clone(), filter.clone());
        let judged = outside
            .store
            .read(move |view| found::seen(view, &reader(&caller), &filter, &candidates))
            .await?;
        for one in judged {
            if page.found.len() == limit {
                break;
            }
            at += 1;
            page.found.extend(one);
        }
    }
    page.next = (at < page.count).then(|| at.to_string());
    Ok(page)
}
