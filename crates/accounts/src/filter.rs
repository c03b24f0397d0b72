//! Filters that clients stored (spec: Client-Server API, "Filtering"). The id of a filter is a number made of what it
//! says, in decimal: storing one twice gives one id and costs nothing.

use base::{Error, Reply, User};
use ruma::api::client::filter::FilterDefinition;
use sha2::{Digest as _, Sha256};
use store::{Tx, View, schema::FILTERS};

/// One filter, in bytes. Lists of rooms are what makes them long.
const FILTER_BYTES_MAX: usize = 64 << 10;
/// Filters of one user: clients have a handful each.
const FILTERS_MAX: usize = 200;
/// Two filters with one hash are put side by side; more than two would be a miracle.
const NEIGHBOURS_MAX: u64 = 4;

/// Stores a filter, a JSON object text.
///
/// # Errors
/// 400 `M_BAD_JSON` if it is none; 413 `M_TOO_LARGE` if it is too long, or one too many.
pub fn put(tx: &mut Tx, user: User, text: &str) -> Reply<String> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(Error::too_large(format!(
            "A filter may have at most {FILTER_BYTES_MAX} bytes."
        )));
    }
    if !protocol::json::is_object(text.as_bytes()) {
        return Err(Error::bad_json("A filter must be a JSON object."));
    }
    let bad = |error: serde_json::Error| Error::bad_json(format!("filter: {error}"));
    serde_json::from_str::<FilterDefinition>(text).map_err(bad)?;
    // Sorted keys and no spaces, so that the same filter is the same text.
    let text = serde_json::from_str::<serde_json::Value>(text).map_err(bad)?.to_string();
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let first = u64::from_be_bytes(hash.first_chunk::<8>().copied().unwrap_or_default());
    for neighbour in 0..NEIGHBOURS_MAX {
        let id = first.wrapping_add(neighbour);
        match tx.get(&FILTERS, (user, id))? {
            Some(known) if known == text => return Ok(id.to_string()),
            Some(_) => {}
            None => {
                let known: Vec<(_, _)> = tx.under(&FILTERS, (user,), FILTERS_MAX)?;
                if known.len() == FILTERS_MAX {
                    return Err(Error::too_large(format!(
                        "At most {FILTERS_MAX} filters are kept."
                    )));
                }
                tx.put(&FILTERS, (user, id), &text);
                return Ok(id.to_string());
            }
        }
    }
    Err(Error::fault("filters collide"))
}

/// A stored filter, a JSON object text.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn get(view: &View, user: User, id: &str) -> Reply<String> {
    let missing = || Error::not_found("There is no such filter.");
    let id = id.parse().map_err(|_| missing())?;
    view.get(&FILTERS, (user, id))?.ok_or_else(missing)
}
