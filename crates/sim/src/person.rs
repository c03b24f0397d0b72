//! A person with a client: does this and that by chance, and goes on asking where an answer was lost.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    dice::Dice,
    ledger::{Acknowledged, RoomMade, Shared},
    server::{Account, Server},
    trace::Trace,
};

/// A user of one of the servers.
pub(crate) struct Person {
    /// Their place among all people.
    pub(crate) index: usize,
    /// The account.
    pub(crate) account: Account,
    /// Their server.
    pub(crate) server: Arc<Server>,
    /// Its place among all servers.
    pub(crate) at: usize,
}

/// An answer: status and body.
pub(crate) type Answer = (u16, Value);

/// Tries of one request, and the longest pause between two: the longest a server is down is less than all of them.
const TRIES_MAX: u32 = 60;
const PAUSE_MS_MAX: u64 = 2_000;

impl Person {
    /// One request, once; `None`: no answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/_matrix/client/v3{path}"))
            .header("authorization", format!("Bearer {}", self.account.token))
            .body(body)
            .unwrap();
        let response = self.server.call(request).await?;
        let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        Some((response.status().as_u16(), body))
    }

    /// One request until it is answered. For requests that may be repeated.
    pub(crate) async fn insist(
        &self,
        dice: &mut Dice,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        for _ in 0..TRIES_MAX {
            match self.ask(method, path, body).await {
                Some((status, answer)) if status < 500 => return Some((status, answer)),
                _ => sleep(dice.ms(10, PAUSE_MS_MAX)).await,
            }
        }
        None
    }
}

/// Who is around, and what there is.
pub(crate) struct Scene {
    /// Everyone.
    pub(crate) people: Vec<Arc<Person>>,
    /// What was acknowledged.
    pub(crate) ledger: Shared,
    /// What happened.
    pub(crate) trace: Trace,
}

/// Lives: so many deeds, with pauses.
pub(crate) async fn live(scene: Arc<Scene>, me: Arc<Person>, seed: u64, deeds: usize) {
    let dice = Dice::new(seed, me.account.id.as_str());
    let mut life = Life { scene, me, dice, said: 0 };
    for _ in 0..deeds {
        let pause =
            if life.dice.chance(100) { life.dice.ms(0, 5_000) } else { life.dice.ms(0, 300) };
        sleep(pause).await;
        life.act().await;
    }
}

struct Life {
    scene: Arc<Scene>,
    me: Arc<Person>,
    dice: Dice,
    /// Messages written so far: the number of the last transaction.
    said: u64,
}

/// How often people do what, out of the sum of all.
const DEEDS: [(u32, Deed); 14] = [
    (6, Deed::Create),
    (40, Deed::Say),
    (10, Deed::Invite),
    (18, Deed::Join),
    (5, Deed::Leave),
    (3, Deed::Kick),
    (2, Deed::Ban),
    (2, Deed::Unban),
    (5, Deed::Topic),
    (3, Deed::JoinRules),
    (4, Deed::History),
    (3, Deed::Power),
    (4, Deed::Redact),
    (5, Deed::Read),
];

#[derive(Clone, Copy, Debug)]
enum Deed {
    Create,
    Say,
    Invite,
    Join,
    Leave,
    Kick,
    Ban,
    Unban,
    Topic,
    JoinRules,
    History,
    Power,
    Redact,
    Read,
}

const VISIBILITIES: [&str; 4] = ["joined", "invited", "shared", "world_readable"];
const VERSIONS: [&str; 3] = ["10", "11", "12"];
/// More rooms than this would spread people too thinly to meet.
const ROOMS_MAX: usize = 4;

impl Life {
    async fn act(&mut self) {
        let (sum, mut left) = (DEEDS.iter().map(|(weight, _)| *weight).sum::<u32>(), 0);
        let thrown = self.dice.below(sum as usize) as u32;
        let deed = DEEDS.iter().find(|(weight, _)| {
            left += weight;
            thrown < left
        });
        let rooms: Vec<RoomMade> = self.scene.ledger.lock().rooms.clone();
        let deed = deed.map_or(Deed::Say, |(_, deed)| *deed);
        let Some(room) = self.dice.pick(&rooms).cloned() else { return self.create().await };
        match deed {
            Deed::Create if rooms.len() < ROOMS_MAX => self.create().await,
            Deed::Create | Deed::Say => self.say(&room.id).await,
            Deed::Join => self.join(&room).await,
            Deed::Leave => self.member(&room.id, "leave", None).await,
            Deed::Invite => self.member_of_other(&room.id, "invite").await,
            Deed::Kick => self.member_of_other(&room.id, "kick").await,
            Deed::Ban => self.member_of_other(&room.id, "ban").await,
            Deed::Unban => self.member_of_other(&room.id, "unban").await,
            Deed::Topic => {
                let topic = format!("topic {}", self.dice.below(1_000));
                self.state(&room.id, "m.room.topic", json!({"topic": topic})).await;
            }
            Deed::JoinRules => {
                let rule = *self.dice.pick(&["public", "public", "invite", "knock"]).unwrap();
                self.state(&room.id, "m.room.join_rules", json!({"join_rule": rule})).await;
            }
            Deed::History => {
                let to = *self.dice.pick(&VISIBILITIES).unwrap();
                let content = json!({"history_visibility": to});
                self.state(&room.id, "m.room.history_visibility", content).await;
            }
            Deed::Power => self.power(&room.id).await,
            Deed::Redact => self.redact(&room.id).await,
            Deed::Read => self.read(&room.id).await,
        }
    }

    async fn create(&mut self) {
        let version = *self.dice.pick(&VERSIONS).unwrap();
        let preset = *self.dice.pick(&["public_chat", "public_chat", "private_chat"]).unwrap();
        let visibility = *self.dice.pick(&VISIBILITIES).unwrap();
        let body = json!({
            "preset": preset, "room_version": version,
            "initial_state": [{"type": "m.room.history_visibility", "state_key": "",
                "content": {"history_visibility": visibility}}],
        });
        // Not to be repeated: a room that was made and not told of is nobody's.
        let answer = self.me.ask("POST", "/createRoom", Some(&body)).await;
        let id = answer.as_ref().and_then(|(_, answer)| answer["room_id"].as_str());
        self.note("creates", format_args!("{version} {visibility}"), &answer);
        if let Some(id) = id {
            let made = RoomMade { id: id.to_owned(), server: self.me.at };
            self.scene.ledger.lock().rooms.push(made);
        }
    }

    async fn say(&mut self, room: &str) {
        self.said += 1;
        let body = format!("{} {}", self.me.account.id, self.said);
        let content = json!({"msgtype": "m.text", "body": body});
        let path = format!("/rooms/{room}/send/m.room.message/{}", self.said);
        let answer = self.me.insist(&mut self.dice, "PUT", &path, Some(&content)).await;
        self.note("says", format_args!("{} in {room}", self.said), &answer);
        self.acknowledged(room, answer, body);
    }

    async fn state(&mut self, room: &str, kind: &str, content: Value) {
        let path = format!("/rooms/{room}/state/{kind}");
        let answer = self.me.insist(&mut self.dice, "PUT", &path, Some(&content)).await;
        self.note(kind, format_args!("in {room}"), &answer);
        self.acknowledged(room, answer, String::new());
    }

    async fn power(&mut self, room: &str) {
        let path = format!("/rooms/{room}/state/m.room.power_levels");
        let Some((200, mut levels)) = self.me.ask("GET", &path, None).await else { return };
        let other = self.other();
        let level = *self.dice.pick(&[0, 50, 50, 100]).unwrap();
        if !levels["users"].is_object() {
            levels["users"] = json!({});
        }
        levels["users"][other.account.id.as_str()] = json!(level);
        self.state(room, "m.room.power_levels", levels).await;
    }

    async fn join(&mut self, room: &RoomMade) {
        // Who is asked first is by chance; whoever made the room is asked at last.
        let others = [self.other().at, room.server].map(|at| {
            let there = self.scene.people.iter().find(|person| person.at == at);
            there.map_or("", |person| person.server.name.as_str())
        });
        let path = format!("/join/{}?via={}&via={}", room.id, others[0], others[1]);
        let answer = self.me.ask("POST", &path, Some(&json!({}))).await;
        self.note("joins", format_args!("{}", room.id), &answer);
    }

    async fn member(&mut self, room: &str, what: &str, whom: Option<&str>) {
        let body = whom.map_or(json!({}), |whom| json!({"user_id": whom}));
        let answer = self.me.ask("POST", &format!("/rooms/{room}/{what}"), Some(&body)).await;
        self.note(what, format_args!("{} {room}", whom.unwrap_or_default()), &answer);
    }

    async fn member_of_other(&mut self, room: &str, what: &str) {
        let other = self.other();
        self.member(room, what, Some(other.account.id.as_str())).await;
    }

    async fn redact(&mut self, room: &str) {
        let mine: Vec<String> = {
            let ledger = self.scene.ledger.lock();
            let own = |it: &&Acknowledged| it.person == self.me.index && it.room == room;
            let said = ledger.events.iter().filter(own).filter(|it| !it.body.is_empty());
            said.map(|it| it.event.clone()).collect()
        };
        let Some(event) = self.dice.pick(&mine).cloned() else { return };
        self.said += 1;
        let path = format!("/rooms/{room}/redact/{event}/{}", self.said);
        let answer = self.me.insist(&mut self.dice, "PUT", &path, Some(&json!({}))).await;
        self.note("redacts", format_args!("{event}"), &answer);
        self.acknowledged(room, answer, String::new());
    }

    async fn read(&mut self, room: &str) {
        let said: Vec<String> = {
            let ledger = self.scene.ledger.lock();
            let here = ledger.events.iter().filter(|it| it.room == room);
            here.map(|it| it.event.clone()).collect()
        };
        let Some(event) = said.last() else { return };
        let path = format!("/rooms/{room}/receipt/m.read/{event}");
        let answer = self.me.ask("POST", &path, Some(&json!({}))).await;
        self.note("reads", format_args!("{event}"), &answer);
    }

    fn other(&mut self) -> Arc<Person> {
        let at = self.dice.below(self.scene.people.len());
        self.scene.people.get(at).unwrap_or(&self.me).clone()
    }

    fn acknowledged(&mut self, room: &str, answer: Option<Answer>, body: String) {
        let Some((200, answer)) = answer else { return };
        let event = answer["event_id"].as_str().unwrap_or_default().to_owned();
        let room = room.to_owned();
        let it = Acknowledged { person: self.me.index, room, event, body };
        self.scene.ledger.lock().events.push(it);
    }

    fn note(&self, what: &str, of: std::fmt::Arguments<'_>, answer: &Option<Answer>) {
        let id = &self.me.account.id;
        match answer {
            None => self.scene.trace.note(format_args!("{id} {what} {of}: no answer")),
            Some((status, answer)) => {
                let why = answer["errcode"].as_str().or(answer["event_id"].as_str()).unwrap_or("");
                self.scene.trace.note(format_args!("{id} {what} {of}: {status} {why}"));
                // They are logged in and know no way to be logged out.
                if *status == 401 && answer["errcode"] == "M_UNKNOWN_TOKEN" {
                    let wrong = format!("{id} is not known any more: {answer}");
                    self.scene.ledger.lock().wrong.push(wrong);
                }
            }
        }
    }
}

/// Waits this long before it is asked again whether a server runs.
pub(crate) const AGAIN: Duration = Duration::from_millis(500);
