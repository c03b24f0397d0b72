//! **Every option there is**, once: its place, type, default and meaning. The parser, the errors, the
//! effective configuration of `check-config`, `docs/configuration.md` and `docs/althing.example.toml`
//! all follow from this table.
//!
//! To add an option, add a line. To add a kind of value, see `value.rs`. There are to be at most
//! [`OPTIONS_MAX`] options: what we can decide, we decide.

use std::net::IpAddr;

use ruma::{OwnedServerName, RoomVersionId};

use super::{
    layers::Reader,
    section::{Section, Setting},
    value::{
        Bind, DatabaseUrl, Durability, Engine, File, Folder, HttpUrl, LogFilter, LogFormat,
        MailAddress, MailUrl, Mailbox, ProxyUrl, RegistrationMode, RegistrationToken, RequiredIn,
        Resource, Seconds, Secret, ServerPattern, Size, Span, TurnUri, UserName, Value,
    },
};

/// The promise to operators: never more options than this.
#[cfg(test)]
pub(crate) const OPTIONS_MAX: usize = 60;

/// The key of an option: its own, or the name of its field.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

macro_rules! maybe {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

/// Makes a struct for each section, and [`SECTIONS`] of all of them.
macro_rules! table {
    ($(
        #[doc = $section_doc:literal]
        $Section:ident $section_key:literal $(repeated $repeated:literal)? {$(
            $(#[doc = $doc:literal])*
            $field:ident $(as $key:literal)? : $type:ty $(= $default:literal)? $(, such as $example:literal)?;
        )*}
    )*) => {
        $(
            #[doc = $section_doc]
            #[derive(Clone, Debug, PartialEq)]
            pub(crate) struct $Section {
                $( $(#[doc = $doc])* pub(crate) $field: $type, )*
            }

            impl $Section {
                /// Takes its options out of what was given. `prefix` is its key with a dot behind it, or empty.
                pub(crate) fn read(reader: &mut Reader, prefix: &str) -> Option<Self> {
                    // All are read before any is missed, so that every mistake is reported.
                    $( let $field = reader.take::<$type>(prefix, key!($field $($key)?), maybe!($($default)?)); )*
                    Some(Self { $( $field: $field?, )* })
                }

                /// Its options with their values as TOML; `None`: not set.
                pub(crate) fn show(&self) -> Vec<(&'static str, Option<String>)> {
                    vec![$( (key!($field $($key)?), self.$field.show()), )*]
                }
            }
        )*

        /// All sections, in the order of the documentation.
        pub(crate) static SECTIONS: &[Section] = &[$(
            Section {
                key: $section_key,
                repeated: false $(|| $repeated)?,
                doc: $section_doc,
                options: &[$(
                    Setting {
                        key: key!($field $($key)?),
                        doc: concat!($($doc),*),
                        default: maybe!($($default)?),
                        example: maybe!($($example)?),
                        expected: <$type as Value>::expected,
                        from_text: <$type as Value>::from_text,
                        secret: <$type as Value>::SECRET,
                    },
                )*],
            },
        )*];
    };
}

table! {
    /// What every server decides first.
    Top "" {
        /// The name of this server, the part behind the colon of its users' ids.
        /// It cannot be changed once there are users. Without a configuration file it is `localhost`.
        server_name: OwnedServerName, such as "\"example.org\"";
        /// Signing key, embedded store, local media, the first registration token.
        data_dir: Folder = "\"althing-data\"", such as "\"/var/lib/althing\"";
    }
    /// Where to listen, and for what. Without any, `127.0.0.1:8008` serves `client`, `federation` and `health`.
    Listener "listeners" repeated true {
        /// An IP address and a port, or `unix:` and a path. Port 0 takes a free one.
        bind: Bind, such as "\"127.0.0.1:8008\"";
        /// What is served there.
        resources: Vec<Resource> = "[\"client\", \"federation\", \"health\"]";
        /// TLS: the certificate chain, PEM. Read again on SIGHUP. Leave both out behind a reverse proxy.
        tls_certificate as "tls.certificate": Option<File>, such as "\"fullchain.pem\"";
        /// TLS: the private key, PEM. Read again on SIGHUP.
        tls_private_key as "tls.private_key": Option<File>, such as "\"key.pem\"";
    }
    /// How the world reaches this server.
    Public "public" {
        /// The address of the client API as clients see it; served in `.well-known` and used in links.
        /// Without it: `https://` and the server name, or the first listener for clients if the name is `localhost`.
        base_url: Option<HttpUrl>, such as "\"https://matrix.example.org\"";
    }
    /// Where the data lies.
    Store "store" {
        /// `embedded`: one process, in `data_dir`. `postgres`: a PostgreSQL database, for one process or many.
        engine: Engine = "\"embedded\"";
        /// The database (`postgres` only). Over a unix socket: `postgres:///db?host=/run/postgresql`.
        url: Option<DatabaseUrl>, such as "\"postgres://user@host/db\"";
        /// `sync`: what is acknowledged is on disk. `relaxed`: a power cut may lose the last moments; for tests.
        durability: Durability = "\"sync\"";
        /// Memory for decoded values, all caches together.
        cache: Size = "\"24MiB\"";
    }
    /// Who may make an account.
    Registration "registration" {
        /// `open`: everybody. `token`: who knows the token. `closed`: nobody; see `althing user create`.
        mode: RegistrationMode = "\"token\"";
        /// A fixed token. Without it, one is made at the first start, printed once, and kept in `data_dir`.
        token: Option<RegistrationToken>, such as "\"choose-one\"";
        /// Whether guest accounts may be made (registration with `kind=guest`).
        guests: bool = "false";
        /// Whether everybody who registers has to prove a mail address. Needs `email`.
        require_email: bool = "false";
        /// Enables `/_synapse/admin/v1/register`, by which tools that know this secret make accounts.
        shared_secret: Option<Secret>, such as "\"choose-one\"";
    }
    /// Rooms made here.
    Rooms "rooms" {
        /// The version of rooms whose creator asks for none.
        default_version: RoomVersionId = "\"12\"";
    }
    /// End-to-end encryption, where it is not left to users.
    Encryption "encryption" {
        /// New rooms that are encrypted, whatever their creator asks for. `off`: none. `private`: those that are neither in
        /// the directory nor open to everybody. `all`. Never spaces, and not the rooms of the server's notices. Also, what is
        /// encrypted cannot be made less so.
        require: RequiredIn = "\"off\"";
        /// Whether messages in clear are refused in encrypted rooms. See [Encryption](encryption.md).
        refuse_plaintext: bool = "false";
        /// Whether users that belong to a bridge or bot alone may send messages in clear all the same.
        exempt_appservices: bool = "true";
    }
    /// Talking with other servers.
    Federation "federation" {
        /// Whether this server takes part at all.
        enabled: bool = "true";
        /// Certificate authorities, PEM, in addition to the system's, for every outgoing HTTPS request.
        trusted_ca: Vec<File> = "[]", such as "[\"ca.pem\"]";
        /// Lets federation, previews and pushers reach loopback and private addresses. For tests and closed networks.
        allow_private_ips: bool = "false";
        /// Servers asked for other servers' keys. None: each server is asked for its own.
        trusted_key_servers: Vec<OwnedServerName> = "[]", such as "[\"matrix.org\"]";
        /// Whether other servers may list the public rooms.
        public_rooms: bool = "false";
        /// Servers that this one talks to; `*` and `?` stand for anything. None: all. Read again on SIGHUP.
        allow_servers: Vec<ServerPattern> = "[]", such as "[\"*.example.org\"]";
        /// Servers that this one does not talk to, even if they are allowed. Read again on SIGHUP.
        deny_servers: Vec<ServerPattern> = "[]", such as "[\"evil.example\", \"*.evil.example\"]";
        /// Where other servers find this one, if not at port 8448 of its name; served in `.well-known/matrix/server`.
        well_known: Option<OwnedServerName>, such as "\"matrix.example.org:443\"";
        /// An HTTP proxy (`CONNECT`) for requests to other servers.
        proxy: Option<ProxyUrl>, such as "\"http://proxy.example.org:3128\"";
    }
    /// Guards against too much.
    Limits "limits" {
        /// `false` switches every rate limit off. For load tests.
        rate_limits: bool = "true";
        /// Reverse proxies that are believed about where a request came from (`X-Forwarded-For`).
        /// Those on this machine are always believed.
        trusted_proxies: Vec<IpAddr> = "[]", such as "[\"192.0.2.1\"]";
    }
    /// Files in rooms.
    Media "media" {
        /// The largest file that may be uploaded.
        max_upload: Size = "\"50MiB\"";
        /// Whether this server fetches pages to show previews of links. Only from allowed addresses.
        url_previews: bool = "true";
    }
    /// Sending mail. Without both options there is none.
    Email "email" {
        /// The mail server.
        smtp: Option<MailUrl>, such as "\"smtp://127.0.0.1:25\"";
        /// The sender.
        from: Option<Mailbox>, such as "\"Althing <noreply@example.org>\"";
        /// How long a message may stay unread until those who want mail get a letter about it. The next letter waits
        /// six times as long.
        delay: Span = "\"10m\"";
    }
    /// Who is online.
    Presence "presence" {
        /// Whether it is told.
        enabled: bool = "true";
    }
    /// A relay (TURN) for calls between clients that do not reach each other.
    Turn "turn" {
        /// Where it listens.
        uris: Vec<TurnUri> = "[]", such as "[\"turn:turn.example.org?transport=udp\"]";
        /// The secret that it shares with this server (`static-auth-secret` of coturn).
        shared_secret: Option<Secret>, such as "\"choose-one\"";
        /// How long credentials last.
        ttl: Seconds = "86400";
    }
    /// Calls of many (MatrixRTC).
    Rtc "rtc" {
        /// The addresses of LiveKit's services for Matrix (`lk-jwt-service`), told to clients.
        livekit: Vec<HttpUrl> = "[]", such as "[\"https://livekit.example.org\"]";
    }
    /// Whom to ask for help, told in `.well-known/matrix/support`.
    Support "support" {
        /// A page with help.
        page: Option<HttpUrl>, such as "\"https://example.org/help\"";
        /// The administrator's mail address.
        email: Option<MailAddress>, such as "\"admin@example.org\"";
        /// The administrator's user id, best on another server.
        user: Option<UserName>, such as "\"@admin:example.com\"";
        /// The mail address for matters of security.
        security_email: Option<MailAddress>, such as "\"security@example.org\"";
    }
    /// Log lines, on stderr.
    Log "log" {
        /// `text` for people, `json` for machines.
        format: LogFormat = "\"text\"";
        /// How much is logged. The environment variable `RUST_LOG` is stronger.
        level: LogFilter = "\"info\"";
    }
    /// Bridges and bots.
    Appservices "appservices" {
        /// Their registration files, YAML.
        registrations: Vec<File> = "[]", such as "[\"bridge.yaml\"]";
    }
}
