//! Reads the log once for all destinations, and starts their turns.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{Reply, Room, Seq};
use store::{
    View, log, outbox,
    schema::{CURSORS, DESTINATIONS, Destination},
};
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Outlet, compose,
    concern::{self, Item, News},
    desk::{Audience, Desk, Passing},
    passing::{Memory, is_only_ours},
    scribe::{CURSOR, LEASE, Note, Place, Scribe},
    sender::{self, Shared},
};

/// Entries read at once.
const BATCH: usize = 1_024;
/// Destinations that are known at the start: more than there are servers.
const DESTINATIONS_MAX: usize = 1_000_000;
/// How often what has no event of its own is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Every how many of these ticks presence is told, so that what changes to and fro is told once.
const PRESENCE_TICKS: u64 = 5;
/// Every how many of these ticks it is written down how far the log was handed out.
const POSITION_TICKS: u64 = 10;
const DAY_MS: u64 = 86_400_000;
/// Rows of destinations that have everything, written down at once.
const SETTLED_MAX: usize = 1_024;
/// For transactions under way to be acknowledged when the server stops. What is cut off is sent again after the start.
const GRACE: Duration = Duration::from_secs(5);

/// Sends until `stop` turns true, or another process sends.
pub(super) async fn run(
    outlet: &Outlet,
    place: Place,
    stop: &mut watch::Receiver<bool>,
) -> Reply<()> {
    let store = &outlet.store;
    let (kept, rows, head) = store
        .read(|view| {
            let position = view.get(&CURSORS, (CURSOR.to_owned(),))?;
            let mut rows: Vec<((String,), Destination)> =
                view.everything(&DESTINATIONS, None, DESTINATIONS_MAX)?;
            rows.retain(|(_, row)| row.sending.is_some());
            let rows = rows.into_iter().map(|((server,), row)| (server, row)).collect();
            Ok((position, rows, view.head()))
        })
        .await?;
    // What was before the first start concerned nobody.
    let position = kept.unwrap_or(head);
    let (scribe, writing) = Scribe::new(store.clone(), place);
    let writing = tokio::spawn(writing);
    let shared = Arc::new(Shared {
        store: store.clone(),
        wire: outlet.wire.clone(),
        desk: Desk::new(position, rows),
        scribe,
        stop: stop.clone(),
    });
    let mut router = Router {
        shared,
        me: store.server_name().to_string(),
        at: position,
        kept: kept.unwrap_or_default(),
        border: 0,
        day: 0,
        memory: Some(Memory::default()),
        senders: JoinSet::new(),
        served: HashMap::new(),
    };
    let ended = router.rounds(place, stop).await;
    router.end().await;
    drop(router);
    if let Err(error) = writing.await {
        tracing::error!(%error, "what was sent to other servers is not written down");
    }
    ended
}

struct Router {
    shared: Arc<Shared>,
    me: String,
    /// All up to here was handed out.
    at: Seq,
    /// As far as it is written down.
    kept: Seq,
    /// As the wire last said.
    border: u64,
    /// The day that was last taken note of.
    day: u64,
    /// Lent to readers.
    memory: Option<Memory>,
    senders: JoinSet<()>,
    served: HashMap<Id, Arc<str>>,
}

/// Where the memberships of rooms changed last.
fn moved(entries: &[(Seq, log::Entry)]) -> HashMap<Room, Seq> {
    let mut moved = HashMap::new();
    for (at, entry) in entries {
        if let log::Entry::Event { room, target: Some(_), .. } | log::Entry::State { room, .. } =
            entry
        {
            moved.insert(*room, *at);
        }
    }
    moved
}

impl Router {
    async fn rounds(&mut self, place: Place, stop: &mut watch::Receiver<bool>) -> Reply<()> {
        let store = self.shared.store.clone();
        let (mut head, mut nudges) = (store.watch_head(), store.watch_nudges());
        let (mut tick, mut ticks) = (interval(TICK), 0_u64);
        self.border = self.shared.wire.border_changes();
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wire = self.shared.wire.clone();
        self.settle(true).await?;
        let mut heard = wire.heard();
        while !*stop.borrow() {
            head.borrow_and_update();
            while self.advance().await? {}
            self.start();
            tokio::select! {
                // The frequent comes last; what the head brings is handed out in each round anyway.
                biased;
                _ = stop.changed() => {}
                Some(ended) = self.senders.join_next_with_id() => self.ended(ended),
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.tick(ticks).await?;
                    if ticks % (LEASE.as_secs() / 3) == 0 && !place.claim(&store).await? {
                        return Ok(());
                    }
                }
                _ = nudges.changed() => self.tell_typing(false).await?,
                server = &mut heard => {
                    self.shared.desk.wake(&server);
                    heard = wire.heard();
                }
                _ = head.changed() => {}
            }
        }
        Ok(())
    }

    /// Hands out the next entries. Says whether there may be more.
    async fn advance(&mut self) -> Reply<bool> {
        let at = self.at;
        if self.shared.store.head() <= at {
            return Ok(false);
        }
        let read = self.shared.store.read(move |view| {
            let entries = view.log(at, Seq::MAX, BATCH)?;
            let full = entries.len() == BATCH;
            let upto = match entries.last() {
                Some((last, _)) if full => *last,
                _ => view.head().max(at),
            };
            let mut out: Vec<(Item, Audience)> = Vec::new();
            let moved = moved(&entries);
            for (at, entry) in entries {
                let Some(news) = concern::news(view, &entry)? else { continue };
                let audience = concern::servers(view, &news)?;
                if is_only_ours(view, &audience) {
                    continue;
                }
                if let News::Event { event, .. } = &news {
                    // Made here once, so that it is there for all of them.
                    compose::pdu(view, *event)?;
                }
                let late = match &news {
                    News::Event { room, .. } => {
                        full || moved.get(room).is_some_and(|last| *last > at)
                    }
                    News::Beside { .. } => true,
                    _ => false,
                };
                out.push((Item { at, news: Arc::new(news), late }, audience));
            }
            Ok((out, upto, full))
        });
        let (news, upto, full) = read.await?;
        self.shared.desk.hand(upto, &news, &self.me);
        self.at = upto;
        Ok(full)
    }

    /// Gives turns to those who have news, as many as there may be at once.
    fn start(&mut self) {
        while let Some(server) = self.shared.desk.next() {
            let task = self.senders.spawn(sender::serve(self.shared.clone(), server.clone()));
            self.served.insert(task.id(), server);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        match ended {
            Ok((id, ())) => drop(self.served.remove(&id)),
            Err(error) => {
                let Some(server) = self.served.remove(&error.id()) else { return };
                tracing::error!(%server, %error, "telling another server has ended");
                let now = self.shared.store.now();
                self.shared.desk.rest(&server, None, now);
            }
        }
    }

    async fn tick(&mut self, ticks: u64) -> Reply<()> {
        self.shared.desk.wake_due(self.shared.store.now());
        let border = self.shared.wire.border_changes();
        if border != self.border {
            self.border = border;
            self.shared.desk.wake_barred();
        }
        let day = self.shared.store.now().0 / DAY_MS;
        if day != self.day {
            self.shared.store.write(None, outbox::mark_day).await?;
            self.day = day;
        }
        if self.memory.as_ref().is_some_and(Memory::has_typists) {
            self.tell_typing(true).await?;
        }
        if ticks.is_multiple_of(PRESENCE_TICKS) {
            self.tell_presence().await?;
        }
        self.settle(ticks.is_multiple_of(POSITION_TICKS)).await?;
        let (behind, lag) = self.shared.desk.lag();
        metrics::gauge!("althing_federation_behind").set(behind as f64);
        metrics::gauge!("althing_federation_lag").set(lag as f64);
        Ok(())
    }

    /// Writes down who has everything, and how far the log was handed out.
    async fn settle(&mut self, position: bool) -> Reply<()> {
        let settled = self.shared.desk.settle(SETTLED_MAX);
        let floor = self.shared.desk.floor();
        let position = (position && floor > self.kept).then_some(floor);
        if settled.is_empty() && position.is_none() {
            return Ok(());
        }
        let mut note = Note { position, ..Note::default() };
        for (server, row, messages) in settled {
            note.forget.extend(messages.into_iter().map(|at| (server.clone(), at)));
            note.rows.push((server, row));
        }
        self.shared.scribe.write(note).await?;
        self.kept = position.unwrap_or(self.kept);
        Ok(())
    }

    /// `again`: those too who go on typing.
    async fn tell_typing(&mut self, again: bool) -> Reply<()> {
        self.pass(
            move |memory, view| {
                if again { memory.still_typing(view) } else { memory.typing(view) }
            },
        )
        .await
    }

    async fn tell_presence(&mut self) -> Reply<()> {
        self.pass(Memory::presence).await
    }

    async fn pass(
        &mut self,
        look: impl FnOnce(&mut Memory, &View) -> Reply<Vec<(Passing, Audience)>> + Send + 'static,
    ) -> Reply<()> {
        let mut memory = self.memory.take().unwrap_or_default();
        let read = self.shared.store.read(move |view| {
            let news = look(&mut memory, view)?;
            Ok((memory, news))
        });
        let (memory, news) = read.await?;
        self.memory = Some(memory);
        self.shared.desk.hand_passing(&news, &self.me);
        Ok(())
    }

    /// Lets transactions under way come to an end, and writes down where all stand.
    async fn end(&mut self) {
        let finish = async { while self.senders.join_next().await.is_some() {} };
        if timeout(GRACE, finish).await.is_err() {
            self.senders.shutdown().await;
        }
        if let Err(error) = self.settle(true).await {
            tracing::error!(%error, "how far other servers were told is not written down");
        }
    }
}
