//! The kinds of value that an option can have: how each is read, what is said when it is wrong, and
//! how it is shown. An option's type is the whole of its rules; nothing else validates a single value.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use protocol::version::{SUPPORTED, supported};
use ruma::{OwnedServerName, RoomVersionId};
use toml::Value as Toml;

/// A type that an option can have.
pub(crate) trait Value: Sized {
    /// Is it shown masked, in errors too?
    const SECRET: bool = false;
    /// What a person must write, to end the sentence "expected …".
    fn expected() -> String;
    /// Reads a value; relative paths are relative to `base`. `None`: not what was expected.
    fn read(raw: &Toml, base: &Path) -> Option<Self>;
    /// The value when nobody sets the option; `None`: it must be set.
    fn unset() -> Option<Self> {
        None
    }
    /// What the text of an environment variable or of `-o` means.
    fn from_text(text: &str) -> Toml {
        literal(text).unwrap_or_else(|| Toml::String(text.to_owned()))
    }
    /// The value as TOML; `None`: it is not set.
    fn show(&self) -> Option<String>;
}

/// Reads a TOML literal.
pub(crate) fn literal(text: &str) -> Option<Toml> {
    let mut table: toml::Table = format!("v = {text}").parse().ok()?;
    // More than one key means that the text was more than a literal.
    (table.len() == 1).then(|| table.remove("v")).flatten()
}

/// Text stands for itself, unless it is quoted as in TOML.
fn verbatim(text: &str) -> Toml {
    let quoted = text.starts_with(['"', '\'']);
    quoted.then(|| literal(text)).flatten().unwrap_or_else(|| Toml::String(text.to_owned()))
}

fn quote(text: &str) -> String {
    Toml::String(text.to_owned()).to_string()
}

impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;
    fn expected() -> String {
        T::expected()
    }
    fn read(raw: &Toml, base: &Path) -> Option<Self> {
        T::read(raw, base).map(Some)
    }
    fn unset() -> Option<Self> {
        Some(None)
    }
    fn from_text(text: &str) -> Toml {
        T::from_text(text)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl<T: Value> Value for Vec<T> {
    const SECRET: bool = T::SECRET;
    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }
    fn read(raw: &Toml, base: &Path) -> Option<Self> {
        raw.as_array()?.iter().map(|item| T::read(item, base)).collect()
    }
    fn unset() -> Option<Self> {
        Some(Vec::new())
    }
    /// A TOML list, or items with commas between them.
    fn from_text(text: &str) -> Toml {
        let list = text.trim_start().starts_with('[').then(|| literal(text)).flatten();
        let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
        list.unwrap_or_else(|| Toml::Array(items().map(T::from_text).collect()))
    }
    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl Value for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        raw.as_bool()
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for IpAddr {
    fn expected() -> String {
        "an IP address such as \"192.0.2.1\" or \"2001:db8::1\"".to_owned()
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        raw.as_str()?.parse().ok()
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

impl Value for OwnedServerName {
    fn expected() -> String {
        "a server name such as \"example.org\" or \"example.org:8448\"".to_owned()
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        raw.as_str()?.try_into().ok()
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        Some(quote(self.as_str()))
    }
}

/// A room version in which rooms can be created here.
impl Value for RoomVersionId {
    fn expected() -> String {
        let ends = [SUPPORTED.first(), SUPPORTED.last()];
        ends.map(|id| id.map(|id| quote(id.as_str())).unwrap_or_default()).join(" to ")
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        RoomVersionId::try_from(raw.as_str()?).ok().filter(supported)
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        Some(quote(self.as_str()))
    }
}

/// Kinds of text: a name, what is expected, and the rule.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $expected:literal, $ok:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name(pub(crate) String);
        impl Value for $name {
            fn expected() -> String {
                $expected.to_owned()
            }
            fn read(raw: &Toml, _: &Path) -> Option<Self> {
                let ok: fn(&str) -> bool = $ok;
                raw.as_str().filter(|text| ok(text)).map(|text| Self(text.to_owned()))
            }
            fn from_text(text: &str) -> Toml {
                verbatim(text)
            }
            fn show(&self) -> Option<String> {
                Some(quote(&self.0))
            }
        }
    )* };
}

texts! {
    /// The address of a web site or API, without a slash at its end.
    HttpUrl, "an address such as \"https://matrix.example.org\", without a slash at its end",
        |t| !t.ends_with('/') && after_scheme(t, &["https://", "http://"]);
    /// A server name in which `*` and `?` stand for anything. Ports do not matter, so none is allowed.
    ServerPattern, "a server name without a port, such as \"*.example.org\"",
        |t| !t.is_empty() && !t.contains(|c: char| c.is_whitespace() || c == '/')
            && (!t.contains(':') || (t.starts_with('[') && t.ends_with(']')));
    /// An HTTP proxy.
    ProxyUrl, "an address with a port such as \"http://proxy.example.org:3128\"",
        |t| t.strip_prefix("http://").and_then(host_and_port).is_some();
    /// A mailbox, with or without a display name.
    Mailbox, "a mailbox such as \"Althing <noreply@example.org>\"",
        |t| {
            let address = t.strip_suffix('>').map_or(Some(t), |s| s.rsplit('<').next());
            address.and_then(|a| a.split_once('@')).is_some_and(|(user, host)| {
                !user.is_empty() && !host.is_empty() && !host.contains(['@', '<', '>', ' '])
            })
        };
    /// A mail address without a name.
    MailAddress, "a mail address such as \"admin@example.org\"",
        |t| t.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !t.contains(['<', '>', ' ']) && !host.contains('@')
        });
    /// A user id, of any server.
    UserName, "a user id such as \"@admin:example.org\"",
        |t| <&ruma::UserId>::try_from(t).is_ok();
    /// Where a relay for calls listens.
    TurnUri, "an address such as \"turn:turn.example.org?transport=udp\"",
        |t| ["turn:", "turns:"].iter().any(|s| t.starts_with(s) && t.len() > s.len())
            && !t.contains(char::is_whitespace);
    /// What is logged: a level, or a filter of tracing-subscriber.
    LogFilter, "error, warn, info, debug, trace, or a filter such as \"info,store=debug\"",
        |t| !t.is_empty() && tracing_subscriber::EnvFilter::builder().parse(t).is_ok();
}

/// `host:port`, and nothing else. An IPv6 address is in brackets.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let known = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_host),
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    known.then(|| (host.to_owned(), port))
}

impl ProxyUrl {
    /// Its host and port.
    pub(crate) fn host_and_port(&self) -> Option<(String, u16)> {
        self.0.strip_prefix("http://").and_then(host_and_port)
    }
}

/// Does text begin with one of these schemes, have a host after it, and no blanks?
fn after_scheme(text: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/') && !r.contains(char::is_whitespace))
}

/// Kinds of text that are never shown.
macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident, $expected:literal, $ok:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq)]
        pub(crate) struct $name(pub(crate) String);
        impl Value for $name {
            const SECRET: bool = true;
            fn expected() -> String {
                $expected.to_owned()
            }
            fn read(raw: &Toml, _: &Path) -> Option<Self> {
                let ok: fn(&str) -> bool = $ok;
                raw.as_str().filter(|text| ok(text)).map(|text| Self(text.to_owned()))
            }
            fn from_text(text: &str) -> Toml {
                verbatim(text)
            }
            fn show(&self) -> Option<String> {
                Some(quote(MASK))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(MASK)
            }
        }
    )* };
}

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "***";

secrets! {
    /// A text that nobody else may know.
    Secret, "a text that is not empty", |t| !t.is_empty();
    /// A registration token (client-server API, "Token-authenticated registration").
    RegistrationToken, "1 to 64 of the characters A-Z a-z 0-9 . _ ~ -",
        |t| (1..=64).contains(&t.len())
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b));
    /// How to reach a database; holds a password, more often than not.
    DatabaseUrl, "an address such as \"postgres://user@host/db\" or \"postgres:///db?host=/run/postgresql\"",
        |t| ["postgres://", "postgresql://"].iter().any(|s| t.starts_with(s) && t.len() > s.len())
            && !t.contains(char::is_whitespace);
    /// How to reach a mail server; may hold a password.
    MailUrl, "an address such as \"smtp://127.0.0.1:25\" or \"smtps://user:password@mail.example.org\"",
        |t| after_scheme(t, &["smtp://", "smtps://"]);
}

/// Values of which there are a few: the variant and how it is written.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $first:ident = $first_text:literal $(, $variant:ident = $text:literal)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $first $(, $variant)* }
        impl Value for $name {
            fn expected() -> String {
                concat!("\"", $first_text, "\"" $(, " or \"", $text, "\"")*).to_owned()
            }
            fn read(raw: &Toml, _: &Path) -> Option<Self> {
                match raw.as_str()? {
                    $first_text => Some(Self::$first),
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
            fn show(&self) -> Option<String> {
                Some(quote(match self {
                    Self::$first => $first_text,
                    $(Self::$variant => $text,)*
                }))
            }
        }
    )* };
}

choices! {
    /// What a listener serves.
    Resource { Client = "client", Federation = "federation", Health = "health", Metrics = "metrics" }
    /// Where the data lies.
    Engine { Embedded = "embedded", Postgres = "postgres" }
    /// When a write is acknowledged: after it is on disk, or before.
    Durability { Sync = "sync", Relaxed = "relaxed" }
    /// Who may register.
    RegistrationMode { Open = "open", Token = "token", Closed = "closed" }
    /// Which new rooms are encrypted, whatever their creator asks for.
    RequiredIn { Off = "off", Private = "private", All = "all" }
    /// How log lines look.
    LogFormat { Text = "text", Json = "json" }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bind {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Value for Bind {
    fn expected() -> String {
        "an address such as \"127.0.0.1:8008\", \"[::]:8008\" or \"unix:/run/althing.sock\""
            .to_owned()
    }
    fn read(raw: &Toml, base: &Path) -> Option<Self> {
        let text = raw.as_str()?;
        match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) => Some(Bind::Unix(base.join(path))),
            None => text.parse().ok().map(Bind::Tcp),
        }
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        Some(match self {
            Bind::Tcp(address) => quote(&address.to_string()),
            Bind::Unix(path) => quote(&format!("unix:{}", path.display())),
        })
    }
}

/// A place for files that may not exist yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Value for Folder {
    fn expected() -> String {
        "the path of a folder (it is made when it is missing)".to_owned()
    }
    fn read(raw: &Toml, base: &Path) -> Option<Self> {
        let path = base.join(raw.as_str().filter(|text| !text.is_empty())?);
        (path.is_dir() || !path.exists()).then_some(Self(path))
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        Some(quote(&self.0.display().to_string()))
    }
}

/// A file that must exist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File(pub(crate) PathBuf);

impl Value for File {
    fn expected() -> String {
        "the path of a file that exists".to_owned()
    }
    fn read(raw: &Toml, base: &Path) -> Option<Self> {
        let path = base.join(raw.as_str().filter(|text| !text.is_empty())?);
        path.is_file().then_some(Self(path))
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        Some(quote(&self.0.display().to_string()))
    }
}

/// A span of time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

impl Value for Seconds {
    fn expected() -> String {
        "a number of seconds, 1 or more".to_owned()
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        u64::try_from(raw.as_integer()?).ok().filter(|seconds| *seconds > 0).map(Self)
    }
    fn show(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// Largest first, so that [`Size::show`] takes the largest that divides.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl Value for Size {
    fn expected() -> String {
        "a size such as \"50MiB\" (units: B, KB, MB, GB, KiB, MiB, GiB)".to_owned()
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        let text = raw.as_str()?.trim();
        let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*factor).filter(|bytes| *bytes > 0).map(Size)
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        let (unit, factor) = UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor))?;
        Some(quote(&format!("{}{unit}", self.0 / factor)))
    }
}

/// A span of time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

/// Largest first, so that [`Span::show`] takes the largest that divides.
const SPANS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Value for Span {
    fn expected() -> String {
        "a span of time such as \"10m\" (units: s, m, h, d)".to_owned()
    }
    fn read(raw: &Toml, _: &Path) -> Option<Self> {
        let text = raw.as_str()?.trim();
        let (unit, factor) = SPANS.iter().find(|(unit, _)| text.ends_with(unit))?;
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*factor).filter(|seconds| *seconds > 0).map(Span)
    }
    fn from_text(text: &str) -> Toml {
        verbatim(text)
    }
    fn show(&self) -> Option<String> {
        let (unit, factor) = SPANS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor))?;
        Some(quote(&format!("{}{unit}", self.0 / factor)))
    }
}
