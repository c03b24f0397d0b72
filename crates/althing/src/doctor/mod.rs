//! `althing doctor federation`: walks the way to another server as the running one would, and tells in plain words what is
//! wrong and what helps.
//!
//! It needs the configuration and the signing key, and not the store: so it works beside a server that runs.

mod finding;
mod judge;
mod own;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use egress::{Answer, Egress, Request, Trust};
use flows::peers::discovery::{Directory, Way};
use http::{HeaderValue, Method, header::AUTHORIZATION};
use protocol::SigningKey;
use ruma::{OwnedServerName, ServerName};
use url::Url;

use self::finding::{Mark, Report, note, wrong};
use crate::{config::Config, data_dir::DataDir, failure::Failure, outward};

/// For one request.
const ASK_TIME_MAX: Duration = Duration::from_secs(15);
/// The largest answer that is looked at, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Places of one server that are tried.
const PLACES_MAX: usize = 6;
const KEYS: &str = "/_matrix/key/v2/server";
const VERSION: &str = "/_matrix/federation/v1/version";

/// Examines the way to a server; a failure if something is wrong.
pub(crate) fn federation(config: &Config, server: &str) -> Result<(), Failure> {
    let name = OwnedServerName::try_from(server).map_err(|_| {
        Failure::Usage(vec![format!("{server}: expected a server name such as \"example.org\"")])
    })?;
    let key = DataDir::open(&config.top.data_dir.0)?.signing_key()?;
    let egress = Egress::new(outward::egress(config))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Failure::Runtime(format!("the runtime cannot start: {e}")))?;
    let examination = Examination { config, key, egress, report: Report::default() };
    match runtime.block_on(examination.run(&name)) {
        0 => Ok(()),
        1 => Err(Failure::Runtime("one thing is wrong".to_owned())),
        n => Err(Failure::Runtime(format!("{n} things are wrong"))),
    }
}

struct Examination<'a> {
    config: &'a Config,
    key: SigningKey,
    egress: Egress,
    report: Report,
}

impl Examination<'_> {
    /// Gives how many things are wrong.
    async fn run(mut self, server: &ServerName) -> usize {
        let is_own = *server == *self.config.top.server_name;
        match is_own {
            true => println!("{server}, this server, as others find it\n"),
            false => println!("{server}, as {} finds it\n", self.config.top.server_name),
        }
        self.decisions(server);
        let way = Directory::new(self.egress.clone()).find(server).await;
        self.report.tell_all(&judge::way(&way));
        if is_own {
            self.report.tell(&own::listeners(self.config));
            if let Some(finding) = own::delegation(self.config, &way) {
                self.report.tell(&finding);
            }
        }
        if let Some(place) = self.reach(server, &way, is_own).await {
            self.speak(server, &way, place, is_own).await;
        }
        if is_own {
            let what =
                "this was seen from this machine: from outside, names and firewalls may be others";
            self.report.tell(&note(what, "have another server's operator examine yours too"));
        }
        self.report.wrong()
    }

    /// What the operator decided, before anybody is asked.
    fn decisions(&mut self, server: &ServerName) {
        let federation = &self.config.federation;
        if !federation.enabled {
            let fix = "set federation.enabled = true";
            self.report.tell(&wrong("this server takes no part in federation", fix));
        }
        let is_own = *server == *self.config.top.server_name;
        if !is_own && !outward::border(self.config).admits(server) {
            let fix = "see federation.allow_servers and federation.deny_servers";
            self.report.tell(&wrong("this server does not talk to that one", fix));
        }
    }

    /// Asks for the keys at every place of the server; gives the first place that answers.
    async fn reach(
        &mut self,
        server: &ServerName,
        way: &Way,
        is_own: bool,
    ) -> Option<(String, u16)> {
        let by_proxy = self.config.federation.proxy.is_some();
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for place in way.at.iter().take(PLACES_MAX) {
            let at = format!("{}:{}", place.0, place.1);
            match self.ask(way, place, KEYS, None).await {
                Ok(answer) => answers.push((place.clone(), at, answer)),
                Err(why) => failures.push(judge::failure(&at, &why, by_proxy)),
            }
        }
        for mut failure in failures {
            // With others that answer, one that does not costs time and no more.
            if !answers.is_empty() {
                failure.mark = Mark::Note;
            }
            self.report.tell(&failure);
        }
        let now = SystemTime::now();
        let now_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let mine = is_own.then_some(&self.key);
        for (_, at, answer) in &answers {
            self.report
                .tell(&finding::well(format!("{at}: connected, and the certificate is right")));
            self.report.tell(&judge::keys(answer, server, now_ms, mine));
            if !is_own {
                self.report.tell(&judge::clock(answer, now));
            }
        }
        answers.into_iter().next().map(|(place, ..)| place)
    }

    /// What it is, and whether it accepts our signature.
    async fn speak(&mut self, server: &ServerName, way: &Way, place: (String, u16), is_own: bool) {
        let about = self.ask(way, &place, VERSION, None).await.ok();
        if let Some(finding) = about.as_ref().and_then(judge::version) {
            self.report.tell(&finding);
        }
        if is_own {
            // A server accepts no request that says to come from itself.
            return;
        }
        let own = &self.config.top.server_name;
        let target = nobody(server);
        let header = protocol::request::authorization(&self.key, "GET", &target, own, server, b"");
        let header = header.ok().and_then(|header| HeaderValue::from_str(&header).ok());
        match self.ask(way, &place, &target, header).await {
            Ok(answer) => self.report.tell(&judge::signed(&answer, own)),
            Err(why) => {
                let by_proxy = self.config.federation.proxy.is_some();
                self.report.tell(&judge::failure("a signed request", &why, by_proxy));
            }
        }
    }

    async fn ask(
        &self,
        way: &Way,
        place: &(String, u16),
        target: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, egress::Failure> {
        let url = Url::parse(&format!("https://{}{target}", way.authority));
        let url = url.map_err(|e| egress::Failure::Url(e.to_string()))?;
        let mut request = Request::new(Method::GET, url, Trust::Public);
        (request.timeout, request.body_max) = (ASK_TIME_MAX, ANSWER_BYTES_MAX);
        (request.at, request.by_proxy) = (vec![place.clone()], true);
        request.headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        self.egress.send(request).await
    }
}

/// A question that needs a signature and has no answer: an alias that is not there.
fn nobody(server: &ServerName) -> String {
    let alias = format!("#althing-doctor-{}:{server}", crate::data_dir::random_name(12));
    let alias: String = url::form_urlencoded::byte_serialize(alias.as_bytes()).collect();
    format!("/_matrix/federation/v1/query/directory?room_alias={alias}")
}
