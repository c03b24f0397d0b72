//! Tokens: a position on the log, and (in `/sync`) one among what lives in memory only.
//!
//! One form serves `/sync`, `/messages`, `/context` and `/relations`, because the spec lets clients carry tokens
//! between them: `s123` means "between position 123 and 124".

use std::fmt;

use base::{Epoch, Error, Reply, Seq};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// The last log position that is behind the client.
    pub seq: Seq,
    /// The last typing position that is behind the client.
    pub typing: Epoch,
}

impl Token {
    /// Parts a token from what sliding sync writes behind it to know its connection by (MSC4186: a `pos` is a token of
    /// `/messages` and `/relations`, too).
    pub const POS_MARK: char = '~';

    /// A token without a typing position.
    pub fn at(seq: Seq) -> Token {
        Token { seq, typing: Epoch(0) }
    }

    /// Reads a token; anything else is 400 `M_INVALID_PARAM`.
    pub fn parse(text: &str) -> Reply<Token> {
        let bad = || Error::invalid_param("not a token of this server");
        let text = text.split_once(Self::POS_MARK).map_or(text, |(token, _)| token);
        let rest = text.strip_prefix('s').ok_or_else(bad)?;
        let (seq, typing) = rest.split_once('_').unwrap_or((rest, "0"));
        // Only what we write: no signs, no leading zeros.
        let number = |text: &str| -> Reply<u64> {
            let n: u64 = text.parse().map_err(|_| bad())?;
            if n.to_string() == text { Ok(n) } else { Err(bad()) }
        };
        Ok(Token { seq: Seq(number(seq)?), typing: Epoch(number(typing)?) })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.typing {
            Epoch(0) => write!(f, "s{}", self.seq),
            typing => write!(f, "s{}_{typing}", self.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_nothing_else_does() {
        for token in [Token::at(Seq(0)), Token { seq: Seq(7), typing: Epoch(3) }] {
            assert_eq!(Token::parse(&token.to_string()).unwrap(), token);
        }
        for bad in
            ["", "s", "7", "s-1", "s+1", "s01", "s1_", "s1_2_3", "t1", "s99999999999999999999"]
        {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }
}
