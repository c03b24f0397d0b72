//! `POST /user_directory/search` (spec: Client-Server API, "User Directory").

use base::{Error, Reply};
use ruma::{OwnedUserId, api::client::user_directory::search_users::v3 as users};
use search::people::{self, Person};
use serde::Serialize;
use serde_json::json;
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
    let results: Vec<Shown> = found.into_iter().map(Shown::from).collect();
    Ok(json!({ "results": results, "limited": limited }).to_string().into())
}

#[derive(Serialize)]
struct Shown {
    user_id: OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
}

impl From<Person> for Shown {
    fn from(person: Person) -> Shown {
        let Person { id: user_id, display_name, avatar_url } = person;
        Shown { user_id, display_name, avatar_url }
    }
}
