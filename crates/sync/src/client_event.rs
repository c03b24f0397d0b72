//! An event as a client gets it: the stored text, spliced, with `unsigned` built around it.

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use base::{Event, Reply, Room, Seq, User};
use ruma::RoomVersionId;
use serde_json::value::RawValue;
use store::{
    CacheSpace, Direction, Kind, View,
    event::{self, Stored},
    room,
    schema::{ACCOUNTS, RELATIONS, Relation, SENT, SENT_DELAYED, THREADS, Thread},
    user,
};

use crate::{gate::Gate, json::Out, sticky};

static IGNORED: CacheSpace = CacheSpace { tag: 80, owned: Some(Kind::AccountData) };

/// Children looked at to bundle edits and references of one event: more are only found through `/relations`.
const CHILDREN_MAX: usize = 500;
/// References listed in one bundle.
const REFERENCES_MAX: usize = 50;
/// Children of a thread's root looked at, newest first, for a viewer from whom some replies are hidden. In a longer thread
/// they are told of the newest replies that they may see, and of at least as many as were found.
const REPLIES_MAX: usize = 1_000;

/// Who looks, and how the event is to be written.
pub struct Writer<'a> {
    view: &'a View,
    gate: &'a Gate<'a>,
    viewer: User,
    device: Option<&'a str>,
    room_id: Option<String>,
    fields: Option<&'a [String]>,
    /// What users sent whom the viewer ignores is shown as if redacted.
    veils_ignored: bool,
    /// Whom the viewer ignores, once asked.
    ignored: OnceCell<Vec<String>>,
    /// Senders who asked to be forgotten, as far as asked.
    erased: RefCell<HashMap<User, bool>>,
}

impl<'a> Writer<'a> {
    /// For events of one room. `device`: sees the transaction ids of what it sent itself.
    pub fn new(view: &'a View, gate: &'a Gate<'a>, device: Option<&'a str>) -> Writer<'a> {
        Writer {
            view,
            gate,
            viewer: gate.viewer(),
            device,
            room_id: None,
            fields: None,
            veils_ignored: false,
            ignored: OnceCell::default(),
            erased: RefCell::default(),
        }
    }

    /// Shows what ignored users sent as if it were redacted (spec: `GET …/threads`).
    #[must_use]
    pub fn veiling_ignored(mut self) -> Writer<'a> {
        self.veils_ignored = true;
        self
    }

    /// Adds `room_id` to each event: everywhere but in `/sync`.
    pub fn with_room_id(mut self, room: Room) -> Reply<Writer<'a>> {
        self.room_id = Some(room::info(self.view, room)?.id.clone());
        Ok(self)
    }

    /// Keeps only these fields (`event_fields` of a filter).
    #[must_use]
    pub fn with_fields(mut self, fields: Option<&'a [String]>) -> Writer<'a> {
        self.fields = fields;
        self
    }

    /// Writes an event with everything that belongs around it.
    pub fn write(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        match self.fields {
            None => self.write_whole(out, stored),
            Some(fields) => {
                let mut whole = Out::default();
                self.write_whole(&mut whole, stored)?;
                out.raw(&pick(&whole.finish(), fields));
                Ok(())
            }
        }
    }

    fn write_whole(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        self.begin(out, stored)?;
        out.key("unsigned").open();
        self.unsigned(out, stored)?;
        self.relations(out, stored)?;
        out.close().close();
        Ok(())
    }

    /// Writes an event as part of another: no bundle of its own.
    fn write_inner(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        self.begin(out, stored)?;
        out.key("unsigned").open();
        self.unsigned(out, stored)?;
        out.close().close();
        Ok(())
    }

    /// The stored text without its last brace, and the room id.
    fn begin(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        let text = if self.hides_content(stored)? {
            let info = room::info(self.view, stored.row.room)?;
            let version = RoomVersionId::try_from(info.version.as_str())
                .map_err(|e| base::Error::fault(format!("room {}: {e}", stored.row.room)))?;
            Cow::Owned(protocol::pdu::redact_client(&version, stored.client())?)
        } else {
            protocol::pdu::for_clients(&stored.row.kind, stored.client())?
        };
        out.raw(text.strip_suffix('}').unwrap_or(&text));
        if let Some(room_id) = &self.room_id {
            out.key("room_id").text(room_id);
        }
        Ok(())
    }

    /// What users who asked to be forgotten have sent is shown as redacted to whoever was not there (spec: account
    /// deactivation, `erase`).
    fn hides_content(&self, stored: &Stored) -> Reply<bool> {
        if stored.row.sender == self.viewer || stored.row.state_key.is_some() {
            return Ok(false);
        }
        let sender = stored.row.sender;
        if self.veils_ignored && self.ignores(sender)? {
            return Ok(true);
        }
        let known = self.erased.borrow().get(&sender).copied();
        let erased = match known {
            Some(erased) => erased,
            None => {
                let account = self.view.get(&ACCOUNTS, (sender,))?;
                let erased = account.is_some_and(|account| account.erased);
                self.erased.borrow_mut().insert(sender, erased);
                erased
            }
        };
        Ok(erased && self.gate.membership_at(stored)? != "join")
    }

    /// Does the viewer ignore this user?
    pub(crate) fn ignores(&self, who: User) -> Reply<bool> {
        let list = match self.ignored.get() {
            Some(list) => list,
            None => {
                let list = ignored(self.view, self.viewer)?;
                self.ignored.get_or_init(|| list)
            }
        };
        if list.is_empty() || who == self.viewer {
            return Ok(false);
        }
        let id = user::id(self.view, who)?;
        Ok(list.iter().any(|ignored| ignored == id.as_str()))
    }

    fn unsigned(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        let row = &stored.row;
        out.key("age").number(self.view.now().0.saturating_sub(row.sent_at.0));
        out.key("membership").text(self.gate.membership_at(stored)?);
        if row.sender == self.viewer {
            self.how_sent(out, stored.event)?;
        }
        if let Some(ms) = sticky::left_ms(self.view, stored) {
            out.key(sticky::LEFT).number(ms);
        }
        if let Some(replaced) = row.replaces {
            let replaced = event::load(self.view, replaced)?;
            // The id is told to whoever sees the event (v1.19); what it said, to who may see that.
            out.key("replaces_state").text(replaced.id.as_str());
            if self.gate.shows(&replaced)? {
                out.key("prev_content").raw(replaced.content());
                out.key("prev_sender").text(user::id(self.view, replaced.row.sender)?.as_str());
            }
        }
        if let Some(by) = row.redacted_by {
            let by = event::load(self.view, by)?;
            // Who left before the redaction sees that the content is gone, not who took it away and why.
            if self.gate.shows(&by)? {
                out.key("redacted_because");
                self.write_inner(out, &by)?;
            }
        }
        Ok(())
    }

    /// How the viewer sent an event of theirs: by which request, or with which delay. One has both in no case.
    fn how_sent(&self, out: &mut Out, event: Event) -> Reply<()> {
        match self.view.get(&SENT, (event,))? {
            Some(sent) if self.device == Some(sent.device.as_str()) => {
                out.key("transaction_id").text(&sent.txn_id);
            }
            Some(_) => {}
            None => {
                if let Some(delay_id) = self.view.get(&SENT_DELAYED, (event,))? {
                    out.key("delay_id").text(&delay_id);
                    out.key("org.matrix.msc4140.delay_id").text(&delay_id);
                }
            }
        }
        Ok(())
    }

    /// Bundled aggregations (spec: "Aggregations of child events").
    fn relations(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        // A redacted event keeps its thread but no edits.
        let start = out.mark();
        out.key("m.relations").open();
        let before = out.mark();
        let row = &stored.row;
        if let Some(thread) = self.view.get(&THREADS, (row.room, stored.event))?
            && let Some((latest, count)) = self.thread(stored.event, &thread)?
        {
            out.key("m.thread").open().key("latest_event");
            // The newest reply is shown as last edited.
            self.begin(out, &latest)?;
            out.key("unsigned").open();
            self.unsigned(out, &latest)?;
            self.inner_relations(out, &latest)?;
            out.close().close();
            out.key("count").number(count);
            let mine = thread.participants.contains(&self.viewer) || row.sender == self.viewer;
            out.key("current_user_participated").flag(mine).close();
        }
        let thread_written = out.mark() > before;
        if !self.edits_and_references(out, stored)? && !thread_written {
            out.take_back(start);
            return Ok(());
        }
        out.close();
        Ok(())
    }

    /// The newest reply of a thread that the viewer may see, and how many there are, without those of ignored users. The
    /// summary knows it for who sees them all; for others they are counted.
    fn thread(&self, root: Event, thread: &Thread) -> Reply<Option<(Arc<Stored>, u64)>> {
        if thread.count == 0 {
            return Ok(None);
        }
        let began = event::order(self.view, root)?.unwrap_or_default();
        let mut whole = self.gate.sees_all_since(began)?;
        for who in &thread.participants {
            whole = whole && !self.ignores(*who)?;
        }
        if whole {
            return Ok(Some((event::load(self.view, thread.latest)?, thread.count)));
        }
        let (from, to) = ((root, Seq::ZERO), (root, Seq::MAX));
        let children: Vec<((Event, Seq), Relation)> =
            self.view.range(&RELATIONS, from, to, Direction::Backward, REPLIES_MAX)?;
        let (mut newest, mut count) = (None, 0);
        for ((_, order), child) in children.iter().filter(|(_, c)| c.rel_type == "m.thread") {
            if self.shows_child(child, *order)? {
                count += 1;
                if newest.is_none() {
                    newest = Some(event::load(self.view, child.child)?);
                }
            }
        }
        Ok(newest.map(|newest| (newest, count)))
    }

    /// Does a child count for the viewer? Not what is redacted, hidden, or sent by whom they ignore.
    fn shows_child(&self, child: &Relation, order: Seq) -> Reply<bool> {
        if self.ignores(child.sender)? {
            return Ok(false);
        }
        let child = event::load(self.view, child.child)?;
        Ok(child.row.redacted_by.is_none() && self.gate.sees(&child, order)?)
    }

    /// The bundle of an event inside a bundle: its edit only.
    fn inner_relations(&self, out: &mut Out, stored: &Stored) -> Reply<()> {
        let start = out.mark();
        out.key("m.relations").open();
        if self.edits_and_references(out, stored)? {
            out.close();
        } else {
            out.take_back(start);
        }
        Ok(())
    }

    fn edits_and_references(&self, out: &mut Out, stored: &Stored) -> Reply<bool> {
        let children: Vec<((Event, Seq), Relation)> =
            self.view.under(&RELATIONS, (stored.event,), CHILDREN_MAX)?;
        if children.is_empty() {
            return Ok(false);
        }
        let mut any = false;
        if let Some(edit) = self.newest_edit(stored, &children)? {
            out.key("m.replace");
            self.write_inner(out, &edit)?;
            any = true;
        }
        let mut references = Vec::new();
        for ((_, order), child) in children.iter().filter(|(_, c)| c.rel_type == "m.reference") {
            if self.shows_child(child, *order)? {
                references.push(event::load(self.view, child.child)?.id.clone());
            }
        }
        if !references.is_empty() {
            out.key("m.reference").open().key("chunk").open_array();
            for id in references.iter().take(REFERENCES_MAX) {
                out.open().key("event_id").text(id.as_str()).close();
            }
            out.close_array().close();
            any = true;
        }
        Ok(any)
    }

    /// The valid edit with the latest `origin_server_ts`, then the largest id (spec: "Validity of replacement events").
    fn newest_edit(
        &self,
        stored: &Stored,
        children: &[((Event, Seq), Relation)],
    ) -> Reply<Option<Arc<Stored>>> {
        let row = &stored.row;
        let is_edit = row.relates.as_ref().is_some_and(|(_, how)| how == "m.replace");
        if row.state_key.is_some() || row.redacted_by.is_some() || is_edit {
            return Ok(None);
        }
        let mut newest: Option<Arc<Stored>> = None;
        for ((_, order), child) in children {
            if child.rel_type != "m.replace" || child.sender != row.sender || child.kind != row.kind
            {
                continue;
            }
            let edit = event::load(self.view, child.child)?;
            let valid = edit.row.redacted_by.is_none()
                && edit.row.state_key.is_none()
                && self.gate.sees(&edit, *order)?
                && (edit.row.kind == "m.room.encrypted"
                    || edit.content().contains("m.new_content"));
            let newer = newest
                .as_ref()
                .is_none_or(|n| (edit.row.sent_at, &edit.id) > (n.row.sent_at, &n.id));
            if valid && newer {
                newest = Some(edit);
            }
        }
        Ok(newest)
    }
}

/// Whom a viewer ignores (`m.ignored_user_list`): what they send is not shown, but for state.
pub fn ignored(view: &View, viewer: User) -> Reply<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct List {
        #[serde(default)]
        ignored_users: std::collections::BTreeMap<String, Box<RawValue>>,
    }
    let list = view.cached(&IGNORED, u128::from(viewer.0), |view| {
        let key = (viewer, Room(0), "m.ignored_user_list".to_owned());
        let data = view.get(&store::schema::ACCOUNT_DATA, key)?;
        let list = data.and_then(|d| serde_json::from_str::<List>(&d.content).ok());
        let list: Vec<String> =
            list.map_or_else(Vec::new, |l| l.ignored_users.into_keys().collect());
        let bytes = list.iter().map(|id| id.len() + 24).sum();
        Ok((list, bytes))
    })?;
    Ok((*list).clone())
}

/// Keeps only the named fields (dots lead into objects, a backslash takes a dot's meaning).
fn pick(json: &str, fields: &[String]) -> String {
    let Ok(serde_json::Value::Object(whole)) = serde_json::from_str(json) else {
        return json.to_owned();
    };
    let mut kept = serde_json::Map::new();
    for field in fields {
        copy(&whole, &mut kept, &segments(field));
    }
    serde_json::Value::Object(kept).to_string()
}

type Object = serde_json::Map<String, serde_json::Value>;

fn copy(from: &Object, to: &mut Object, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(value) = from.get(first) else { return };
    if rest.is_empty() {
        to.insert(first.clone(), value.clone());
        return;
    }
    let Some(inner) = value.as_object() else { return };
    let slot = to.entry(first.clone()).or_insert_with(|| serde_json::Value::Object(Object::new()));
    if let Some(slot) = slot.as_object_mut() {
        copy(inner, slot, rest);
    }
}

fn segments(field: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            '.' => segments.push(String::new()),
            '\\' => {
                let next = chars.next();
                if let (Some(last), Some(next)) = (segments.last_mut(), next) {
                    if next != '.' && next != '\\' {
                        last.push('\\');
                    }
                    last.push(next);
                }
            }
            c => {
                if let Some(last) = segments.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_fields_stay() {
        let event = r#"{"type":"m","content":{"body":"b","a.b":1,"c":{"d":2,"e":3}},"sender":"s"}"#;
        let fields = ["type", "content.body", r"content.a\.b", "content.c.d", "nothing.here"];
        let picked = pick(event, &fields.map(str::to_owned));
        let value: serde_json::Value = serde_json::from_str(&picked).unwrap();
        let want =
            serde_json::json!({"type": "m", "content": {"body": "b", "a.b": 1, "c": {"d": 2}}});
        assert_eq!(value, want);
    }
}
