//! A client that follows `/sync` as the spec tells clients to, across crashes, and fills gaps through `/messages`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    dice::Dice,
    person::{AGAIN, Person},
    trace::Trace,
};

/// What somebody was told of a room.
#[derive(Default)]
pub(crate) struct Heard {
    /// All events, as told, gaps filled.
    pub(crate) events: Vec<String>,
    /// Where among them begins what was told since the room last appeared among those that they are in: a room that comes
    /// back is told as if it were new.
    pub(crate) begins: usize,
    /// The room is among those that they are in.
    pub(crate) inside: bool,
    /// What was told of the room while they were in it: where a timeline overlaps with this, there is no gap.
    linked: BTreeSet<String>,
}

/// What somebody was told.
pub(crate) struct Watcher {
    me: Arc<Person>,
    dice: Dice,
    trace: Trace,
    since: Option<String>,
    filter: String,
    /// Of each room.
    pub(crate) told: BTreeMap<String, Heard>,
}

impl Watcher {
    /// Knows nothing yet.
    #[must_use]
    pub(crate) fn new(me: Arc<Person>, seed: u64, trace: Trace) -> Watcher {
        let mut dice = Dice::new(seed, &format!("{} watches", me.account.id));
        let limit = 1 + dice.below(12);
        let filter = json!({"room": {"timeline": {"limit": limit}}}).to_string();
        // As it stands in a URL.
        let filter = filter.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        Watcher { me, dice, trace, since: None, filter, told: BTreeMap::new() }
    }

    /// Follows until it is told to stop.
    pub(crate) async fn follow(mut self, mut stop: watch::Receiver<bool>) -> Watcher {
        while !*stop.borrow() {
            let timeout = *self.dice.pick(&[0, 500, 30_000]).unwrap();
            let news = tokio::select! {
                biased;
                _ = stop.changed() => continue,
                news = self.sync(timeout) => news,
            };
            match news {
                None => sleep(AGAIN).await,
                Some(_) => sleep(self.dice.ms(0, 2_000)).await,
            }
        }
        self
    }

    /// Asks until there is nothing new.
    pub(crate) async fn catch_up(&mut self) {
        while self.sync(0).await != Some(false) {
            sleep(AGAIN).await;
        }
    }

    /// One sync. Says whether it told anything; `None`: no answer.
    async fn sync(&mut self, timeout: u64) -> Option<bool> {
        let since = self.since.as_ref().map(|since| format!("&since={since}")).unwrap_or_default();
        let path = format!("/sync?timeout={timeout}&filter={}{since}", self.filter);
        let (status, answer) = self.me.ask("GET", &path, None).await?;
        if status != 200 {
            return None;
        }
        let mut told = Vec::new();
        for section in ["join", "leave"] {
            for (room, value) in answer["rooms"][section].as_object().into_iter().flatten() {
                let new = self.timeline(room, &value["timeline"]).await?;
                let (limited, from) =
                    (&value["timeline"]["limited"], &value["timeline"]["prev_batch"]);
                self.trace.note(format_args!(
                    "{} is told {new:?} of {room} ({section}, limited: {limited}, from {from} to {})",
                    self.me.account.id, answer["next_batch"],
                ));
                told.push((room.clone(), section == "join", new));
            }
        }
        for section in ["invite", "knock"] {
            for room in answer["rooms"][section].as_object().into_iter().flatten() {
                told.push((room.0.clone(), false, Vec::new()));
            }
        }
        // Only now: whoever loses a page asks for all of it again.
        self.since = answer["next_batch"].as_str().map(str::to_owned);
        let mut news = false;
        for (room, inside, new) in told {
            news |= !new.is_empty();
            self.told.entry(room).or_default().hear(inside, new);
        }
        Some(news)
    }

    /// The events of a timeline, with those of the gap before it.
    async fn timeline(&mut self, room: &str, timeline: &Value) -> Option<Vec<String>> {
        let new: Vec<String> = ids(&timeline["events"]);
        let known = |heard: &&Heard| !heard.linked.is_empty();
        let Some(heard) = self.told.get(room).filter(known) else { return Some(new) };
        if timeline["limited"] != true {
            return Some(new);
        }
        let (mut new, mut linked) = heard.after_overlap(new);
        let mut from = timeline["prev_batch"].as_str()?.to_owned();
        while !linked {
            let path = format!("/rooms/{room}/messages?dir=b&limit=7&from={from}");
            let (status, page) = self.me.ask("GET", &path, None).await?;
            let mut older = ids(&page["chunk"]);
            self.trace
                .note(format_args!("{} reads {room} from {from}: {older:?}", self.me.account.id));
            match status {
                200 => {}
                // Put out meanwhile: the next answer of `/sync` says so.
                403 => break,
                _ => return None,
            }
            older.reverse();
            (older, linked) = heard.after_overlap(older);
            new.splice(0..0, older);
            match page["end"].as_str() {
                Some(end) => from = end.to_owned(),
                None => break,
            }
        }
        Some(new)
    }
}

impl Heard {
    /// What follows the last event that overlaps with what is known, and whether there is one.
    fn after_overlap(&self, mut events: Vec<String>) -> (Vec<String>, bool) {
        let overlap = events.iter().rposition(|id| self.linked.contains(id));
        match overlap {
            Some(at) => (events.split_off(at + 1), true),
            None => (events, false),
        }
    }

    fn hear(&mut self, inside: bool, new: Vec<String>) {
        if inside {
            if !self.inside {
                self.begins = self.events.len();
            }
            self.linked.extend(new.iter().cloned());
        }
        self.inside = inside;
        self.events.extend(new);
    }
}

fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().into_iter().flatten();
    events.filter_map(|event| event["event_id"].as_str()).map(str::to_owned).collect()
}
