//! oEmbed 1.0: what a provider says of a page, as JSON.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::page::{DESCRIPTION_CHARS_MAX, Page, TITLE_CHARS_MAX, shorten};

#[derive(Deserialize)]
struct Embed {
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    author_name: Option<String>,
    provider_name: Option<String>,
    thumbnail_url: Option<String>,
    /// Of a photo: the picture itself.
    url: Option<String>,
    html: Option<String>,
}

/// Adds what the description says and `said` does not have.
pub(super) fn add(json: &[u8], said: &mut Map<String, Value>) {
    let Ok(embed) = serde_json::from_slice::<Embed>(json) else { return };
    let mut put = |key: &str, value: Option<String>, chars_max| {
        if let Some(value) = value.filter(|value| !value.trim().is_empty())
            && !said.contains_key(key)
        {
            said.insert(key.to_owned(), shorten(&value, chars_max).into());
        }
    };
    put("og:title", embed.title.or(embed.author_name), TITLE_CHARS_MAX);
    put("og:site_name", embed.provider_name, TITLE_CHARS_MAX);
    let photo = (embed.kind.as_deref() == Some("photo")).then_some(embed.url).flatten();
    put("og:image", photo.or(embed.thumbnail_url), super::URL_BYTES_MAX);
    // Only its words: what runs in it is nobody's here.
    let words = embed.html.map(|html| Page::read(&html).text);
    put("og:description", words, DESCRIPTION_CHARS_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_fills_what_is_missing_and_overrides_nothing() {
        let mut said = Map::new();
        said.insert("og:title".to_owned(), "The page's own".into());
        let json = br#"{"type":"rich","title":"other","provider_name":"Tube","thumbnail_url":"https://x/t.png",
            "html":"<blockquote><p>Some <b>words</b></p></blockquote><script>evil()</script>"}"#;
        add(json, &mut said);
        assert_eq!(said["og:title"], "The page's own");
        assert_eq!(said["og:site_name"], "Tube");
        assert_eq!(said["og:image"], "https://x/t.png");
        assert_eq!(said["og:description"], "Some words");
    }

    #[test]
    fn a_photo_is_its_own_picture_and_rubbish_is_nothing() {
        let mut said = Map::new();
        add(
            br#"{"type":"photo","url":"https://x/p.png","thumbnail_url":"https://x/t.png"}"#,
            &mut said,
        );
        assert_eq!(said["og:image"], "https://x/p.png");
        add(b"<html>", &mut said);
        assert_eq!(said.len(), 1);
    }
}
