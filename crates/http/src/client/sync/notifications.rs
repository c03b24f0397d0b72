//! `GET /notifications`.

use base::{Error, Reply};
use http::Method;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::{
        query::{known, limit, token},
        reader,
    },
    handler::{Around, Auth, Caller, Routes},
};

/// Notifications of a page when the client does not say.
const PAGE: usize = 20;

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = known(caller)?;
    let (from, limit) = (token(&asked, "from")?, limit(&asked, PAGE)?);
    if limit == 0 {
        return Err(Error::invalid_param("limit must be greater than 0"));
    }
    // The spec knows one value; of others it says nothing, so they narrow nothing.
    let highlights = asked.query("only").is_some_and(|only| only == "highlight");
    ::sync::notifications::notifications(view, &reader(&caller), from, limit, highlights)
        .map(Json::from)
}

pub(super) fn routes() -> Routes {
    let path = ["/_matrix/client/v3/notifications"];
    Routes::default().raw_read(Method::GET, &path, Auth::Required, get)
}
