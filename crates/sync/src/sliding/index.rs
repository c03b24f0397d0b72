//! A user's rooms by recency, in memory: made once from a few rows a room, then moved on by the log.
//!
//! It is a cached value that says itself for which positions it is right, under the cache's budget like any other:
//! when it is dropped, it is made again. All connections of a user share it. What only some filters ask for
//! (encryption, types, tags) is found out when one asks, and kept up from then on.

mod facts;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{Event, Reply, Room, Seq, User};
use store::{
    CacheSpace, View, activity, event,
    log::Entry,
    room,
    schema::{Membership, ORDER, Standing},
};

static INDEXES: CacheSpace = CacheSpace { tag: 70, owned: None };

/// Log entries read to move an index on, at least; beyond that, and beyond this many for each room, making it anew is
/// cheaper.
const LOG_SCAN_MIN: usize = 4_096;
const ENTRIES_A_ROOM: usize = 8;

/// What an index may know beside what it always knows.
pub(super) mod need {
    /// [`super::Row::encrypted`].
    pub(crate) const ENCRYPTION: u8 = 1;
    /// [`super::Row::kind`].
    pub(crate) const TYPE: u8 = 2;
    /// [`super::Row::tags`].
    pub(crate) const TAGS: u8 = 4;
}

/// One room of a user.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) room: Room,
    /// The room's newest event; for rooms that the user is not in, what happened to their membership.
    pub(super) at: Seq,
    /// The same of what people would call activity.
    pub(super) bump: Seq,
    /// When anything last happened that changes what is told of the room.
    pub(super) touched: Seq,
    /// When the user's own receipts last moved.
    pub(super) read: Seq,
    /// When any receipt moved.
    pub(super) receipts: Seq,
    /// When the user's account data for the room changed.
    pub(super) data: Seq,
    /// How the user stands to the room.
    pub(super) standing: Standing,
    /// The user's member event.
    pub(super) member: Event,
    /// Who sent that.
    pub(super) sender: User,
    /// The user was in the room once.
    pub(super) was_joined: bool,
    /// `m.direct` names it.
    pub(super) dm: bool,
    /// See [`need::ENCRYPTION`].
    pub(super) encrypted: bool,
    kind: Option<Arc<str>>,
    tags: Option<Arc<Vec<String>>>,
}

impl Row {
    /// The room's type. See [`need::TYPE`].
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }
    /// The user's tags on it. See [`need::TAGS`].
    pub(super) fn tags(&self) -> &[String] {
        self.tags.as_ref().map_or(&[], |tags| tags)
    }
    /// Is the user out, by whatever way?
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.standing, Standing::Leave | Standing::Ban)
    }
    /// Is the room in lists although the client never heard of it? Rooms left by oneself are not, nor are those that
    /// one was never in.
    pub(super) fn is_listed(&self, user: User) -> bool {
        let by_self = self.standing == Standing::Leave && self.sender == user;
        !self.is_gone() || (self.was_joined && !by_self)
    }
}

/// See the module.
pub(super) struct Index {
    user: User,
    /// Most recent first.
    pub(super) rows: Vec<Row>,
    /// The last position that changed anything here.
    pub(super) changed: Seq,
    /// Right for views up to here (from [`Index::changed`] on).
    upto: AtomicU64,
    /// What is known: see [`need`].
    has: u8,
}

/// What happened to one room.
#[derive(Default)]
struct Touch {
    event: bool,
    state: bool,
    member: bool,
    tags: bool,
    read: Option<Seq>,
    receipts: Option<Seq>,
    data: Option<Seq>,
}

/// What happened.
#[derive(Default)]
struct Changes {
    rooms: BTreeMap<Room, Touch>,
    /// `m.direct` was set.
    direct: Option<Seq>,
    /// The last entry of all this.
    last: Option<Seq>,
}

/// A user's index, right for this view, that knows what is needed.
pub(super) fn current(view: &View, user: User, needs: u8) -> Reply<Arc<Index>> {
    let id = u128::from(user.0);
    let known = view.recall::<Index>(&INDEXES, id);
    let head = view.head();
    let mut next = match known {
        // Somebody with a newer view was faster: one more, for this view only.
        Some(known) if known.changed > head => return build(view, user, needs).map(Arc::new),
        Some(known) => {
            let upto = Seq(known.upto.load(Ordering::Acquire)).max(known.changed);
            match gather(view, user, upto, known.rows.len())? {
                None => build(view, user, known.has)?,
                Some(changes) if changes.last.is_none() => {
                    known.upto.fetch_max(head.0, Ordering::AcqRel);
                    if known.has & needs == needs {
                        return Ok(known);
                    }
                    known.copy(head)
                }
                Some(changes) => {
                    let mut next = known.copy(head);
                    next.apply(view, &changes)?;
                    next
                }
            }
        }
        None => build(view, user, needs)?,
    };
    next.learn(view, needs)?;
    let next = Arc::new(next);
    view.remember(&INDEXES, id, next.clone(), next.bytes());
    Ok(next)
}

/// What the log says after a position; none: too much.
fn gather(view: &View, user: User, after: Seq, rooms: usize) -> Reply<Option<Changes>> {
    let head = view.head();
    let mut changes = Changes::default();
    if head <= after {
        return Ok(Some(changes));
    }
    let most = LOG_SCAN_MIN.max(rooms.saturating_mul(ENTRIES_A_ROOM));
    if view.is_far(after, most)? {
        return Ok(None);
    }
    let joined = room::joined_rooms(view, user)?;
    let is_in = |room: &Room| joined.binary_search(room).is_ok();
    for (seq, entry) in view.log(after, head, most)? {
        match entry {
            Entry::Event { room, target, state, .. } if target == Some(user) || is_in(&room) => {
                let touch = changes.rooms.entry(room).or_default();
                touch.event = true;
                touch.state |= state;
                touch.member |= target == Some(user);
            }
            Entry::State { room, target } if target == Some(user) || is_in(&room) => {
                let touch = changes.rooms.entry(room).or_default();
                touch.state = true;
                touch.member |= target == Some(user);
            }
            Entry::Receipt { room, user: whose, private }
                if is_in(&room) && (!private || whose == user) =>
            {
                let touch = changes.rooms.entry(room).or_default();
                touch.receipts = Some(seq);
                if whose == user {
                    touch.read = Some(seq);
                }
            }
            Entry::AccountData { user: whose, room: Some(room), kind } if whose == user => {
                let touch = changes.rooms.entry(room).or_default();
                touch.data = Some(seq);
                touch.tags |= kind == "m.tag";
            }
            Entry::AccountData { user: whose, room: None, kind }
                if whose == user && kind == "m.direct" =>
            {
                changes.direct = Some(seq);
            }
            Entry::Forgotten { user: who, room } if who == user => {
                changes.rooms.entry(room).or_default().member = true;
            }
            // These decide which invites one sees.
            Entry::AccountData { user: whose, room: None, kind }
                if whose == user && is_about_invites(&kind) => {}
            _ => continue,
        }
        changes.last = Some(seq);
    }
    Ok(Some(changes))
}

/// Does account data of this type decide whose invites a user sees?
fn is_about_invites(kind: &str) -> bool {
    kind == "m.ignored_user_list" || kind.ends_with("invite_permission_config")
}

fn build(view: &View, user: User, needs: u8) -> Reply<Index> {
    let head = view.head();
    let rooms = room::rooms_of(view, user)?;
    let mut index =
        Index { user, rows: Vec::new(), changed: head, upto: AtomicU64::new(head.0), has: 0 };
    let all: Vec<(Room, &Membership)> = rooms.iter().map(|(room, m)| (*room, m)).collect();
    index.rows = rows(view, &all, head)?;
    index.mark_direct(view, head)?;
    index.sort();
    index.learn(view, needs)?;
    Ok(index)
}

/// New rows, in the order asked. `now`: what is not known to be older may have happened as late as this.
fn rows(view: &View, rooms: &[(Room, &Membership)], now: Seq) -> Reply<Vec<Row>> {
    let (joined, others): (Vec<_>, Vec<_>) =
        rooms.iter().partition(|(_, m)| m.standing == Standing::Join);
    let of_joined: Vec<Room> = joined.iter().map(|(room, _)| *room).collect();
    let mut active = activity::of(view, &of_joined)?.into_iter();
    let mut places =
        view.get_many(&ORDER, others.iter().map(|(_, m)| (m.event,)))?.into_iter().flatten();
    let mut rows = Vec::with_capacity(rooms.len());
    for (room, m) in joined.into_iter().chain(others) {
        let (at, bump) = if m.standing == Standing::Join {
            active.next().map_or((Seq::ZERO, Seq::ZERO), |a| (a.last, a.bump))
        } else {
            let at = places.next().unwrap_or_default();
            (at, at)
        };
        rows.push(Row {
            room,
            at,
            bump,
            touched: at,
            read: now,
            receipts: now,
            data: now,
            standing: m.standing,
            member: m.event,
            sender: m.sender,
            was_joined: m.was_joined,
            dm: false,
            encrypted: false,
            kind: None,
            tags: None,
        });
    }
    Ok(rows)
}

/// What a row weighs in the cache.
const ROW_BYTES: usize = size_of::<Row>();

impl Index {
    fn copy(&self, head: Seq) -> Index {
        Index {
            user: self.user,
            rows: self.rows.clone(),
            changed: self.changed,
            upto: AtomicU64::new(head.0),
            has: self.has,
        }
    }

    fn bytes(&self) -> usize {
        self.rows.len() * ROW_BYTES
    }

    fn sort(&mut self) {
        self.rows.sort_by_key(|row| (Reverse(row.at), Reverse(row.room)));
    }

    fn apply(&mut self, view: &View, changes: &Changes) -> Reply<()> {
        self.changed = self.changed.max(changes.last.unwrap_or_default());
        let mut missing: BTreeMap<Room, &Touch> =
            changes.rooms.iter().map(|(r, t)| (*r, t)).collect();
        let mut rows = std::mem::take(&mut self.rows);
        for row in &mut rows {
            if let Some(touch) = missing.remove(&row.room) {
                self.touch(view, row, touch)?;
            }
        }
        for (room, touch) in missing {
            // Account data can be kept for rooms that one has nothing to do with.
            let Some(m) = room::membership(view, self.user, room)? else { continue };
            for mut row in self::rows(view, &[(room, &m)], self.changed)? {
                self.touch(view, &mut row, touch)?;
                self.learn_row(view, &mut row, self.has)?;
                rows.push(row);
            }
        }
        self.rows = rows;
        // A room that is new here may have been named long before.
        let new_room = changes.rooms.values().any(|touch| touch.member);
        if changes.direct.is_some() || new_room {
            self.mark_direct(view, changes.direct.unwrap_or(self.changed))?;
        }
        self.sort();
        Ok(())
    }

    fn touch(&self, view: &View, row: &mut Row, touch: &Touch) -> Reply<()> {
        if touch.member
            && let Some(m) = room::membership(view, self.user, row.room)?
        {
            (row.standing, row.member, row.sender) = (m.standing, m.event, m.sender);
            row.was_joined = m.was_joined;
            row.at = event::order(view, m.event)?.unwrap_or_default();
            (row.bump, row.touched) = (row.at, row.at);
            self.learn_row(view, row, self.has)?;
        }
        if touch.event && row.standing == Standing::Join {
            for active in activity::of(view, &[row.room])? {
                (row.at, row.bump, row.touched) =
                    (active.last, active.bump, active.last.max(row.touched));
            }
        }
        if touch.state {
            self.learn_row(view, row, self.has & need::ENCRYPTION)?;
        }
        if touch.tags {
            self.learn_row(view, row, self.has & need::TAGS)?;
        }
        row.read = row.read.max(touch.read.unwrap_or_default());
        row.receipts = row.receipts.max(touch.receipts.unwrap_or_default());
        row.data = row.data.max(touch.data.unwrap_or_default());
        Ok(())
    }

    fn mark_direct(&mut self, view: &View, at: Seq) -> Reply<()> {
        let direct = facts::direct(view, self.user)?;
        for row in &mut self.rows {
            let dm = direct.contains(&row.room);
            if dm != row.dm {
                row.dm = dm;
                row.touched = row.touched.max(at);
            }
        }
        Ok(())
    }

    /// Finds out what is needed and not known yet.
    fn learn(&mut self, view: &View, needs: u8) -> Reply<()> {
        let new = needs & !self.has;
        if new == 0 {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.rows);
        for row in &mut rows {
            self.learn_row(view, row, new)?;
        }
        self.rows = rows;
        self.has |= new;
        Ok(())
    }

    fn learn_row(&self, view: &View, row: &mut Row, what: u8) -> Reply<()> {
        if what & need::ENCRYPTION != 0 {
            row.encrypted = facts::is_encrypted(view, self.user, row)?;
        }
        if what & need::TYPE != 0 {
            row.kind = facts::kind(view, self.user, row)?;
        }
        if what & need::TAGS != 0 {
            row.tags = facts::tags(view, self.user, row.room)?;
        }
        Ok(())
    }
}
