//! Tokens: a position on the log, and (in `/sync`) positions among what lives in memory only or is told in portions.
//!
//! One form serves `/sync`, `/messages`, `/context` and `/relations`, because the spec lets clients carry tokens
//! between them: `s123` means "between position 123 and 124". Further numbers follow behind underscores; those at the
//! end that are 0 are left out.

use std::fmt;

use base::{Epoch, Error, Reply, Seq};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// The last log position that is behind the client.
    pub seq: Seq,
    /// The last typing position that is behind the client.
    pub typing: Epoch,
    /// The last presence position that is behind the client.
    pub presence: Epoch,
    /// The last place in the device's inbox that is behind the client, if more waited than one answer holds; otherwise 0,
    /// and `seq` counts.
    pub inbox: Seq,
    /// The same for sticky events.
    pub sticky: Seq,
}

/// Numbers in a token.
const NUMBERS: usize = 5;

impl Token {
    /// Parts a token from what sliding sync writes behind it to know its connection by (MSC4186: a `pos` is a token of
    /// `/messages` and `/relations`, too).
    pub const POS_MARK: char = '~';

    /// A token of a log position only.
    pub fn at(seq: Seq) -> Token {
        Token { seq, ..Token::default() }
    }

    /// Up to where the client has its inbox.
    pub fn inbox(&self) -> Seq {
        if self.inbox == Seq::ZERO { self.seq } else { self.inbox.min(self.seq) }
    }

    /// Up to where the client has sticky events.
    pub fn sticky(&self) -> Seq {
        if self.sticky == Seq::ZERO { self.seq } else { self.sticky.min(self.seq) }
    }

    /// Reads a token; anything else is 400 `M_INVALID_PARAM`.
    pub fn parse(text: &str) -> Reply<Token> {
        let bad = || Error::invalid_param("not a token of this server");
        let text = text.split_once(Self::POS_MARK).map_or(text, |(token, _)| token);
        let rest = text.strip_prefix('s').ok_or_else(bad)?;
        let mut numbers = [0; NUMBERS];
        let mut places = numbers.iter_mut();
        for part in rest.split('_') {
            *places.next().ok_or_else(bad)? = part.parse().map_err(|_| bad())?;
        }
        let [seq, typing, presence, inbox, sticky] = numbers;
        let token = Token {
            seq: Seq(seq),
            typing: Epoch(typing),
            presence: Epoch(presence),
            inbox: Seq(inbox),
            sticky: Seq(sticky),
        };
        // Only what we write: no signs, no leading zeros.
        if token.to_string() == text { Ok(token) } else { Err(bad()) }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.seq)?;
        let behind = [self.typing.0, self.presence.0, self.inbox.0, self.sticky.0];
        let used = behind.iter().rposition(|n| *n != 0).map_or(0, |last| last + 1);
        behind.iter().take(used).try_for_each(|n| write!(f, "_{n}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_nothing_else_does() {
        let at = Token::at(Seq(7));
        for token in [
            Token::at(Seq(0)),
            at,
            Token { typing: Epoch(3), ..at },
            Token { presence: Epoch(3), ..at },
            Token { inbox: Seq(5), ..at },
            Token { typing: Epoch(1), presence: Epoch(2), inbox: Seq(3), sticky: Seq(4), ..at },
        ] {
            assert_eq!(Token::parse(&token.to_string()).unwrap(), token);
        }
        for bad in [
            "",
            "s",
            "7",
            "s-1",
            "s+1",
            "s01",
            "s1_",
            "s1_0",
            "s1_2_0",
            "s1_2_3_4_5_6",
            "t1",
            "s99999999999999999999",
        ] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_told_in_portions_is_behind_up_to_its_own_place() {
        let whole = Token::at(Seq(7));
        assert_eq!((whole.inbox(), whole.sticky()), (Seq(7), Seq(7)));
        let portion = Token { inbox: Seq(5), sticky: Seq(6), ..whole };
        assert_eq!((portion.inbox(), portion.sticky()), (Seq(5), Seq(6)));
    }
}
