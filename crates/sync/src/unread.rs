//! Unread and highlight counts: a fold of the user's push rules over the timeline since what they have read.
//!
//! Nothing is counted when a message is sent (a message in a room of 100,000 is written once); counts are folded when
//! somebody looks, from where the last look stopped. What is remembered is only a cache: it names the receipts
//! and rules it was made with, and is made anew if they differ.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use crate::client_event::ignored;
use base::{Event, Reply, Room, Seq, User};
use protocol::{
    power::PowerLevels,
    push::{CompiledRules, Context, Flat, Outcome, with_defaults},
};
use ruma::{
    RoomVersionId, UserId,
    push::{Action, Ruleset},
};
use serde::Deserialize;
use store::{
    CacheSpace, Direction, Kind, View,
    event::{self, Stored},
    room,
    schema::{ACCOUNT_DATA, RECEIPTS, Receipt, TIMELINE, UNREAD, Unread},
    user,
};

use crate::thread_subscriptions::{self, Subscribed};

static FLAT: CacheSpace = CacheSpace { tag: 20, owned: Some(Kind::Event) };
static RULES: CacheSpace = CacheSpace { tag: 21, owned: Some(Kind::AccountData) };
static FOLDS: CacheSpace = CacheSpace { tag: 22, owned: None };

/// Rows read at once.
const CHUNK: usize = 512;
/// A flattened event weighs this many times its text: each leaf has its path.
const FLAT_WEIGHT: usize = 3;
/// What the compiled default rules weigh, about.
const RULES_BYTES: usize = 24 * 1024;
/// Receipts of one user in one room: one for each thread.
const RECEIPTS_MAX: usize = 10_000;
/// Events folded before the fold is written down, so that a restart need not fold them again: an event costs about a
/// hundredth of a commit.
const KEEP_AFTER: u64 = 256;
/// Steps from an event to what it relates to, to find its thread (spec: "Threaded read receipts").
const THREAD_STEPS_MAX: usize = 3;

/// What a user has not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Events that notify.
    pub notifications: u64,
    /// Events that highlight.
    pub highlights: u64,
}

/// Counts of a room: for the main timeline, and for each thread that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Outside threads.
    pub main: Count,
    /// By thread root.
    pub threads: BTreeMap<Event, Count>,
}

impl Counts {
    /// Everything together, for clients that know no threads.
    pub fn total(&self) -> Count {
        self.threads.values().fold(self.main, |sum, c| Count {
            notifications: sum.notifications + c.notifications,
            highlights: sum.highlights + c.highlights,
        })
    }
}

/// Where the user has read up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    /// Nothing at or before this counts: the unthreaded receipt, or the user's join.
    all: Seq,
    /// In the main timeline.
    main: Seq,
    /// In threads.
    threads: BTreeMap<Event, Seq>,
}

impl Read {
    /// Up to where the main timeline or a thread was read.
    fn of(&self, thread: Option<Event>) -> Seq {
        let apart = match thread {
            None => self.main,
            Some(root) => self.threads.get(&root).copied().unwrap_or_default(),
        };
        apart.max(self.all)
    }
}

#[derive(Clone, Debug)]
struct Fold {
    upto: Seq,
    read: Read,
    rules: u64,
    counts: Counts,
    /// Events folded since the fold was last written down.
    since_kept: u64,
}

impl From<Unread> for Fold {
    fn from(kept: Unread) -> Fold {
        let count = |(notifications, highlights)| Count { notifications, highlights };
        Fold {
            upto: kept.upto,
            read: Read { all: kept.read, main: kept.read_main, threads: kept.read_threads },
            rules: kept.rules,
            counts: Counts {
                main: count(kept.main),
                threads: kept.threads.into_iter().map(|(root, c)| (root, count(c))).collect(),
            },
            since_kept: 0,
        }
    }
}

impl From<&Fold> for Unread {
    fn from(fold: &Fold) -> Unread {
        let pair = |count: &Count| (count.notifications, count.highlights);
        Unread {
            upto: fold.upto,
            rules: fold.rules,
            read: fold.read.all,
            read_main: fold.read.main,
            read_threads: fold.read.threads.clone(),
            main: pair(&fold.counts.main),
            threads: fold.counts.threads.iter().map(|(root, c)| (*root, pair(c))).collect(),
        }
    }
}

/// Counts of a room for a user who joined it with `member`, up to the head of the view.
pub fn counts(
    view: &View,
    viewer: User,
    viewer_id: &UserId,
    room: Room,
    member: Event,
) -> Reply<Counts> {
    let rules = rules(view, viewer, viewer_id)?;
    let subscribed = thread_subscriptions::subscribed(view, viewer)?;
    // Whatever the rules ask for besides the event is part of what a fold was made with.
    let stamp = rules.stamp.wrapping_add(subscribed.stamp(room));
    let read = read_upto(view, viewer, room, member)?;
    let id = u128::from(viewer.0) << 64 | u128::from(room.0);
    let known = match view.recall::<Fold>(&FOLDS, id) {
        Some(fold) => Some((*fold).clone()),
        None => view.get(&UNREAD, (viewer, room))?.map(Fold::from),
    };
    let known = known.filter(|fold| fold.upto <= view.head() && fold.rules == stamp);
    let mut fold = match known {
        Some(fold) if fold.read == read => fold,
        Some(fold) => fold.advanced(&read).unwrap_or_else(|| Fold::new(read.clone(), stamp)),
        None => Fold::new(read.clone(), stamp),
    };
    if fold.upto < view.head() {
        let mut folder = Folder { view, viewer, room, rules, subscribed, levels: None };
        if !folder.run(&mut fold)? {
            // A redaction took back something already counted: once more from the receipts.
            fold = Fold::new(read, stamp);
            folder.run(&mut fold)?;
        }
        if fold.since_kept >= KEEP_AFTER {
            fold.since_kept = 0;
            view.keep(&UNREAD, (viewer, room), &Unread::from(&fold));
        }
        let bytes = 128 + 48 * (fold.counts.threads.len() + fold.read.threads.len());
        view.remember(&FOLDS, id, Arc::new(fold.clone()), bytes);
    }
    Ok(fold.counts)
}

impl Fold {
    fn new(read: Read, rules: u64) -> Fold {
        Fold { upto: read.all, read, rules, counts: Counts::default(), since_kept: 0 }
    }

    /// The fold after receipts moved, if that needs no recount: what moved has moved past all that was counted.
    fn advanced(&self, to: &Read) -> Option<Fold> {
        let mut fold = self.clone();
        if to.all != self.read.all {
            if to.all < self.upto {
                return None;
            }
            fold.counts = Counts::default();
            fold.upto = to.all;
            fold.read = to.clone();
            return Some(fold);
        }
        if to.main != self.read.main {
            if to.main < self.upto {
                return None;
            }
            fold.counts.main = Count::default();
        }
        for (thread, at) in &to.threads {
            if self.read.threads.get(thread) != Some(at) {
                if *at < self.last_of_thread(*thread) {
                    return None;
                }
                fold.counts.threads.remove(thread);
            }
        }
        fold.read = to.clone();
        Some(fold)
    }

    /// We do not know where a thread's last counted event lies, so everything counted may be it.
    fn last_of_thread(&self, thread: Event) -> Seq {
        if self.counts.threads.contains_key(&thread) { self.upto } else { Seq::ZERO }
    }
}

struct Folder<'a> {
    view: &'a View,
    viewer: User,
    room: Room,
    rules: Arc<UserRules>,
    subscribed: Arc<Subscribed>,
    /// Power levels of the last state looked at.
    levels: Option<(store::state::Root, PowerLevels)>,
}

impl Folder<'_> {
    /// Folds up to the head. False: something counted before was redacted, so the fold is void.
    fn run(&mut self, fold: &mut Fold) -> Reply<bool> {
        let head = self.view.head();
        let started = fold.upto;
        let mut from = fold.upto.next();
        loop {
            let rows: Vec<((Room, Seq), Event)> = self.view.range(
                &TIMELINE,
                (self.room, from),
                (self.room, head.next()),
                Direction::Forward,
                CHUNK,
            )?;
            let full = rows.len() == CHUNK;
            for ((_, seq), event) in rows {
                from = seq.next();
                let stored = event::load(self.view, event)?;
                if stored.row.kind == "m.room.redaction" && self.voids(&stored, fold, started)? {
                    return Ok(false);
                }
                self.take(fold, seq, &stored)?;
                fold.since_kept += 1;
            }
            if !full {
                break;
            }
        }
        fold.upto = head;
        Ok(true)
    }

    /// Does this redaction take back an event that an earlier look counted?
    fn voids(&self, redaction: &Stored, fold: &Fold, started: Seq) -> Reply<bool> {
        let Some(target) = redacts(redaction) else { return Ok(false) };
        let Some(event) = event::find(self.view, &target)? else { return Ok(false) };
        let order = event::order(self.view, event)?.unwrap_or_default();
        Ok(order > fold.read.all && order <= started)
    }

    fn take(&mut self, fold: &mut Fold, seq: Seq, stored: &Stored) -> Reply<()> {
        let thread = thread_of(self.view, stored)?;
        if stored.row.sender == self.viewer {
            // Whoever sends has read what was before (spec: "Receiving notifications").
            match thread {
                None => fold.counts.main = Count::default(),
                Some(root) => drop(fold.counts.threads.remove(&root)),
            }
            return Ok(());
        }
        if seq <= fold.read.of(thread) || stored.row.redacted_by.is_some() {
            return Ok(());
        }
        let told = self.judge(stored, |o| (o.notify, o.notify && o.highlight))?;
        if let Some((true, highlight)) = told {
            let count = match thread {
                None => &mut fold.counts.main,
                Some(root) => fold.counts.threads.entry(root).or_default(),
            };
            count.notifications += 1;
            count.highlights += u64::from(highlight);
        }
        Ok(())
    }

    /// What the rules say about an event; `None` if its sender is ignored.
    fn judge<T>(
        &mut self,
        stored: &Stored,
        take: impl FnOnce(Outcome<'_>) -> T,
    ) -> Reply<Option<T>> {
        let sender = user::id(self.view, stored.row.sender)?;
        if self.rules.ignored.contains(sender.as_str()) {
            return Ok(None);
        }
        let flat = self.view.cached(&FLAT, u128::from(stored.event.0), |_| {
            Ok((Flat::of_event(stored.client()), FLAT_WEIGHT * stored.client().len() + 512))
        })?;
        let info = room::info(self.view, self.room)?;
        if self.levels.as_ref().is_none_or(|(root, _)| *root != stored.row.before) {
            self.levels = Some((stored.row.before, levels(self.view, self.room, stored)?));
        }
        let levels = self.levels.as_ref().map(|(_, l)| l);
        let may = |key: &str| {
            levels.is_some_and(|l| {
                l.notification(key)
                    .is_some_and(|needed| l.user(&sender) >= protocol::power::Power::Level(needed))
            })
        };
        let context = Context {
            room_id: &info.id,
            joined_members: stored.row.joined,
            sender_may_notify: &may,
            display_name: None,
            thread_subscribed: thread_of(self.view, stored)?
                .and_then(|root| self.subscribed.to(self.room, root)),
        };
        Ok(Some(take(self.rules.compiled.evaluate(&flat, &context))))
    }
}

/// What to tell a user of an event that notifies them.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// It highlights.
    pub highlight: bool,
    /// It has a sound.
    pub sound: bool,
    /// The actions of the rule that matched.
    pub actions: Vec<Action>,
}

/// Judges single events of a room for one user, by the same rules and receipts as [`counts`].
pub struct Judge<'a> {
    folder: Folder<'a>,
    /// `None`: they are not in the room, so nothing of it can be read.
    read: Option<Read>,
}

impl<'a> Judge<'a> {
    /// A judge for a user who joined the room with `member`; `None`: who is only invited.
    pub fn new(
        view: &'a View,
        viewer: User,
        viewer_id: &UserId,
        room: Room,
        member: Option<Event>,
    ) -> Reply<Judge<'a>> {
        let rules = rules(view, viewer, viewer_id)?;
        let read = member.map(|member| read_upto(view, viewer, room, member)).transpose()?;
        let subscribed = thread_subscriptions::subscribed(view, viewer)?;
        let folder = Folder { view, viewer, room, rules, subscribed, levels: None };
        Ok(Judge { folder, read })
    }

    /// What to tell of the event at this place; `None`: nothing, because it does not notify, was read, is redacted, is the
    /// user's own, or comes from someone they ignore.
    pub fn verdict(&mut self, seq: Seq, stored: &Stored) -> Reply<Option<Verdict>> {
        if self.has_read(seq, stored)? {
            return Ok(None);
        }
        self.notified(stored)
    }

    /// Has the user read this event?
    pub fn has_read(&self, seq: Seq, stored: &Stored) -> Reply<bool> {
        let Some(read) = &self.read else { return Ok(false) };
        Ok(seq <= read.of(thread_of(self.folder.view, stored)?))
    }

    /// As [`Judge::verdict`], also for an event that was read since.
    pub fn notified(&mut self, stored: &Stored) -> Reply<Option<Verdict>> {
        if stored.row.sender == self.folder.viewer || stored.row.redacted_by.is_some() {
            return Ok(None);
        }
        let told = self.folder.judge(stored, |outcome| {
            outcome.notify.then(|| Verdict {
                highlight: outcome.highlight,
                sound: outcome.sound.is_some(),
                actions: outcome.actions.to_vec(),
            })
        })?;
        Ok(told.flatten())
    }
}

/// What a redaction redacts, wherever its room version keeps it.
fn redacts(stored: &Stored) -> Option<ruma::OwnedEventId> {
    #[derive(Deserialize)]
    struct Redacts {
        redacts: Option<ruma::OwnedEventId>,
    }
    let within: Option<Redacts> = stored.content_as();
    let beside: Option<Redacts> = serde_json::from_str(stored.client()).ok();
    within.and_then(|r| r.redacts).or_else(|| beside.and_then(|r| r.redacts))
}

fn levels(view: &View, room: Room, stored: &Stored) -> Reply<PowerLevels> {
    let info = room::info(view, room)?;
    let version = RoomVersionId::try_from(info.version.as_str())
        .map_err(|e| base::Error::fault(format!("room {room}: {e}")))?;
    let rules = protocol::rules(&version)
        .ok_or_else(|| base::Error::fault(format!("room version {version} is not known")))?;
    let content = room::state(view, stored.row.before, "m.room.power_levels", "")?;
    let creators =
        info.creators.iter().filter_map(|c| ruma::OwnedUserId::try_from(c.as_str()).ok());
    PowerLevels::from_content(
        &rules.authorization,
        content.as_ref().map(|c| c.content()),
        creators.collect::<Vec<_>>(),
    )
    .map_err(|e| base::Error::fault(format!("power levels of room {room}: {e:?}")))
}

/// The root of the thread that an event belongs to: its own relation, or that of what it relates to.
pub fn thread_of(view: &View, stored: &Stored) -> Reply<Option<Event>> {
    let mut relates = stored.row.relates.clone();
    for _ in 0..THREAD_STEPS_MAX {
        match relates {
            None => return Ok(None),
            Some((root, how)) if how == "m.thread" => return Ok(Some(root)),
            Some((parent, _)) => relates = event::load(view, parent)?.row.relates.clone(),
        }
    }
    Ok(None)
}

/// A user's push rules, compiled, and a number that tells them from earlier ones.
pub struct UserRules {
    /// The rules.
    pub compiled: CompiledRules,
    /// Whose events do not notify, whatever the rules say: the user does not see them.
    pub ignored: HashSet<String>,
    /// A hash of what they were made from.
    pub stamp: u64,
}

/// The user's push rules, compiled.
pub fn rules(view: &View, viewer: User, viewer_id: &UserId) -> Reply<Arc<UserRules>> {
    view.cached(&RULES, u128::from(viewer.0), |view| {
        let key = (viewer, Room(0), "m.push_rules".to_owned());
        #[derive(Deserialize)]
        struct Content {
            global: Ruleset,
        }
        let stored = view.get(&ACCOUNT_DATA, key)?.map(|d| d.content);
        let mut hasher = DefaultHasher::new();
        stored.hash(&mut hasher);
        let ignored = ignored(view, viewer)?;
        ignored.hash(&mut hasher);
        let content = stored.and_then(|text| serde_json::from_str::<Content>(&text).ok());
        let rules = with_defaults(content.map(|c| c.global), viewer_id);
        let compiled = CompiledRules::compile(&rules, viewer_id);
        let ignored: HashSet<String> = ignored.into_iter().collect();
        let bytes = RULES_BYTES + 64 * ignored.len();
        Ok((UserRules { compiled, ignored, stamp: hasher.finish() }, bytes))
    })
}

fn read_upto(view: &View, viewer: User, room: Room, member: Event) -> Reply<Read> {
    let joined = event::order(view, room::stay_began(view, member)?)?.unwrap_or_default();
    let mut read = Read { all: joined, ..Read::default() };
    let rows: Vec<((Room, User, String, u8), Receipt)> =
        view.under(&RECEIPTS, (room, viewer), RECEIPTS_MAX)?;
    for ((_, _, thread, _), receipt) in rows {
        match thread.as_str() {
            "" => read.all = read.all.max(receipt.order),
            "main" => read.main = read.main.max(receipt.order),
            root => {
                let root = <&ruma::EventId>::try_from(root).ok();
                let root = root.map(|id| event::find(view, id)).transpose()?.flatten();
                if let Some(root) = root {
                    let at = read.threads.entry(root).or_default();
                    *at = (*at).max(receipt.order);
                }
            }
        }
    }
    Ok(read)
}
