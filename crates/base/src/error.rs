//! The two kinds of error (DESIGN: refusals and faults).
//!
//! A [`Refusal`] is an *answer*: the caller asked for something that it may not have or that makes no
//! sense; it is rendered as status, `errcode` and text, and never logged as an error. A [`Fault`] is
//! ours: it is logged once, at the rim, and the caller sees `M_UNKNOWN` with an incident id.
//! "Not found" inside the house is `Option`.

use std::fmt;

/// The result of everything that can go wrong.
pub type Reply<T> = Result<T, Error>;

/// An answer, or our fault.
#[derive(Debug)]
pub enum Error {
    /// An answer to the caller.
    Refused(Box<Refusal>),
    /// Something that must not happen; logged once, at the rim.
    Fault(Fault),
}

/// An answer that says no.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The spec's error code, for example `M_FORBIDDEN`.
    pub errcode: &'static str,
    /// Text for a person; never parsed.
    pub message: String,
    /// More top-level fields of the answer (`soft_logout`, `retry_after_ms`, the UIA fields …).
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// For 429: after how many milliseconds to try again (rendered as `Retry-After` too).
    pub retry_after_ms: Option<u64>,
}

/// Something that must not happen: a broken row, a dead database, a bug.
#[derive(Clone, Debug)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Fault {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(r) => write!(f, "{} {}: {}", r.status, r.errcode, r.message),
            Error::Fault(fault) => write!(f, "fault: {fault}"),
        }
    }
}
impl std::error::Error for Error {}

impl Refusal {
    /// Adds a top-level field to the answer.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }
}

impl From<Refusal> for Error {
    fn from(r: Refusal) -> Self {
        Error::Refused(Box::new(r))
    }
}

impl Error {
    /// A refusal with status, spec error code and a text for a person.
    pub fn refused(status: u16, errcode: &'static str, message: impl Into<String>) -> Error {
        Error::refusal(status, errcode, message).into()
    }
    /// The same, to add fields with [`Refusal::with`].
    pub fn refusal(status: u16, errcode: &'static str, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { status, errcode, message, extra: serde_json::Map::new(), retry_after_ms: None }
    }
    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Error {
        Error::refused(403, "M_FORBIDDEN", message)
    }
    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::refused(404, "M_NOT_FOUND", message)
    }
    /// 400 `M_BAD_JSON`.
    pub fn bad_json(message: impl Into<String>) -> Error {
        Error::refused(400, "M_BAD_JSON", message)
    }
    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<String>) -> Error {
        Error::refused(400, "M_INVALID_PARAM", message)
    }
    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<String>) -> Error {
        Error::refused(400, "M_MISSING_PARAM", message)
    }
    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<String>) -> Error {
        Error::refused(413, "M_TOO_LARGE", message)
    }
    /// A fault of ours.
    pub fn fault(message: impl Into<String>) -> Error {
        Error::Fault(Fault(message.into()))
    }
}

impl From<Fault> for Error {
    fn from(f: Fault) -> Self {
        Error::Fault(f)
    }
}
