//! One walk over the user's rooms, most recent first: which are in a window or subscribed to, and what is told of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use base::{Epoch, Reply, Room, User};
use protocol::invite::Reception;
use ruma::{OwnedUserId, RoomId};
use store::{room as rooms, schema::Standing, user};

use super::{
    ask::{Ask, Config},
    connection::{Base, Rest, Told},
    extensions::{Changed, InScope, Scopes},
    filter::Ready,
    index::{Index, Row},
    required::Required,
    room::{Part, Scene},
};

/// What a walk has found.
#[derive(Default)]
pub(super) struct Pass {
    pub(super) parts: Vec<Part>,
    /// What the client then knows of rooms.
    pub(super) told: Vec<(Room, Told)>,
    /// How many rooms each list has.
    pub(super) counts: BTreeMap<String, u64>,
    /// For the next request.
    pub(super) required: Vec<Arc<Required>>,
    pub(super) window: Arc<Vec<Room>>,
    pub(super) typing: BTreeMap<Room, Vec<User>>,
    /// Account data by room id, ready to be written.
    pub(super) data: Vec<(String, String)>,
    /// Receipts by room id.
    pub(super) receipts: Vec<(String, String)>,
    /// Who is typing now, by room id, where that has changed.
    pub(super) typists: Vec<(String, Vec<OwnedUserId>)>,
}

/// The rules of a request: lists first, then subscriptions.
struct Rules<'a> {
    ask: &'a Ask,
    filters: Vec<Ready<'a>>,
    configs: Vec<Config>,
    subscribed: HashMap<Room, u16>,
    /// How many rooms each list has so far.
    counts: Vec<u64>,
    /// What several rules together want.
    unions: HashMap<Vec<u16>, Config>,
}

impl Pass {
    /// Nothing has changed.
    pub(super) fn nothing(rest: &Rest) -> Pass {
        Pass {
            counts: rest.counts.clone(),
            required: rest.required.clone(),
            window: rest.window.clone(),
            typing: rest.typing.clone(),
            ..Pass::default()
        }
    }

    pub(super) fn run(
        scene: &Scene<'_>,
        index: &Index,
        base: &Base,
        changes: &Changed,
    ) -> Reply<Pass> {
        let mut rules = Rules::new(scene, &base.rest)?;
        let scopes = Scopes::new(scene, base, changes);
        let typing = typing_rooms(scene, base);
        let mut pass = Pass::default();
        let mut window = Vec::new();
        let mut matched: Vec<u16> = Vec::new();
        for row in &index.rows {
            let told = base.rooms.get(&row.room);
            if !is_listed(scene, row, told)? {
                continue;
            }
            rules.matched(row, &mut matched);
            let Some(config) = rules.config(&matched) else { continue };
            window.push(row.room);
            let outcome = scene.tell(row, config, told)?;
            let (part, mut next) = outcome.map_or((None, None), |(part, told)| (part, Some(told)));
            let room = InScope { row, told, part: part.as_ref() };
            scopes.tell(&matched, &room, &mut next, &mut pass)?;
            if scopes.typing(&matched) && typing.contains(&row.room) {
                pass.typing_in(scene, row, base)?;
            }
            if let Some(mut part) = part {
                part.lists = rules.names(&matched);
                pass.parts.push(part);
            }
            pass.told.extend(next.map(|told| (row.room, told)));
        }
        window.sort_unstable();
        pass.window = Arc::new(window);
        let names = scene.ask.lists.iter().map(|list| list.name.clone());
        pass.counts = names.zip(rules.counts).collect();
        pass.required = rules
            .configs
            .into_iter()
            .chain(rules.unions.into_values())
            .map(|c| c.required)
            .collect();
        Ok(pass)
    }

    /// Who is typing in a room in scope; told if the client thinks otherwise.
    fn typing_in(&mut self, scene: &Scene<'_>, row: &Row, base: &Base) -> Reply<()> {
        // Rooms that one was put out of stay in lists, but what goes on in them is not told.
        if row.standing != Standing::Join {
            return Ok(());
        }
        let mut users = Vec::new();
        let mut ids = Vec::new();
        for user in scene.view.typing(row.room, Epoch(0)).unwrap_or_default() {
            let id = user::id(scene.view, user)?;
            if !scene.ignored.iter().any(|i| i == id.as_str()) {
                users.push(user);
                ids.push(id);
            }
        }
        let before = base.rest.typing.get(&row.room).map_or(&[][..], Vec::as_slice);
        if before != users {
            let id = rooms::info(scene.view, row.room)?.id.clone();
            self.typists.push((id, ids));
        }
        if !users.is_empty() {
            self.typing.insert(row.room, users);
        }
        Ok(())
    }
}

/// Rooms in which somebody is typing, or was when the client was last told.
fn typing_rooms(scene: &Scene<'_>, base: &Base) -> BTreeSet<Room> {
    if scene.ask.extensions.typing.is_none() {
        return BTreeSet::new();
    }
    let mut rooms: BTreeSet<Room> = scene.view.typing_rooms(Epoch(0)).into_iter().collect();
    rooms.extend(base.rest.typing.keys());
    rooms
}

/// Is the room one of those that lists are made of, for this connection? (MSC4186, "Lists".)
fn is_listed(scene: &Scene<'_>, row: &Row, told: Option<&Told>) -> Reply<bool> {
    if row.standing == Standing::Invite {
        let reception = store::invite::reception(scene.view, scene.ask.user, row.sender)?;
        return Ok(reception == Reception::Allow);
    }
    if !row.is_gone() {
        return Ok(true);
    }
    let told_out = told.is_some_and(|t| matches!(t.standing, Standing::Leave | Standing::Ban));
    let told_in = told.is_some() && !told_out;
    if told_in {
        return Ok(true);
    }
    if !told_out && !row.is_listed(scene.ask.user) {
        return Ok(false);
    }
    // Forgetting leaves no trace on the log.
    let m = rooms::membership(scene.view, scene.ask.user, row.room)?;
    Ok(m.is_some_and(|m| !m.forgotten))
}

impl<'a> Rules<'a> {
    fn new(scene: &Scene<'a>, before: &Rest) -> Reply<Rules<'a>> {
        let ask = scene.ask;
        let filters = ask.lists.iter().map(|list| list.filter.ready(scene.view, ask.user));
        let lists = ask.lists.iter().map(|list| &list.config);
        let all = lists.chain(ask.subscriptions.iter().map(|(_, config)| config));
        let mut subscribed = HashMap::new();
        for ((id, _), rule) in ask.subscriptions.iter().zip(ask.lists.len()..) {
            let Ok(id) = <&RoomId>::try_from(id.as_str()) else { continue };
            if let (Some(room), Ok(rule)) = (rooms::find(scene.view, id)?, u16::try_from(rule)) {
                subscribed.insert(room, rule);
            }
        }
        Ok(Rules {
            ask,
            filters: filters.collect::<Reply<_>>()?,
            configs: all.map(|config| same(config, before)).collect(),
            subscribed,
            counts: vec![0; ask.lists.len()],
            unions: HashMap::new(),
        })
    }

    /// Which rules a room falls under; counts it.
    fn matched(&mut self, row: &Row, matched: &mut Vec<u16>) {
        matched.clear();
        let lists = self.ask.lists.iter().zip(&self.filters).zip(&mut self.counts).zip(0..);
        for (((list, filter), count), rule) in lists {
            if filter.passes(row) {
                if list.covers(*count) {
                    matched.push(rule);
                }
                *count += 1;
            }
        }
        matched.extend(self.subscribed.get(&row.room));
    }

    /// What these rules want.
    fn config(&mut self, matched: &[u16]) -> Option<&Config> {
        let of = |rule: &u16| self.configs.get(usize::from(*rule));
        match matched {
            [] => None,
            [one] => of(one),
            several => {
                if !self.unions.contains_key(several) {
                    let configs: Vec<&Config> = several.iter().filter_map(of).collect();
                    self.unions.insert(several.to_vec(), Config::union(&configs)?);
                }
                self.unions.get(several)
            }
        }
    }

    fn names(&self, matched: &[u16]) -> Vec<String> {
        let lists = matched.iter().filter_map(|rule| self.ask.lists.get(usize::from(*rule)));
        lists.map(|list| list.name.clone()).collect()
    }
}

/// The config with the `required_state` of the last request, if it is equal: comparing is then comparing addresses.
fn same(config: &Config, before: &Rest) -> Config {
    let required = before.required.iter().find(|r| **r == config.required);
    let required = required.unwrap_or(&config.required).clone();
    Config { required, ..*config }
}
