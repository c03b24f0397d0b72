//! A world of a few users and rooms, changed by random deeds through the real domain functions.

use std::sync::Arc;

use base::{Reply, Room, User};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, UserId,
    api::client::room::create_room::v3::{Request, RoomPreset},
    server_name,
};
use serde_json::{Value, json, value::to_raw_value};
use store::{
    Options, Store, Tx, inbox,
    schema::{ACCOUNTS, Account, TIMELINE},
};

use crate::client::DEVICE;

/// One deed. Numbers are taken modulo what there is; what the rules forbid simply does not happen.
#[derive(Clone, Debug)]
pub enum Op {
    /// A message.
    Send(usize, usize, Sent),
    /// Joins.
    Join(usize, usize),
    /// Leaves.
    Leave(usize, usize),
    /// Invites another.
    Invite(usize, usize, usize),
    /// Removes another.
    Kick(usize, usize, usize),
    /// Bans another, or lifts the ban.
    Ban(usize, usize, usize, bool),
    /// Forgets a room.
    Forget(usize, usize),
    /// Goes by another name in a room.
    Name(usize, usize, u8),
    /// Sets the topic.
    Topic(usize, usize, u8),
    /// Sets who may see history.
    History(usize, usize, u8),
    /// Redacts an event of the room.
    Redact(usize, usize, usize),
    /// Marks an event as read: privately or not, in its thread or not.
    Read(usize, usize, usize, bool, bool),
    /// Sets account data, globally or for a room.
    Data(usize, Option<usize>, u8),
    /// Sets a tag on a room, or takes it away.
    Tag(usize, usize, u8),
    /// Sends a message to another's device.
    Whisper(usize, usize),
    /// Switches encryption on.
    Encrypt(usize, usize),
    /// Lists a room as a direct chat, or as none.
    Direct(usize, usize, bool),
    /// Begins or stops typing.
    Type(usize, usize, bool),
    /// The user's client syncs.
    Sync(usize),
    /// It syncs, and the answer is lost on the way.
    Lost(usize),
    /// Somebody else's client syncs with a filter of its own from the beginning.
    Fresh(usize, u8),
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Text.
    Text,
    /// Text that mentions a user.
    Mention(usize),
    /// Text that mentions everybody.
    MentionRoom,
    /// A reply in the thread of an event.
    Thread(usize),
    /// A reaction to an event.
    Reaction(usize),
    /// An edit of an event.
    Edit(usize),
    /// Text that refers to an event.
    Reference(usize),
}

/// Users, rooms, and the store that holds them.
pub struct World {
    /// The store.
    pub store: Store,
    /// The users.
    pub users: Vec<(User, OwnedUserId)>,
    /// The rooms.
    pub rooms: Vec<(Room, OwnedRoomId)>,
    /// What was ever sent to each user's device, in order.
    pub whispers: Vec<Vec<u64>>,
    count: u64,
}

impl World {
    /// `users` people, and three rooms: public; private; public with history for members only.
    pub fn new(users: usize) -> World {
        let key = protocol::SigningKey::generate([9; 32], "test").unwrap();
        let options = Options {
            threads: 1,
            cache_bytes: 1 << 20,
            ..Options::new(server_name!("x.test").to_owned(), Arc::new(key))
        };
        let store = Store::open(Arc::new(kv::Memory::default()), options).unwrap();
        let ids: Vec<OwnedUserId> =
            (0..users).map(|n| format!("@u{n}:x.test").try_into().unwrap()).collect();
        let for_tx = ids.clone();
        let numbers = store
            .write_here(move |tx| {
                for_tx.iter().map(|id| account(tx, id)).collect::<Reply<Vec<_>>>()
            })
            .unwrap()
            .value;
        let users = numbers.into_iter().zip(ids.iter().cloned()).collect();
        let mut world = World {
            store,
            whispers: vec![Vec::new(); ids.len()],
            users,
            rooms: Vec::new(),
            count: 0,
        };
        for (owner, preset, history) in [
            (0, RoomPreset::PublicChat, None),
            (1, RoomPreset::PrivateChat, None),
            (2 % world.users.len(), RoomPreset::PublicChat, Some("joined")),
        ] {
            world.create(owner, preset, history);
        }
        world
    }

    fn create(&mut self, owner: usize, preset: RoomPreset, history: Option<&'static str>) {
        let user = self.users[owner].0;
        let (room, id) = self
            .store
            .write_here(move |tx| {
                let mut request = Request::new();
                request.preset = Some(preset.clone());
                let id = rooms::create::create(tx, user, &RoomVersionId::V11, &request)?;
                if let Some(history) = history {
                    let content = json!({"history_visibility": history});
                    let content = to_raw_value(&content).unwrap();
                    rooms::state::put(tx, user, &id, "m.room.history_visibility", "", &content)?;
                }
                let room = store::room::find(tx, &id)?.unwrap();
                Ok((room, id))
            })
            .unwrap()
            .value;
        self.rooms.push((room, id));
    }

    /// A public space of the first user's with all rooms of the world in it; it is none of them itself.
    pub fn space(&mut self) -> OwnedRoomId {
        let user = self.users[0].0;
        let rooms: Vec<OwnedRoomId> = self.rooms.iter().map(|(_, id)| id.clone()).collect();
        let made = self.store.write_here(move |tx| {
            let mut request = Request::new();
            request.preset = Some(RoomPreset::PublicChat);
            let content = json!({"type": "m.space"});
            request.creation_content = Some(serde_json::from_value(content).unwrap());
            let id = rooms::create::create(tx, user, &RoomVersionId::V11, &request)?;
            for room in &rooms {
                let content = to_raw_value(&json!({"via": ["x.test"]})).unwrap();
                rooms::state::put(tx, user, &id, "m.space.child", room.as_str(), &content)?;
            }
            Ok(id)
        });
        made.unwrap().value
    }

    /// The ids of a room's events, in order.
    pub fn events(&self, room: Room) -> Vec<OwnedEventId> {
        self.store
            .read_here(|view| {
                let rows: Vec<((Room, base::Seq), base::Event)> =
                    view.under(&TIMELINE, (room,), 100_000)?;
                rows.iter().map(|(_, e)| Ok(store::event::load(view, *e)?.id.clone())).collect()
            })
            .unwrap()
    }

    fn pick(&self, room: Room, n: usize) -> OwnedEventId {
        let events = self.events(room);
        events[events.len() - 1 - n % events.len().min(12)].clone()
    }

    /// Mostly one of the user's own messages: others cannot be edited.
    fn own(&self, user: User, room: Room, n: usize) -> OwnedEventId {
        let mut own = self.events(room);
        own.retain(|id| {
            let event =
                self.store.read_here(|view| store::event::load_id(view, id)).unwrap().unwrap();
            event.row.sender == user && event.row.kind == "m.room.message"
        });
        match own.len() {
            0 => self.pick(room, n),
            len => own[len - 1 - n % len.min(4)].clone(),
        }
    }

    fn write(&self, f: impl FnMut(&mut Tx) -> Reply<()> + Send + 'static) -> bool {
        match self.store.write_here(f) {
            Ok(_) => true,
            Err(base::Error::Refused(_)) => false,
            Err(fault) => panic!("{fault}"),
        }
    }

    /// Carries out a deed (but for syncs, which are the test's). Says whether the rules allowed it.
    pub fn perform(&mut self, op: &Op) -> bool {
        self.count += 1;
        let user = |n: usize| self.users[n % self.users.len()].clone();
        let room = |n: usize| self.rooms[n % self.rooms.len()].clone();
        match op.clone() {
            Op::Send(u, r, what) => {
                let ((u, _), (number, r)) = (user(u), room(r));
                let (kind, content) = self.message(u, number, &what);
                let txn = format!("t{}", self.count);
                let content = to_raw_value(&content).unwrap();
                self.write(move |tx| {
                    let txn = rooms::Txn { device: "D", path: "send", id: &txn };
                    rooms::send::send(tx, u, &r, kind, &content, txn).map(drop)
                })
            }
            Op::Join(..)
            | Op::Leave(..)
            | Op::Invite(..)
            | Op::Kick(..)
            | Op::Ban(..)
            | Op::Forget(..)
            | Op::Name(..) => self.come_and_go(op),
            Op::Topic(u, r, n) => self.put(u, r, "m.room.topic", json!({"topic": format!("t{n}")})),
            Op::History(u, r, n) => {
                let how = ["shared", "invited", "joined", "world_readable"][usize::from(n % 4)];
                self.put(u, r, "m.room.history_visibility", json!({"history_visibility": how}))
            }
            Op::Redact(u, r, n) => {
                let ((u, _), (number, r)) = (user(u), room(r));
                let target = self.pick(number, n);
                let txn = format!("t{}", self.count);
                self.write(move |tx| {
                    let txn = rooms::Txn { device: "D", path: "redact", id: &txn };
                    let wanted = rooms::redact::Wanted::of(&target);
                    rooms::redact::redact(tx, u, &r, &wanted, false, txn).map(drop)
                })
            }
            Op::Read(u, r, n, private, threaded) => {
                let ((u, _), (number, r)) = (user(u), room(r));
                let target = self.pick(number, n);
                self.write(move |tx| {
                    let mark = match private {
                        true => rooms::receipt::Mark::ReadPrivate,
                        false => rooms::receipt::Mark::Read,
                    };
                    let thread = match threaded {
                        false => None,
                        true => Some(thread(tx, &target)?),
                    };
                    rooms::receipt::set(tx, u, &r, mark, &target, thread.as_deref())
                })
            }
            Op::Encrypt(u, r) => {
                let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
                self.put(u, r, "m.room.encryption", content)
            }
            Op::Type(u, r, begins) => {
                let ((u, _), (number, _)) = (user(u), room(r));
                let is_in = self.store.read_here(|view| store::room::is_joined(view, number, u));
                let until = begins.then_some(base::UnixMs(u64::MAX));
                is_in.unwrap() && {
                    self.store.set_typing(number, u, until);
                    true
                }
            }
            Op::Data(..) | Op::Tag(..) | Op::Direct(..) => self.keep(op),
            Op::Whisper(a, b) => self.whisper(a, b),
            Op::Sync(_) | Op::Lost(_) | Op::Fresh(..) => true,
        }
    }

    /// Who is in a room, and under which name.
    fn come_and_go(&self, op: &Op) -> bool {
        let user = |n: usize| self.users[n % self.users.len()].clone();
        let room = |n: usize| self.rooms[n % self.rooms.len()].clone();
        match *op {
            Op::Join(u, r) => {
                let ((u, _), (_, r)) = (user(u), room(r));
                self.write(move |tx| rooms::join::join(tx, u, false, (&*r).into(), None).map(drop))
            }
            Op::Leave(u, r) => {
                let ((u, _), (_, r)) = (user(u), room(r));
                self.write(move |tx| rooms::leave::leave(tx, u, &r, None))
            }
            Op::Invite(u, v, r) => {
                let ((u, _), (_, v), (_, r)) = (user(u), user(v), room(r));
                self.write(move |tx| {
                    let content = to_raw_value(&json!({"membership": "invite"})).unwrap();
                    rooms::state::put(tx, u, &r, "m.room.member", v.as_str(), &content).map(drop)
                })
            }
            Op::Kick(u, v, r) => {
                let ((u, _), (_, v), (_, r)) = (user(u), user(v), room(r));
                self.write(move |tx| rooms::kick::kick(tx, u, &r, &v, None, false))
            }
            Op::Ban(u, v, r, lift) => {
                let ((u, _), (_, v), (_, r)) = (user(u), user(v), room(r));
                self.write(move |tx| match lift {
                    false => rooms::ban::ban(tx, u, &r, &v, None, false),
                    true => rooms::unban::unban(tx, u, &r, &v, None),
                })
            }
            Op::Forget(u, r) => {
                let ((u, _), (_, r)) = (user(u), room(r));
                self.write(move |tx| rooms::forget::forget(tx, u, &r))
            }
            Op::Name(u, r, n) => {
                let ((u, id), (_, r)) = (user(u), room(r));
                self.write(move |tx| {
                    let content = json!({"membership": "join", "displayname": format!("n{n}")});
                    let content = to_raw_value(&content).unwrap();
                    rooms::state::put(tx, u, &r, "m.room.member", id.as_str(), &content).map(drop)
                })
            }
            _ => unreachable!("no deed of membership"),
        }
    }

    /// A message from one user's device to another's.
    fn whisper(&mut self, from: usize, to: usize) -> bool {
        let (_, sender) = self.users[from % self.users.len()].clone();
        let (to, n) = (to % self.users.len(), self.count);
        let (receiver, _) = self.users[to];
        self.whispers[to].push(n);
        let event = json!({"content": {"n": n}, "sender": sender, "type": "x.test"});
        self.write(move |tx| {
            inbox::put(tx, receiver, DEVICE, &event.to_string());
            Ok(())
        })
    }

    /// What users keep for themselves.
    fn keep(&self, op: &Op) -> bool {
        let user = |n: usize| self.users[n % self.users.len()].0;
        let room = |n: usize| self.rooms[n % self.rooms.len()].0;
        match *op {
            Op::Data(u, r, n) => {
                let (user, place) = (user(u), r.map_or(accounts::account_data::GLOBAL, room));
                let (kind, content) = (format!("x.kind{}", n % 3), json!({ "n": n }).to_string());
                self.write(move |tx| accounts::account_data::set(tx, user, place, &kind, &content))
            }
            Op::Tag(u, r, n) => {
                let (user, room, tag) = (user(u), room(r), format!("u.{}", n % 2));
                self.write(move |tx| match n % 3 {
                    0 => accounts::tag::remove(tx, user, room, &tag),
                    _ => accounts::tag::set(tx, user, room, &tag, json!({"order": 0.5})),
                })
            }
            Op::Direct(u, r, is) => {
                let (user, _) = self.users[u % self.users.len()];
                let (_, room) = self.rooms[r % self.rooms.len()].clone();
                let rooms = if is { vec![room.to_string()] } else { Vec::new() };
                let content = json!({"@someone:x.test": rooms}).to_string();
                self.write(move |tx| {
                    let global = accounts::account_data::GLOBAL;
                    accounts::account_data::set(tx, user, global, "m.direct", &content)
                })
            }
            _ => false,
        }
    }

    fn put(&self, u: usize, r: usize, kind: &'static str, content: Value) -> bool {
        let (user, _) = self.users[u % self.users.len()];
        let (_, room) = self.rooms[r % self.rooms.len()].clone();
        let content = to_raw_value(&content).unwrap();
        self.write(move |tx| rooms::state::put(tx, user, &room, kind, "", &content).map(drop))
    }

    fn message(&self, user: User, room: Room, what: &Sent) -> (&'static str, Value) {
        let n = self.count;
        let text = |rest: Value| {
            let mut content = json!({"msgtype": "m.text", "body": format!("message {n}")});
            let (Value::Object(to), Value::Object(from)) = (&mut content, rest) else {
                panic!("objects")
            };
            to.extend(from);
            ("m.room.message", content)
        };
        let target = |n: usize| self.pick(room, n);
        match what {
            Sent::Text => text(json!({})),
            Sent::Mention(u) => {
                text(json!({"m.mentions": {"user_ids": [self.users[u % self.users.len()].1]}}))
            }
            Sent::MentionRoom => text(json!({"m.mentions": {"room": true}})),
            Sent::Thread(n) => {
                text(json!({"m.relates_to": {"rel_type": "m.thread", "event_id": target(*n)}}))
            }
            Sent::Edit(n) => text(json!({
                "m.new_content": {"msgtype": "m.text", "body": "edited"},
                "m.relates_to": {"rel_type": "m.replace", "event_id": self.own(user, room, *n)},
            })),
            Sent::Reference(n) => {
                text(json!({"m.relates_to": {"rel_type": "m.reference", "event_id": target(*n)}}))
            }
            Sent::Reaction(n) => {
                let relation =
                    json!({"rel_type": "m.annotation", "event_id": target(*n), "key": "x"});
                ("m.reaction", json!({"m.relates_to": relation}))
            }
        }
    }
}

/// A user with an account: others cannot be invited.
fn account(tx: &mut Tx, id: &UserId) -> Reply<User> {
    let user = store::user::intern(tx, id)?;
    let account = Account {
        password: None,
        created: tx.now(),
        admin: false,
        guest: false,
        deactivated: false,
        erased: false,
    };
    tx.put(&ACCOUNTS, (user,), &account);
    Ok(user)
}

/// The thread that an event is in, as receipts name it.
fn thread(view: &store::View, id: &ruma::EventId) -> Reply<String> {
    let event = store::event::load_id(view, id)?.unwrap();
    Ok(match sync::unread::thread_of(view, &event)? {
        None => "main".to_owned(),
        Some(root) => store::event::load(view, root)?.id.to_string(),
    })
}
