//! Reports of users, and what administrators decide about accounts. One tight family of endpoints per file.

mod account;
mod report;
#[cfg(test)]
mod tests;

use crate::handler::Routes;

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default().and(report::routes()).and(account::routes())
}
