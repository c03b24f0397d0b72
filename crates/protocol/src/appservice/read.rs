//! Reading a registration. Strict about what it knows, silent about what it does not: bridges write keys of their own.

use regex::{Regex, RegexBuilder};
use ruma::{OwnedUserId, ServerName};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Namespace, Registration};

/// A compiled expression. Bridges need some hundred bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Tokens and ids: they go into headers and keys of the store.
const TEXT_BYTES_MAX: usize = 255;

/// Reads a registration.
pub(super) fn registration(
    value: &Value,
    server_name: &ServerName,
) -> Result<Registration, Vec<String>> {
    let Some(fields) = value.as_object() else {
        return Err(vec!["the file: expected keys and values".to_owned()]);
    };
    let mut reader = Reader { problems: Vec::new() };
    let id = reader.text(fields, "id");
    let url = reader.url(fields);
    let as_token = reader.text(fields, "as_token");
    let hs_token = reader.text(fields, "hs_token");
    let sender = reader.sender(fields, server_name);
    let none = Map::new();
    let namespaces = match fields.get("namespaces").and_then(Value::as_object) {
        Some(namespaces) => namespaces,
        None => {
            reader.expected("namespaces", "users, aliases and rooms");
            &none
        }
    };
    let [users, aliases, rooms] =
        ["users", "aliases", "rooms"].map(|key| reader.namespaces(namespaces, key));
    let rate_limited = reader.flag(fields, &["rate_limited"]);
    let protocols = reader.protocols(fields);
    let ephemeral = reader.flag(
        fields,
        &["receive_ephemeral", "de.sorunome.msc2409.push_ephemeral", "push_ephemeral"],
    );
    let manages_devices = reader.flag(fields, &["device_management", "io.element.msc4190"]);
    let encryption = reader.flag(fields, &["org.matrix.msc3202"]);
    match (id, url, as_token, hs_token, sender) {
        (Some(id), Some(url), Some(as_token), Some(hs_token), Some(sender))
            if reader.problems.is_empty() =>
        {
            Ok(Registration {
                id,
                url,
                as_token: Sha256::digest(as_token.as_bytes()).into(),
                hs_token,
                sender,
                users,
                aliases,
                rooms,
                rate_limited: rate_limited.unwrap_or(true),
                protocols,
                ephemeral: ephemeral.unwrap_or_default(),
                manages_devices: manages_devices.unwrap_or_default(),
                encryption: encryption.unwrap_or_default(),
            })
        }
        _ => Err(reader.problems),
    }
}

struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn expected(&mut self, key: &str, what: &str) {
        self.problems.push(format!("{key}: expected {what}"));
    }

    fn text(&mut self, fields: &Map<String, Value>, key: &str) -> Option<String> {
        let good = |text: &&str| {
            (1..=TEXT_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let text = fields.get(key).and_then(Value::as_str).filter(good);
        if text.is_none() {
            self.expected(key, "a text of 1 to 255 plain characters");
        }
        text.map(str::to_owned)
    }

    /// `None`: a mistake. `Some(None)`: none is wanted.
    fn url(&mut self, fields: &Map<String, Value>) -> Option<Option<Url>> {
        let given = fields.get("url");
        if given.is_some_and(|url| url.is_null() || url.as_str() == Some("")) {
            return Some(None);
        }
        let url = given.and_then(Value::as_str).and_then(|text| {
            let url = Url::parse(text.trim_end_matches('/')).ok()?;
            let good = matches!(url.scheme(), "http" | "https") && url.has_host();
            (good && url.query().is_none() && url.fragment().is_none()).then_some(url)
        });
        if url.is_none() {
            self.expected("url", "an http or https address, or null");
        }
        url.map(Some)
    }

    fn sender(
        &mut self,
        fields: &Map<String, Value>,
        server_name: &ServerName,
    ) -> Option<OwnedUserId> {
        let localpart = self.text(fields, "sender_localpart")?;
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._=-/+".contains(c);
        let id = OwnedUserId::try_from(format!("@{localpart}:{server_name}")).ok();
        let id = id.filter(|_| localpart.chars().all(allowed));
        if id.is_none() {
            self.expected("sender_localpart", "the part of a user id between @ and colon");
        }
        id
    }

    fn flag(&mut self, fields: &Map<String, Value>, names: &[&str]) -> Option<bool> {
        let (name, value) = names.iter().find_map(|name| Some((name, fields.get(*name)?)))?;
        if value.is_null() {
            return None;
        }
        let flag = value.as_bool();
        if flag.is_none() {
            self.expected(name, "true or false");
        }
        flag
    }

    fn protocols(&mut self, fields: &Map<String, Value>) -> Vec<String> {
        let Some(value) = fields.get("protocols").filter(|value| !value.is_null()) else {
            return Vec::new();
        };
        let names = value.as_array().and_then(|all| {
            all.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        if names.is_none() {
            self.expected("protocols", "a list of texts");
        }
        names.unwrap_or_default()
    }

    fn namespaces(&mut self, fields: &Map<String, Value>, key: &str) -> Vec<Namespace> {
        let Some(value) = fields.get(key).filter(|value| !value.is_null()) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            self.expected(&format!("namespaces.{key}"), "a list");
            return Vec::new();
        };
        let named = list.iter().enumerate();
        named
            .filter_map(|(n, one)| self.namespace(&format!("namespaces.{key}[{n}]"), one))
            .collect()
    }

    fn namespace(&mut self, place: &str, value: &Value) -> Option<Namespace> {
        let Some(fields) = value.as_object() else {
            self.expected(place, "exclusive and regex");
            return None;
        };
        let exclusive = match fields.get("exclusive") {
            None | Some(Value::Null) => Some(false),
            Some(value) => value.as_bool(),
        };
        if exclusive.is_none() {
            self.expected(&format!("{place}.exclusive"), "true or false");
        }
        let Some(text) = fields.get("regex").and_then(Value::as_str) else {
            self.expected(&format!("{place}.regex"), "a regular expression");
            return None;
        };
        match compile(text) {
            Ok(regex) => Some(Namespace { exclusive: exclusive?, regex }),
            Err(why) => {
                self.problems.push(format!("{place}.regex: {why}"));
                None
            }
        }
    }
}

/// Bridges are written for servers that match from the beginning of a name and not to its end.
fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})")).size_limit(REGEX_BYTES_MAX).build().map_err(
        |error| {
            let lines = error.to_string();
            lines.lines().last().unwrap_or("no regular expression").trim().to_owned()
        },
    )
}
