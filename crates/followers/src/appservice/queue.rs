//! The row of an application service, and whose it is: of several processes over one store, one tells it.

use std::{sync::Arc, time::Duration};

use base::{Event, Reply, Seq, UnixMs};
use protocol::appservice::Registration;
use store::{
    Store, Tx,
    schema::{APPSERVICE_QUEUES, Queue, Sending},
};

/// How long a process that is gone without a word keeps its place.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often a process says that it is still there.
const RENEW: Duration = Duration::from_secs(5);

pub(super) struct Line {
    store: Store,
    service: Arc<Registration>,
    alone: bool,
    me: u64,
    /// Where one that is new begins.
    since: Seq,
    /// As it was last read or written.
    row: Queue,
    /// Something was acknowledged that the row does not say.
    unwritten: bool,
}

impl Line {
    pub(super) fn new(store: Store, service: Arc<Registration>, alone: bool) -> Line {
        let me = rand::random::<u64>() | 1;
        let since = store.head();
        Line { store, service, alone, me, since, row: Queue::default(), unwritten: false }
    }

    pub(super) fn transaction_id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.row.stream)
    }

    /// Takes the place if nobody has it. One that is new begins when this line was made: it is not told what was before it.
    pub(super) async fn claim(&mut self) -> Reply<Option<Queue>> {
        let (alone, me, since) = (self.alone, self.me, self.since);
        let claimed = self.write(move |tx, row| {
            let taken = row.holder != 0 && row.holder != me && row.until > tx.now();
            if taken && !alone {
                return false;
            }
            if row.stream == 0 {
                row.stream = u64::from(u32::from_be_bytes(tx.random::<4>())) | 1;
                row.upto = since;
            }
            row.holder = me;
            true
        });
        let claimed = claimed.await?;
        self.unwritten = false;
        Ok(claimed.then(|| self.row.clone()))
    }

    /// All up to here was acknowledged; the next write says so.
    pub(super) fn acknowledged(&mut self, upto: Seq) {
        (self.row.upto, self.row.sending) = (upto, None);
        self.unwritten = true;
    }

    /// Writes down a transaction and gives its number; `None`: another process has the place.
    pub(super) async fn put(
        &mut self,
        before: Seq,
        upto: Seq,
        events: Vec<Event>,
    ) -> Reply<Option<u64>> {
        let number = self.row.next;
        let held = self.write_held(move |row| {
            row.upto = before;
            row.next = number + 1;
            row.sending = Some(Sending { number, upto, events: events.clone() });
        });
        Ok(held.await?.then_some(number))
    }

    /// Nothing between what was acknowledged and here concerns it.
    pub(super) async fn pass(&mut self, at: Seq, most: u64) -> Reply<()> {
        if self.unwritten || at.0.saturating_sub(self.row.upto.0) > most {
            self.write_held(move |row| (row.upto, row.sending) = (at, None)).await?;
        }
        Ok(())
    }

    /// Says again and again that we are there. Returns when we are not any more.
    pub(super) async fn hold(&mut self) -> Reply<()> {
        if self.alone {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(RENEW).await;
            if !self.write_held(|_| ()).await? {
                return Ok(());
            }
        }
    }

    /// Leaves the place to whoever wants it.
    pub(super) async fn release(&mut self) -> Reply<()> {
        let (upto, unwritten) = (self.row.upto, self.unwritten);
        let release = self.write_held(move |row| {
            if unwritten {
                (row.upto, row.sending) = (upto, None);
            }
            row.holder = 0;
        });
        release.await.map(drop)
    }

    /// Changes the row if it is ours.
    async fn write_held(&mut self, change: impl Fn(&mut Queue) + Send + 'static) -> Reply<bool> {
        let me = self.me;
        let held = self.write(move |_, row| {
            let held = row.holder == me;
            if held {
                change(row);
            }
            held
        });
        let held = held.await?;
        self.unwritten &= !held;
        Ok(held)
    }

    async fn write(
        &mut self,
        change: impl Fn(&Tx, &mut Queue) -> bool + Send + 'static,
    ) -> Reply<bool> {
        let key = self.service.id.clone();
        let written = self.store.write(None, move |tx| {
            let mut row = tx.get(&APPSERVICE_QUEUES, (key.clone(),))?.unwrap_or_default();
            if !change(tx, &mut row) {
                return Ok(None);
            }
            let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
            row.until = UnixMs(tx.now().0.saturating_add(lease));
            tx.put(&APPSERVICE_QUEUES, (key.clone(),), &row);
            Ok(Some(row))
        });
        let row = written.await?.value;
        let held = row.is_some();
        if let Some(row) = row {
            self.row = row;
        }
        Ok(held)
    }
}
