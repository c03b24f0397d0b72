//! `POST /user_directory/search` (spec: Client-Server API, "User Directory").

use base::{Error, Reply};
use ruma::api::client::user_directory::search_users::v3 as users;
use search::people;
use serde_json::{Value, json};
use store::View;

use crate::{
    answer::Json,
    handler::{Caller, Routes},
};

/// Bytes of a search term: a name.
const TERM_BYTES_MAX: usize = 1_024;

pub(super) fn routes() -> Routes {
    Routes::default().read(search)
}

fn search(view: &View, caller: Caller, request: users::Request) -> Reply<Json> {
    if request.search_term.len() > TERM_BYTES_MAX {
        return Err(Error::invalid_param("the search term is too long"));
    }
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(usize::MAX);
    let (found, limited) = people::find(view, caller.user, &request.search_term, limit)?;
    let results: Vec<Value> = found
        .into_iter()
        .map(|person| {
            let mut result = json!({ "user_id": person.id });
            if let Some(name) = person.display_name {
                result["display_name"] = name.into();
            }
            if let Some(url) = person.avatar_url {
                result["avatar_url"] = url.into();
            }
            result
        })
        .collect();
    Ok(json!({ "results": results, "limited": limited }).to_string().into())
}
