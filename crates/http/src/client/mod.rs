//! The client-server API: one folder for each area, one endpoint (or tight family) per file, mirroring the paths.

mod account;
mod appservice;
pub(crate) mod media;
mod moderation;
pub(crate) mod query;
mod rendezvous;
mod rooms;
mod sync;
#[cfg(test)]
mod tests;
mod thirdparty;

use crate::handler::{Caller, Routes};

/// Everything that clients may call.
pub fn routes() -> Routes {
    Routes::default()
        .and(account::routes())
        .and(rooms::routes())
        .and(sync::routes())
        .and(media::routes())
        .and(appservice::routes())
        .and(thirdparty::routes())
        .and(moderation::routes())
        .and(rendezvous::routes())
}

/// Who reads, as the reading domain wants to know it.
fn reader(caller: &Caller) -> ::sync::messages::Reader<'_> {
    ::sync::messages::Reader { user: caller.user, id: &caller.id, device: &caller.device }
}
