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
    /// With lazy members, send them also if the device was told already.
    pub redundant_members: bool,
    /// Count threads apart.
    pub threads_apart: bool,
}

impl RoomEvents {
    /// Compiles a filter.
    pub fn compile(filter: &RoomEventFilter) -> RoomEvents {
        RoomEvents::with(filter, EventMatcher::of_room_events(filter))
    }

    /// Compiles the JSON of a filter, with what ruma's type does not read: `related_by_…` and MSC3874's `rel_types`.
    ///
    /// # Errors
    /// 413 `M_TOO_LARGE`, 400 `M_INVALID_PARAM`.
    pub fn parse(text: &str) -> Reply<RoomEvents> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(Error::too_large("the filter is too large"));
        }
        let bad = |why: String| Error::invalid_param(format!("bad filter: {why}"));
        let filter: RoomEventFilter = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let matcher = EventMatcher::parse(text).map_err(|e| bad(e.to_string()))?;
        Ok(RoomEvents::with(&filter, matcher))
    }

    fn with(filter: &RoomEventFilter, matcher: EventMatcher) -> RoomEvents {
        use ruma::api::client::filter::LazyLoadOptions;
        let lazy = &filter.lazy_load_options;
        RoomEvents {
            all: matcher.is_open(),
            matcher,
            limit: filter.limit.map(|n| usize::try_from(u64::from(n)).unwrap_or(usize::MAX)),
            lazy_members: matches!(lazy, LazyLoadOptions::Enabled { .. }),
            redundant_members: matches!(
                lazy,
                LazyLoadOptions::Enabled { include_redundant_members: true }
            ),
            threads_apart: filter.unread_thread_notifications,
        }
    }
}
