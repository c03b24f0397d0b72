//! Why another server gave no answer, and what a client is told then.

use std::fmt;

use base::Error;

/// A refusal of another server.
#[derive(Clone, Debug)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// The error code; empty if there is none.
    pub errcode: String,
    /// Text for a person.
    pub message: String,
}

/// Why a server gave no answer that can be used.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// It answered that it does not.
    Refused(Said),
    /// It cannot be reached, or is not done in time.
    Silent(String),
    /// It answered, but what came is not what was asked for, or does not help.
    Useless(String),
    /// It could not be reached lately, and is not asked before its time has come.
    Resting,
    /// This server does not talk to that one, by decision of the operator.
    Barred,
}

impl Unanswered {
    /// Might asking later help?
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Unanswered::Refused(said) => said.status >= 500 || said.status == 429,
            Unanswered::Silent(_) | Unanswered::Useless(_) | Unanswered::Resting => true,
            Unanswered::Barred => false,
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::Refused(said) => write!(f, "it refused: {} {}", said.errcode, said.message),
            Unanswered::Silent(why) => write!(f, "it gave no answer: {why}"),
            Unanswered::Useless(why) => write!(f, "its answer does not help: {why}"),
            Unanswered::Resting => f.write_str("it could not be reached lately"),
            Unanswered::Barred => f.write_str("this server does not talk to it"),
        }
    }
}
impl std::error::Error for Unanswered {}

/// What a client is told when the server that was needed did not help.
impl From<Unanswered> for Error {
    fn from(why: Unanswered) -> Error {
        match why {
            // 401 would tell the client that its own access token is not known.
            Unanswered::Refused(said) if said.status < 500 && said.status != 401 => {
                Error::refused(said.status, known(&said.errcode), said.message)
            }
            Unanswered::Barred => Error::forbidden("this server does not talk to that one"),
            other => Error::refused(502, "M_UNKNOWN", format!("the other server: {other}")),
        }
    }
}

/// An error code of the spec, as far as clients may be told it.
fn known(errcode: &str) -> &'static str {
    const KNOWN: [&str; 11] = [
        "M_FORBIDDEN",
        "M_NOT_FOUND",
        "M_INVITE_BLOCKED",
        "M_INCOMPATIBLE_ROOM_VERSION",
        "M_UNABLE_TO_AUTHORISE_JOIN",
        "M_UNABLE_TO_GRANT_JOIN",
        "M_UNSUPPORTED_ROOM_VERSION",
        "M_LIMIT_EXCEEDED",
        "M_INVALID_PARAM",
        "M_BAD_STATE",
        "M_UNRECOGNIZED",
    ];
    KNOWN.iter().find(|known| **known == errcode).copied().unwrap_or("M_UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, errcode: &str) -> (u16, &'static str) {
        let said = Said { status, errcode: errcode.to_owned(), message: String::new() };
        match Error::from(Unanswered::Refused(said)) {
            Error::Refused(refusal) => (refusal.status, refusal.errcode),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_is_not_told_that_its_token_is_unknown_when_another_server_refuses_this_one() {
        assert_eq!(told(401, "M_UNKNOWN_TOKEN"), (502, "M_UNKNOWN"));
        assert_eq!(told(401, "M_UNAUTHORIZED"), (502, "M_UNKNOWN"));
        assert_eq!(told(403, "M_FORBIDDEN"), (403, "M_FORBIDDEN"));
    }
}
