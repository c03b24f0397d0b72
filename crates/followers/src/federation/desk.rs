//! Who is told what next: the destinations with something to be told, in memory.
//!
//! A destination is *live* while all that concerns it is handed to it as it comes; its list is bounded. One whose list
//! overflowed, or that cannot be reached, is *behind*: nothing is kept for it but a position, and it reads the log from there.
//! It is live again when it has read as far as the log was handed out.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use base::{Room, Seq, UnixMs, User};
use parking_lot::Mutex;
use store::schema::Destination;

use super::{compose::Ephemeral, concern::Item};

/// News kept for a destination that is not quick enough. Beyond, it reads them from the log.
const LIST_MAX: usize = 500;
/// Changes of typing, and of presence, kept for one destination. What is beyond is not told.
const EPHEMERAL_MAX: usize = 200;
/// The time of a destination that this server does not talk to: it is tried when the operator has decided anew.
pub(super) const BARRED: UnixMs = UnixMs(u64::MAX);
/// Destinations served at once.
const SERVED_MAX: usize = 128;
/// Of these, those that could not be reached last time: they must not keep the others waiting.
const DOUBTFUL_MAX: usize = 48;

/// The servers that something concerns.
pub(super) type Audience = Arc<BTreeSet<String>>;

/// Something that lives in memory only.
#[derive(Clone, Copy, Debug)]
pub(super) enum Passing {
    /// Who types, or no longer, where.
    Typing(Room, User, bool),
    /// Whose presence changed.
    Presence(User),
}

/// What a destination is told next.
pub(super) enum Next {
    /// This, which was handed to it.
    Items(Vec<Item>, Ephemeral),
    /// What the log has behind this position.
    Log(Seq),
    /// Nothing: its turn is over.
    Nothing,
}

/// See the module.
pub(super) struct Desk {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// All up to here was handed out, or is just being handed out.
    position: Seq,
    slots: HashMap<Arc<str>, Slot>,
    ready: VecDeque<Arc<str>>,
    /// As `ready`, of those that could not be reached.
    doubtful: VecDeque<Arc<str>>,
    due: BTreeSet<(UnixMs, Arc<str>)>,
    served: usize,
    served_doubtful: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Ready,
    Served,
    Resting(UnixMs),
}

struct Slot {
    step: Step,
    behind: bool,
    /// It could not be reached last time.
    doubtful: bool,
    /// It is served as one of the doubtful.
    tried: bool,
    /// It was heard of while it was served.
    heard: bool,
    list: VecDeque<Item>,
    ephemeral: Ephemeral,
    /// As it was last written, or will be; `None`: not read yet.
    row: Option<Destination>,
    /// It has everything up to here.
    cursor: Seq,
    /// Its row says by itself where to go on after a restart.
    written: bool,
    /// Messages that it acknowledged and that are still there.
    forget: Vec<Seq>,
    /// How often in a row it has refused what is being sent.
    refused: u32,
}

impl Slot {
    fn new(cursor: Seq) -> Slot {
        Slot {
            step: Step::Idle,
            behind: false,
            doubtful: false,
            tried: false,
            heard: false,
            list: VecDeque::new(),
            ephemeral: Ephemeral::default(),
            row: None,
            cursor,
            written: false,
            forget: Vec::new(),
            refused: 0,
        }
    }

    fn push(&mut self, item: &Item) {
        if self.behind || item.at <= self.cursor {
            return;
        }
        if self.step == Step::Idle {
            // Nothing of what was handed out before concerned it.
            self.cursor = self.cursor.max(Seq(item.at.0.saturating_sub(1)));
        }
        if self.list.len() >= LIST_MAX {
            return self.fall_behind();
        }
        self.list.push_back(item.clone());
    }

    fn fall_behind(&mut self) {
        self.behind = true;
        self.list = VecDeque::new();
        self.ephemeral = Ephemeral::default();
    }

    fn pass(&mut self, passing: Passing) {
        let ephemeral = &mut self.ephemeral;
        match passing {
            _ if self.behind => {}
            Passing::Typing(room, user, typing) if ephemeral.typing.len() < EPHEMERAL_MAX => {
                ephemeral.typing.insert((room, user), typing);
            }
            Passing::Presence(user) if ephemeral.presence.len() < EPHEMERAL_MAX => {
                ephemeral.presence.insert(user);
            }
            _ => {}
        }
    }

    fn has_news(&self) -> bool {
        self.behind || !self.list.is_empty() || !self.ephemeral.is_empty()
    }
}

impl Desk {
    /// All up to `position` was handed out before. `rows`: those in the midst of being told something.
    pub(super) fn new(position: Seq, rows: Vec<(String, Destination)>) -> Desk {
        let mut inner = Inner { position, ..Inner::default() };
        for (server, row) in rows {
            let server: Arc<str> = server.into();
            let mut slot = Slot::new(row.upto);
            (slot.behind, slot.written) = (true, true);
            (slot.doubtful, slot.step) = (row.failures > 0, Step::Resting(row.retry));
            inner.due.insert((row.retry, server.clone()));
            slot.row = Some(row);
            inner.slots.insert(server, slot);
        }
        let desk = Desk { inner: Mutex::new(inner) };
        // The operator may have decided anew meanwhile.
        desk.wake_barred();
        desk
    }

    /// Hands out what the log has up to a position.
    pub(super) fn hand(&self, upto: Seq, news: &[(Item, Audience)], except: &str) {
        let mut inner = self.inner.lock();
        // First, so that whoever catches up from now on looks as far.
        inner.position = upto;
        for (item, audience) in news {
            let before = Seq(item.at.0.saturating_sub(1));
            for server in audience.iter().filter(|server| *server != except) {
                inner.touch(server, before, |slot| slot.push(item));
            }
        }
    }

    /// Hands out what lives in memory only.
    pub(super) fn hand_passing(&self, news: &[(Passing, Audience)], except: &str) {
        let mut inner = self.inner.lock();
        let position = inner.position;
        for (passing, audience) in news {
            for server in audience.iter().filter(|server| *server != except) {
                inner.touch(server, position, |slot| {
                    if slot.step == Step::Idle {
                        // It has all that was handed out.
                        slot.cursor = slot.cursor.max(position);
                    }
                    slot.pass(*passing);
                });
            }
        }
    }

    /// The next destination whose turn it is, as long as not too many are served.
    pub(super) fn next(&self) -> Option<Arc<str>> {
        let mut inner = self.inner.lock();
        if inner.served >= SERVED_MAX {
            return None;
        }
        let mut next = None;
        if inner.served_doubtful < DOUBTFUL_MAX {
            next = inner.doubtful.pop_front();
            inner.served_doubtful += usize::from(next.is_some());
        }
        let tried = next.is_some();
        let server = next.or_else(|| inner.ready.pop_front())?;
        inner.served += 1;
        if let Some(slot) = inner.slots.get_mut(&server) {
            (slot.step, slot.tried, slot.heard) = (Step::Served, tried, false);
        }
        Some(server)
    }

    /// The row of a destination that is served, if it was read before.
    pub(super) fn row(&self, server: &str) -> Option<Destination> {
        self.inner.lock().slots.get(server).and_then(|slot| slot.row.clone())
    }

    /// Takes note of a row that was read: what it says was acknowledged is not told again, and what it says is being sent is to
    /// be taken out of it once it was acknowledged.
    pub(super) fn learn(&self, server: &str, row: &Destination) {
        self.with(server, |slot| {
            slot.written |= row.sending.is_some();
            slot.cursor = slot.cursor.max(row.upto);
            let cursor = slot.cursor;
            slot.list.retain(|item| item.at > cursor);
        });
    }

    /// What the destination is told next, at most so much. Its turn is over if that is nothing.
    pub(super) fn take(&self, server: &str, row: &Destination, most: usize) -> Next {
        let mut inner = self.inner.lock();
        let Some(slot) = inner.slots.get_mut(server) else { return Next::Nothing };
        if slot.behind {
            return Next::Log(slot.cursor);
        }
        if !slot.has_news() {
            slot.row = Some(row.clone());
            inner.end(server, Step::Idle);
            return Next::Nothing;
        }
        let most = most.min(slot.list.len());
        let items = slot.list.drain(..most).collect();
        Next::Items(items, std::mem::take(&mut slot.ephemeral))
    }

    /// Where the destination stands.
    pub(super) fn cursor(&self, server: &str) -> Seq {
        self.inner.lock().slots.get(server).map_or(Seq::ZERO, |slot| slot.cursor)
    }

    /// Gives back what had no place.
    pub(super) fn give_back(&self, server: &str, left: Vec<Item>) {
        self.with(server, |slot| {
            if !slot.behind {
                left.into_iter().rev().for_each(|item| slot.list.push_front(item));
            }
        });
    }

    /// Its row says what is being sent to it.
    pub(super) fn written(&self, server: &str) {
        self.with(server, |slot| {
            slot.written = true;
            slot.forget = Vec::new();
        });
    }

    /// Messages that it acknowledged, to be deleted when its row is written.
    pub(super) fn forgettable(&self, server: &str) -> Vec<Seq> {
        self.inner.lock().slots.get(server).map(|slot| slot.forget.clone()).unwrap_or_default()
    }

    /// It has everything up to here. One that was behind is live again if no more was handed out.
    pub(super) fn has(&self, server: &str, upto: Seq, messages: &[Seq]) {
        let mut inner = self.inner.lock();
        let position = inner.position;
        let Some(slot) = inner.slots.get_mut(server) else { return };
        slot.cursor = slot.cursor.max(upto);
        slot.forget.extend(messages);
        if slot.behind && slot.cursor >= position {
            slot.behind = false;
        }
    }

    /// It answered.
    pub(super) fn reached(&self, server: &str) {
        self.with(server, |slot| (slot.doubtful, slot.refused) = (false, 0));
    }

    /// It has refused what is being sent. Says how often in a row.
    pub(super) fn refused(&self, server: &str) -> u32 {
        let mut inner = self.inner.lock();
        let Some(slot) = inner.slots.get_mut(server) else { return 0 };
        slot.refused = slot.refused.saturating_add(1);
        slot.refused
    }

    /// Those that this server did not talk to are to be tried.
    pub(super) fn wake_barred(&self) {
        let mut inner = self.inner.lock();
        let barred = inner.due.iter().rev().take_while(|(at, _)| *at == BARRED);
        let barred: Vec<_> = barred.map(|(_, server)| server.clone()).collect();
        barred.iter().for_each(|server| inner.wake(server));
    }

    /// Ends its turn: there is more to tell.
    pub(super) fn again(&self, server: &str, row: Destination) {
        let mut inner = self.inner.lock();
        if let Some(slot) = inner.slots.get_mut(server) {
            slot.row = Some(row);
        }
        inner.end(server, Step::Ready);
    }

    /// Ends its turn: it is not told anything until then. `row`: as it is, if that is known.
    pub(super) fn rest(&self, server: &str, row: Option<Destination>, until: UnixMs) {
        let mut inner = self.inner.lock();
        if let Some(slot) = inner.slots.get_mut(server) {
            slot.fall_behind();
            slot.doubtful = true;
            slot.row = row;
        }
        inner.end(server, Step::Resting(until));
        if inner.slots.get(server).is_some_and(|slot| slot.heard) {
            inner.wake(server);
        }
    }

    /// It was heard of.
    pub(super) fn wake(&self, server: &str) {
        let mut inner = self.inner.lock();
        if let Some(slot) = inner.slots.get_mut(server) {
            slot.doubtful = false;
            slot.heard = true;
        }
        inner.wake(server);
    }

    /// Those whose time has come are to be tried.
    pub(super) fn wake_due(&self, now: UnixMs) {
        let mut inner = self.inner.lock();
        while let Some((at, server)) = inner.due.first().cloned()
            && at <= now
        {
            inner.due.pop_first();
            inner.wake(&server);
        }
    }

    /// Up to where every destination has everything, or its row says what it does not have.
    pub(super) fn floor(&self) -> Seq {
        let inner = self.inner.lock();
        let open = inner.slots.values().filter(|slot| slot.step != Step::Idle && !slot.written);
        open.map(|slot| slot.cursor).fold(inner.position, Seq::min)
    }

    /// Those who have everything and whose rows do not say so, with the messages to be deleted, at most so many.
    pub(super) fn settle(&self, most: usize) -> Vec<(String, Destination, Vec<Seq>)> {
        let mut inner = self.inner.lock();
        let settled = inner.slots.iter_mut().filter(|(_, s)| s.step == Step::Idle && s.written);
        let settled = settled.take(most).filter_map(|(server, slot)| {
            slot.written = false;
            let row = slot.row.as_mut()?;
            row.upto = slot.cursor;
            Some((server.to_string(), row.clone(), std::mem::take(&mut slot.forget)))
        });
        settled.collect()
    }

    /// How many destinations are behind, and how far the last of them.
    pub(super) fn lag(&self) -> (usize, u64) {
        let inner = self.inner.lock();
        let open = inner.slots.values().filter(|slot| slot.step != Step::Idle);
        let lags = open.map(|slot| inner.position.0.saturating_sub(slot.cursor.0));
        (inner.slots.values().filter(|slot| slot.behind).count(), lags.max().unwrap_or(0))
    }

    fn with(&self, server: &str, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.inner.lock().slots.get_mut(server) {
            change(slot);
        }
    }
}

impl Inner {
    /// Changes the slot of a server, made if it is new, and gives it a turn if it has news then.
    fn touch(&mut self, server: &str, cursor: Seq, change: impl FnOnce(&mut Slot)) {
        if !self.slots.contains_key(server) {
            self.slots.insert(server.into(), Slot::new(cursor));
        }
        let Some(slot) = self.slots.get_mut(server) else { return };
        change(slot);
        if slot.step == Step::Idle && slot.has_news() {
            slot.step = Step::Ready;
            self.ready.push_back(server.into());
        }
    }

    fn wake(&mut self, server: &str) {
        let Some(slot) = self.slots.get_mut(server) else { return };
        let Step::Resting(until) = slot.step else { return };
        slot.step = Step::Ready;
        let server: Arc<str> = server.into();
        let queue = if slot.doubtful { &mut self.doubtful } else { &mut self.ready };
        queue.push_back(server.clone());
        self.due.remove(&(until, server));
    }

    /// Ends a turn.
    fn end(&mut self, server: &str, step: Step) {
        let Some(slot) = self.slots.get_mut(server) else { return };
        slot.step = step;
        self.served = self.served.saturating_sub(1);
        self.served_doubtful = self.served_doubtful.saturating_sub(usize::from(slot.tried));
        slot.tried = false;
        match step {
            Step::Ready => self.ready.push_back(server.into()),
            Step::Resting(until) => drop(self.due.insert((until, server.into()))),
            Step::Idle | Step::Served => {}
        }
    }
}
