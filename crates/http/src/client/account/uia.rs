//! User-interactive authentication around an action: what is proven and what is done commit together.

use accounts::{
    account,
    uia::{self, Ask, Auth, DUMMY, PASSWORD, Progress, REGISTRATION_TOKEN, Shown},
};
use base::Reply;
use store::Tx;

use crate::{handler::Caller, outside::Outside};

/// The one way to prove that the owner of an account is there.
pub(super) const BY_PASSWORD: &[&[&str]] = &[&[PASSWORD]];

/// What a caller has to prove for a request that is named by `parts`.
pub(super) fn ask_password<S: AsRef<str>>(parts: impl IntoIterator<Item = S>) -> Ask {
    Ask { request: uia::bind(parts), flows: BY_PASSWORD, registration_token: None }
}

/// Does `action` if the request proves what is asked, otherwise answers 401 with what is missing. An application
/// service has proven all there is (MSC4190).
pub(super) async fn guarded<T: Send + 'static>(
    outside: &Outside,
    caller: &Caller,
    ask: Ask,
    auth: Option<Auth>,
    action: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
) -> Reply<T> {
    if caller.service.is_some() {
        return Ok(outside.store.write(None, action).await?.value);
    }
    let auth = auth.unwrap_or_default();
    let session = auth.session.clone();
    let shown = judge(outside, Some(caller), &ask, auth).await?;
    step(outside, ask, session, shown, action).await
}

/// What a request shows, as far as that needs no transaction: a hash is computed on its own threads.
pub(super) async fn judge(
    outside: &Outside,
    caller: Option<&Caller>,
    ask: &Ask,
    auth: Auth,
) -> Reply<Shown> {
    let Some(stage) = auth.stage.clone() else { return Ok(Shown::Nothing) };
    if !ask.flows.iter().any(|stages| stages.contains(&stage.as_str())) {
        return Ok(Shown::Wrong("This stage is not asked for."));
    }
    match (stage.as_str(), caller) {
        (DUMMY, _) => Ok(Shown::Stage(stage)),
        (REGISTRATION_TOKEN, _) => Ok(match auth.token {
            Some(token) => Shown::Token(token),
            None => Shown::Wrong("The registration token is missing."),
        }),
        (PASSWORD, Some(caller)) => match knows_password(outside, caller, auth).await? {
            true => Ok(Shown::Stage(stage)),
            false => Ok(Shown::Wrong("Invalid password.")),
        },
        _ => Ok(Shown::Wrong("This stage is not asked for.")),
    }
}

async fn knows_password(outside: &Outside, caller: &Caller, auth: Auth) -> Reply<bool> {
    let user = caller.user;
    let claimed = auth.claimed().map(str::to_owned);
    let found = outside
        .store
        .read(move |view| claimed.map_or(Ok(None), |typed| account::find(view, &typed)))
        .await?;
    // Another user's password proves nothing about this one.
    let phc = found.filter(|found| found.user == user).and_then(|found| found.password);
    outside.accounts.verify(auth.password.unwrap_or_default(), phc).await
}

/// Takes the step, and if that was the last one does `action` in the same transaction.
pub(super) async fn step<T: Send + 'static>(
    outside: &Outside,
    ask: Ask,
    session: Option<String>,
    shown: Shown,
    mut action: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
) -> Reply<T> {
    let written = outside
        .store
        .write(None, move |tx| match uia::step(tx, &ask, session.as_deref(), &shown)? {
            Progress::Passed => action(tx).map(Ok),
            Progress::Asked(question) => Ok(Err(question)),
        })
        .await?;
    written.value.map_err(base::Error::Refused)
}
