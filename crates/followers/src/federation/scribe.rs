//! Writes down what is sent, for many destinations in one commit, and keeps the place: of several processes over one store
//! one sends.

use std::time::Duration;

use base::{Error, Reply, Seq};
use store::{
    Store, Tx,
    schema::{CURSORS, DESTINATIONS, Destination, FACTS, OUTBOX},
};
use tokio::sync::{mpsc, oneshot};

/// How far the log was handed out (in [`CURSORS`]).
pub(super) const CURSOR: &str = "federation";
/// Who sends, and until when no other may (in [`FACTS`]).
const PLACE: &str = "federation_sender";
/// How long a process that is gone without a word keeps its place.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// Notes that wait to be written: one for each destination that is served, and some.
const WAITING_MAX: usize = 512;
/// Notes written in one commit.
const NOTES_MAX: usize = 256;

/// What is to be written.
#[derive(Clone, Default)]
pub(super) struct Note {
    pub(super) rows: Vec<(String, Destination)>,
    /// Messages that were acknowledged.
    pub(super) forget: Vec<(String, Seq)>,
    /// How far the log was handed out.
    pub(super) position: Option<Seq>,
}

/// Who this process is to others over the same store.
#[derive(Clone, Copy)]
pub(super) struct Place {
    me: u64,
    /// There are no others.
    alone: bool,
}

impl Place {
    pub(super) fn new(alone: bool) -> Place {
        Place { me: rand::random::<u64>() | 1, alone }
    }

    /// Takes the place if nobody has it, or keeps it.
    pub(super) async fn claim(self, store: &Store) -> Reply<bool> {
        Ok(store.write(None, move |tx| self.keep(tx)).await?.value)
    }

    /// Leaves it to whoever wants it.
    pub(super) async fn release(self, store: &Store) -> Reply<()> {
        let release = store.write(None, move |tx| {
            if !self.alone && self.keep(tx)? {
                tx.delete(&FACTS, (PLACE.to_owned(),));
            }
            Ok(())
        });
        release.await.map(drop)
    }

    fn keep(self, tx: &mut Tx) -> Reply<bool> {
        if self.alone {
            return Ok(true);
        }
        let now = tx.now().0;
        if let Some(text) = tx.get(&FACTS, (PLACE.to_owned(),))? {
            let read = text.split_once(' ').and_then(|(holder, until)| {
                Some((u64::from_str_radix(holder, 16).ok()?, until.parse::<u64>().ok()?))
            });
            if read.is_some_and(|(holder, until)| holder != self.me && until > now) {
                return Ok(false);
            }
        }
        let until = now.saturating_add(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX));
        tx.put(&FACTS, (PLACE.to_owned(),), &format!("{:x} {until}", self.me));
        Ok(true)
    }
}

type Waiting = (Note, oneshot::Sender<bool>);

/// Takes notes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Scribe(mpsc::Sender<Waiting>);

impl Scribe {
    /// The scribe, and its work, which ends when all of its clones are gone, or the place is lost.
    pub(super) fn new(store: Store, place: Place) -> (Scribe, impl Future<Output = ()> + Send) {
        let (notes, waiting) = mpsc::channel(WAITING_MAX);
        (Scribe(notes), write_all(store, place, waiting))
    }

    /// Writes a note down, durable when this returns.
    ///
    /// # Errors
    /// A fault if it could not be written, or another process sends.
    pub(super) async fn write(&self, note: Note) -> Reply<()> {
        let (tell, told) = oneshot::channel();
        let gone = || Error::fault("what is sent cannot be written down");
        self.0.send((note, tell)).await.map_err(|_| gone())?;
        if told.await.unwrap_or(false) { Ok(()) } else { Err(gone()) }
    }
}

async fn write_all(store: Store, place: Place, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, NOTES_MAX).await > 0 {
        let (notes, tells): (Vec<Note>, Vec<_>) = batch.drain(..).unzip();
        let written = store.write(None, move |tx| {
            let ours = place.keep(tx)?;
            if ours {
                notes.iter().for_each(|note| put(tx, note));
            }
            Ok(ours)
        });
        let ours = match written.await {
            Ok(written) => written.value,
            Err(error) => {
                tracing::error!(%error, "what is sent to other servers cannot be written down");
                continue;
            }
        };
        for tell in tells {
            // Whoever gave a note up does not listen.
            let _gone = tell.send(ours);
        }
        if !ours {
            return;
        }
    }
}

fn put(tx: &mut Tx, note: &Note) {
    for (server, row) in &note.rows {
        tx.put(&DESTINATIONS, (server.clone(),), row);
    }
    for (server, at) in &note.forget {
        tx.delete(&OUTBOX, (server.clone(), *at));
    }
    if let Some(position) = &note.position {
        tx.put(&CURSORS, (CURSOR.to_owned(),), position);
    }
}
