//! What waits for the device (spec: "Send-to-Device messaging").
//!
//! A message is told again and again until the client comes back with a token behind it: nothing is lost with an answer.
//! What the token acknowledges is deleted by the rim, as nothing here writes.

use base::{Reply, Seq};
use store::inbox::{self, Message};

use super::Ask;
use crate::json::Out;

/// Messages in one answer (spec: SHOULD be at most 100).
pub const TO_DEVICE_MAX: usize = 100;

/// A portion of an inbox.
pub(super) struct Portion {
    messages: Vec<Message>,
    /// For the token: up to where this goes if more wait behind it, otherwise 0.
    pub(super) upto: Seq,
}

impl Portion {
    pub(super) fn read(view: &store::View, ask: &Ask) -> Reply<Portion> {
        let after = ask.since.map_or(Seq::ZERO, |token| token.inbox()).min(view.head());
        let mut messages = inbox::read(view, ask.user, &ask.device, after, TO_DEVICE_MAX + 1)?;
        let more = messages.len() > TO_DEVICE_MAX;
        messages.truncate(TO_DEVICE_MAX);
        let upto = messages.last().filter(|_| more).map_or(Seq::ZERO, |last| last.at);
        Ok(Portion { messages, upto })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn write(&self, out: &mut Out) {
        out.key("to_device").open().key("events").open_array();
        for message in &self.messages {
            out.raw(&message.text);
        }
        out.close_array().close();
    }
}
