//! The configuration: one table of options ([`table`]), three places where they may be given
//! (`layers`), one typed [`Config`] for the rest of the program.
//!
//! Everything is checked before anything starts, and all mistakes are reported at once, one line each.

mod layers;
mod render;
mod section;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::{
    io,
    path::{Path, PathBuf},
};

use toml::{Table, Value as Toml};

pub(crate) use layers::Problem;
use layers::Reader;
pub(crate) use render::{example, page};
pub(crate) use table::{
    Appservices, Email, Encryption, Federation, Limits, Listener, Log, Media, Presence, Public,
    Registration, Rooms, Rtc, Store, Support, Top, Turn,
};
pub(crate) use value::{
    Bind, Durability, Engine, LogFormat, RegistrationMode, RequiredIn, Resource, ServerPattern,
    Value,
};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The file, if one is named.
    pub(crate) file: Option<PathBuf>,
    /// What `-o` said, in order.
    pub(crate) assignments: Vec<String>,
    /// The variables of the environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// The effective configuration. Its sections are the structs of [`table`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) top: Top,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) public: Public,
    pub(crate) store: Store,
    pub(crate) registration: Registration,
    pub(crate) rooms: Rooms,
    pub(crate) encryption: Encryption,
    pub(crate) federation: Federation,
    pub(crate) limits: Limits,
    pub(crate) media: Media,
    pub(crate) email: Email,
    pub(crate) presence: Presence,
    pub(crate) turn: Turn,
    pub(crate) rtc: Rtc,
    pub(crate) support: Support,
    pub(crate) log: Log,
    pub(crate) appservices: Appservices,
}

/// The options of a section, each with its value as TOML if it has one.
type Shown = Vec<(&'static str, Option<String>)>;

impl Config {
    /// Reads and checks everything.
    pub(crate) fn load(sources: Sources) -> Result<Config, Vec<Problem>> {
        let file = match sources.file {
            Some(path) => Some((path.clone(), parse(&path).map_err(|p| vec![p])?)),
            None => None,
        };
        let base = folder_of(file.as_ref().map(|(path, _)| path.as_path()))
            .map_err(|e| vec![Problem(format!("the current folder cannot be read: {e}"))])?;
        let embedded = file.is_none();
        let mut reader = Reader::new(table::SECTIONS, file, &base);
        reader.environment(sources.environment);
        reader.arguments(&sources.assignments);
        if embedded {
            // A name cannot be changed later: only whoever just tries the program gets one for free.
            reader.fallback("server_name", Toml::String("localhost".to_owned()));
        }
        let config = Config::read(&mut reader);
        let problems = reader.finish();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    fn read(reader: &mut Reader) -> Option<Config> {
        if reader.count("listeners") == 0 {
            reader.fallback("listeners.0.bind", Toml::String("127.0.0.1:8008".to_owned()));
        }
        let top = Top::read(reader, "");
        let listeners: Vec<_> = (0..reader.count("listeners"))
            .map(|n| Listener::read(reader, &format!("listeners.{n}.")))
            .collect();
        let public = Public::read(reader, "public.");
        let store = Store::read(reader, "store.");
        let registration = Registration::read(reader, "registration.");
        let rooms = Rooms::read(reader, "rooms.");
        let encryption = Encryption::read(reader, "encryption.");
        let federation = Federation::read(reader, "federation.");
        let limits = Limits::read(reader, "limits.");
        let media = Media::read(reader, "media.");
        let email = Email::read(reader, "email.");
        let presence = Presence::read(reader, "presence.");
        let turn = Turn::read(reader, "turn.");
        let rtc = Rtc::read(reader, "rtc.");
        let support = Support::read(reader, "support.");
        let log = Log::read(reader, "log.");
        let appservices = Appservices::read(reader, "appservices.");
        let config = Config {
            top: top?,
            listeners: listeners.into_iter().collect::<Option<_>>()?,
            public: public?,
            store: store?,
            registration: registration?,
            rooms: rooms?,
            encryption: encryption?,
            federation: federation?,
            limits: limits?,
            media: media?,
            email: email?,
            presence: presence?,
            turn: turn?,
            rtc: rtc?,
            support: support?,
            log: log?,
            appservices: appservices?,
        };
        config.agree(reader);
        Some(config)
    }

    /// The rules that concern two options at once.
    fn agree(&self, reader: &mut Reader) {
        let mut both = |key: &str, other: &str, one: bool, two: bool| {
            if one != two {
                let (has, lacks) = if one { (key, other) } else { (other, key) };
                reader
                    .problem(format!("{has} is set and {lacks} is not: expected both, or neither"));
            }
        };
        for (n, listener) in self.listeners.iter().enumerate() {
            let (certificate, key) = (&listener.tls_certificate, &listener.tls_private_key);
            let at = |key| format!("listeners.{n}.tls.{key}");
            both(&at("certificate"), &at("private_key"), certificate.is_some(), key.is_some());
        }
        both("email.smtp", "email.from", self.email.smtp.is_some(), self.email.from.is_some());
        if !self.turn.uris.is_empty() && self.turn.shared_secret.is_none() {
            reader.problem(format!(
                "turn.uris is set and turn.shared_secret is not: expected {}",
                value::Secret::expected()
            ));
        }
        if self.store.engine == Engine::Postgres && self.store.url.is_none() {
            reader.problem(format!(
                "store.engine = \"postgres\" and store.url is missing: expected {}",
                value::DatabaseUrl::expected()
            ));
        }
    }

    /// The sections by key, for display: the options of each with their values.
    fn sections(&self) -> Vec<(&'static str, Shown)> {
        let mut sections = vec![("", self.top.show())];
        sections.extend(self.listeners.iter().map(|listener| ("listeners", listener.show())));
        sections.extend([
            ("public", self.public.show()),
            ("store", self.store.show()),
            ("registration", self.registration.show()),
            ("rooms", self.rooms.show()),
            ("encryption", self.encryption.show()),
            ("federation", self.federation.show()),
            ("limits", self.limits.show()),
            ("media", self.media.show()),
            ("email", self.email.show()),
            ("presence", self.presence.show()),
            ("turn", self.turn.show()),
            ("rtc", self.rtc.show()),
            ("support", self.support.show()),
            ("log", self.log.show()),
            ("appservices", self.appservices.show()),
        ]);
        sections
    }

    /// How clients reach this server, without a slash at the end. `bound`: where the listeners are, in their
    /// order, because port 0 takes a free one.
    pub(crate) fn base_url(&self, bound: &[String]) -> String {
        if let Some(url) = &self.public.base_url {
            return url.0.clone();
        }
        let local = self.top.server_name.host() == "localhost";
        let serves = |listener: &Listener| listener.resources.contains(&Resource::Client);
        let listeners = self.listeners.iter().zip(bound);
        let reached = listeners
            .filter(|(listener, _)| local && serves(listener))
            .find(|(listener, _)| matches!(listener.bind, Bind::Tcp(_)));
        match reached {
            Some((listener, at)) if listener.tls().is_some() => format!("https://{at}"),
            Some((_, at)) => format!("http://{at}"),
            None => format!("https://{}", self.top.server_name),
        }
    }
}

impl Listener {
    /// Certificate chain and private key.
    pub(crate) fn tls(&self) -> Option<(&Path, &Path)> {
        self.tls_certificate
            .as_ref()
            .zip(self.tls_private_key.as_ref())
            .map(|(c, k)| (&*c.0, &*k.0))
    }
}

/// Reads the file; a mistake in its form is one line with its place.
fn parse(path: &Path) -> Result<Table, Problem> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Problem(format!("{name}: {e}: expected a readable configuration file")))?;
    text.parse::<Table>().map_err(|e| {
        let place = e.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..place).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let message = e.message().replace('\n', ", ");
        Problem(format!("{name}:{line}:{column}: {message}: expected valid TOML"))
    })
}

/// The folder that relative paths begin at.
fn folder_of(file: Option<&Path>) -> io::Result<PathBuf> {
    match file.map(std::path::absolute).transpose()? {
        Some(file) => Ok(file.parent().unwrap_or(Path::new("/")).to_owned()),
        None => std::env::current_dir(),
    }
}
