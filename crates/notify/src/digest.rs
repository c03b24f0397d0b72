//! Letters about unread messages.

use crate::letter::{Draft, Letter, one_line, shortened};

/// Rooms in one letter.
pub const ROOMS_MAX: usize = 20;
/// Messages of one room in one letter.
pub const MESSAGES_MAX: usize = 10;
/// Characters of one message.
const MESSAGE_CHARS_MAX: usize = 500;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 80;

/// A room in which something is unread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// Shown as its name.
    pub name: String,
    /// Who said what, oldest first.
    pub messages: Vec<(String, String)>,
}

/// The letter. `more`: unread messages that are not in it.
#[must_use]
pub fn letter(server: &str, user: &str, rooms: &[Room], more: u64, unsubscribe: &str) -> Letter {
    let subject = match rooms {
        [only] => format!("Unread messages in {}", one_line(&only.name, NAME_CHARS_MAX)),
        _ => format!("Unread messages in {} rooms on {server}", rooms.len()),
    };
    let mut draft = Draft::new(&subject);
    draft.paragraph(&format!("There are messages for {user} that you have not read."));
    for room in rooms {
        draft.heading(&one_line(&room.name, NAME_CHARS_MAX));
        for (who, what) in &room.messages {
            draft.quote(&one_line(who, NAME_CHARS_MAX), &shortened(what, MESSAGE_CHARS_MAX));
        }
    }
    if more > 0 {
        draft.paragraph(&format!("And {more} more."));
    }
    draft.link("No more letters like this one", unsubscribe);
    draft.finish()
}
