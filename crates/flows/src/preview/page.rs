//! What a page says of itself: OpenGraph and other `meta`, its title, its first words, where its oEmbed is.

use std::cell::RefCell;

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};
use serde_json::{Map, Value};
use url::Url;

/// Characters of a title.
pub(super) const TITLE_CHARS_MAX: usize = 200;
/// Characters of a description.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 500;
/// Characters of any other property.
const PROPERTY_CHARS_MAX: usize = 1_000;
/// Properties of one page.
const PROPERTIES_MAX: usize = 64;
/// Bytes at the beginning of a page in which it may say how it is written (HTML standard: 1,024).
const PRESCAN_BYTES: usize = 1_024;

/// A page, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    /// `og:…` and `article:…`, the first of each name.
    properties: Map<String, Value>,
    title: String,
    /// `<meta name=description>`.
    description: Option<String>,
    /// The first words of its body.
    pub(super) text: String,
    /// A picture that `<link rel=image_src>` or `<meta name=twitter:image>` names.
    picture: Option<String>,
    embed: Option<String>,
}

impl Page {
    /// Reads as much of a page as there is.
    pub(super) fn read(html: &str) -> Page {
        let reader = Tokenizer::new(Reader::default(), TokenizerOpts::default());
        let input = BufferQueue::default();
        input.push_back(StrTendril::from(html));
        let _result = reader.feed(&input);
        reader.end();
        reader.sink.0.into_inner().page
    }

    /// As OpenGraph; `og:image` is still the address of a picture.
    pub(super) fn graph(&self) -> Map<String, Value> {
        let mut said = self.properties.clone();
        // Size and type are told of the copy that we keep.
        said.retain(|key, _| !key.starts_with("og:image:") && key != "og:image:url");
        let mut put = |key: &str, value: String| {
            if !said.contains_key(key) && !value.is_empty() {
                said.insert(key.to_owned(), value.into());
            }
        };
        put("og:title", shorten(&self.title, TITLE_CHARS_MAX));
        let words = self.description.as_ref().unwrap_or(&self.text);
        put("og:description", shorten(words, DESCRIPTION_CHARS_MAX));
        put("og:image", self.picture.clone().unwrap_or_default());
        said
    }

    /// Where an oEmbed description of it is.
    pub(super) fn embed(&self, base: &Url) -> Option<Url> {
        base.join(self.embed.as_ref()?).ok()
    }
}

#[derive(Default)]
struct Reader(RefCell<State>);

#[derive(Default)]
struct State {
    page: Page,
    in_title: bool,
    /// Depth of elements whose text is not for reading.
    hidden: usize,
    in_body: bool,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => state.tag(&tag),
            Token::CharacterTokens(text) => {
                state.text(&text);
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

impl State {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let starts = tag.kind == TagKind::StartTag;
        match &*tag.name {
            "title" => {
                self.in_title = starts && self.page.title.is_empty();
                if starts {
                    return TokenSinkResult::RawData(RawKind::Rcdata);
                }
            }
            "script" | "style" | "noscript" | "template" => {
                self.hidden = if starts { self.hidden + 1 } else { self.hidden.saturating_sub(1) };
                match &*tag.name {
                    "script" if starts => return TokenSinkResult::RawData(RawKind::ScriptData),
                    "style" if starts => return TokenSinkResult::RawData(RawKind::Rawtext),
                    _ => {}
                }
            }
            "meta" if starts => self.meta(tag),
            "link" if starts => self.link(tag),
            "body" | "p" | "blockquote" | "h1" if starts => self.in_body = true,
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn text(&mut self, text: &str) {
        if self.in_title {
            append(&mut self.page.title, text, TITLE_CHARS_MAX * 4);
        } else if self.in_body && self.hidden == 0 {
            append(&mut self.page.text, text, DESCRIPTION_CHARS_MAX * 4);
        }
    }

    fn meta(&mut self, tag: &Tag) {
        let Some(content) = attribute(tag, "content").filter(|text| !text.trim().is_empty()) else {
            return;
        };
        let name = attribute(tag, "property").or_else(|| attribute(tag, "name"));
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let page = &mut self.page;
        match name.as_str() {
            "description" => page.description = Some(content),
            "twitter:image" => page.picture = Some(content),
            name if name.starts_with("og:") || name.starts_with("article:") => {
                // `og:image:url` is another name of `og:image`; the secure one of two is as good.
                let name = if name == "og:image:url" { "og:image" } else { name };
                if page.properties.len() < PROPERTIES_MAX && !page.properties.contains_key(name) {
                    let content = shorten(&content, PROPERTY_CHARS_MAX);
                    page.properties.insert(name.to_owned(), content.into());
                }
            }
            _ => {}
        }
    }

    fn link(&mut self, tag: &Tag) {
        let Some(href) = attribute(tag, "href") else { return };
        let rel = attribute(tag, "rel").unwrap_or_default().to_ascii_lowercase();
        let kind = attribute(tag, "type").unwrap_or_default().to_ascii_lowercase();
        if rel == "image_src" && self.page.picture.is_none() {
            self.page.picture = Some(href);
        } else if rel.split_whitespace().any(|rel| rel == "alternate")
            && kind == "application/json+oembed"
        {
            self.page.embed.get_or_insert(href);
        }
    }
}

fn attribute(tag: &Tag, name: &str) -> Option<String> {
    tag.attrs.iter().find(|attr| &*attr.name.local == name).map(|attr| attr.value.to_string())
}

/// Adds words, with one space between, as long as there is room.
fn append(to: &mut String, text: &str, bytes_max: usize) {
    for word in text.split_whitespace() {
        if to.len() + word.len() > bytes_max {
            return;
        }
        if !to.is_empty() {
            to.push(' ');
        }
        to.push_str(word);
    }
}

/// The beginning of a text, cut at a character.
pub(super) fn shorten(text: &str, chars_max: usize) -> String {
    let text = text.trim();
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

/// The text of a page, by its byte order mark, its `Content-Type`, or what it says itself.
pub(super) fn decode(bytes: &[u8], content_type: &str) -> String {
    let declared = content_type.split_once("charset=").map(|(_, rest)| rest);
    let start = bytes.get(..bytes.len().min(PRESCAN_BYTES)).unwrap_or_default();
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let own = start.split_once("charset=").map(|(_, rest)| rest.to_owned());
    let label = |text: &str| -> Option<&'static encoding_rs::Encoding> {
        let text = text.trim_start_matches(['"', '\'', ' ']);
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c));
        encoding_rs::Encoding::for_label(text.get(..end.unwrap_or(text.len()))?.as_bytes())
    };
    let encoding = declared.and_then(label).or_else(|| label(own.as_deref()?));
    encoding.unwrap_or(encoding_rs::UTF_8).decode(bytes).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_speaks_opengraph() {
        let page = Page::read(
            r#"<html><head><title>Tab</title><meta property="og:title" content="A &amp; B">
            <meta property="og:title" content="second"><meta property="og:image:width" content="9">
            <meta property="og:image" content="/a.png"><meta name="description" content="About"></head></html>"#,
        );
        let said = page.graph();
        assert_eq!(said["og:title"], "A & B");
        assert_eq!(said["og:description"], "About");
        assert_eq!(said["og:image"], "/a.png");
        assert!(!said.contains_key("og:image:width"));
    }

    #[test]
    fn a_page_without_opengraph_is_told_by_title_and_first_words() {
        let page = Page::read(
            "<title> A\n title </title><style>p{}</style><script>var x = '<p>no</p>';</script>
            <body><p>First <b>words</b>.</p><noscript>hidden</noscript></body>",
        );
        let said = page.graph();
        assert_eq!(said["og:title"], "A title");
        assert_eq!(said["og:description"], "First words .");
    }

    #[test]
    fn an_embedding_is_found_beside_the_page() {
        let html = r#"<link rel="alternate" type="application/json+oembed" href="/oembed?x=1">"#;
        let base = Url::parse("https://example.org/a/b").unwrap();
        let found = Page::read(html).embed(&base).unwrap();
        assert_eq!(found.as_str(), "https://example.org/oembed?x=1");
    }

    #[test]
    fn what_a_page_says_is_cut_short() {
        let long = "x".repeat(5_000);
        let html =
            format!("<title>{long}</title><meta property='og:x' content='{long}'><p>{long} {long}");
        let said = Page::read(&html).graph();
        assert!(said.values().all(|v| v.as_str().is_some_and(|v| v.chars().count() <= 1_001)));
        let many: String =
            (0..500).map(|n| format!("<meta property='og:{n}' content='x'>")).collect();
        assert!(Page::read(&many).graph().len() <= PROPERTIES_MAX);
    }

    #[test]
    fn a_page_is_read_as_it_is_written() {
        let latin = b"<meta charset=iso-8859-1><title>caf\xe9</title>";
        assert_eq!(Page::read(&decode(latin, "text/html")).title, "café");
        let declared = b"<title>caf\xe9</title>";
        assert_eq!(Page::read(&decode(declared, "text/html; charset=\"latin1\"")).title, "café");
        assert_eq!(
            Page::read(&decode("<title>東京</title>".as_bytes(), "text/html")).title,
            "東京"
        );
    }

    #[test]
    fn no_page_is_too_odd() {
        for html in ["", "<", "<title>", "<meta", "<script>", "\0\0<p", "<!--", "<title><title>"] {
            let _any = Page::read(html).graph();
        }
    }
}
