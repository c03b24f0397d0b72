//! Filters as clients give them, compiled once per request.

use base::{Error, Reply, User};
use protocol::filter::EventMatcher;
use ruma::api::client::filter::{FilterDefinition, RoomEventFilter};
use store::{View, schema::FILTERS};

/// Largest filter text accepted, inline or stored.
pub const FILTER_BYTES_MAX: usize = 64 * 1024;
/// Events of a timeline when the filter does not say.
pub const TIMELINE_DEFAULT: usize = 10;

/// The `filter` of a `/sync`: inline JSON, or the id of a stored one.
pub fn of_sync(view: &View, user: User, filter: Option<&str>) -> Reply<FilterDefinition> {
    let Some(text) = filter else { return Ok(FilterDefinition::default()) };
    if text.starts_with('{') {
        return parse(text);
    }
    let id = text.parse::<u64>().ok();
    let stored = match id {
        Some(id) => view.get(&FILTERS, (user, id))?,
        None => None,
    };
    parse(&stored.ok_or_else(|| Error::refused(404, "M_NOT_FOUND", "no such filter"))?)
}

fn parse(text: &str) -> Reply<FilterDefinition> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(Error::too_large("the filter is too large"));
    }
    serde_json::from_str(text).map_err(|e| Error::bad_json(format!("bad filter: {e}")))
}

/// A room event filter, ready to be asked.
pub struct RoomEvents {
    /// Types, senders, rooms, URLs.
    pub matcher: EventMatcher,
    /// Does it pass everything?
    pub all: bool,
    /// How many, if it says.
    pub limit: Option<usize>,
    /// Send member events only of those who matter.
    pub lazy_members: bool,
    /// Count threads apart.
    pub threads_apart: bool,
}

impl RoomEvents {
    /// Compiles a filter.
    pub fn compile(filter: &RoomEventFilter) -> RoomEvents {
        use ruma::api::client::filter::LazyLoadOptions;
        let matcher = EventMatcher::of_room_events(filter);
        RoomEvents {
            all: matcher.is_open(),
            matcher,
            limit: filter.limit.map(|n| usize::try_from(u64::from(n)).unwrap_or(usize::MAX)),
            lazy_members: matches!(filter.lazy_load_options, LazyLoadOptions::Enabled { .. }),
            threads_apart: filter.unread_thread_notifications,
        }
    }
}
