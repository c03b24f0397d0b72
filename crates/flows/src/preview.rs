//! What stands behind a link (spec: Client-Server API, `GET /media/preview_url`): fetched by the server, so that a
//! sender does not learn who reads, and told as OpenGraph.
//!
//! The URL was written by anyone: it is fetched only from addresses that `egress` lets the public name, in little time
//! and with little of it read. What a page says is text for people, cut short; its picture becomes media of this server.

mod embed;
mod page;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base::{Error, Reply, User};
use bytes::{Bytes, BytesMut};
use egress::{Egress, Failure, Opened, Trust};
use futures_util::stream;
use http::{HeaderValue, Method, header};
use media::{About, Library};
use quick_cache::{Weighter, sync::Cache};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use self::page::Page;

/// For a page, its embedding and its picture, each.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a page that are read: what it says of itself stands at its beginning.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// Bytes of an embedding.
const EMBED_BYTES_MAX: usize = 128 << 10;
/// Bytes of a picture.
const PICTURE_BYTES_MAX: usize = 10 << 20;
/// A link shortener, `www`, `https`, and two more.
const REDIRECTS_MAX: u8 = 5;
/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(3_600);
/// Answers kept in memory.
const CACHE_BYTES: u64 = 4 << 20;
/// Pages fetched at once.
const AT_ONCE: usize = 16;
/// Bytes of a URL; browsers take no longer ones.
const URL_BYTES_MAX: usize = 4_096;

/// Makes previews. Cheap to clone.
#[derive(Clone)]
pub struct Previews {
    egress: Egress,
    media: Library,
    /// In the `mxc://` addresses of pictures.
    server_name: Arc<str>,
    cache: Arc<Cache<String, Kept, Bytewise>>,
    turns: Arc<Semaphore>,
}

#[derive(Clone)]
struct Kept {
    at: Instant,
    body: Arc<str>,
}

#[derive(Clone)]
struct Bytewise;
impl Weighter<String, Kept> for Bytewise {
    fn weight(&self, url: &String, kept: &Kept) -> u64 {
        (url.len() + kept.body.len() + 128) as u64
    }
}

impl Previews {
    /// Previews fetched through `egress`, with pictures in `media` of this server.
    #[must_use]
    pub fn new(egress: Egress, media: Library, server_name: &str) -> Previews {
        let cache = Arc::new(Cache::with_weighter(1_024, CACHE_BYTES, Bytewise));
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Previews { egress, media, server_name: server_name.into(), cache, turns }
    }

    /// The preview of a URL, a JSON object text. `user` is who asks, and whose upload a picture is; `language` is what
    /// the page is asked for in. An answer younger than an hour is given again, and who asks for what somebody is
    /// fetching waits for that.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for what is no web address, 403 `M_FORBIDDEN` for an address that may not be asked, 502
    /// `M_UNKNOWN` if nothing comes back.
    pub async fn preview(&self, user: User, url: &str, language: Option<&str>) -> Reply<Arc<str>> {
        let url = web_address(url)?;
        let key = format!("{} {url}", language.unwrap_or_default());
        if self.cache.get(&key).is_some_and(|kept| kept.at.elapsed() > FRESH) {
            self.cache.remove(&key);
        }
        let made = async {
            let _turn = self.turns.acquire().await.map_err(|_| Error::fault("closed"))?;
            let said = self.look(user, url, language).await?;
            let body = Value::Object(said).to_string().into();
            Ok::<_, Error>(Kept { at: Instant::now(), body })
        };
        Ok(self.cache.get_or_insert_async(&key, made).await?.body)
    }

    async fn look(
        &self,
        user: User,
        url: Url,
        language: Option<&str>,
    ) -> Reply<Map<String, Value>> {
        let opened = self.open(url, language, "text/html, image/*;q=0.9, */*;q=0.5").await;
        let mut opened = opened.map_err(refused)?;
        if !opened.status.is_success() {
            return Err(unreachable(&format!("the page answered {}", opened.status)));
        }
        let kind = content_type(&opened);
        let place = opened.url.clone();
        if kind.starts_with("image/") {
            let bytes = whole(opened, PICTURE_BYTES_MAX).await.map_err(refused)?;
            let mut said = Map::new();
            said.insert("og:title".to_owned(), last_segment(&place).into());
            self.keep_picture(user, &kind, bytes, &mut said).await?;
            return Ok(said);
        }
        if !matches!(essence(&kind), "text/html" | "application/xhtml+xml") {
            let title = last_segment(&place);
            return Ok([("og:title".to_owned(), title.into())].into_iter().collect());
        }
        let bytes = beginning(&mut opened, PAGE_BYTES_MAX).await.map_err(refused)?;
        let page = Page::read(&page::decode(&bytes, &kind));
        let mut said = page.graph();
        if let Some(embed) = page.embed(&place) {
            self.embedded(embed, language, &mut said).await;
        }
        self.picture(user, &place, &mut said).await?;
        Ok(said)
    }

    /// Adds what an oEmbed description says where the page itself says nothing. One that does not come is none.
    async fn embedded(&self, url: Url, language: Option<&str>, said: &mut Map<String, Value>) {
        let Ok(opened) = self.open(url, language, "application/json").await else { return };
        if !opened.status.is_success() {
            return;
        }
        if let Ok(bytes) = whole(opened, EMBED_BYTES_MAX).await {
            embed::add(&bytes, said);
        }
    }

    /// Replaces the address of the page's picture by media of ours, or drops it.
    async fn picture(&self, user: User, base: &Url, said: &mut Map<String, Value>) -> Reply<()> {
        let named = said.remove("og:image");
        let address = named.as_ref().and_then(Value::as_str).and_then(|text| base.join(text).ok());
        let Some(address) = address else { return Ok(()) };
        let Ok(opened) = self.open(address, None, "image/*").await else { return Ok(()) };
        let kind = content_type(&opened);
        if !opened.status.is_success() || !kind.starts_with("image/") {
            return Ok(());
        }
        match whole(opened, PICTURE_BYTES_MAX).await {
            Ok(bytes) => self.keep_picture(user, &kind, bytes, said).await,
            Err(_) => Ok(()),
        }
    }

    async fn keep_picture(
        &self,
        user: User,
        kind: &str,
        bytes: Bytes,
        said: &mut Map<String, Value>,
    ) -> Reply<()> {
        let size = bytes.len();
        if size == 0 {
            return Ok(());
        }
        let about = About::new(Some(kind), None)?;
        let chunks = stream::iter([Ok(bytes)]);
        let id = self.media.upload(user, about, chunks, PICTURE_BYTES_MAX as u64).await?;
        said.insert("og:image".to_owned(), format!("mxc://{}/{id}", self.server_name).into());
        said.insert("matrix:image:size".to_owned(), size.into());
        said.insert("og:image:type".to_owned(), essence(kind).into());
        Ok(())
    }

    async fn open(
        &self,
        url: Url,
        language: Option<&str>,
        accept: &'static str,
    ) -> Result<Opened, Failure> {
        let mut request = egress::Request::new(Method::GET, url, Trust::Public);
        request.timeout = FETCH_TIME_MAX;
        // What is read ends earlier, piece by piece.
        request.body_max = PICTURE_BYTES_MAX;
        request.redirects = REDIRECTS_MAX;
        request.headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(language) = language.and_then(|text| HeaderValue::from_str(text).ok()) {
            request.headers.insert(header::ACCEPT_LANGUAGE, language);
        }
        self.egress.open(request).await
    }
}

fn web_address(text: &str) -> Reply<Url> {
    let no = || Error::invalid_param("this is no address on the web");
    if text.len() > URL_BYTES_MAX {
        return Err(no());
    }
    let mut url = Url::parse(text).map_err(|_| no())?;
    // Whoever gives a password in a link does not mean us.
    let open = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !open {
        return Err(no());
    }
    url.set_fragment(None);
    Ok(url)
}

fn refused(failure: Failure) -> Error {
    match failure {
        Failure::RefusedAddress(_) => Error::forbidden("this address is not looked at"),
        Failure::Url(_) => Error::invalid_param("this is no address on the web"),
        failure => unreachable(&failure.to_string()),
    }
}

fn unreachable(why: &str) -> Error {
    Error::refused(502, "M_UNKNOWN", format!("there is no preview: {why}"))
}

fn content_type(opened: &Opened) -> String {
    let value = opened.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or("application/octet-stream").trim().to_ascii_lowercase()
}

/// A media type without its parameters.
fn essence(kind: &str) -> &str {
    kind.split(';').next().unwrap_or_default().trim()
}

/// What a page without a title is called: the end of its path, or its host.
fn last_segment(url: &Url) -> String {
    let last = url.path_segments().and_then(|mut parts| parts.next_back());
    let last = last.filter(|last| !last.is_empty()).or_else(|| url.host_str());
    page::shorten(last.unwrap_or_default(), page::TITLE_CHARS_MAX)
}

/// The whole body, if it is no longer than that.
async fn whole(mut opened: Opened, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(piece) = opened.chunk().await? {
        if body.len() + piece.len() > bytes_max {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// The beginning of a body; the rest is not fetched.
async fn beginning(opened: &mut Opened, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while body.len() < bytes_max {
        let Some(piece) = opened.chunk().await? else { break };
        body.extend_from_slice(&piece);
    }
    body.truncate(bytes_max);
    Ok(body.freeze())
}
