//! Words from outside without which a transaction cannot go on, such as the signature of another server on an event that is
//! being made.
//!
//! A transaction does not wait, and its function may be run again. So it says what it wants to know ([`Tx::ask`]) and
//! gives up; what it wrote is dropped. Whoever wrote is asked for patience: the witness is asked, outside of every lane, and the
//! function is run again with the answers at hand ([`Tx::answers`]). Nobody who writes need know that this can happen.

use std::{future::Future, pin::Pin, sync::Arc};

use base::{Error, Refusal, Reply};
use futures_util::{StreamExt as _, stream};
use protocol::Pdu;
use ruma::{OwnedServerName, RoomVersionId};

use crate::{Tx, View};

/// Questions of one run; what is beyond is asked in the next round.
const QUESTIONS_MAX: usize = 64;
/// Rounds of questions for one transaction. Then it has to do without an answer.
const ROUNDS_MAX: usize = 16;
/// Questions that are out at once for one transaction.
const AT_ONCE: usize = 8;

/// A server is to sign an event.
#[derive(Clone, Debug)]
pub struct Question {
    /// By what the next run finds the answer: it may not make the same event again.
    pub key: [u8; 32],
    /// Who is to sign.
    pub whom: OwnedServerName,
    /// The version of the event's room.
    pub version: RoomVersionId,
    /// The event.
    pub pdu: Pdu,
    /// Somebody waits for it: the server is asked even if it was not there lately.
    pub insist: bool,
}

/// What became of a question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The signature, as it came: whether it holds is to be seen.
    Signed(String),
    /// There is none; what a client is told.
    Refused(Refusal),
}

/// Who is asked.
pub trait Witness: Send + Sync + 'static {
    /// Asks, and waits for a bounded time.
    fn ask(&self, question: Arc<Question>) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// A question and its answer.
pub type Heard = (Arc<Question>, Answer);

/// What one run of a transaction's function knows and wants to know.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) heard: Vec<Heard>,
    pub(crate) wanted: Vec<Arc<Question>>,
    /// There will be another run.
    pub(crate) possible: bool,
}

fn nobody() -> Refusal {
    Error::refusal(503, "M_UNKNOWN", "the room's policy server cannot be asked now")
}

impl View {
    /// What was answered to questions of this key, in the order in which they were asked.
    pub fn answers(&self, key: &[u8; 32]) -> Vec<Heard> {
        let asked = self.asked.borrow();
        asked.heard.iter().filter(|(question, _)| question.key == *key).cloned().collect()
    }
}

impl Tx {
    /// Wants to know something. An answer given at once is that nobody can be asked. Otherwise this run comes to nothing,
    /// whatever it returns, and the next one finds the answer.
    pub fn ask(&self, question: Question) -> Option<Refusal> {
        let mut asked = self.asked.borrow_mut();
        if !asked.possible {
            return Some(nobody());
        }
        if asked.wanted.len() < QUESTIONS_MAX {
            asked.wanted.push(Arc::new(question));
        }
        None
    }

    /// What a function returns that has asked. Nobody sees it.
    pub fn patience() -> Error {
        nobody().into()
    }
}

/// How far the questions of a transaction have come.
#[derive(Default)]
pub(crate) struct Rounds(usize);

impl Rounds {
    /// May there be another?
    pub(crate) fn left(&self) -> bool {
        self.0 < ROUNDS_MAX
    }

    /// Asks all of them.
    pub(crate) async fn next(
        &mut self,
        witness: &Arc<dyn Witness>,
        wanted: Vec<Arc<Question>>,
    ) -> Reply<Vec<Heard>> {
        self.0 += 1;
        let asked = wanted.into_iter().map(|question| {
            let answer = witness.ask(question.clone());
            async move { (question, answer.await) }
        });
        Ok(stream::iter(asked).buffered(AT_ONCE).collect().await)
    }
}
