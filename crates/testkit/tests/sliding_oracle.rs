//! A client of sliding sync knows what the naive model says it should, over random histories: which rooms and in which
//! order, their state, timelines without loss, counts, account data, receipts; whatever it asked for before, whichever
//! answers it lost.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "an oracle: failing loudly is its purpose"
)]

mod deeds;

use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Reply, Room, Seq};
use deeds::{ROOMS, USERS, cases, ops};
use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::Value;
use store::{
    View, room,
    schema::{RECEIPTS, Receipt, Standing},
};
use sync::sliding::Connections;
use testkit::{
    Client, Naive, Op, Seen, Slider, State, Taste, Wanted, Window, Wish, World, account_data,
    naive, unread,
};

/// Deeds that only lists of rooms show.
fn more() -> impl Strategy<Value = Op> {
    let (u, r) = (|| 0..USERS, || 0..ROOMS);
    prop_oneof![
        1 => (u(), r()).prop_map(|(a, b)| Op::Encrypt(a, b)),
        1 => (u(), r(), any::<bool>()).prop_map(|(a, b, c)| Op::Direct(a, b, c)),
        2 => (u(), r(), any::<bool>()).prop_map(|(a, b, c)| Op::Type(a, b, c)),
        // Few who ask often find more than many who ask seldom.
        12 => (0..CLIENTS).prop_map(Op::Sync),
    ]
}

/// Up to `most` deeds, every third of that kind.
fn mixed(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![2 => ops(2), 1 => more().prop_map(|op| vec![op])];
    proptest::collection::vec(one, 1..most).prop_map(|ops| ops.concat())
}

/// How many cases, unless a variable of its own says.
fn sliding_cases() -> ProptestConfig {
    let asked = std::env::var("SLIDING_ORACLE_CASES").ok().and_then(|n| n.parse().ok());
    let config = cases(150);
    // The same histories each time, unless somebody wants to look harder.
    let rng_seed = if asked.is_some() { config.rng_seed } else { RngSeed::Fixed(4186) };
    ProptestConfig { cases: asked.unwrap_or(config.cases), rng_seed, ..config }
}

/// Users who ask.
const CLIENTS: usize = 2;

fn wanted() -> impl Strategy<Value = Wanted> {
    let pairs = [
        ("*", "*"),
        ("m.room.topic", ""),
        ("m.room.member", "$ME"),
        ("m.room.member", "*"),
        ("*", ""),
    ];
    let state = proptest::sample::subsequence(pairs.to_vec(), 0..4);
    (0u64..7, state, any::<bool>()).prop_map(|(limit, state, lazy)| {
        let own = |(kind, key): (&str, &str)| (kind.to_owned(), key.to_owned());
        Wanted { limit, state: state.into_iter().map(own).collect(), lazy }
    })
}

fn window() -> impl Strategy<Value = Window> {
    let range =
        prop_oneof![3 => Just((0, 99)), 2 => Just((0, 0)), 1 => Just((0, 1)), 1 => Just((1, 2))];
    let rarely = || proptest::option::weighted(0.15, any::<bool>());
    let tag = || proptest::option::weighted(0.1, (0u8..2).prop_map(|n| format!("u.{n}")));
    (range, wanted(), rarely(), rarely(), rarely(), tag(), tag()).prop_map(
        |(range, wanted, is_dm, is_invited, is_encrypted, tag, not_tag)| Window {
            range,
            wanted,
            is_dm,
            is_invited,
            is_encrypted,
            tag,
            not_tag,
        },
    )
}

/// Lists and subscriptions, without the shape.
fn asked() -> impl Strategy<Value = (Vec<Window>, Vec<(usize, Wanted)>)> {
    let windows = proptest::collection::vec(window(), 0..3);
    (windows, proptest::collection::vec((0..ROOMS, wanted()), 0..2))
}

/// What a user's connections ask for, in turn, and in which shape.
type Asked = (bool, Vec<(Vec<Window>, Vec<(usize, Wanted)>)>);

/// One room as the model sees it.
struct Real {
    number: Room,
    id: String,
    events: Vec<Naive>,
    state: State,
    standing: Standing,
    member: base::Event,
    sender: base::User,
    was_joined: bool,
    forgotten: bool,
    stripped: String,
    at: Seq,
}

/// The user's rooms, most recent first.
fn real(view: &View, world: &World, user: usize) -> Reply<Vec<Real>> {
    let (number, id) = &world.users[user];
    let mut all = Vec::new();
    for (room, room_id) in &world.rooms {
        let Some(m) = room::membership(view, *number, *room)? else { continue };
        let (events, state) = naive(view, *room, id)?;
        let at = match m.standing {
            Standing::Join => events.last().unwrap().seq,
            _ => events.iter().find(|e| e.event == m.event).unwrap().seq,
        };
        all.push(Real {
            number: *room,
            id: room_id.to_string(),
            events,
            state,
            standing: m.standing,
            member: m.event,
            sender: m.sender,
            was_joined: m.was_joined,
            forgotten: m.forgotten,
            stripped: m.stripped.unwrap_or_default(),
            at,
        });
    }
    all.sort_by_key(|real| std::cmp::Reverse(real.at));
    Ok(all)
}

impl Real {
    fn is_listed(&self, slider: &Slider, user: base::User) -> bool {
        let gone = |standing: &str| ["leave", "ban"].contains(&standing);
        if !gone(self.standing.as_str()) {
            return true;
        }
        match slider.stood.get(&self.id) {
            Some(stood) => !gone(stood) || !self.forgotten,
            None => {
                let by_self = self.standing == Standing::Leave && self.sender == user;
                self.was_joined && !by_self && !self.forgotten
            }
        }
    }

    fn departure(&self) -> Option<&Naive> {
        self.events.iter().rev().find(|e| e.is_departure())
    }

    fn is_encrypted(&self) -> bool {
        let has =
            |state: &State| state.contains_key(&("m.room.encryption".to_owned(), String::new()));
        match self.standing {
            Standing::Join => has(&self.state),
            Standing::Invite | Standing::Knock => self.stripped.contains("m.room.encryption"),
            _ => self.was_joined && self.departure().is_some_and(|d| has(&d.after())),
        }
    }

    fn passes(&self, view: &View, user: base::User, window: &Window) -> Reply<bool> {
        let is = |asked: Option<bool>, really: bool| asked.is_none_or(|asked| asked == really);
        let tags = account_data(view, user, self.number)?;
        let tagged = |tag: &String| {
            tags.get("m.tag").is_some_and(|content| content["tags"].get(tag).is_some())
        };
        Ok(is(window.is_dm, is_direct(view, user, &self.id)?)
            && is(window.is_invited, self.standing == Standing::Invite)
            && is(window.is_encrypted, self.is_encrypted())
            && window.tag.as_ref().is_none_or(tagged)
            && !window.not_tag.as_ref().is_some_and(tagged))
    }

    fn visible(&self) -> Vec<&String> {
        self.events.iter().filter(|e| e.visible).map(|e| &e.id).collect()
    }
}

fn is_direct(view: &View, user: base::User, room_id: &str) -> Reply<bool> {
    let direct = account_data(view, user, Room(0))?;
    let lists = direct.get("m.direct").and_then(Value::as_object).cloned().unwrap_or_default();
    Ok(lists.values().any(|list| list.as_array().unwrap().iter().any(|id| id == room_id)))
}

/// How many rooms each list has, and which rooms are in sight, with what is wanted of them.
type Sight<'a> = (BTreeMap<String, u64>, Vec<(&'a Real, Vec<&'a Wanted>)>);

fn sight<'a>(
    view: &View,
    slider: &Slider,
    user: base::User,
    (wish, ids): (&'a Wish, &[String]),
    rooms: &'a [Real],
) -> Reply<Sight<'a>> {
    let mut counts: BTreeMap<String, u64> =
        (0..wish.windows.len()).map(|n| (format!("list{n}"), 0)).collect();
    let mut seen = Vec::new();
    for real in rooms.iter().filter(|real| real.is_listed(slider, user)) {
        let mut wanted = Vec::new();
        for (n, window) in wish.windows.iter().enumerate() {
            if real.passes(view, user, window)? {
                let count = counts.get_mut(&format!("list{n}")).unwrap();
                if (window.range.0..=window.range.1).contains(count) {
                    wanted.push(&window.wanted);
                }
                *count += 1;
            }
        }
        // The last one named counts, as in any JSON object.
        let subscribed = wish.rooms.iter().rev().find(|(n, _)| ids[*n] == real.id);
        wanted.extend(subscribed.map(|(_, wanted)| wanted));
        if !wanted.is_empty() {
            seen.push((real, wanted));
        }
    }
    Ok((counts, seen))
}

/// Asks until an answer is processed, and holds what the client then knows against the model.
struct Check<'a> {
    world: &'a World,
    user: usize,
    ids: &'a [String],
}

impl Check<'_> {
    fn sync(&self, slider: &mut Slider, wish: &Wish, lose: bool) {
        let store = &self.world.store;
        if lose {
            // The answer gets lost; the client asks again.
            slider.ask(store, wish, self.ids).unwrap();
        }
        let (answer, _) = slider.ask(store, wish, self.ids).unwrap();
        let seq = sync::Token::parse(answer["pos"].as_str().unwrap()).unwrap().seq;
        let look = |view: &View| {
            let (number, _) = self.world.users[self.user];
            let rooms = real(view, self.world, self.user)?;
            let (counts, seen) = sight(view, slider, number, (wish, self.ids), &rooms)?;
            let mut stood = slider.stood.clone();
            let wants = |all: &Vec<&Wanted>| all.iter().map(|one| (*one).clone()).collect();
            slider.wanted = seen.iter().map(|(real, all)| (real.id.clone(), wants(all))).collect();
            slider.apply(store, wish, &answer);
            assert_eq!(slider.counts, counts);
            let in_sight: BTreeSet<&String> = seen.iter().map(|(real, _)| &real.id).collect();
            let told: BTreeSet<&String> = slider.told.iter().collect();
            assert!(told.is_subset(&in_sight), "{told:?} of {in_sight:?}");
            let before = std::mem::take(&mut slider.in_sight);
            for id in &in_sight {
                let since = before.get(*id).copied().unwrap_or(seq);
                slider.in_sight.insert((*id).clone(), since);
            }
            for (id, known) in &mut slider.rooms {
                let joined = |real: &Real| real.id == *id && real.standing == Standing::Join;
                if !seen.iter().any(|(real, _)| joined(real)) {
                    // Nobody tells who stops typing there.
                    known.typing.clear();
                }
            }
            for (real, wanted) in &seen {
                self.room(view, slider, wish, (real, wanted))?;
                stood.insert(real.id.clone(), real.standing.as_str().to_owned());
            }
            slider.stood = stood;
            assert_eq!(slider.data, account_data(view, number, Room(0))?);
            Ok(())
        };
        store.read_here(look).unwrap();
        let (again, empty) = slider.ask(store, wish, self.ids).unwrap();
        assert!(empty, "nothing happened, but the server says so: {again}");
    }

    fn room(
        &self,
        view: &View,
        slider: &Slider,
        wish: &Wish,
        (real, wanted): (&Real, &[&Wanted]),
    ) -> Reply<()> {
        let (number, me) = (self.world.users[self.user].0, self.world.users[self.user].1.as_str());
        let about = format!("{} for {me}", real.id);
        let Some(seen) = slider.rooms.get(&real.id) else { panic!("not told of {about}") };
        if wish.v4 {
            assert_eq!(seen.membership.as_deref(), Some(real.standing.as_str()), "{about}");
        }
        let own = |e: &Naive| e.kind == "m.room.member" && e.state_key.as_deref() == Some(me);
        assert_eq!(seen.data, account_data(view, number, real.number)?, "account data {about}");
        match real.standing {
            Standing::Join => self.joined(view, slider, (real, wanted, seen), &about)?,
            Standing::Invite | Standing::Knock => {
                let told = seen.stripped.iter().flatten().any(|e| {
                    e["state_key"] == me && e["content"]["membership"] == real.standing.as_str()
                });
                assert!(told, "stripped state {about}: {seen:?}");
            }
            Standing::Leave | Standing::Ban => {
                let limit = wanted.iter().map(|w| w.limit).max().unwrap();
                let newest = real.events.iter().find(|e| e.event == real.member).unwrap();
                if slider.told.contains(&real.id) && limit > 0 {
                    assert_eq!(seen.timeline.last(), Some(&newest.id), "how one left {about}");
                }
                for id in &seen.timeline {
                    let event = real.events.iter().find(|e| e.id == *id).unwrap();
                    assert!(event.visible || own(event), "{me} sees {id} after leaving");
                }
                let end = real.departure().map_or(Seq(0), |d| d.seq);
                for id in seen.state.values() {
                    let event = real.events.iter().find(|e| e.id == *id).unwrap();
                    let allowed = event.seq <= end || event.visible || own(event);
                    assert!(allowed, "{me} is told of {} after leaving", event.kind);
                }
            }
        }
        Ok(())
    }

    fn joined(
        &self,
        view: &View,
        slider: &Slider,
        (real, wanted, seen): (&Real, &[&Wanted], &Seen),
        about: &str,
    ) -> Reply<()> {
        let (number, id) = &self.world.users[self.user];
        let me = id.as_str();
        assert_eq!(seen.stripped, None);
        for (key, event) in &real.state {
            if wanted.iter().any(|w| w.wants(&key.0, &key.1, me)) {
                assert_eq!(seen.state.get(key), Some(event), "{key:?} {about}");
            }
        }
        let lazy = wanted.iter().any(|w| w.lazy);
        for (event, sender) in
            seen.introduced.iter().filter(|_| lazy && slider.told.contains(&real.id))
        {
            let key = ("m.room.member".to_owned(), sender.clone());
            assert_eq!(seen.state.get(&key), real.state.get(&key), "sender of {event} {about}");
        }
        if slider.lazily {
            // Who asked for lazy members all the time knows them as they are, and all who came since it was told to
            // forget them.
            for (key, event) in real.state.iter().filter(|(key, _)| key.0 == "m.room.member") {
                let place = real.events.iter().find(|e| e.id == *event).unwrap().seq;
                if seen.state.contains_key(key) || place > seen.receipts_since {
                    assert_eq!(seen.state.get(key), Some(event), "{key:?} {about}");
                }
            }
        }
        let limit = usize::try_from(wanted.iter().map(|w| w.limit).max().unwrap()).unwrap();
        let visible = real.visible();
        let shown: Vec<&String> = seen.timeline.iter().collect();
        assert!(visible.ends_with(&shown), "timeline {about}:\n{shown:#?}\n{visible:#?}");
        if visible.len() == real.events.len() {
            assert!(shown.len() >= limit.min(visible.len()), "too little {about}");
        }
        if seen.initial && !seen.limited && slider.told.contains(&real.id) {
            assert_eq!(shown, visible, "all {about}");
        }
        let mut members: BTreeMap<&str, &str> = BTreeMap::new();
        for event in real.events.iter().filter(|e| e.kind == "m.room.member") {
            let how = event.content["membership"].as_str().unwrap();
            members.insert(event.state_key.as_deref().unwrap(), how);
        }
        let count = |how: &str| members.values().filter(|m| **m == how).count() as u64;
        assert_eq!(seen.members, (count("join"), count("invite")), "members {about}");
        let others = || members.iter().filter(|(user, _)| **user != me);
        let here = others().filter(|(_, how)| ["join", "invite"].contains(how));
        let mut heroes: BTreeSet<&str> = here.map(|(user, _)| *user).collect();
        if heroes.is_empty() {
            heroes = others().map(|(user, _)| *user).collect();
        }
        assert_eq!(
            seen.heroes.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            heroes,
            "heroes {about}"
        );
        assert_eq!(seen.dm, is_direct(view, *number, &real.id)?, "direct {about}");
        if seen.membership.is_none() {
            assert_eq!(seen.unread, unread(view, real.number, *number, id)?.0, "unread {about}");
        }
        let mut typing = BTreeSet::new();
        for user in view.typing(real.number, base::Epoch(0)).unwrap_or_default() {
            typing.insert(store::user::id(view, user)?.to_string());
        }
        assert_eq!(seen.typing, typing, "typing {about}");
        self.receipts(view, slider, (real, seen), about)
    }

    fn receipts(
        &self,
        view: &View,
        slider: &Slider,
        (real, seen): (&Real, &Seen),
        about: &str,
    ) -> Reply<()> {
        let (me, _) = &self.world.users[self.user];
        let since = seen.receipts_since.max(slider.in_sight[&real.id]);
        let rows: Vec<((Room, base::User, String, u8), Receipt)> =
            view.under(&RECEIPTS, (real.number,), 100_000)?;
        for ((_, user, thread, private), receipt) in &rows {
            if *private != 0 && user != me {
                continue;
            }
            // There is place for one receipt of a kind on an event.
            let twins = rows.iter().filter(|((_, u, _, p), r)| {
                u == user && p == private && r.event_id == receipt.event_id
            });
            let last_told = seen.introduced.iter().any(|(id, _)| *id == receipt.event_id)
                && (seen.initial || seen.limited)
                && slider.told.contains(&real.id);
            if twins.count() > 1 || !(user == me || receipt.moved > since || last_told) {
                continue;
            }
            let kind = if *private == 0 { "m.read" } else { "m.read.private" };
            let key = (store::user::id(view, *user)?.to_string(), kind.to_owned(), thread.clone());
            assert_eq!(seen.receipts.get(&key), Some(&receipt.event_id), "{key:?} {about}");
        }
        Ok(())
    }
}

/// Two connections for each user.
fn sliders(world: &World, connections: &Connections) -> Vec<[Slider; 2]> {
    let slider = |u: usize, conn: &str| Slider::new(world.users[u].clone(), conn, connections);
    (0..USERS).map(|u| [slider(u, "a"), slider(u, "b")]).collect()
}

fn wish(asked: &Asked, n: usize) -> Wish {
    let (windows, rooms) = asked.1[n % asked.1.len()].clone();
    let mut rooms = rooms;
    rooms.dedup_by_key(|(n, _)| *n);
    Wish { v4: asked.0, windows, rooms }
}

/// A client that wants everything knows the rooms that a first `/sync` tells.
fn against_v3(world: &World, user: usize, connections: &Connections, ids: &[String]) {
    let taste =
        Taste { limit: 5, threads: true, after: true, patient: true, lazy: false, archive: false };
    let mut old = Client::new(world.users[user].clone(), taste);
    old.sync(&world.store);
    let mut new = Slider::new(world.users[user].clone(), "v3", connections);
    let state = vec![("*".to_owned(), "*".to_owned())];
    let wanted = Wanted { limit: 5, state, lazy: false };
    let range = (0, 99);
    let (is_dm, is_invited, is_encrypted, tag, not_tag) = (None, None, None, None, None);
    let window = Window { range, wanted, is_dm, is_invited, is_encrypted, tag, not_tag };
    let wish = Wish { v4: false, windows: vec![window], rooms: Vec::new() };
    let (answer, _) = new.ask(&world.store, &wish, ids).unwrap();
    new.apply(&world.store, &wish, &answer);
    for (id, known) in &old.rooms {
        let seen = &new.rooms[id];
        assert_eq!((&seen.state, &seen.timeline), (&known.state, &known.timeline), "{id}");
        assert_eq!(seen.unread, known.unread, "{id}");
        assert_eq!(seen.data, known.data, "{id}");
    }
    for id in old.invites.keys() {
        assert!(new.rooms[id].stripped.is_some(), "{id}");
    }
}

proptest! {
    #![proptest_config(sliding_cases())]

    #[test]
    fn a_sliding_client_knows_what_the_model_says(
        ops in mixed(120),
        asked in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(asked(), 1..4)), USERS,
        ),
        turns in proptest::collection::vec(any::<u16>(), 120),
    ) {
        let mut world = World::new(USERS);
        let connections = Connections::default();
        let mut all = sliders(&world, &connections);
        let ids: Vec<String> = world.rooms.iter().map(|(_, id)| id.to_string()).collect();
        for (op, turn) in ops.iter().zip(&turns) {
            world.perform(op);
            let (Op::Sync(u) | Op::Fresh(u, _)) = op else { continue };
            let check = Check { world: &world, user: *u, ids: &ids };
            let which = usize::from(turn & 9 == 9);
            // Mostly the same again: clients rarely change what they ask for.
            let wish = wish(&asked[*u], if turn & 6 == 6 { usize::from(turn >> 4) } else { which });
            let slider = &mut all[*u][which];
            check.sync(slider, &wish, turn & 0x100 != 0);
            if let (Op::Fresh(..), Some(old)) = (op, slider.old_pos.clone()) {
                let refused = slider.ask_from(&world.store, &wish, &ids, Some(&old)).map(drop);
                let Err(Error::Refused(refusal)) = refused else { panic!("{old} is taken") };
                prop_assert_eq!(refusal.errcode, "M_UNKNOWN_POS");
                if turn & 0x200 != 0 {
                    slider.reset();
                    check.sync(slider, &wish, false);
                }
            }
        }
        for u in 0..USERS {
            let check = Check { world: &world, user: u, ids: &ids };
            for (which, slider) in all[u].iter_mut().enumerate() {
                check.sync(slider, &wish(&asked[u], which), false);
            }
            against_v3(&world, u, &connections, &ids);
        }
    }
}
