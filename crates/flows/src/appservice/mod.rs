//! Asking application services (spec: Application Service API, "Homeserver -> Application Service API").

pub mod ping;
pub mod query;
pub mod thirdparty;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use egress::{Answer, Egress, Failure, Request, Trust};
use http::{HeaderValue, Method, header};
use protocol::appservice::{Appservices, Registration};
use tokio::sync::Notify;
use url::Url;

/// Application services and the way to them. Cheap to clone.
#[derive(Clone)]
pub struct Bridges(Arc<Inner>);

struct Inner {
    services: Appservices,
    egress: Egress,
    awake: HashMap<String, Arc<Notify>>,
}

/// What is asked of an application service.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// `GET` …
    pub method: Method,
    /// Path segments behind `/_matrix/app/v1`.
    pub path: &'a [&'a str],
    /// Path segments of the route of older drafts (spec: "Legacy routes"); none: there was none.
    pub legacy: &'a [&'a str],
    /// Query parameters.
    pub query: &'a [(String, String)],
    /// A JSON object; empty: none.
    pub body: Bytes,
    /// For each of the two routes.
    pub timeout: Duration,
}

/// The largest answer of an application service: a list of some thousand users or rooms.
const ANSWER_BYTES_MAX: usize = 4 << 20;

impl Bridges {
    /// All application services of the server.
    #[must_use]
    pub fn new(services: Appservices, egress: Egress) -> Bridges {
        let awake = services.all().map(|service| (service.id.clone(), Arc::default())).collect();
        Bridges(Arc::new(Inner { services, egress, awake }))
    }

    /// The application services.
    #[must_use]
    pub fn services(&self) -> &Appservices {
        &self.0.services
    }

    /// An application service has just shown that it can be reached: what waits to try again need not wait.
    pub fn is_awake(&self, service: &Registration) {
        if let Some(awake) = self.0.awake.get(&service.id) {
            awake.notify_waiters();
        }
    }

    /// Returns when an application service has shown that it can be reached.
    pub async fn awakes(&self, service: &Registration) {
        match self.0.awake.get(&service.id) {
            Some(awake) => awake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Asks an application service; where the route of today is unknown there, by that of older drafts. An answer may
    /// have any status.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::Url`] if it wants no traffic.
    pub async fn ask(&self, service: &Registration, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let answer = self.send(service, ask, false).await?;
        let unknown = matches!(answer.status.as_u16(), 404 | 405 | 500 | 501);
        if !unknown || ask.legacy.is_empty() {
            return Ok(answer);
        }
        match self.send(service, ask, true).await {
            Ok(older) if older.status.is_success() => Ok(older),
            // What it said first is what it has to say.
            _ => Ok(answer),
        }
    }

    async fn send(
        &self,
        service: &Registration,
        ask: &Ask<'_>,
        legacy: bool,
    ) -> Result<Answer, Failure> {
        let base = service.url.clone().ok_or_else(|| Failure::Url("there is none".to_owned()))?;
        let prefix: &[&str] = if legacy { &[] } else { &["_matrix", "app", "v1"] };
        let path = if legacy { ask.legacy } else { ask.path };
        let mut url = at(base, prefix.iter().chain(path))?;
        for (key, value) in ask.query {
            url.query_pairs_mut().append_pair(key, value);
        }
        if legacy {
            // Who knows only the routes of older drafts knows only their way to authenticate.
            url.query_pairs_mut().append_pair("access_token", &service.hs_token);
        }
        let mut request = Request::new(ask.method.clone(), url, Trust::Operator);
        let token = HeaderValue::from_str(&format!("Bearer {}", service.hs_token));
        let mut token = token.map_err(|e| Failure::Url(e.to_string()))?;
        token.set_sensitive(true);
        request.headers.insert(header::AUTHORIZATION, token);
        if !ask.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            request.headers.insert(header::CONTENT_TYPE, json);
        }
        request.body = ask.body.clone();
        (request.timeout, request.body_max) = (ask.timeout, ANSWER_BYTES_MAX);
        self.0.egress.send(request).await
    }
}

fn at<'a>(mut base: Url, path: impl Iterator<Item = &'a &'a str>) -> Result<Url, Failure> {
    match base.path_segments_mut() {
        Ok(mut segments) => drop(segments.pop_if_empty().extend(path)),
        Err(()) => return Err(Failure::Url("no path can follow it".to_owned())),
    }
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_escaped() {
        let base = |text: &str| Url::parse(text).unwrap();
        let path = ["rooms", "#a/b?c:x.org"];
        let url = at(base("http://h:1/irc"), path.iter()).unwrap();
        assert_eq!(url.as_str(), "http://h:1/irc/rooms/%23a%2Fb%3Fc:x.org");
        let url = at(base("http://h:1"), ["users", "@a:b"].iter()).unwrap();
        assert_eq!(url.as_str(), "http://h:1/users/@a:b");
    }
}
