//! Letters by which people prove that an address is theirs.

use store::schema::Purpose;

use crate::letter::{Draft, Letter};

/// The letter with the link that validates an address.
#[must_use]
pub fn letter(server: &str, purpose: Purpose, link: &str) -> Letter {
    let (subject, why) = match purpose {
        Purpose::Register => ("Confirm your address", "register an account"),
        Purpose::Password => ("Set a new password", "set a new password for your account"),
        Purpose::Add => ("Confirm your address", "add this address to an account"),
    };
    let mut draft = Draft::new(&format!("{subject} for {server}"));
    draft
        .paragraph(&format!("Somebody, hopefully you, asked {server} to {why}."))
        .link("Yes, that was me", link)
        .paragraph("The link is good for one day. If it was not you, do nothing.");
    draft.finish()
}
