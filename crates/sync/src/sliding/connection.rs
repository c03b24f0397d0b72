//! Connections: what each client was told, in memory only (MSC4186, "Connections").
//!
//! A connection has one **base**, the state as of the last answer that the client is known to have: its `pos` came back.
//! Answers given since are kept as differences to the base. When a client comes with the `pos` of one of them, that
//! difference becomes part of the base and the others are forgotten; when it comes with the base's own `pos` again, it is
//! answered from the base once more. Any other `pos` is unknown, as it is after a restart, and the client begins anew.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{Epoch, Error, Reply, Room, Seq, UnixMs, User};
use parking_lot::Mutex;
use store::schema::Standing;

use super::required::Required;
use crate::token::Token;

/// Connections of one device: clients use three.
const OF_DEVICE_MAX: usize = 16;
/// What all connections together may weigh. Those that were not used for longest are forgotten first.
const BYTES_MAX: usize = 32 << 20;
/// How much is forgotten when that is too much: so that it is not sought again at once.
const BYTES_KEPT: usize = BYTES_MAX / 4 * 3;
/// A connection without rooms, about.
const CONNECTION_BYTES: usize = 1_024;
/// What is remembered of a room, about, beside members.
const ROOM_BYTES: usize = size_of::<Told>() + 32;
/// Answers that the client may have, beside the last one it confirmed: one, and those given to requests that it gave up.
const ANSWERS_MAX: usize = 4;
/// `conn_id`s longer than this are refused.
const CONN_ID_BYTES_MAX: usize = 255;

/// What a client was told of a room.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Everything up to here.
    pub(super) upto: Seq,
    /// How the user stood to it.
    pub(super) standing: Standing,
    /// How many of the newest events, without a gap; `MAX`: all that the user may see.
    pub(super) depth: usize,
    /// The state that was wanted then.
    pub(super) required: Arc<Required>,
    /// Members told because the timeline needed them.
    pub(super) members: Arc<Vec<User>>,
    /// Account data up to here.
    pub(super) data: Seq,
    /// Receipts up to here.
    pub(super) receipts: Seq,
    /// The rest, as it was told.
    pub(super) summary: super::room::Shown,
}

/// All that a client was told.
#[derive(Default)]
pub(super) struct Base {
    /// Number of the answer.
    n: u64,
    /// Up to here.
    pub(super) upto: Seq,
    pub(super) rooms: HashMap<Room, Told, BuildHasherDefault<Spread>>,
    pub(super) rest: Rest,
}

/// What is told anew, whole, with each answer.
#[derive(Clone, Default)]
pub(super) struct Rest {
    /// How many rooms each list has.
    pub(super) counts: BTreeMap<String, u64>,
    /// All that the request of this fingerprint asked for of rooms was told.
    pub(super) settled: Option<u64>,
    /// The `required_state`s of the last request, so that equal ones are the same.
    pub(super) required: Vec<Arc<Required>>,
    /// Who the client was told is typing, in the rooms in scope.
    pub(super) typing: BTreeMap<Room, Vec<User>>,
    /// The rooms that were in the windows, or subscribed to, in order.
    pub(super) window: Arc<Vec<Room>>,
    /// The position among typing notices.
    pub(super) typing_at: Epoch,
    /// Global account data was told.
    pub(super) data: bool,
}

/// One answer, as a difference to the base.
pub(super) struct Delta {
    pub(super) upto: Seq,
    pub(super) rooms: Vec<(Room, Told)>,
    pub(super) rest: Rest,
}

/// Room numbers are small and close together; multiplying spreads them well enough, and nobody outside chooses them.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, n: u64) {
        // 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// One connection.
#[derive(Default)]
struct Connection {
    base: Base,
    given: Vec<(u64, Delta)>,
    next: u64,
    /// Members remembered in all rooms of the base.
    members: usize,
}

impl Connection {
    /// Makes the answer of this number the base, if it is known.
    fn confirm(&mut self, n: u64) -> Reply<()> {
        if n == self.base.n {
            return Ok(());
        }
        let at = self.given.iter().position(|(of, _)| *of == n).ok_or_else(unknown_pos)?;
        let (n, delta) = self.given.swap_remove(at);
        self.given.clear();
        self.base.n = n;
        self.base.upto = delta.upto;
        for (room, told) in delta.rooms {
            self.members += told.members.len();
            if let Some(old) = self.base.rooms.insert(room, told) {
                self.members = self.members.saturating_sub(old.members.len());
            }
        }
        self.base.rest = delta.rest;
        Ok(())
    }

    fn bytes(&self) -> usize {
        let given: usize = self.given.iter().map(|(_, delta)| delta.rooms.len()).sum();
        let rooms = self.base.rooms.len() + given;
        CONNECTION_BYTES + rooms * ROOM_BYTES + self.members * size_of::<User>()
    }
}

/// All connections of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Connections(Arc<Inner>);

#[derive(Default)]
struct Inner {
    last_id: AtomicU64,
    all: Mutex<All>,
}

/// Connections by user and device.
#[derive(Default)]
struct All {
    of: HashMap<(User, String), Vec<Slot>>,
    bytes: usize,
}

/// A connection in its place.
struct Slot {
    conn_id: String,
    id: u64,
    used: UnixMs,
    bytes: usize,
    connection: Arc<Mutex<Connection>>,
}

/// The turn of one request: which connection, and from which answer on.
pub struct Turn {
    all: Connections,
    key: (User, String),
    id: u64,
    from: u64,
    n: u64,
    connection: Arc<Mutex<Connection>>,
}

/// `pos` is not known, or no longer: the client begins anew.
pub(super) fn unknown_pos() -> Error {
    Error::refused(400, "M_UNKNOWN_POS", "this position is not known (any more); begin anew")
}

impl Connections {
    /// Takes up a connection where the client stands, or begins a new one in the place of one with this `conn_id`.
    ///
    /// # Errors
    /// 400 `M_UNKNOWN_POS`; 400 `M_INVALID_PARAM` for an overlong `conn_id`.
    pub fn turn(
        &self,
        user: User,
        device: &str,
        conn_id: &str,
        pos: Option<&str>,
        now: UnixMs,
    ) -> Reply<Turn> {
        if conn_id.len() > CONN_ID_BYTES_MAX {
            return Err(Error::invalid_param("conn_id is too long"));
        }
        let key = (user, device.to_owned());
        let all = self.clone();
        let Some(pos) = pos else {
            let id = self.fresh_id(now);
            let connection = self.0.all.lock().begin(key.clone(), conn_id, id, now);
            return Ok(Turn { all, key, id, from: 0, n: 1, connection });
        };
        let (id, n) = parse(pos).ok_or_else(unknown_pos)?;
        let found = self.0.all.lock().find(&key, conn_id, id, now);
        let connection = found.ok_or_else(unknown_pos)?;
        // Never two locks at once: whoever computes an answer holds this one for a while.
        let mut locked = connection.lock();
        locked.confirm(n)?;
        locked.next += 1;
        let next = locked.next;
        drop(locked);
        Ok(Turn { all, key, id, from: n, n: next, connection })
    }

    /// Beginning at the clock, so that what an earlier process gave out means nothing to this one.
    fn fresh_id(&self, now: UnixMs) -> u64 {
        self.0.last_id.fetch_max(now.0.saturating_mul(1 << 16), Ordering::Relaxed);
        self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl All {
    fn begin(
        &mut self,
        key: (User, String),
        conn_id: &str,
        id: u64,
        now: UnixMs,
    ) -> Arc<Mutex<Connection>> {
        let slots = self.of.entry(key).or_default();
        let before = weight(slots);
        slots.retain(|slot| slot.conn_id != conn_id);
        if slots.len() >= OF_DEVICE_MAX {
            let oldest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.used);
            if let Some(oldest) = oldest.map(|(at, _)| at) {
                slots.swap_remove(oldest);
            }
        }
        let connection = Arc::new(Mutex::new(Connection { next: 1, ..Connection::default() }));
        slots.push(Slot {
            conn_id: conn_id.to_owned(),
            id,
            used: now,
            bytes: CONNECTION_BYTES,
            connection: connection.clone(),
        });
        self.bytes = self.bytes.saturating_sub(before) + weight(slots);
        self.drop_oldest();
        connection
    }

    fn find(
        &mut self,
        key: &(User, String),
        conn_id: &str,
        id: u64,
        now: UnixMs,
    ) -> Option<Arc<Mutex<Connection>>> {
        let slots = self.of.get_mut(key)?;
        let slot = slots.iter_mut().find(|slot| slot.id == id && slot.conn_id == conn_id)?;
        slot.used = now;
        Some(slot.connection.clone())
    }

    fn weigh(&mut self, key: &(User, String), id: u64, bytes: usize) {
        let slots = self.of.get_mut(key).into_iter().flatten();
        for slot in slots.filter(|slot| slot.id == id) {
            self.bytes = self.bytes.saturating_sub(slot.bytes) + bytes;
            slot.bytes = bytes;
        }
        self.drop_oldest();
    }

    /// Forgets connections if all together weigh too much.
    fn drop_oldest(&mut self) {
        if self.bytes <= BYTES_MAX {
            return;
        }
        let slots = self.of.values().flatten();
        let mut ages: Vec<(UnixMs, usize)> = slots.map(|slot| (slot.used, slot.bytes)).collect();
        ages.sort_unstable_by_key(|(used, _)| *used);
        let mut until = UnixMs(0);
        for (used, bytes) in ages {
            if self.bytes <= BYTES_KEPT {
                break;
            }
            until = used;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        for slots in self.of.values_mut() {
            slots.retain(|slot| slot.used > until);
        }
        self.of.retain(|_, slots| !slots.is_empty());
        self.bytes = self.of.values().map(|slots| weight(slots)).sum();
    }
}

fn weight(slots: &[Slot]) -> usize {
    slots.iter().map(|slot| slot.bytes).sum()
}

impl Turn {
    /// Computes with the base.
    ///
    /// # Errors
    /// 400 `M_UNKNOWN_POS` if the client has confirmed another answer meanwhile, and whatever `compute` refuses.
    pub(super) fn with<T>(&self, compute: impl FnOnce(&Base) -> Reply<(T, Delta)>) -> Reply<T> {
        let mut connection = self.connection.lock();
        if connection.base.n != self.from {
            return Err(unknown_pos());
        }
        let (answer, delta) = compute(&connection.base)?;
        let given = &mut connection.given;
        given.retain(|(n, _)| *n != self.n);
        if given.len() >= ANSWERS_MAX {
            given.remove(0);
        }
        given.push((self.n, delta));
        let bytes = connection.bytes();
        drop(connection);
        self.all.0.all.lock().weigh(&self.key, self.id, bytes);
        Ok(answer)
    }

    /// Is this the first request of its connection?
    pub(super) fn is_first(&self) -> bool {
        self.from == 0
    }

    /// The `pos` of the answer: a token like any other (the MSC lets clients use it in `/messages` and `/relations`), and
    /// which answer of which connection it is.
    pub(super) fn pos(&self, upto: Seq) -> String {
        format!("{}~{}.{}", Token::at(upto), self.id, self.n)
    }
}

/// Connection and answer of a `pos`.
fn parse(pos: &str) -> Option<(u64, u64)> {
    let (_, of) = pos.split_once(Token::POS_MARK)?;
    let (id, n) = of.split_once('.')?;
    Some((id.parse().ok()?, n.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: User = User(1);

    fn turn(all: &Connections, conn: &str, pos: Option<&str>, at: u64) -> Reply<Turn> {
        all.turn(ME, "D", conn, pos, UnixMs(at))
    }

    /// Answers a turn, and gives the `pos`.
    fn answered(turn: &Turn, upto: u64) -> String {
        let delta = Delta { upto: Seq(upto), rooms: Vec::new(), rest: Rest::default() };
        turn.with(|_| Ok(((), delta))).unwrap();
        turn.pos(Seq(upto))
    }

    fn base_of(turn: &Turn) -> u64 {
        let delta = Delta { upto: Seq(0), rooms: Vec::new(), rest: Rest::default() };
        turn.with(|base| Ok((base.upto.0, delta))).unwrap()
    }

    #[test]
    fn an_answer_counts_when_its_position_comes_back() {
        let all = Connections::default();
        let one = answered(&turn(&all, "c", None, 1).unwrap(), 5);
        let lost = answered(&turn(&all, "c", Some(&one), 2).unwrap(), 6);
        assert_eq!(base_of(&turn(&all, "c", Some(&one), 3).unwrap()), 5, "asked again");
        let two = answered(&turn(&all, "c", Some(&one), 4).unwrap(), 7);
        assert_eq!(base_of(&turn(&all, "c", Some(&two), 5).unwrap()), 7);
        for gone in [&one, &lost] {
            assert!(turn(&all, "c", Some(gone), 6).is_err(), "{gone}");
        }
        assert_eq!(base_of(&turn(&all, "c", Some(&two), 7).unwrap()), 7);
    }

    #[test]
    fn a_request_that_was_overtaken_is_not_answered() {
        let all = Connections::default();
        let one = answered(&turn(&all, "c", None, 1).unwrap(), 5);
        let slow = turn(&all, "c", Some(&one), 2).unwrap();
        let two = answered(&turn(&all, "c", Some(&one), 3).unwrap(), 6);
        turn(&all, "c", Some(&two), 4).unwrap();
        let delta = Delta { upto: Seq(0), rooms: Vec::new(), rest: Rest::default() };
        assert!(slow.with(|_| Ok(((), delta))).is_err());
    }

    #[test]
    fn a_position_belongs_to_one_user_device_and_connection() {
        let all = Connections::default();
        let pos = answered(&turn(&all, "c", None, 1).unwrap(), 5);
        assert!(all.turn(User(2), "D", "c", Some(&pos), UnixMs(1)).is_err());
        assert!(all.turn(ME, "E", "c", Some(&pos), UnixMs(1)).is_err());
        assert!(turn(&all, "d", Some(&pos), 1).is_err());
        assert!(turn(&Connections::default(), "c", Some(&pos), 1).is_err(), "another process");
        answered(&turn(&all, "c", None, 2).unwrap(), 5);
        assert!(turn(&all, "c", Some(&pos), 3).is_err(), "the connection began anew");
    }

    #[test]
    fn the_connections_unused_for_longest_go_first() {
        let all = Connections::default();
        let begun: Vec<String> = (0..=OF_DEVICE_MAX)
            .map(|n| answered(&turn(&all, &n.to_string(), None, n as u64).unwrap(), 5))
            .collect();
        assert!(turn(&all, "0", Some(&begun[0]), 100).is_err(), "too many of one device");
        let heavy = turn(&all, "1", Some(&begun[1]), 101).unwrap();
        all.0.all.lock().weigh(&heavy.key, heavy.id, BYTES_MAX);
        assert!(turn(&all, "2", Some(&begun[2]), 102).is_err(), "too much in all");
        let last = answered(&turn(&all, "3", None, 103).unwrap(), 5);
        assert!(turn(&all, "3", Some(&last), 104).is_ok());
    }
}
