//! What an answer, or the lack of one, means for a person who runs a server.

use std::time::{Duration, SystemTime};

use egress::{Answer, Failure};
use flows::peers::discovery::{Step, Way};
use protocol::{SigningKey, server_keys::Published};
use ruma::ServerName;
use serde::Deserialize;

use super::finding::{Finding, note, well, wrong};

/// Clocks that differ by less are alike: the answer was on its way, and `Date` has whole seconds.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
/// Keys that end sooner are told.
const KEYS_END_SOON_MS: u64 = 3_600_000;
/// What is told of a page that is no answer of a Matrix server, characters.
const SAID_CHARS_MAX: usize = 200;

/// How it was found.
pub(super) fn way(way: &Way) -> Vec<Finding> {
    let mut findings: Vec<Finding> = way.steps.iter().map(step).collect();
    let at: Vec<String> = way.at.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    findings.push(well(format!(
        "so the way is to {}, with a certificate for {}",
        at.join(", then "),
        host(&way.authority)
    )));
    findings
}

/// An authority without its port.
fn host(authority: &str) -> &str {
    <&ServerName>::try_from(authority).map_or(authority, ServerName::host)
}

fn step(step: &Step) -> Finding {
    match step {
        // Most servers that do not delegate have no such page.
        Step::NotDelegated(why) if why.ends_with("404") => well(step.to_string()),
        Step::NotDelegated(_) => note(
            step.to_string(),
            "nothing, if it is not meant to delegate; else its web server has to answer there with 200, a valid \
             certificate and {\"m.server\": \"host:port\"}",
        ),
        _ => well(step.to_string()),
    }
}

/// Why nothing came back from there. `by_proxy`: the operator's proxy stands between.
pub(super) fn failure(at: &str, why: &Failure, by_proxy: bool) -> Finding {
    let fix = match why {
        Failure::Dns(_) => {
            "the name has no address, or the name servers of this machine do not answer: compare `dig NAME` here and \
             elsewhere"
        }
        Failure::Connect(_) if by_proxy => {
            "the proxy (`federation.proxy`) does not get there: see its log, and whether it allows this port"
        }
        Failure::Connect(_) => {
            "nobody listens there, or a firewall is between: the port has to be open, and forwarded to the server"
        }
        Failure::RefusedAddress(_) => {
            "the name leads to a private address, where other servers must not be: the world needs a public one; in a \
             closed network, set federation.allow_private_ips = true on every server"
        }
        Failure::Tls(text) => certificate(text),
        Failure::Timeout => {
            "something accepts and then says nothing, mostly a firewall or an overloaded server: try again, then look at \
             the other end"
        }
        Failure::TooLarge | Failure::Protocol(_) | Failure::Url(_) => {
            "what listens there does not speak HTTPS as a server should: is it the right port?"
        }
    };
    wrong(format!("{at}: {why}"), fix)
}

/// What helps against a certificate, by what rustls says of it.
fn certificate(text: &str) -> &'static str {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["notvalidforname", "not valid for name"]) {
        "the certificate is for another name: it has to name the host of the server's name, or of what .well-known \
         delegates to, never the target of an SRV record"
    } else if has(&["expired"]) {
        "the certificate has ended: renew it, and have the server read it again (Althing: SIGHUP); or the clock of this \
         machine is wrong"
    } else if has(&["notvalidyet", "not valid yet"]) {
        "the certificate does not count yet: the clock of this machine or of the one that made it is wrong"
    } else if has(&["unknownissuer", "unknown issuer", "causedasendentity", "badsignature"]) {
        "nobody whom this machine trusts has signed the certificate: the server has to send the whole chain \
         (fullchain.pem, not cert.pem); in a closed network, name your authority in federation.trusted_ca"
    } else {
        "what listens there speaks no TLS, or none that is safe: it needs TLS 1.2 or 1.3 at this port"
    }
}

/// The keys that a server shows. `own`: it is this server, and this is its key.
pub(super) fn keys(
    answer: &Answer,
    server: &ServerName,
    now_ms: u64,
    own: Option<&SigningKey>,
) -> Finding {
    if answer.status != 200 {
        return wrong(
            format!("its keys: /_matrix/key/v2/server answers {}", said(answer)),
            "a reverse proxy in front of it has to pass everything below /_matrix/ on, to a listener that serves \
             `federation`",
        );
    }
    let text = String::from_utf8_lossy(&answer.body);
    let published = match Published::read(&text, now_ms) {
        Ok(published) => published,
        Err(base::Error::Refused(why)) => {
            return wrong(
                format!("its keys: {}", why.message),
                "nobody can check what it signs: its signing key and what it publishes do not belong together, or \
                 something between changes the answer",
            );
        }
        Err(base::Error::Fault(why)) => return wrong(format!("its keys: {why}"), ""),
    };
    if published.server != *server {
        return wrong(
            format!("its keys: they are those of {}, not of {server}", published.server),
            "another server listens there: look at .well-known, SRV records, and the reverse proxy; or its \
             `server_name` is another",
        );
    }
    if published.valid_until <= now_ms {
        return wrong(
            "its keys: they are no longer valid by our clock",
            "its clock or ours is wrong, or something between keeps old answers of /_matrix/key/",
        );
    }
    if let Some(own) = own {
        let used = published.keys.get(own.key_id()).filter(|key| key.expired.is_none());
        let mine = protocol::signed::decode_key(&own.public_key());
        if used.map(|key| key.public) != mine {
            return wrong(
                format!("its keys: {} of our data_dir is not among them", own.key_id()),
                "another process or data_dir answers for this name, or the key was replaced and the server not restarted",
            );
        }
    }
    let in_use = published.keys.iter().filter(|(_, key)| key.expired.is_none());
    let ids: Vec<&str> = in_use.map(|(id, _)| id.as_str()).collect();
    let left = published.valid_until - now_ms;
    let what = format!("its keys: {}, signed by itself, valid for {}", ids.join(", "), span(left));
    match left < KEYS_END_SOON_MS {
        true => {
            note(what, "they are read again every time they end; others publish theirs for a day")
        }
        false => well(what),
    }
}

fn span(ms: u64) -> String {
    match ms / 60_000 {
        minutes @ 0..120 => format!("{minutes} minutes"),
        minutes @ 120..2_880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1_440),
    }
}

/// Whether its clock and ours agree, by the `Date` of an answer.
pub(super) fn clock(answer: &Answer, now: SystemTime) -> Finding {
    let date = answer.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return note("its clock: the answer has no date to compare with", "");
    };
    let (apart, word) = match there.duration_since(now) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart < CLOCKS_DIFFER {
        return well("its clock: as ours");
    }
    wrong(
        format!("its clock is {} s {word} ours", apart.as_secs()),
        "one of the two is wrong: keys and certificates seem to have ended, and messages come in the wrong order; set the \
         time of both machines by NTP",
    )
}

/// What a server makes of a request that we signed, for an alias that is not there.
pub(super) fn signed(answer: &Answer, own: &ServerName) -> Finding {
    let errcode = errcode(answer);
    let what = format!("our signature: a signed request is answered {}", said(answer));
    match answer.status.as_u16() {
        200 => well("our signature: it accepts it"),
        404 if errcode == "M_NOT_FOUND" => well("our signature: it accepts it"),
        401 => wrong(
            what,
            format!(
                "it could not check it: it has to reach us to read our keys, so run `althing doctor federation {own}` \
                 next; if that is well, its clock is wrong, it still has a key that we had before, or something between \
                 changes the Authorization header"
            ),
        ),
        403 => wrong(
            what,
            "it does not talk to us: ask its operator whether their lists of servers leave this one out",
        ),
        429 => note(what, "it wants fewer requests: try again later"),
        _ if errcode.is_empty() => wrong(
            what,
            "that is no answer of a Matrix server: what stands in front of it has to pass everything below /_matrix/ on, \
             and the server behind has to run",
        ),
        _ => wrong(what, "the fault is at the other end: see its log"),
    }
}

/// Name and version of the software, if it tells.
pub(super) fn version(answer: &Answer) -> Option<Finding> {
    #[derive(Deserialize)]
    struct About {
        server: Software,
    }
    #[derive(Deserialize)]
    struct Software {
        name: String,
        #[serde(default)]
        version: String,
    }
    let about: About = serde_json::from_slice(&answer.body).ok()?;
    let Software { name, version } = about.server;
    let text: String = format!("it runs {name} {version}").chars().take(SAID_CHARS_MAX).collect();
    Some(well(text.trim_end()))
}

fn errcode(answer: &Answer) -> String {
    #[derive(Default, Deserialize)]
    struct Refusing {
        #[serde(default)]
        errcode: String,
    }
    serde_json::from_slice::<Refusing>(&answer.body).unwrap_or_default().errcode
}

/// Status and the beginning of the body.
fn said(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let body: String = body.trim().chars().take(SAID_CHARS_MAX).collect();
    format!("{} {body}", answer.status.as_u16()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use base::UnixMs;
    use http::{HeaderMap, HeaderValue, StatusCode, header::DATE};
    use ruma::server_name;

    use super::{super::finding::Mark, *};

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
            url: "https://a.example".parse().unwrap(),
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate([seed; 32], "k").unwrap()
    }

    const NOW: UnixMs = UnixMs(1_000_000_000);
    const DAY_MS: u64 = 86_400_000;

    fn shown(name: &ServerName, key: &SigningKey, valid_for: u64) -> Answer {
        let text = protocol::server_keys::publish(name, key, &[], NOW.0 + valid_for).unwrap();
        answer(200, &text)
    }

    #[test]
    fn keys_are_well_only_if_they_are_the_servers_own_and_count_now() {
        let (a, b) = (server_name!("a.example"), server_name!("b.example"));
        let judged =
            |answer: &Answer, own: Option<SigningKey>| keys(answer, a, NOW.0, own.as_ref()).mark;
        assert_eq!(judged(&shown(a, &key(1), DAY_MS), None), Mark::Well);
        assert_eq!(judged(&shown(a, &key(1), DAY_MS), Some(key(1))), Mark::Well);
        assert_eq!(judged(&shown(a, &key(1), DAY_MS), Some(key(2))), Mark::Wrong);
        assert_eq!(judged(&shown(a, &key(1), 60_000), None), Mark::Note);
        assert_eq!(judged(&shown(a, &key(1), 0), None), Mark::Wrong);
        assert_eq!(judged(&shown(b, &key(1), DAY_MS), None), Mark::Wrong);
        let mut forged = shown(a, &key(1), DAY_MS);
        let text = String::from_utf8_lossy(&forged.body).into_owned();
        forged.body = text.replace(&key(1).public_key(), &key(2).public_key()).into();
        assert_eq!(judged(&forged, None), Mark::Wrong);
        assert_eq!(judged(&answer(404, "no such page"), None), Mark::Wrong);
    }

    #[test]
    fn clocks_that_are_apart_are_told_with_the_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let at = |time: SystemTime| {
            let mut dated = answer(200, "");
            let date = httpdate::fmt_http_date(time);
            dated.headers.insert(DATE, HeaderValue::from_str(&date).unwrap());
            clock(&dated, now)
        };
        assert_eq!(at(now + Duration::from_secs(50)).mark, Mark::Well);
        let ahead = at(now + Duration::from_secs(300));
        assert_eq!(
            (ahead.mark, ahead.what.as_str()),
            (Mark::Wrong, "its clock is 300 s ahead of ours")
        );
        assert!(at(now - Duration::from_secs(300)).what.contains("behind ours"));
        assert_eq!(clock(&answer(200, ""), now).mark, Mark::Note);
    }

    #[test]
    fn a_refusal_of_a_signed_request_says_whose_turn_it_is() {
        let own = server_name!("own.example");
        let judged = |status, body| signed(&answer(status, body), own);
        assert_eq!(judged(404, "{\"errcode\":\"M_NOT_FOUND\"}").mark, Mark::Well);
        let unknown = judged(404, "{\"errcode\":\"M_UNRECOGNIZED\"}");
        assert_eq!(unknown.mark, Mark::Wrong);
        let page = judged(404, "<html>");
        assert!(page.mark == Mark::Wrong && page.fix.contains("/_matrix/"));
        let ours = judged(401, "{\"errcode\":\"M_UNAUTHORIZED\",\"error\":\"no key\"}");
        assert!(ours.mark == Mark::Wrong && ours.fix.contains("doctor federation own.example"));
        assert!(judged(403, "{\"errcode\":\"M_FORBIDDEN\"}").fix.contains("lists of servers"));
        assert_eq!(judged(429, "{\"errcode\":\"M_LIMIT_EXCEEDED\"}").mark, Mark::Note);
    }

    #[test]
    fn each_trouble_with_a_certificate_has_a_fix_of_its_own() {
        let texts = ["certificate not valid for name \"a\"", "Expired", "UnknownIssuer", "eof"];
        let fixes: Vec<String> = texts
            .iter()
            .map(|text| failure("a:1", &Failure::Tls((*text).to_owned()), false).fix)
            .collect();
        for (n, fix) in fixes.iter().enumerate() {
            assert!(!fix.is_empty() && !fixes[n + 1..].contains(fix), "{fix}");
        }
    }
}
