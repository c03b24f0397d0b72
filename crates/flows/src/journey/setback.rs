//! What stood in the way of a journey: of several servers that did not help, the one is told of that says most.

use base::Error;

use crate::peers::{Said, Unanswered};

/// Why one server did not help.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Another may.
    Server(Unanswered),
    /// It is over, whomever one asks.
    End(Error),
}

impl From<Unanswered> for Setback {
    fn from(why: Unanswered) -> Setback {
        match &why {
            // Every server in the room would say so.
            Unanswered::Refused(said) if said.errcode == "M_INCOMPATIBLE_ROOM_VERSION" => {
                Setback::End(why.into())
            }
            _ => Setback::Server(why),
        }
    }
}
impl From<Error> for Setback {
    fn from(error: Error) -> Setback {
        Setback::End(error)
    }
}

impl Setback {
    /// Was the server not to be reached, so that the same question may have an answer as soon as it is?
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Setback::Server(Unanswered::Silent(_) | Unanswered::Resting))
    }

    /// What came is no answer to what was asked.
    pub(crate) fn nonsense(why: impl Into<String>) -> Setback {
        Setback::Server(Unanswered::Useless(why.into()))
    }
}

/// Those that did not help.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<Unanswered>);

impl Tried {
    pub(crate) fn note(&mut self, why: Unanswered) {
        self.0.push(why);
    }

    /// The error that says most; `nobody`: there was no one to ask.
    pub(crate) fn error(self, nobody: Error) -> Error {
        let rank = |why: &Unanswered| match why {
            Unanswered::Refused(said) => refusal_rank(said),
            Unanswered::Barred => 4,
            Unanswered::Silent(_) | Unanswered::Useless(_) => 6,
            Unanswered::Resting => 7,
        };
        self.0.into_iter().min_by_key(rank).map_or(nobody, Error::from)
    }
}

/// What the room says comes first; that a server could not vouch for somebody, or knows nothing of the room, later.
fn refusal_rank(said: &Said) -> u8 {
    match (said.errcode.as_str(), said.status) {
        ("M_UNABLE_TO_AUTHORISE_JOIN" | "M_UNABLE_TO_GRANT_JOIN", _) => 1,
        ("M_NOT_FOUND" | "M_UNRECOGNIZED", _) => 3,
        (_, 403) => 0,
        (_, 400..500) => 2,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, errcode: &str) -> Unanswered {
        Unanswered::Refused(Said { status, errcode: errcode.into(), message: String::new() })
    }

    #[test]
    fn the_refusal_that_says_most_is_told() {
        let mut tried = Tried::default();
        for why in [
            Unanswered::Silent("gone".into()),
            refused(404, "M_NOT_FOUND"),
            refused(403, "M_FORBIDDEN"),
            refused(400, "M_UNABLE_TO_GRANT_JOIN"),
            refused(500, "M_UNKNOWN"),
        ] {
            tried.note(why);
        }
        let Error::Refused(no) = tried.error(Error::not_found("")) else { panic!() };
        assert_eq!((no.status, no.errcode), (403, "M_FORBIDDEN"));
        let Error::Refused(no) = Tried::default().error(Error::not_found("")) else { panic!() };
        assert_eq!((no.status, no.errcode), (404, "M_NOT_FOUND"));
    }

    #[test]
    fn a_version_that_is_not_known_here_is_the_end() {
        let no = refused(400, "M_INCOMPATIBLE_ROOM_VERSION");
        assert!(matches!(Setback::from(no), Setback::End(Error::Refused(_))));
        let no = refused(400, "M_UNABLE_TO_GRANT_JOIN");
        assert!(matches!(Setback::from(no), Setback::Server(_)));
    }
}
