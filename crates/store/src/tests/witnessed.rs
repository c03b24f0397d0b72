//! Transactions that need a word from outside.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use base::{Error, Reply};
use protocol::{Draft, Pdu, SigningKey};
use ruma::{RoomVersionId, owned_room_id, owned_user_id, server_name};
use serde_json::value::RawValue;

use super::store;
use crate::{
    Tx,
    schema::FACTS,
    witness::{Answer, Question, Witness},
};

/// Says how often it was asked.
#[derive(Default)]
struct Oracle(Arc<AtomicUsize>);

impl Witness for Oracle {
    fn ask(&self, _: Arc<Question>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let times = self.0.fetch_add(1, SeqCst) + 1;
        Box::pin(async move { Answer::Signed(times.to_string()) })
    }
}

fn pdu() -> Pdu {
    let draft = Draft {
        room_id: Some(owned_room_id!("!r:x.test")),
        sender: owned_user_id!("@a:x.test"),
        kind: "m.room.message".to_owned(),
        state_key: None,
        content: RawValue::from_string("{}".to_owned()).unwrap(),
        redacts: None,
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
        origin_server_ts: 1,
    };
    let key = SigningKey::generate([1; 32], "k").unwrap();
    draft.sign(&RoomVersionId::V11, server_name!("x.test"), &key).unwrap()
}

/// The word on something, if it is there; else it is asked for.
fn word(tx: &Tx, about: u8) -> Reply<String> {
    if let Some((_, answer)) = tx.answers(&[about; 32]).into_iter().next() {
        return match answer {
            Answer::Signed(word) => Ok(word),
            Answer::Refused(refusal) => Err(refusal.into()),
        };
    }
    let question = Question {
        key: [about; 32],
        whom: server_name!("p.test").to_owned(),
        version: RoomVersionId::V11,
        pdu: pdu(),
        insist: true,
    };
    Err(tx.ask(question).map_or_else(Tx::patience, Error::from))
}

fn put(tx: &mut Tx, key: &str, value: &str) {
    tx.put(&FACTS, (key.to_owned(),), &value.to_owned());
}

#[tokio::test]
async fn a_transaction_that_asks_is_run_again_with_the_answer_and_leaves_nothing_before() {
    let store = store();
    let oracle = Oracle::default();
    let asked = oracle.0.clone();
    store.set_witness(Arc::new(oracle));
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let write = store.write(None, move |tx| {
        let run = counted.fetch_add(1, SeqCst);
        put(tx, &format!("run {run}"), "");
        // Swallowed errors do not make it less of a question, and both are asked in one round.
        let (one, other) = (word(tx, 1), word(tx, 2));
        put(tx, "words", &format!("{} {}", one.unwrap_or_default(), other.unwrap_or_default()));
        Ok(run)
    });
    assert_eq!(write.await.unwrap().value, 1);
    assert_eq!((runs.load(SeqCst), asked.load(SeqCst)), (2, 2));
    let fact = |key: &str| store.read_here(|view| view.get(&FACTS, (key.to_owned(),))).unwrap();
    assert_eq!(fact("words").as_deref(), Some("1 2"));
    assert_eq!(fact("run 0"), None);
    assert!(fact("run 1").is_some());
}

#[tokio::test]
async fn one_that_never_has_enough_is_told_that_nobody_can_be_asked() {
    let store = store();
    store.set_witness(Arc::new(Oracle::default()));
    let mut next = 0;
    let write = store.write(None, move |tx| {
        next += 1;
        word(tx, next)
    });
    assert!(matches!(write.await, Err(Error::Refused(refusal)) if refusal.status == 503));
}

#[tokio::test]
async fn without_a_witness_the_answer_is_no_and_others_in_the_lane_notice_nothing() {
    let store = store();
    let lane = Some(crate::Lane(7));
    let asks = store.write(lane, |tx| word(tx, 1));
    let other = store.write(lane, |tx| {
        put(tx, "other", "done");
        Ok(tx.answers(&[1; 32]).len())
    });
    let (asks, other) = tokio::join!(asks, other);
    assert!(matches!(asks, Err(Error::Refused(refusal)) if refusal.status == 503));
    assert_eq!(other.unwrap().value, 0);
}
