//! Whose devices a client is to look at again, and whose no longer, equals what follows from who was in which room at each
//! position, over random histories (spec: "End-to-End Encryption", `device_lists`, and the note about new shared rooms).
#![expect(clippy::unwrap_used, reason = "an oracle: failing loudly is its purpose")]

mod deeds;

use std::collections::BTreeSet;

use base::{Reply, Room, Seq, User};
use deeds::{ROOMS, USERS, cases};
use proptest::prelude::*;
use store::{View, device_changes, event, log::Entry};
use sync::device_lists::DeviceLists;
use testkit::{Op, World};

/// Deeds beside those of the world.
#[derive(Clone, Debug)]
enum Deed {
    Of(Op),
    /// A device of a user changes.
    Change(usize),
    /// The user looks.
    Look(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let (u, r) = (|| 0..USERS, || 0..ROOMS);
    let moving = prop_oneof![
        10 => (u(), r()).prop_map(|(a, b)| Op::Join(a, b)),
        6 => (u(), r()).prop_map(|(a, b)| Op::Leave(a, b)),
        3 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Invite(a, b, c)),
        3 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Kick(a, b, c)),
        3 => (u(), u(), r(), any::<bool>()).prop_map(|(a, b, c, d)| Op::Ban(a, b, c, d)),
        2 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::Name(a, b, c)),
    ];
    prop_oneof![
        8 => moving.prop_map(Deed::Of),
        1 => u().prop_map(Deed::Change),
        3 => u().prop_map(Deed::Look),
    ]
}

/// Who is in which room.
type Joined = BTreeSet<(Room, User)>;

/// With whom somebody shares a room.
fn shared(joined: &Joined, viewer: User) -> BTreeSet<User> {
    let rooms: BTreeSet<Room> =
        joined.iter().filter(|(_, user)| *user == viewer).map(|(room, _)| *room).collect();
    let others = joined.iter().filter(|(room, user)| rooms.contains(room) && *user != viewer);
    others.map(|(_, user)| *user).collect()
}

#[derive(Debug)]
struct Truth {
    /// To be told as changed.
    must: BTreeSet<User>,
    /// May be told as changed: a further room is shared with them.
    may: BTreeSet<User>,
    left: BTreeSet<User>,
}

fn truth(view: &View, viewer: User, since: Seq) -> Reply<Truth> {
    let mut joined = Joined::new();
    let (mut then, mut always) = (BTreeSet::new(), None);
    let (mut changed, mut entered) = (BTreeSet::new(), Joined::new());
    for (at, entry) in view.log(Seq::ZERO, Seq::MAX, 1_000_000)? {
        let late = at > since;
        if late && always.is_none() {
            then = shared(&joined, viewer);
            always = Some(then.clone());
        }
        match entry {
            Entry::Event { room, event, target: Some(target), .. } => {
                let event = event::load(view, event)?;
                let is = store::room::standing(&event) == Some(store::schema::Standing::Join);
                if !is {
                    joined.remove(&(room, target));
                } else if joined.insert((room, target)) && late {
                    entered.insert((room, target));
                }
                if let Some(always) = &mut always {
                    let now = shared(&joined, viewer);
                    always.retain(|user| now.contains(user));
                }
            }
            Entry::Devices { user } if late => drop(changed.insert(user)),
            _ => {}
        }
    }
    let now = shared(&joined, viewer);
    let then = if always.is_some() { then } else { now.clone() };
    let always = always.unwrap_or_else(|| now.clone());
    let mut must: BTreeSet<User> = now.difference(&always).copied().collect();
    must.extend(changed.into_iter().filter(|user| *user == viewer || now.contains(user)));
    let further = |user: &&User| {
        joined.iter().any(|(room, there)| {
            there == *user
                && joined.contains(&(*room, viewer))
                && (entered.contains(&(*room, **user)) || entered.contains(&(*room, viewer)))
        })
    };
    let may = must.union(&now.iter().filter(further).copied().collect()).copied().collect();
    Ok(Truth { must, may, left: then.difference(&now).copied().collect() })
}

fn check(view: &View, viewer: User, since: Seq) -> Reply<()> {
    let truth = truth(view, viewer, since)?;
    let numbers = |ids: Vec<ruma::OwnedUserId>| -> Reply<BTreeSet<User>> {
        ids.iter().map(|id| Ok(store::user::find(view, id)?.unwrap())).collect()
    };
    let told = DeviceLists::since(view, viewer, since)?;
    let (changed, left) = (numbers(told.changed)?, numbers(told.left)?);
    assert_eq!(left, truth.left, "left for {viewer} since {since}");
    assert!(truth.must.is_subset(&changed), "{viewer} since {since}: {changed:?} {truth:?}");
    assert!(changed.is_subset(&truth.may), "{viewer} since {since}: {changed:?} {truth:?}");
    // Where the log is too long to be read, more may have changed, but those who left have left.
    let told = DeviceLists::since_within(view, viewer, since, 0)?;
    let (changed, left) = (numbers(told.changed)?, numbers(told.left)?);
    assert_eq!(left, truth.left, "left for {viewer} long since {since}");
    assert!(truth.must.is_subset(&changed), "{viewer} long since {since}: {changed:?} {truth:?}");
    Ok(())
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn device_lists_equal_what_follows_from_who_was_where(
        deeds in proptest::collection::vec(deed(), 1..60),
    ) {
        let mut world = World::new(USERS);
        let mut since = [world.store.head(); USERS];
        for deed in deeds {
            match deed {
                Deed::Of(op) => drop(world.perform(&op)),
                Deed::Change(u) => {
                    let user = world.users[u].0;
                    let change = move |tx: &mut store::Tx| {
                        device_changes::announce(tx, user, "D");
                        Ok(())
                    };
                    world.store.write_here(change).unwrap();
                }
                Deed::Look(u) => {
                    let (user, from) = (world.users[u].0, since[u]);
                    world.store.read_here(|view| check(view, user, from)).unwrap();
                    since[u] = world.store.head();
                }
            }
        }
        for (u, from) in since.into_iter().enumerate() {
            let user = world.users[u].0;
            world.store.read_here(|view| check(view, user, from)).unwrap();
        }
    }
}
