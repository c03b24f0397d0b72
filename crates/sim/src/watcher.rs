//! A client that follows `/sync` as the spec tells clients to, across crashes, and fills gaps through `/messages`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    dice::Dice,
    person::{AGAIN, Person},
    trace::Trace,
};

/// What somebody was told.
pub(crate) struct Watcher {
    me: Arc<Person>,
    dice: Dice,
    trace: Trace,
    since: Option<String>,
    filter: String,
    /// Of each room, its events as told, gaps filled.
    pub(crate) told: BTreeMap<String, Vec<String>>,
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
                told.push((room.clone(), new));
            }
        }
        // Only now: whoever loses a page asks for all of it again.
        self.since = answer["next_batch"].as_str().map(str::to_owned);
        let mut news = false;
        for (room, new) in told {
            self.trace.note(format_args!("{} is told {new:?} of {room}", self.me.account.id));
            news |= !new.is_empty();
            self.told.entry(room).or_default().extend(new);
        }
        Some(news)
    }

    /// The events of a timeline, with those of the gap before it.
    async fn timeline(&mut self, room: &str, timeline: &Value) -> Option<Vec<String>> {
        let mut new: Vec<String> = ids(&timeline["events"]);
        let last = self.told.get(room).and_then(|told| told.last()).cloned();
        if timeline["limited"] == true
            && let Some(last) = last
        {
            // Who has come back is told what was before, too.
            if let Some(at) = new.iter().position(|id| *id == last) {
                return Some(new.split_off(at + 1));
            }
            let mut gap = self.fill(room, timeline["prev_batch"].as_str()?, &last).await?;
            gap.reverse();
            new.splice(0..0, gap);
        }
        Some(new)
    }

    /// What happened before a position and after an event, newest first.
    async fn fill(&mut self, room: &str, from: &str, last: &str) -> Option<Vec<String>> {
        let (mut gap, mut from) = (Vec::new(), from.to_owned());
        loop {
            let path = format!("/rooms/{room}/messages?dir=b&limit=7&from={from}");
            let (status, page) = self.me.ask("GET", &path, None).await?;
            if status == 403 {
                // Put out meanwhile: the next answer of `/sync` says so.
                return Some(gap);
            }
            if status != 200 {
                return None;
            }
            for id in ids(&page["chunk"]) {
                if id == last {
                    return Some(gap);
                }
                gap.push(id);
            }
            match page["end"].as_str() {
                Some(end) => from = end.to_owned(),
                None => return Some(gap),
            }
        }
    }
}

fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().into_iter().flatten();
    events.filter_map(|event| event["event_id"].as_str()).map(str::to_owned).collect()
}
