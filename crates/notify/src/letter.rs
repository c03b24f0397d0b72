//! Letters: plain text and HTML side by side. Whatever others wrote is escaped here, and nowhere else.

use std::fmt::Write as _;

/// A letter without its address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Letter {
    /// In one line.
    pub subject: String,
    /// For programs that show no HTML.
    pub text: String,
    /// For those that do.
    pub html: String,
}

/// Characters of a subject: what lists of letters show.
const SUBJECT_CHARS_MAX: usize = 120;

/// Builds both forms at once.
pub(crate) struct Draft {
    subject: String,
    text: String,
    html: String,
}

impl Draft {
    pub(crate) fn new(subject: &str) -> Draft {
        let subject = one_line(subject, SUBJECT_CHARS_MAX);
        let html = format!(
            "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>{}</title></head>\
             <body style=\"font-family:sans-serif;max-width:40em\">",
            escape(&subject)
        );
        Draft { subject, text: String::new(), html }
    }

    pub(crate) fn paragraph(&mut self, text: &str) -> &mut Draft {
        let _ = write!(self.text, "{text}\n\n");
        let _ = write!(self.html, "<p>{}</p>", escape(text));
        self
    }

    pub(crate) fn heading(&mut self, text: &str) -> &mut Draft {
        let _ = write!(self.text, "== {text}\n\n");
        let _ = write!(self.html, "<h3>{}</h3>", escape(text));
        self
    }

    /// What somebody said.
    pub(crate) fn quote(&mut self, who: &str, what: &str) -> &mut Draft {
        let indented = what.replace('\n', "\n  ");
        let _ = write!(self.text, "{who}:\n  {indented}\n\n");
        let shown = escape(what).replace('\n', "<br>");
        let _ = write!(self.html, "<p><b>{}</b><br>{shown}</p>", escape(who));
        self
    }

    pub(crate) fn link(&mut self, what: &str, url: &str) -> &mut Draft {
        let _ = write!(self.text, "{what}:\n{url}\n\n");
        let _ = write!(self.html, "<p><a href=\"{}\">{}</a></p>", escape(url), escape(what));
        self
    }

    pub(crate) fn finish(self) -> Letter {
        let html = format!("{}</body></html>", self.html);
        Letter { subject: self.subject, text: self.text, html }
    }
}

/// Text within HTML, or within an attribute in double quotes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// At most so many characters, without line breaks.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    shortened(&text.chars().map(clean).collect::<String>(), chars_max)
}

/// At most so many characters; dots say that something is left out.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_become_html() {
        let mut draft = Draft::new("<b>\r\nBcc: x");
        let evil = "<script>alert(\"x\")</script> & 'y'";
        draft
            .quote(evil, evil)
            .heading(evil)
            .link(evil, "https://x/?a=\"><script>")
            .paragraph(evil);
        let letter = draft.finish();
        assert!(
            !letter.html.contains("<script") && !letter.html.contains("alert(\""),
            "{}",
            letter.html
        );
        assert!(letter.text.contains(evil));
        assert_eq!(letter.subject, "<b>  Bcc: x");
        assert!(letter.html.contains("<title>&lt;b&gt;"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äö", 2), "äö");
    }
}
