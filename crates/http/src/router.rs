//! Which endpoint a path and a method mean.

use std::{collections::HashMap, sync::Arc};

use base::{Error, Reply, limits::PEER_BODY_BYTES_MAX};
use http::Method;

use crate::{
    asked::Args,
    body, guests,
    handler::{Auth, Route, Routes, Run},
    limits::{self, Group},
    metrics::Meter,
    restraint::Openness,
};

/// An endpoint, with what follows from its path.
pub(crate) struct Endpoint {
    pub(crate) auth: Auth,
    pub(crate) run: Run,
    /// Guests may call it.
    pub(crate) guests: bool,
    /// What it is to accounts that are locked or suspended.
    pub(crate) openness: Openness,
    /// Its bucket.
    pub(crate) group: Group,
    /// Which path argument names a room; its writers queue by that.
    pub(crate) room: Option<usize>,
    /// Largest body, unless it is a stream.
    pub(crate) body_bytes_max: usize,
    /// For clients.
    pub(crate) client: bool,
    /// For other servers.
    pub(crate) federation: bool,
    pub(crate) meter: Meter,
}

/// What a path means.
pub(crate) enum Found<'a> {
    /// An endpoint and its path arguments.
    Endpoint(&'a Arc<Endpoint>, Args),
    /// The path exists, with these methods only.
    OtherMethod(&'a str),
    /// An argument is not UTF-8 when decoded.
    BadArgument,
    /// No such path.
    Nothing,
}

/// All endpoints by path.
pub(crate) struct Router {
    paths: matchit::Router<Node>,
    endpoints: Vec<Arc<Endpoint>>,
}

#[derive(Default)]
struct Node {
    /// Method, endpoint, and whether an empty last argument is to be added.
    methods: Vec<(Method, usize, bool)>,
    allow: String,
}

impl Router {
    /// # Errors
    /// A fault if two endpoints share method and path: somebody registered one twice.
    pub(crate) fn build(routes: Routes) -> Reply<Router> {
        let mut nodes: HashMap<String, Node> = HashMap::new();
        let mut endpoints = Vec::with_capacity(routes.0.len());
        for (index, route) in routes.0.into_iter().enumerate() {
            for path in &route.paths {
                place(&mut nodes, &route.method, path, index)?;
            }
            endpoints.push(Arc::new(endpoint(route)));
        }
        let mut paths = matchit::Router::new();
        for (path, mut node) in nodes {
            node.allow = allow(&node.methods);
            paths
                .insert(numbered(&path), node)
                .map_err(|error| Error::fault(format!("cannot route {path}: {error}")))?;
        }
        Ok(Router { paths, endpoints })
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(found) = self.paths.at(path) else { return Found::Nothing };
        // A GET endpoint answers HEAD too; the body is left out when it is sent.
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let of_method = found.value.methods.iter().find(|(method, ..)| method == wanted);
        let Some((_, index, empty_last)) = of_method else {
            return Found::OtherMethod(&found.value.allow);
        };
        let mut args = Args::default();
        for (_, arg) in found.params.iter() {
            if args.push(arg).is_none() {
                return Found::BadArgument;
            }
        }
        if *empty_last && args.push("").is_none() {
            return Found::BadArgument;
        }
        match self.endpoints.get(*index) {
            Some(endpoint) => Found::Endpoint(endpoint, args),
            None => Found::Nothing,
        }
    }
}

/// Where other servers find this one; it has to be wherever the web server of its name passes requests on to.
const SHARED: &str = "/.well-known/matrix/server";
/// How the paths begin that are for other servers.
const FEDERATION: [&str; 3] = ["/_matrix/federation/", "/_matrix/key/", SHARED];

fn endpoint(route: Route) -> Endpoint {
    let method = route.method.as_str();
    let erased: Vec<String> = route.paths.iter().map(|path| erased(path)).collect();
    let group = |path: &String| limits::group(method, path);
    // The newest path comes last.
    let template = route.paths.last().copied().unwrap_or_default();
    let is_federation = FEDERATION.iter().any(|prefix| template.starts_with(prefix));
    Endpoint {
        guests: erased.iter().any(|path| guests::may_call(method, path)),
        openness: Openness::of(method, &erased),
        group: erased.iter().map(group).find(|g| *g != Group::Other).unwrap_or(Group::Other),
        room: arguments(template).position(|name| matches!(name, "room_id" | "roomId")),
        body_bytes_max: match route.auth {
            Auth::Server => PEER_BODY_BYTES_MAX,
            _ => body::bytes_max(template),
        },
        client: !is_federation || template == SHARED,
        federation: is_federation,
        meter: Meter::new(route.method.clone(), template),
        auth: route.auth,
        run: route.run,
    }
}

fn place(
    nodes: &mut HashMap<String, Node>,
    method: &Method,
    path: &str,
    index: usize,
) -> Reply<()> {
    let path = erased(path);
    let mut add = |path: String, empty_last: bool| {
        let node = nodes.entry(path.clone()).or_default();
        match node.methods.iter().find(|(m, ..)| m == method) {
            Some((_, other, _)) if *other == index => Ok(()),
            Some(_) => Err(Error::fault(format!("{method} {path} is registered twice"))),
            None => {
                node.methods.push((method.clone(), index, empty_last));
                Ok(())
            }
        }
    };
    // The state key is often empty, and then so is the end of the path, with or without the slash before it.
    if let Some(without) = path.strip_suffix("/state/{}/{}") {
        add(format!("{without}/state/{{}}/"), true)?;
        add(format!("{without}/state/{{}}"), true)?;
    }
    add(path, false)
}

fn allow(methods: &[(Method, usize, bool)]) -> String {
    let mut names: Vec<&str> = methods.iter().map(|(method, ..)| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.join(", ")
}

fn arguments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// The path with its arguments as `{}`: two names for one place are one path.
fn erased(path: &str) -> String {
    let part = |part| if arguments(part).next().is_some() { "{}" } else { part };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// `/a/{}/{}` → `/a/{0}/{1}`, as the table wants it.
fn numbered(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 8);
    for (number, part) in path.split("{}").enumerate() {
        if number > 0 {
            out.push_str(&format!("{{{}}}", number - 1));
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use base::Reply;
    use store::View;

    use super::*;
    use crate::{answer::Json, asked::Asked, handler::Around, handler::Caller};

    fn nothing(_: &View, _: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Json> {
        Ok(Json("{}".into()))
    }

    fn router(routes: &[(Method, &'static str)]) -> Reply<Router> {
        let add = |all: Routes, (method, path): &(Method, &'static str)| {
            all.raw_read(method.clone(), &[*path], Auth::None, nothing)
        };
        Router::build(routes.iter().fold(Routes::default(), add))
    }

    fn args(router: &Router, method: Method, path: &str) -> Vec<String> {
        match router.find(&method, path) {
            Found::Endpoint(_, args) => (0..3).map(|n| args.at(n).to_owned()).collect(),
            _ => panic!("{path} not found"),
        }
    }

    #[test]
    fn arguments_come_decoded_and_static_parts_win() {
        let router = router(&[
            (Method::GET, "/a/{x}/b/{y}"),
            (Method::GET, "/a/{other}/c"),
            (Method::GET, "/a/static/c"),
        ])
        .unwrap();
        assert_eq!(args(&router, Method::GET, "/a/%23x%2Fy/b/2"), ["#x/y", "2", ""]);
        assert_eq!(args(&router, Method::GET, "/a/1/c"), ["1", "", ""]);
        assert_eq!(args(&router, Method::HEAD, "/a/static/c"), ["", "", ""]);
        assert!(matches!(router.find(&Method::GET, "/a/%ff/c"), Found::BadArgument));
        assert!(matches!(router.find(&Method::GET, "/a/1/c/"), Found::Nothing));
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let router = router(&[(Method::GET, "/a"), (Method::PUT, "/a")]).unwrap();
        let Found::OtherMethod(allow) = router.find(&Method::POST, "/a") else { panic!() };
        assert_eq!(allow, "GET, HEAD, OPTIONS, PUT");
    }

    #[test]
    fn a_state_key_may_be_left_out() {
        let router = router(&[
            (Method::GET, "/rooms/{room_id}/state/{event_type}/{state_key}"),
            (Method::GET, "/rooms/{room_id}/state"),
        ])
        .unwrap();
        for path in ["/rooms/r/state/t/", "/rooms/r/state/t"] {
            assert_eq!(args(&router, Method::GET, path), ["r", "t", ""]);
        }
        assert_eq!(args(&router, Method::GET, "/rooms/r/state/t/k"), ["r", "t", "k"]);
        assert_eq!(args(&router, Method::GET, "/rooms/r/state"), ["r", "", ""]);
    }

    #[test]
    fn two_endpoints_at_one_place_are_a_fault() {
        assert!(router(&[(Method::GET, "/a/{x}"), (Method::GET, "/a/{y}")]).is_err());
    }

    #[test]
    fn the_endpoints_of_the_server_fit_together() {
        Router::build(crate::client::routes()).unwrap();
    }
}
