//! Mail that this server sends: over SMTP, through the one mail server that the operator named.
//!
//! A password is never sent over a connection that anyone can read: with one in the URL, TLS is required unless the
//! operator wrote `?tls=none`.

use std::{path::PathBuf, time::Duration};

use base::{Error, Reply};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart, header},
    transport::smtp::{
        PoolConfig,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use url::{Host, Url};

/// For one letter: connecting, greeting, TLS, handing over.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Connections to the mail server at once.
const CONNECTIONS_MAX: u32 = 4;
/// A connection that is not used is closed after this: mail servers close them after some minutes themselves.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// What is sent to someone.
#[derive(Clone, Debug, Default)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// In one line.
    pub subject: String,
    /// For programs that show no HTML.
    pub text: String,
    /// For those that do.
    pub html: String,
    /// Where the reader can ask for no more of these (RFC 8058: a POST there does it).
    pub unsubscribe: Option<String>,
}

/// Why a letter did not go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The mail server will not have it, today or later: the address is no good.
    Never(String),
    /// It could not be reached, or says to come back.
    NotNow(String),
}

/// The way to the mail server. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mail {
    /// Opens nothing yet. `url`: `smtp://` or `smtps://`, user and password, host, port, and `?tls=none`,
    /// `?tls=opportunistic` or `?tls=required`. `trusted_ca`: certificate authorities besides the system's, PEM.
    ///
    /// # Errors
    /// A fault that says what is wrong with the configuration, without the password.
    pub fn new(url: &str, from: &str, trusted_ca: &[PathBuf]) -> Reply<Mail> {
        let bad = |what: &str| Error::fault(format!("email.smtp: {what}"));
        let url: Url = url.parse().map_err(|_| bad("this is no URL"))?;
        let host = url.host().ok_or_else(|| bad("no host"))?;
        let tls = Security::of(&url, &host).ok_or_else(|| bad("unknown scheme or tls"))?;
        let name = host.to_string();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(name.clone())
            .port(url.port().unwrap_or(tls.port()))
            .timeout(Some(TIME_MAX))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS_MAX).idle_timeout(IDLE_TIME))
            .tls(tls.parameters(&name, trusted_ca)?);
        let decode =
            |text: &str| percent_decode(text).ok_or_else(|| bad("user or password is not UTF-8"));
        let transport = match url.password() {
            Some(password) => {
                transport.credentials(Credentials::new(decode(url.username())?, decode(password)?))
            }
            None => transport,
        };
        let from = from.parse().map_err(|e| Error::fault(format!("email.from: {e}")))?;
        Ok(Mail { transport: transport.build(), from })
    }

    /// Sends a letter.
    ///
    /// # Errors
    /// See [`Undelivered`].
    pub async fn send(&self, letter: &Letter) -> Result<(), Undelivered> {
        let message = self.message(letter).map_err(Undelivered::Never)?;
        match tokio::time::timeout(TIME_MAX, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) if e.is_permanent() => Err(Undelivered::Never(e.to_string())),
            Ok(Err(e)) => Err(Undelivered::NotNow(chain(&e))),
            Err(_) => Err(Undelivered::NotNow("not in time".to_owned())),
        }
    }

    fn message(&self, letter: &Letter) -> Result<Message, String> {
        let to: Address = letter.to.parse().map_err(|e| format!("no address: {e}"))?;
        // A line break in a subject would begin another header.
        let subject: String =
            letter.subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(None)
            .header(AutoSubmitted);
        if let Some(link) = &letter.unsubscribe {
            message = message.header(ListUnsubscribe(format!("<{link}>")));
            message = message.header(ListUnsubscribePost);
        }
        let body = MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone());
        message.multipart(body).map_err(|e| e.to_string())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        text = format!("{text}: {cause}");
        inner = cause.source();
    }
    text
}

/// Whether the connection is secured, and from when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    None,
    Opportunistic,
    Required,
    FromTheStart,
}

impl Security {
    fn of(url: &Url, host: &Host<&str>) -> Option<Security> {
        let asked = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value);
        match (url.scheme(), asked.as_deref()) {
            ("smtps", None) => Some(Security::FromTheStart),
            ("smtp", Some("none")) => Some(Security::None),
            ("smtp", Some("required")) => Some(Security::Required),
            ("smtp", Some("opportunistic") | None) if is_loopback(host) => Some(Security::None),
            ("smtp", Some("opportunistic") | None) if url.password().is_some() => {
                Some(Security::Required)
            }
            ("smtp", Some("opportunistic") | None) => Some(Security::Opportunistic),
            _ => None,
        }
    }

    /// The ports of RFC 5321, 6409 and 8314.
    fn port(self) -> u16 {
        match self {
            Security::None | Security::Opportunistic => 25,
            Security::Required => 587,
            Security::FromTheStart => 465,
        }
    }

    fn parameters(self, host: &str, trusted_ca: &[PathBuf]) -> Reply<Tls> {
        if self == Security::None {
            return Ok(Tls::None);
        }
        let mut parameters = TlsParameters::builder(host.to_owned());
        for file in trusted_ca {
            let bad = |why: &dyn std::fmt::Display| {
                Error::fault(format!("trusted CA: {}: {why}", file.display()))
            };
            let pem = std::fs::read(file).map_err(|e| bad(&e))?;
            let certificate = Certificate::from_pem(&pem).map_err(|e| bad(&e))?;
            parameters = parameters.add_root_certificate(certificate);
        }
        let parameters = parameters
            .build_rustls()
            .map_err(|e| Error::fault(format!("email.smtp: no TLS: {e}")))?;
        Ok(match self {
            Security::Required => Tls::Required(parameters),
            Security::FromTheStart => Tls::Wrapper(parameters),
            _ => Tls::Opportunistic(parameters),
        })
    }
}

/// What never leaves this machine needs no TLS, and mail servers there rarely have a certificate.
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        // Hosts of URLs whose scheme browsers do not know are not parsed further.
        Host::Domain(name) => {
            *name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    // A form has `+` for a blank; a URL's user has not.
    if text.contains(['+', '&', '=']) {
        let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
        return percent_decode(&escaped);
    }
    let decoded = pairs.map(|(key, _)| key.into_owned()).next().unwrap_or_default();
    (!decoded.contains('\u{FFFD}')).then_some(decoded)
}

macro_rules! fixed_header {
    ($(#[$doc:meta])* $name:ident, $key:literal, $value:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        struct $name;
        impl header::Header for $name {
            fn name() -> header::HeaderName {
                header::HeaderName::new_from_ascii_str($key)
            }
            fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok($name)
            }
            fn display(&self) -> header::HeaderValue {
                header::HeaderValue::new(Self::name(), $value.to_owned())
            }
        }
    };
}
fixed_header!(
    /// Nobody's holiday notice is to answer (RFC 3834).
    AutoSubmitted, "Auto-Submitted", "auto-generated"
);
fixed_header!(
    /// RFC 8058.
    ListUnsubscribePost, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"
);

/// RFC 2369.
#[derive(Clone)]
struct ListUnsubscribe(String);
impl header::Header for ListUnsubscribe {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("List-Unsubscribe")
    }
    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(ListUnsubscribe(text.to_owned()))
    }
    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(url: &str) -> Option<Security> {
        let url: Url = url.parse().unwrap();
        Security::of(&url, &url.host().unwrap())
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear_unless_the_operator_says_so() {
        assert_eq!(security("smtp://me:pw@mail.example.org"), Some(Security::Required));
        let asked = "smtp://me:pw@mail.example.org?tls=opportunistic";
        assert_eq!(security(asked), Some(Security::Required));
        assert_eq!(security("smtp://me:pw@mail.example.org?tls=none"), Some(Security::None));
        assert_eq!(security("smtps://me:pw@mail.example.org"), Some(Security::FromTheStart));
        assert_eq!(security("smtp://mail.example.org"), Some(Security::Opportunistic));
        assert_eq!(security("smtp://127.0.0.1:25"), Some(Security::None));
        assert_eq!(security("smtp://mail.example.org?tls=maybe"), None);
    }

    #[tokio::test]
    async fn a_bad_configuration_is_told_without_its_password() {
        for url in ["smtp://me:secret@host?tls=x", "smtp:", "http://me:secret@host"] {
            let why = Mail::new(url, "a@example.org", &[]).err().unwrap().to_string();
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(Mail::new("smtp://localhost", "nobody", &[]).is_err());
    }

    #[tokio::test]
    async fn a_letter_cannot_smuggle_headers_in() {
        let mail = Mail::new("smtp://localhost", "Server <a@example.org>", &[]).unwrap();
        let mut letter = Letter {
            to: "b@example.org".into(),
            subject: "Hi\r\nBcc: c@example.org".into(),
            text: "t".into(),
            html: "<p>t</p>".into(),
            unsubscribe: Some("https://x.org/u?a=1".into()),
        };
        let raw = String::from_utf8(mail.message(&letter).unwrap().formatted()).unwrap();
        assert!(!raw.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{raw}");
        assert!(raw.contains("List-Unsubscribe: <https://x.org/u?a=1>"), "{raw}");
        letter.to = "b@example.org\r\nBcc: c@example.org".into();
        assert!(mail.message(&letter).is_err());
    }

    #[test]
    fn passwords_may_have_any_characters() {
        assert_eq!(percent_decode("a%40b+c=d&e%2F").unwrap(), "a@b+c=d&e/");
        assert_eq!(percent_decode("").unwrap(), "");
    }
}
