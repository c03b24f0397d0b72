//! Glob patterns of push rules and invite rules (spec: Appendices, "Glob-style matching"; push
//! rules, `event_match`).
//!
//! A glob is run as an automaton over the text, one step per character and pattern element, so that
//! no pattern can make it slow by backtracking.

/// The longest pattern, in characters; longer ones match nothing. Bounds what one rule can cost: no
/// word or phrase that someone waits for is longer.
const PATTERN_CHARS_MAX: usize = 512;

/// A pattern, to be asked with lower-case text.
#[derive(Debug)]
pub(crate) enum Glob {
    /// Matches nothing.
    Never,
    /// The whole text is this.
    Whole(String),
    /// This is in the text, between word boundaries.
    Word(String),
    /// The elements match the whole text, or text between word boundaries.
    Elements(Vec<Element>, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// This character.
    One(char),
    /// `?`: any one character.
    Any,
    /// `*`: any characters, or none.
    Many,
}

impl Glob {
    /// A pattern with `*` and `?`, matched without regard to case. With `words` it matches any part
    /// of the text that starts and ends at a word boundary, else the whole text.
    pub(crate) fn new(pattern: &str, words: bool) -> Glob {
        let pattern = pattern.to_lowercase();
        if pattern.chars().nth(PATTERN_CHARS_MAX).is_some() {
            return Glob::Never;
        }
        if pattern.contains(['*', '?']) {
            return Glob::Elements(pattern.chars().map(Element::of).collect(), words);
        }
        if words { Glob::Word(pattern) } else { Glob::Whole(pattern) }
    }

    /// A text to find between word boundaries, in which `*` and `?` mean themselves.
    pub(super) fn literal_word(text: &str) -> Glob {
        Glob::Word(text.to_lowercase())
    }

    /// Whether the pattern matches this lower-case text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Glob::Never => false,
            Glob::Whole(pattern) => pattern == text,
            Glob::Word(pattern) => has_word(text, pattern),
            Glob::Elements(elements, words) => run(elements, text, *words),
        }
    }
}

impl Element {
    fn of(character: char) -> Element {
        match character {
            '*' => Element::Many,
            '?' => Element::Any,
            other => Element::One(other),
        }
    }

    fn takes(self, character: char) -> bool {
        self == Element::One(character) || matches!(self, Element::Any | Element::Many)
    }
}

fn is_word(character: Option<char>) -> bool {
    character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a word cannot go on from one character to the next.
fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    !(is_word(before) && is_word(after))
}

fn has_word(text: &str, pattern: &str) -> bool {
    let (Some(first), Some(last)) = (pattern.chars().next(), pattern.chars().next_back()) else {
        return text.is_empty();
    };
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(pattern)) {
        let start = from + found;
        let before = text.get(..start).and_then(|head| head.chars().next_back());
        let after = text.get(start + pattern.len()..).and_then(|tail| tail.chars().next());
        if is_boundary(before, Some(first)) && is_boundary(Some(last), after) {
            return true;
        }
        from = start + first.len_utf8();
    }
    false
}

/// Runs the automaton: state `i` is alive if the first `i` elements match what was read.
fn run(elements: &[Element], text: &str, words: bool) -> bool {
    let mut alive = vec![false; elements.len() + 1];
    let (mut before, mut rest) = (None, text.chars());
    loop {
        let next = rest.clone().next();
        let boundary = is_boundary(before, next);
        let starts = if words { boundary } else { before.is_none() };
        if let (true, Some(start)) = (starts, alive.first_mut()) {
            *start = true;
        }
        skip_many(elements, &mut alive);
        let ends = if words { boundary } else { next.is_none() };
        if ends && alive.last() == Some(&true) {
            return true;
        }
        let Some(character) = rest.next() else { return false };
        step(elements, &mut alive, character);
        before = Some(character);
    }
}

/// `*` may take nothing: what is alive before it is alive behind it.
fn skip_many(elements: &[Element], alive: &mut [bool]) {
    let mut carried = false;
    for (at, state) in alive.iter_mut().enumerate() {
        *state |= carried;
        carried = *state && elements.get(at) == Some(&Element::Many);
    }
}

/// Reads one character: an element that takes it hands its life on, and `*` keeps it too.
fn step(elements: &[Element], alive: &mut [bool], character: char) {
    let mut handed = false;
    for (at, state) in alive.iter_mut().enumerate() {
        let element = elements.get(at).copied();
        let takes = *state && element.is_some_and(|element| element.takes(character));
        let stays = *state && element == Some(Element::Many);
        *state = handed || stays;
        handed = takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_value_matches_as_the_spec_shows() {
        for (pattern, text, answer) in [
            ("lunc?*", "lunch plans", true),
            ("lunc?*", "lunch", true),
            ("lunc?*", " lunch", false),
            ("lunc?*", "lunc", false),
            ("LUNCH", "lunch", true),
            ("lunch", "lunch plans", false),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyycz", false),
            ("?", "ä", true),
        ] {
            assert_eq!(Glob::new(pattern, false).matches(text), answer, "{pattern} in {text}");
        }
    }

    #[test]
    fn words_match_between_boundaries() {
        for (pattern, text, answer) in [
            ("ex*ple", "an example event.", true),
            ("ex*ple", "exple", true),
            ("ex*ple", "an exciting triple-whammy", true),
            ("ex*ple", "anexample", false),
            ("cake", "a cake!", true),
            ("cake", "cheesecake", false),
            ("cake", "cheesecake cake", true),
            ("cake", "cakes", false),
            ("cake", "cake_", false),
            ("@room", "hi @room!", true),
            ("@room", "hi@room", true),
            ("@room", "@rooms", false),
            ("ünd", "gründ", true),
            ("", "x", false),
            ("", "", true),
            ("?ake", "the cake", true),
            ("aa", "aaa aa", true),
        ] {
            assert_eq!(Glob::new(pattern, true).matches(text), answer, "{pattern} in {text}");
        }
        assert!(Glob::literal_word("a*b").matches("an a*b here"));
        assert!(!Glob::literal_word("a*b").matches("an aab here"));
    }

    #[test]
    fn long_patterns_match_nothing_and_hostile_ones_are_quick() {
        assert!(!Glob::new(&"*".repeat(PATTERN_CHARS_MAX + 1), false).matches("a"));
        assert!(Glob::new(&"*".repeat(PATTERN_CHARS_MAX), false).matches("a"));
        let hostile = format!("{}b", "a*".repeat(200));
        assert!(!Glob::new(&hostile, true).matches(&"a ".repeat(2_000)));
    }
}
