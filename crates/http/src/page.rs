//! The few pages for people in browsers: plain HTML with a strict policy, so that nothing that is shown can do anything.

use base::{Error, Reply};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::{
    answer::{Raw, Response},
    body::Body,
};

pub(crate) use notify::letter::escape;

/// A page in the making.
pub(crate) struct Page {
    title: String,
    body: String,
    script: Option<&'static str>,
    status: StatusCode,
}

const STYLE: &str = "body{font-family:sans-serif;max-width:30em;margin:3em auto;padding:0 1em;line-height:1.5}\
                     input,button{font:inherit;padding:.4em .8em;margin:.3em 0}";

impl Page {
    pub(crate) fn new(title: &str) -> Page {
        let title = escape(title);
        Page { title, body: String::new(), script: None, status: StatusCode::OK }
    }

    /// Adds HTML: whatever others wrote has to be escaped.
    #[must_use]
    pub(crate) fn body(mut self, html: &str) -> Page {
        self.body.push_str(html);
        self
    }

    /// A script, which may speak to this server and nobody else. Fixed text only.
    #[must_use]
    pub(crate) fn script(mut self, script: &'static str) -> Page {
        self.script = Some(script);
        self
    }

    #[must_use]
    pub(crate) fn status(mut self, status: StatusCode) -> Page {
        self.status = status;
        self
    }

    /// # Errors
    /// Faults only.
    pub(crate) fn render(self) -> Reply<Raw> {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        let script_hash = self.script.map_or_else(|| "'none'".to_owned(), hash);
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {script_hash}; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(STYLE)
        );
        let script = self.script.map(|s| format!("<script>{s}</script>")).unwrap_or_default();
        let html = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style></head>\
             <body><h1>{0}</h1>{1}{script}</body></html>",
            self.title, self.body
        );
        let mut response = Response::new(Body::from(bytes::Bytes::from(html)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let policy = HeaderValue::try_from(policy).map_err(|e| Error::fault(e.to_string()))?;
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        Ok(Raw(response))
    }

    /// The page, for a browser that is led on. The place has to be one of ours.
    ///
    /// # Errors
    /// A fault if the place cannot stand in a header.
    pub(crate) fn redirect(self, to: &str) -> Reply<Raw> {
        let to = HeaderValue::try_from(to).map_err(|e| Error::fault(e.to_string()))?;
        let Raw(mut response) = self.status(StatusCode::FOUND).render()?;
        response.headers_mut().insert(header::LOCATION, to);
        Ok(Raw(response))
    }
}
