//! What pushers would be told, held against a naive model over random histories: counts are kept up from the log alone, by
//! one pusher that looks often and one that looks rarely, across threads, receipts, redactions and changes of rules.

use std::collections::{BTreeMap, BTreeSet};

use accounts::{
    account_data::{self, GLOBAL},
    push_rules,
    pusher::{self, Can, New},
};
use base::{Event, Room, Seq};
use proptest::prelude::*;
use ruma::{OwnedUserId, push::RuleKind};
use serde_json::json;
use store::{
    View, room,
    schema::{RECEIPTS, Receipt, Standing},
};
use testkit::{Naive, Op, Sent, World, naive};

use super::{
    badge::Badge,
    index::{Index, read_all, read_some},
    pending::{Me, pending},
    slot::Rooms,
};

const USERS: usize = 3;
const CASES: u32 = 120;

#[derive(Clone, Debug)]
enum Deed {
    World(Op),
    /// A user wants to hear of messages, or only of mentions and invites.
    Messages(usize, bool),
    /// A user wants to hear of nothing at all, or does again.
    Master(usize, bool),
    /// A user ignores another, or nobody.
    Ignore(usize, Option<usize>),
    /// The pusher that looks rarely looks.
    Look(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let (u, r, n) = (|| 0..USERS, || 0..3usize, || 0..10usize);
    let sent = prop_oneof![
        4 => Just(Sent::Text),
        2 => u().prop_map(Sent::Mention),
        1 => Just(Sent::MentionRoom),
        3 => n().prop_map(Sent::Thread),
        1 => n().prop_map(Sent::Reaction),
        1 => n().prop_map(Sent::Edit),
    ];
    let world = prop_oneof![
        12 => (u(), r(), sent).prop_map(|(a, b, c)| Op::Send(a, b, c)),
        3 => (u(), r(), n()).prop_map(|(a, b, c)| Op::Redact(a, b, c)),
        5 => (u(), r(), n(), any::<bool>(), any::<bool>())
            .prop_map(|(a, b, c, d, e)| Op::Read(a, b, c, d, e)),
        8 => (u(), r()).prop_map(|(a, b)| Op::Join(a, b)),
        2 => (u(), r()).prop_map(|(a, b)| Op::Leave(a, b)),
        3 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Invite(a, b, c)),
        1 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Kick(a, b, c)),
        1 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::Name(a, b, c)),
    ];
    prop_oneof![
        30 => world.prop_map(Deed::World),
        2 => (u(), any::<bool>()).prop_map(|(a, b)| Deed::Messages(a, b)),
        1 => (u(), any::<bool>()).prop_map(|(a, b)| Deed::Master(a, b)),
        1 => (u(), proptest::option::of(u())).prop_map(|(a, b)| Deed::Ignore(a, b)),
        4 => u().prop_map(Deed::Look),
    ]
}

/// What the model knows of a user's wishes.
#[derive(Clone, Default)]
struct Wishes {
    mentions_only: bool,
    nothing: bool,
    ignored: Option<OwnedUserId>,
}

/// A user's two pushers.
struct Phones {
    often: Badge,
    rarely: Badge,
}

struct Scene {
    world: World,
    wishes: Vec<Wishes>,
    index: Index,
    at: Seq,
    phones: Vec<Phones>,
}

impl Scene {
    fn new() -> Scene {
        let world = World::new(USERS);
        for (user, _) in world.users.clone() {
            let done = world.store.write_here(move |tx| {
                let new = New {
                    app_id: "a".into(),
                    pushkey: format!("k{user}"),
                    kind: "http".into(),
                    data: json!({"url": "https://p/_matrix/push/v1/notify"})
                        .as_object()
                        .cloned()
                        .unwrap(),
                    enabled: true,
                    ..New::default()
                };
                pusher::set(tx, user, "D", new, false, Can { plain_http: false, mail: false })
            });
            done.unwrap();
        }
        let mut index = Index::default();
        let known = world.store.read_here(|view| Ok((read_all(view)?, view.head()))).unwrap();
        for (user, known) in known.0 {
            index.learn(user, known);
        }
        let phones =
            (0..USERS).map(|_| Phones { often: Badge::default(), rarely: Badge::default() });
        let wishes = vec![Wishes::default(); USERS];
        Scene { world, wishes, index, at: known.1, phones: phones.collect() }
    }

    fn perform(&mut self, deed: &Deed) {
        match deed {
            Deed::World(op) => drop(self.world.perform(op)),
            Deed::Messages(who, on) => {
                for rule in [".m.rule.message", ".m.rule.room_one_to_one"] {
                    self.switch(*who, RuleKind::Underride, rule, *on);
                }
                self.wishes[*who].mentions_only = !on;
            }
            Deed::Master(who, on) => {
                self.switch(*who, RuleKind::Override, ".m.rule.master", *on);
                self.wishes[*who].nothing = *on;
            }
            Deed::Ignore(who, whom) => {
                let user = self.world.users[*who].0;
                let whom = whom.map(|n| self.world.users[n].1.clone());
                let mut list = serde_json::Map::new();
                list.extend(whom.iter().map(|id| (id.to_string(), json!({}))));
                let content = json!({"ignored_users": list}).to_string();
                let done = self.world.store.write_here(move |tx| {
                    account_data::set(tx, user, GLOBAL, "m.ignored_user_list", &content)
                });
                done.unwrap();
                self.wishes[*who].ignored = whom;
            }
            Deed::Look(_) => {}
        }
    }

    fn switch(&self, who: usize, kind: RuleKind, rule: &'static str, on: bool) {
        let (user, id) = self.world.users[who].clone();
        let done = self
            .world
            .store
            .write_here(move |tx| push_rules::set_enabled(tx, user, &id, kind.clone(), rule, on));
        done.unwrap();
    }

    /// Reads the log on, as the follower does.
    fn advance(&mut self, view: &View) {
        let entries = view.log(self.at, Seq::MAX, 10_000).unwrap();
        let mut changed: Vec<_> =
            entries.iter().filter_map(|(_, e)| self.index.changes(e)).collect();
        changed.sort_unstable();
        changed.dedup();
        let mut touch = |user, rooms: &Rooms| {
            let place = self.world.users.iter().position(|(u, _)| *u == user);
            let phones = &mut self.phones[place.unwrap()];
            phones.often.touch(rooms);
            phones.rarely.touch(rooms);
        };
        for (user, known) in read_some(view, &changed).unwrap() {
            let learned = self.index.learn(user, known);
            touch(user, &learned.entered.into_iter().collect());
        }
        for (_, entry) in &entries {
            for concern in self.index.concerns(entry) {
                touch(concern.user, &concern.rooms);
            }
        }
        self.at = view.head();
    }

    fn check(&mut self, looks_too: Option<usize>) {
        let store = self.world.store.clone();
        store
            .read_here(|view| {
                self.advance(view);
                for who in 0..USERS {
                    let (user, id) = self.world.users[who].clone();
                    let wanted = self.unread(view, who);
                    let told = self.phones[who].often.total(view, user, &id)?;
                    assert_eq!(told, wanted.len() as u64, "{id} is told a wrong count");
                    if looks_too == Some(who) {
                        let told = self.phones[who].rarely.total(view, user, &id)?;
                        assert_eq!(told, wanted.len() as u64, "{id}'s other phone");
                    }
                    // What counts is what a pusher that was never told anything would be told, but for invites.
                    let me = Me { user, id: &id };
                    let all = pending(view, me, &Rooms::All, Seq::ZERO, view.head())?;
                    let mut found: BTreeSet<Event> = BTreeSet::new();
                    for f in &all.found {
                        if room::is_joined(view, f.room, user)? {
                            found.insert(f.event);
                        }
                    }
                    assert!(all.rooms.is_empty(), "the histories are short");
                    assert_eq!(found, wanted, "{id}");
                }
                Ok(())
            })
            .unwrap();
    }

    /// The model: every unread event that notifies, found by going through every room.
    fn unread(&self, view: &View, who: usize) -> BTreeSet<Event> {
        let rooms = self.world.rooms.iter();
        rooms.flat_map(|(of, _)| self.unread_of(view, who, *of)).collect()
    }

    fn unread_of(&self, view: &View, who: usize, of: Room) -> BTreeSet<Event> {
        let (user, id) = &self.world.users[who];
        let wishes = &self.wishes[who];
        let member = room::member(view, of, *user).unwrap();
        if wishes.nothing || member.is_none_or(|m| m.standing != Standing::Join) {
            return BTreeSet::new();
        }
        let (events, _) = naive(view, of, id).unwrap();
        let came = events
            .iter()
            .rev()
            .find(|e| e.state_key.as_deref() == Some(id.as_str()) && e.membership.0 != "join");
        let came = came.map_or(Seq::ZERO, |e| e.seq);
        let mut read: BTreeMap<String, Seq> = BTreeMap::new();
        let rows: Vec<((Room, base::User, String, u8), Receipt)> =
            view.under(&RECEIPTS, (of, *user), 1_000).unwrap();
        for ((_, _, thread, _), receipt) in rows {
            let at = read.entry(thread).or_default();
            *at = (*at).max(receipt.order);
        }
        let mut unread = BTreeSet::new();
        for (n, e) in events.iter().enumerate() {
            let thread = thread_of(&events, e);
            let upto = ["".to_owned(), thread.clone().unwrap_or_else(|| "main".to_owned())]
                .iter()
                .filter_map(|name| read.get(name))
                .max()
                .copied()
                .unwrap_or_default();
            let spoke =
                |later: &Naive| later.sender == *user && thread_of(&events, later) == thread;
            let gone = e.redacted || e.sender == *user || e.seq <= came || e.seq <= upto;
            if gone || events[n..].iter().any(spoke) {
                continue;
            }
            let sender = store::user::id(view, e.sender).unwrap();
            let mentions = &e.content["m.mentions"];
            let mentioned = mentions["user_ids"].to_string().contains(id.as_str())
                || (mentions["room"] == true && sender_is_owner(&events, e));
            let edit = e.content["m.relates_to"]["rel_type"] == "m.replace";
            let message = e.kind == "m.room.message" && !edit && !wishes.mentions_only;
            if wishes.ignored.as_ref() != Some(&sender) && (mentioned || message) {
                unread.insert(e.event);
            }
        }
        unread
    }
}

/// In these rooms only their creator has the power to notify everybody.
fn sender_is_owner(events: &[Naive], e: &Naive) -> bool {
    events.first().is_some_and(|create| create.sender == e.sender)
}

fn thread_of(events: &[Naive], e: &Naive) -> Option<String> {
    let mut relates = e.relates.clone();
    for _ in 0..3 {
        let (parent, how) = relates?;
        let parent = events.iter().find(|p| p.event == parent)?;
        if how == "m.thread" {
            return Some(parent.id.clone());
        }
        relates = parent.relates.clone();
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn a_pusher_is_told_the_count_of_the_model(deeds in proptest::collection::vec(deed(), 1..40)) {
        let mut scene = Scene::new();
        for deed in &deeds {
            scene.perform(deed);
            let looks = if let Deed::Look(who) = deed { Some(*who) } else { None };
            scene.check(looks);
        }
    }
}
