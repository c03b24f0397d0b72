//! Application services: what a registration says, and what lies in its namespaces (spec: Application Service API,
//! "Registration").
//!
//! A registration is read from a tree of values; where that comes from is not known here. Access tokens are kept as
//! SHA-256 and looked up by it, so that comparing them tells nothing of what they are.

mod read;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use regex::Regex;
use ruma::{OwnedUserId, ServerName, UserId};
use url::Url;

/// One application service as its registration describes it.
pub struct Registration {
    /// Unique on this server; never changes.
    pub id: String,
    /// Where it listens, without a slash at the end; `None`: it wants no traffic.
    pub url: Option<Url>,
    /// SHA-256 of the token by which it proves itself.
    pub as_token: [u8; 32],
    /// By which this server proves itself to it. A secret.
    pub hs_token: String,
    /// Its own user.
    pub sender: OwnedUserId,
    /// Users that it cares for. Local ones only.
    pub users: Vec<Namespace>,
    /// Aliases of rooms that it cares for.
    pub aliases: Vec<Namespace>,
    /// Rooms that it cares for, by id.
    pub rooms: Vec<Namespace>,
    /// Rate limits hold for the users that it acts as. Its own user has none in any case.
    pub rate_limited: bool,
    /// The networks that it bridges to.
    pub protocols: Vec<String>,
    /// It wants typing notices, receipts and presence (`receive_ephemeral`, MSC2409).
    pub ephemeral: bool,
    /// It manages its users' devices without logging in (`device_management`, MSC4190).
    pub manages_devices: bool,
    /// It wants to-device messages and what encryption needs (`org.matrix.msc3202`, MSC4203).
    pub encryption: bool,
}

/// A part of the world that an application service cares for.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Nobody else may make things in it.
    pub exclusive: bool,
    regex: Regex,
}

impl Namespace {
    fn has(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

fn any(namespaces: &[Namespace], name: &str) -> bool {
    namespaces.iter().any(|namespace| namespace.has(name))
}

fn exclusive(namespaces: &[Namespace], name: &str) -> bool {
    namespaces.iter().any(|namespace| namespace.exclusive && namespace.has(name))
}

impl Registration {
    /// Is this its own user or, on this server, one in its namespaces? It may act as these.
    #[must_use]
    pub fn has_user(&self, id: &UserId) -> bool {
        *id == self.sender
            || (id.server_name() == self.sender.server_name() && any(&self.users, id.as_str()))
    }

    /// Is this alias in its namespaces?
    #[must_use]
    pub fn has_alias(&self, alias: &str) -> bool {
        any(&self.aliases, alias)
    }

    /// Is this room in its namespaces?
    #[must_use]
    pub fn has_room(&self, id: &str) -> bool {
        any(&self.rooms, id)
    }
}

/// Nothing secret is in it.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All application services of this server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Appservices(Arc<Inner>);

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<String, Arc<Registration>>,
    by_token: HashMap<[u8; 32], Arc<Registration>>,
}

impl Appservices {
    /// # Errors
    /// What two of them share that must be unique: `id`, `as_token`, `sender_localpart`.
    pub fn new(all: impl IntoIterator<Item = Registration>) -> Result<Appservices, String> {
        let mut inner = Inner::default();
        for registration in all {
            let registration = Arc::new(registration);
            let id = registration.id.clone();
            if inner.by_id.values().any(|other| other.sender == registration.sender) {
                return Err(format!("{id}: sender_localpart is another application service's"));
            }
            if inner.by_token.insert(registration.as_token, registration.clone()).is_some() {
                return Err(format!("{id}: as_token is another application service's"));
            }
            if inner.by_id.insert(id.clone(), registration).is_some() {
                return Err(format!("{id}: id is another application service's"));
            }
        }
        Ok(Appservices(Arc::new(inner)))
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.by_id.is_empty()
    }

    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Registration>> {
        self.0.by_id.values()
    }

    /// The one whose token has this SHA-256.
    #[must_use]
    pub fn by_token(&self, hash: &[u8; 32]) -> Option<&Arc<Registration>> {
        self.0.by_token.get(hash)
    }

    /// Does a user belong to one of them, other than `except`, alone?
    #[must_use]
    pub fn excludes_user(&self, id: &UserId, except: Option<&Registration>) -> bool {
        self.others(except).any(|other| {
            *id == other.sender
                || (id.server_name() == other.sender.server_name()
                    && exclusive(&other.users, id.as_str()))
        })
    }

    /// Does an alias belong to one of them, other than `except`, alone?
    #[must_use]
    pub fn excludes_alias(&self, alias: &str, except: Option<&Registration>) -> bool {
        self.others(except).any(|other| exclusive(&other.aliases, alias))
    }

    fn others<'a>(
        &'a self,
        except: Option<&'a Registration>,
    ) -> impl Iterator<Item = &'a Arc<Registration>> {
        self.all().filter(move |other| except.is_none_or(|except| except.id != other.id))
    }
}

impl fmt::Debug for Appservices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.by_id.keys()).finish()
    }
}

impl PartialEq for Appservices {
    fn eq(&self, other: &Appservices) -> bool {
        let names =
            |of: &Appservices| of.all().map(|r| (r.id.clone(), r.as_token)).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

/// See [`read::registration`].
///
/// # Errors
/// Every mistake, each with the key that it is at.
pub fn read(
    value: &serde_json::Value,
    server_name: &ServerName,
) -> Result<Registration, Vec<String>> {
    read::registration(value, server_name)
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};
    use serde_json::{Value, json};

    use super::*;

    fn irc() -> Value {
        json!({
            "id": "IRC Bridge", "url": "http://127.0.0.1:1234/irc/", "as_token": "as", "hs_token": "hs",
            "sender_localpart": "_irc_bot", "rate_limited": false, "protocols": ["irc"],
            "de.sorunome.msc2409.push_ephemeral": true, "io.element.msc4190": true,
            "org.matrix.msc3202": true, "com.example.other": [1],
            "namespaces": {
                "users": [{"exclusive": true, "regex": "@_irc_bridge_.*"}],
                "aliases": [{"exclusive": false, "regex": "#_irc_bridge_.*", "group_id": "+a:b"}],
                "rooms": null,
            },
        })
    }

    fn read_irc(change: impl FnOnce(&mut Value)) -> Result<Registration, Vec<String>> {
        let mut value = irc();
        change(&mut value);
        read(&value, server_name!("x.org"))
    }

    #[test]
    fn a_registration_is_read_with_the_names_of_its_time_and_ours() {
        let irc = read_irc(|_| {}).unwrap();
        assert_eq!(irc.url.unwrap().as_str(), "http://127.0.0.1:1234/irc");
        assert_eq!(irc.sender, "@_irc_bot:x.org");
        assert!(!irc.rate_limited && irc.ephemeral && irc.manages_devices && irc.encryption);
        assert_eq!(irc.protocols, ["irc"]);
        let plain = read_irc(|v| {
            let v = v.as_object_mut().unwrap();
            v.retain(|k, _| !k.contains('.') && k != "rate_limited" && k != "protocols");
            v["url"] = Value::Null;
        });
        let plain = plain.unwrap();
        assert!(plain.url.is_none() && plain.rate_limited && plain.protocols.is_empty());
        assert!(!plain.ephemeral && !plain.manages_devices && !plain.encryption);
        let now = |v: &mut Value| v["receive_ephemeral"] = true.into();
        assert!(read_irc(now).unwrap().ephemeral);
    }

    #[test]
    fn every_mistake_is_named_by_its_key() {
        let problems = read_irc(|v| {
            v["id"] = "".into();
            v["url"] = "ftp://x".into();
            v["as_token"] = 12.into();
            v.as_object_mut().unwrap().remove("hs_token");
            v["sender_localpart"] = "a:b".into();
            v["rate_limited"] = "no".into();
            v["protocols"] = json!(["a", 1]);
            v["namespaces"]["users"] = json!([{"regex": "("}, {"exclusive": 1, "regex": "a"}, 3]);
            v["namespaces"]["aliases"] = "all".into();
        });
        let problems = problems.unwrap_err();
        let keys: Vec<_> = problems.iter().map(|p| p.split(':').next().unwrap()).collect();
        let expected = [
            "id",
            "url",
            "as_token",
            "hs_token",
            "sender_localpart",
            "namespaces.users[0].regex",
            "namespaces.users[1].exclusive",
            "namespaces.users[2]",
            "namespaces.aliases",
            "rate_limited",
            "protocols",
        ];
        assert_eq!(keys, expected, "{problems:#?}");
        assert!(read(&json!([1]), server_name!("x.org")).is_err());
        assert!(read_irc(|v| v["namespaces"] = Value::Null).is_err());
        assert!(read_irc(|v| drop(v.as_object_mut().unwrap().remove("url"))).is_err());
    }

    #[test]
    fn namespaces_begin_at_the_sigil_and_users_are_local() {
        let irc = read_irc(|_| {}).unwrap();
        assert!(irc.has_user(user_id!("@_irc_bridge_a:x.org")));
        assert!(irc.has_user(user_id!("@_irc_bot:x.org")));
        assert!(!irc.has_user(user_id!("@_irc_bridge_a:y.org")));
        assert!(!irc.has_user(user_id!("@a:x.org")));
        assert!(!irc.has_alias("#a#_irc_bridge_b:x.org"), "from the beginning only");
        assert!(irc.has_alias("#_irc_bridge_b:y.org"));
    }

    #[test]
    fn what_is_exclusive_is_so_for_everybody_else() {
        let other = read_irc(|v| {
            (v["id"], v["as_token"]) = ("other".into(), "other".into());
            v["sender_localpart"] = "other".into();
            v["namespaces"]["users"] = json!([{"exclusive": false, "regex": "@.*"}]);
        });
        let all = Appservices::new([read_irc(|_| {}).unwrap(), other.unwrap()]).unwrap();
        let irc = all.all().find(|r| r.id == "IRC Bridge").unwrap();
        let ghost = user_id!("@_irc_bridge_a:x.org");
        assert!(all.excludes_user(ghost, None));
        assert!(!all.excludes_user(ghost, Some(irc)));
        assert!(all.excludes_user(&irc.sender, None));
        assert!(!all.excludes_user(user_id!("@a:x.org"), None));
        assert!(!all.excludes_alias("#_irc_bridge_b:x.org", None));
        assert_eq!(all.by_token(&irc.as_token).unwrap().id, "IRC Bridge");
        assert!(all.by_token(&[0; 32]).is_none());
        assert!(!format!("{all:?} {irc:?}").contains("hs"));
    }

    #[test]
    fn two_may_not_share_what_tells_them_apart() {
        for key in ["id", "as_token", "sender_localpart"] {
            let two = ["id", "as_token", "sender_localpart"].into_iter().filter(|k| *k != key);
            let other = read_irc(|v| two.for_each(|k| v[k] = "else".into())).unwrap();
            let no = Appservices::new([read_irc(|_| {}).unwrap(), other]).unwrap_err();
            assert!(no.contains(key), "{no}");
        }
    }
}
