//! What counts as a word, the same for what is indexed and for what is searched: letters and digits of any script,
//! without case and accents. Scripts that do not separate words are cut into characters.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Bytes of a word that count: nobody types more, and terms of an index are to stay small.
pub const WORD_BYTES_MAX: usize = 64;
/// Words of one text that count: a message has 64 KiB at most, and a book is no message.
pub const WORDS_MAX: usize = 10_000;

/// The words of a text, in order, folded.
///
/// ```
/// use search::words::words;
/// assert_eq!(words("Çà et là, Straße 12!"), ["ca", "et", "la", "strasse", "12"]);
/// assert_eq!(words("東京 x"), ["東", "京", "x"]);
/// ```
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        if found.len() >= WORDS_MAX {
            return found;
        }
        let alone = stands_alone(c);
        if !c.is_alphanumeric() || alone {
            end(&mut word, &mut found);
        }
        if alone {
            found.push(c.to_string());
        } else if c.is_alphanumeric() {
            fold(c, &mut word);
        }
    }
    end(&mut word, &mut found);
    found
}

/// Adds a letter without case; a few letters that no decomposition takes apart are spelled out.
fn fold(c: char, word: &mut String) {
    if word.len() >= WORD_BYTES_MAX {
        return;
    }
    for c in c.to_lowercase() {
        match c {
            'ß' => word.push_str("ss"),
            'æ' => word.push_str("ae"),
            'œ' => word.push_str("oe"),
            'ø' => word.push('o'),
            'ł' => word.push('l'),
            'đ' | 'ð' => word.push('d'),
            'þ' => word.push_str("th"),
            'ı' => word.push('i'),
            c => word.push(c),
        }
    }
}

fn end(word: &mut String, found: &mut Vec<String>) {
    if !word.is_empty() {
        found.push(std::mem::take(word));
    }
}

/// Kana and Han characters are words of their own; so is a syllable of Thai or Lao left to be found by letters.
fn stands_alone(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x2fa1f)
}

/// [`words`] for the index.
#[derive(Clone, Default)]
pub(crate) struct Words;

pub(crate) struct Stream {
    left: std::vec::IntoIter<String>,
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = Stream;
    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream {
        Stream { left: words(text).into_iter(), token: Token::default() }
    }
}

impl TokenStream for Stream {
    fn advance(&mut self) -> bool {
        let Some(word) = self.left.next() else { return false };
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text = word;
        true
    }
    fn token(&self) -> &Token {
        &self.token
    }
    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_accents_do_not_count() {
        assert_eq!(words("ÉCOLE école E\u{301}cole"), ["ecole", "ecole", "ecole"]);
        assert_eq!(words("Łódź Ørsted"), ["lodz", "orsted"]);
    }

    #[test]
    fn punctuation_and_space_part_words() {
        assert_eq!(words("a.b-c_d  e"), ["a", "b", "c", "d", "e"]);
        assert!(words(" … !?").is_empty());
    }

    #[test]
    fn neither_words_nor_their_number_grow_without_end() {
        assert!(words(&"x".repeat(10_000)).iter().all(|w| w.len() <= WORD_BYTES_MAX + 3));
        assert_eq!(words(&"x ".repeat(20_000)).len(), WORDS_MAX);
    }
}
