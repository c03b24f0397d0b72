//! What a client asks of sliding sync, whichever shape it was written in.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::Arc,
};

use base::{Error, Reply, User, limits::SYNC_TIMELINE_MAX};
use ruma::OwnedUserId;

use super::{filter::Filter, required::Required};
use crate::token::Token;

/// Lists of one request (MSC4186).
const LISTS_MAX: usize = 100;
/// Room subscriptions of one request (MSC4186).
const SUBSCRIPTIONS_MAX: usize = 100;
/// Ranges of one list: the older shape knows several, clients send one.
const RANGES_MAX: usize = 100;

/// A request.
#[derive(Debug)]
pub struct Ask {
    /// The caller's number.
    pub user: User,
    /// The caller's id.
    pub user_id: OwnedUserId,
    /// The caller's device.
    pub device: String,
    /// The lists.
    pub lists: Vec<List>,
    /// Room id and what is wanted of it.
    pub subscriptions: Vec<(String, Config)>,
    /// The extensions that are switched on.
    pub extensions: Extensions,
    /// Which shape the answer is to have.
    pub shape: Shape,
    /// Given back with the answer, in the older shape.
    pub txn_id: Option<String>,
}

/// The two shapes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `/unstable/org.matrix.simplified_msc3575/sync`
    Unstable,
    /// `/v4/sync`
    V4,
}

/// One list.
#[derive(Clone, Debug, Hash)]
pub struct List {
    /// Its key.
    pub name: String,
    /// First and last place, counted from 0, both in it; none: all.
    pub ranges: Option<Vec<(u64, u64)>>,
    /// What is wanted of its rooms.
    pub config: Config,
    /// Which rooms.
    pub filter: Filter,
}

impl List {
    /// Is this place in the window?
    pub(super) fn covers(&self, place: u64) -> bool {
        match &self.ranges {
            None => true,
            Some(ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&place)),
        }
    }
}

/// What is wanted of a room.
#[derive(Clone, Debug, Hash)]
pub struct Config {
    /// Events of its timeline.
    pub limit: usize,
    /// Of its state.
    pub required: Arc<Required>,
}

impl Config {
    /// With the limit capped.
    pub fn new(limit: u64, required: Required) -> Config {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(SYNC_TIMELINE_MAX);
        Config { limit, required: Arc::new(required) }
    }

    /// What several rules together want.
    pub(super) fn union(configs: &[&Config]) -> Option<Config> {
        let limit = configs.iter().map(|c| c.limit).max()?;
        let required = Required::union(configs.iter().map(|c| &*c.required));
        Some(Config { limit, required: Arc::new(required) })
    }
}

/// Which extensions are on. Each names the key that it was asked for under.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// To-device messages (MSC4538).
    pub to_device: Option<ToDevice>,
    /// Device lists and key counts (MSC4543).
    pub e2ee: Option<String>,
    /// Account data (MSC3959).
    pub account_data: Option<Scoped>,
    /// Receipts (MSC3960).
    pub receipts: Option<Scoped>,
    /// Who is typing (MSC4508).
    pub typing: Option<Scoped>,
    /// Thread subscriptions (MSC4308).
    pub thread_subscriptions: Option<ThreadSubscriptions>,
}

/// See [`Extensions::to_device`].
#[derive(Clone, Debug)]
pub struct ToDevice {
    /// Asked for under this key.
    pub key: String,
    /// Where the client stands: it has everything up to here.
    pub since: Option<Token>,
    /// Messages in one answer.
    pub limit: u64,
}

/// See [`Extensions::thread_subscriptions`].
#[derive(Clone, Debug)]
pub struct ThreadSubscriptions {
    /// Asked for under this key.
    pub key: String,
    /// Changes in one answer.
    pub limit: u64,
}

/// An extension about some of the rooms (MSC4508, "Common per-room extension semantics").
#[derive(Clone, Debug, Hash)]
pub struct Scoped {
    /// Asked for under this key.
    pub key: String,
    /// The rooms in these lists; none: in all.
    pub lists: Option<Vec<String>>,
    /// These of the subscribed rooms; none: all.
    pub rooms: Option<Vec<String>>,
}

impl Scoped {
    /// Which of the rules put a room into scope: lists first, then subscriptions.
    pub(super) fn rules(&self, ask: &Ask) -> Vec<bool> {
        let named = |names: &Option<Vec<String>>, name: &str| match names {
            None => true,
            // The star is no longer in the proposal, but clients send it.
            Some(names) => names.iter().any(|n| n == name || n == "*"),
        };
        let lists = ask.lists.iter().map(|list| named(&self.lists, &list.name));
        let rooms = ask.subscriptions.iter().map(|(id, _)| named(&self.rooms, id));
        lists.chain(rooms).collect()
    }
}

impl Ask {
    /// A number that is the same for requests that ask for the same of rooms.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lists.hash(&mut hasher);
        self.subscriptions.hash(&mut hasher);
        let Extensions { account_data, receipts, typing, .. } = &self.extensions;
        (account_data, receipts, typing).hash(&mut hasher);
        hasher.finish()
    }

    /// Holds the request against the bounds.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM`.
    pub(super) fn checked(self) -> Reply<Ask> {
        if self.lists.len() > LISTS_MAX {
            return Err(Error::invalid_param(format!("at most {LISTS_MAX} lists")));
        }
        if self.subscriptions.len() > SUBSCRIPTIONS_MAX {
            let why = format!("at most {SUBSCRIPTIONS_MAX} room subscriptions");
            return Err(Error::invalid_param(why));
        }
        for list in &self.lists {
            let ranges = list.ranges.as_deref().unwrap_or_default();
            if ranges.len() > RANGES_MAX {
                return Err(Error::invalid_param(format!("at most {RANGES_MAX} ranges")));
            }
            if ranges.iter().any(|(from, to)| from > to) {
                return Err(Error::invalid_param("a range ends before it begins"));
            }
            list.config.required.check()?;
        }
        for (_, config) in &self.subscriptions {
            config.required.check()?;
        }
        Ok(self)
    }
}
