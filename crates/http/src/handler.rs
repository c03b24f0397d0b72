//! How endpoints are written down: plain functions in three shapes, over ruma's request types.
//!
//! Method, paths and kind of authentication come from the request type. A function that takes the wrong kind of
//! caller, or a reader that writes, does not compile. Functions are erased at registration, so that the rest of the
//! crate has no type parameters.
//!
//! ```compile_fail
//! use althing_http::{Anyone, Routes};
//! use base::Reply;
//! use ruma::api::client::account::whoami::v3::{Request, Response};
//! use store::View;
//!
//! fn open_door(_: &View, _: Anyone, _: Request) -> Reply<Response> { Err(base::Error::fault("")) }
//! // whoami wants an access token: `Anyone` cannot be its caller.
//! let _ = Routes::default().read(open_door);
//! ```
//!
//! ```
//! use althing_http::{Caller, Routes};
//! use base::Reply;
//! use ruma::api::client::account::whoami::v3::{Request, Response};
//! use store::View;
//!
//! fn whoami(_: &View, caller: Caller, _: Request) -> Reply<Response> {
//!     Ok(Response::new(caller.id, caller.guest))
//! }
//! let _ = Routes::default().read(whoami);
//! ```

use std::{future::Future, pin::Pin, sync::Arc};

use base::{Error, Reply, User};
use http::Method;
use protocol::appservice::Registration;
use ruma::{
    OwnedServerName, OwnedUserId,
    api::{
        IncomingRequest,
        auth_scheme::{
            AccessToken, AccessTokenOptional, AppserviceToken, AppserviceTokenOptional,
            NoAccessToken, NoAuthentication,
        },
        federation::authentication::ServerSignatures,
        path_builder::PathBuilder as _,
    },
};
use store::{Tx, View};

use crate::{
    answer::{Answer, Response},
    asked::Asked,
    body::Upload,
    outside::{ClientInfo, Outside, Settings},
};

/// Who calls, proven by an access token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user: User,
    /// The user's id.
    pub id: OwnedUserId,
    /// The device that the token belongs to; empty for an application service that names none.
    pub device: String,
    /// A guest account.
    pub guest: bool,
    /// May administer the server.
    pub admin: bool,
    /// SHA-256 of the access token.
    pub token: [u8; 32],
    /// The application service that acts as the user.
    pub service: Option<Arc<Registration>>,
}

impl Caller {
    /// The application service that calls.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for everyone else.
    pub fn application_service(&self) -> Reply<&Registration> {
        self.service.as_deref().ok_or_else(|| Error::forbidden("This is for application services."))
    }
}

impl Caller {
    /// The caller of a raw route that wants one.
    ///
    /// # Errors
    /// 401 `M_MISSING_TOKEN`.
    pub(crate) fn required(caller: Option<Caller>) -> Reply<Caller> {
        caller.ok_or_else(|| base::Error::refused(401, "M_MISSING_TOKEN", "missing access token"))
    }
}

/// Another server, proven by the signature of its request (spec: Server-Server API, "Request Authentication").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub server: OwnedServerName,
}

/// Who calls, as far as it was proven.
#[derive(Clone, Debug, Default)]
pub enum Proven {
    /// Nobody in particular.
    #[default]
    Nobody,
    /// A user, or an application service.
    Caller(Caller),
    /// A server.
    Server(Origin),
}

impl Proven {
    /// The user who calls.
    #[must_use]
    pub fn caller(self) -> Option<Caller> {
        match self {
            Proven::Caller(caller) => Some(caller),
            Proven::Nobody | Proven::Server(_) => None,
        }
    }

    /// The server that calls.
    #[must_use]
    pub fn server(self) -> Option<Origin> {
        match self {
            Proven::Server(origin) => Some(origin),
            Proven::Nobody | Proven::Caller(_) => None,
        }
    }
}

impl From<Option<Caller>> for Proven {
    fn from(caller: Option<Caller>) -> Proven {
        caller.map_or(Proven::Nobody, Proven::Caller)
    }
}

/// The caller of an endpoint without authentication.
#[derive(Clone, Copy, Debug)]
pub struct Anyone;

/// Does an endpoint want an access token?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// It refuses requests without a valid one.
    Required,
    /// It takes one; an invalid one is refused.
    Optional,
    /// It ignores them.
    None,
    /// It refuses requests that no server has signed.
    Server,
}

/// `Self` is what a function may take as the caller of an endpoint with ruma's authentication scheme `A`.
pub trait Who<A>: Sized + Send + 'static {
    /// What the rim has to ask for.
    const AUTH: Auth;
    /// From what was proven; `None` if that is not enough.
    fn from_proven(proven: Proven) -> Option<Self>;
}

impl Who<AccessToken> for Caller {
    const AUTH: Auth = Auth::Required;
    fn from_proven(proven: Proven) -> Option<Self> {
        proven.caller()
    }
}
/// Whether it is an application service, the endpoint asks of [`Caller::application_service`].
impl Who<AppserviceToken> for Caller {
    const AUTH: Auth = Auth::Required;
    fn from_proven(proven: Proven) -> Option<Self> {
        proven.caller()
    }
}
impl Who<AccessTokenOptional> for Option<Caller> {
    const AUTH: Auth = Auth::Optional;
    fn from_proven(proven: Proven) -> Option<Self> {
        Some(proven.caller())
    }
}
impl Who<ServerSignatures> for Origin {
    const AUTH: Auth = Auth::Server;
    fn from_proven(proven: Proven) -> Option<Self> {
        proven.server()
    }
}
macro_rules! anyone {
    ($($scheme:ty)*) => { $(
        impl Who<$scheme> for Anyone {
            const AUTH: Auth = Auth::None;
            fn from_proven(_: Proven) -> Option<Self> {
                Some(Anyone)
            }
        }
    )* }
}
anyone!(NoAuthentication NoAccessToken AppserviceTokenOptional);

/// What a function that computes may know besides the store: the settings, and from where the request came.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The settings of the server.
    pub settings: &'a Settings,
    /// Address and user agent.
    pub client: &'a ClientInfo,
}

/// A future that gives the answer.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Reply<Response>> + Send>>;

type ReadFn = dyn Fn(&View, Around<'_>, Proven, &mut Asked) -> Reply<Response> + Send + Sync;
type WriteFn = dyn Fn(&mut Tx, Around<'_>, Proven, &Asked) -> Reply<Response> + Send + Sync;
type FlowFn = dyn Fn(Outside, Proven, Asked) -> Answering + Send + Sync;
type StreamFn = dyn Fn(Outside, Option<Caller>, Asked, Upload) -> Answering + Send + Sync;

/// An endpoint's function, erased.
pub(crate) enum Run {
    Read(Box<ReadFn>),
    Write(Box<WriteFn>),
    Flow(Box<FlowFn>),
    Stream(Box<StreamFn>),
}

/// One endpoint.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) paths: Vec<&'static str>,
    pub(crate) auth: Auth,
    pub(crate) run: Run,
}

/// Endpoints, in the making.
///
/// ```text
/// Routes::default().read(whoami).write(send).flow(join)
/// ```
#[derive(Default)]
pub struct Routes(pub(crate) Vec<Route>);

impl Routes {
    /// These and those.
    #[must_use]
    pub fn and(mut self, others: Routes) -> Routes {
        self.0.extend(others.0);
        self
    }

    /// An endpoint that answers from a snapshot.
    #[must_use]
    pub fn read<C, R, A>(self, f: fn(&View, C, R) -> Reply<A>) -> Routes
    where
        R: IncomingRequest + 'static,
        C: Who<R::Authentication>,
        A: Answer<R> + 'static,
    {
        self.add::<C, R>(Run::Read(Box::new(move |view, _, caller, asked| {
            let (caller, request) = open::<C, R>(caller, asked)?;
            f(view, caller, request)?.render()
        })))
    }

    /// An endpoint that answers from a snapshot and its surroundings.
    #[must_use]
    pub fn read_with<C, R, A>(self, f: fn(&View, Around<'_>, C, R) -> Reply<A>) -> Routes
    where
        R: IncomingRequest + 'static,
        C: Who<R::Authentication>,
        A: Answer<R> + 'static,
    {
        self.add::<C, R>(Run::Read(Box::new(move |view, around, caller, asked| {
            let (caller, request) = open::<C, R>(caller, asked)?;
            f(view, around, caller, request)?.render()
        })))
    }

    /// An endpoint that is one transaction. It is run again on a conflict, so it has no other effect.
    /// Those whose path has a `{roomId}` queue in that room's lane.
    #[must_use]
    pub fn write<C, R, A>(self, f: fn(&mut Tx, C, R) -> Reply<A>) -> Routes
    where
        R: IncomingRequest + 'static,
        C: Who<R::Authentication>,
        A: Answer<R> + 'static,
    {
        self.add::<C, R>(Run::Write(Box::new(move |tx, _, caller, asked| {
            let (caller, request) = open::<C, R>(caller, &mut asked.again())?;
            f(tx, caller, request)?.render()
        })))
    }

    /// An endpoint that is one transaction and looks at more of the request than its type has.
    #[must_use]
    pub fn write_asked<C, R, A>(self, f: fn(&mut Tx, C, R, &Asked) -> Reply<A>) -> Routes
    where
        R: IncomingRequest + 'static,
        C: Who<R::Authentication>,
        A: Answer<R> + 'static,
    {
        self.add::<C, R>(Run::Write(Box::new(move |tx, _, caller, asked| {
            let (caller, request) = open::<C, R>(caller, &mut asked.again())?;
            f(tx, caller, request, asked)?.render()
        })))
    }

    /// An endpoint that is one transaction and knows its surroundings.
    #[must_use]
    pub fn write_with<C, R, A>(self, f: fn(&mut Tx, Around<'_>, C, R) -> Reply<A>) -> Routes
    where
        R: IncomingRequest + 'static,
        C: Who<R::Authentication>,
        A: Answer<R> + 'static,
    {
        self.add::<C, R>(Run::Write(Box::new(move |tx, around, caller, asked| {
            let (caller, request) = open::<C, R>(caller, &mut asked.again())?;
            f(tx, around, caller, request)?.render()
        })))
    }

    /// An endpoint that waits, takes several steps, or talks to the world.
    #[must_use]
    pub fn flow<C, R, A, F>(self, f: fn(Outside, C, R) -> F) -> Routes
    where
        R: IncomingRequest + Send + 'static,
        C: Who<R::Authentication>,
        A: Answer<R> + 'static,
        F: Future<Output = Reply<A>> + Send + 'static,
    {
        self.add::<C, R>(Run::Flow(Box::new(move |outside, caller, mut asked| {
            match open::<C, R>(caller, &mut asked) {
                Err(error) => Box::pin(std::future::ready(Err(error))),
                Ok((caller, request)) => {
                    let answer = f(outside, caller, request);
                    Box::pin(async move { answer.await?.render() })
                }
            }
        })))
    }

    /// [`Routes::read`] for what ruma has no type for. Paths are written `/_matrix/…/{name}`.
    #[must_use]
    pub fn raw_read<A: Answer<Asked> + 'static>(
        self,
        method: Method,
        paths: &[&'static str],
        auth: Auth,
        f: fn(&View, Around<'_>, Option<Caller>, Asked) -> Reply<A>,
    ) -> Routes {
        self.add_raw(
            method,
            paths,
            auth,
            Run::Read(Box::new(move |view, around, caller, asked| {
                f(view, around, caller.caller(), std::mem::take(asked))?.render()
            })),
        )
    }

    /// [`Routes::write`] for what ruma has no type for.
    #[must_use]
    pub fn raw_write<A: Answer<Asked> + 'static>(
        self,
        method: Method,
        paths: &[&'static str],
        auth: Auth,
        f: fn(&mut Tx, Around<'_>, Option<Caller>, Asked) -> Reply<A>,
    ) -> Routes {
        self.add_raw(
            method,
            paths,
            auth,
            Run::Write(Box::new(move |tx, around, caller, asked| {
                f(tx, around, caller.caller(), asked.clone())?.render()
            })),
        )
    }

    /// [`Routes::flow`] for what ruma has no type for.
    #[must_use]
    pub fn raw_flow<A, F>(
        self,
        method: Method,
        paths: &[&'static str],
        auth: Auth,
        f: fn(Outside, Option<Caller>, Asked) -> F,
    ) -> Routes
    where
        A: Answer<Asked> + 'static,
        F: Future<Output = Reply<A>> + Send + 'static,
    {
        self.add_raw(
            method,
            paths,
            auth,
            Run::Flow(Box::new(move |outside, caller, asked| {
                let answer = f(outside, caller.caller(), asked);
                Box::pin(async move { answer.await?.render() })
            })),
        )
    }

    /// [`Routes::read`] for what other servers ask and ruma's type is too strict for, or not there.
    #[must_use]
    pub fn raw_server_read<A: Answer<Asked> + 'static>(
        self,
        method: Method,
        paths: &[&'static str],
        f: fn(&View, Around<'_>, Origin, Asked) -> Reply<A>,
    ) -> Routes {
        let run = Run::Read(Box::new(move |view, around, caller, asked| {
            f(view, around, signer(caller.server())?, std::mem::take(asked))?.render()
        }));
        self.add_raw(method, paths, Auth::Server, run)
    }

    /// [`Routes::flow`] for what other servers ask and ruma's type is too strict for, or not there.
    #[must_use]
    pub fn raw_server_flow<A, F>(
        self,
        method: Method,
        paths: &[&'static str],
        f: fn(Outside, Origin, Asked) -> F,
    ) -> Routes
    where
        A: Answer<Asked> + 'static,
        F: Future<Output = Reply<A>> + Send + 'static,
    {
        let run =
            Run::Flow(Box::new(move |outside, caller, asked| match signer(caller.server()) {
                Err(error) => Box::pin(std::future::ready(Err(error))),
                Ok(origin) => {
                    let answer = f(outside, origin, asked);
                    Box::pin(async move { answer.await?.render() })
                }
            }));
        self.add_raw(method, paths, Auth::Server, run)
    }

    /// A flow whose body is not read into memory but handed over as it arrives, up to the largest upload.
    #[must_use]
    pub fn raw_stream<A, F>(
        self,
        method: Method,
        paths: &[&'static str],
        auth: Auth,
        f: fn(Outside, Option<Caller>, Asked, Upload) -> F,
    ) -> Routes
    where
        A: Answer<Asked> + 'static,
        F: Future<Output = Reply<A>> + Send + 'static,
    {
        self.add_raw(
            method,
            paths,
            auth,
            Run::Stream(Box::new(move |outside, caller, asked, upload| {
                let answer = f(outside, caller, asked, upload);
                Box::pin(async move { answer.await?.render() })
            })),
        )
    }

    fn add<C: Who<R::Authentication>, R: IncomingRequest>(mut self, run: Run) -> Routes {
        let paths = R::PATH_BUILDER.all_paths().collect();
        self.0.push(Route { method: R::METHOD, paths, auth: C::AUTH, run });
        self
    }

    fn add_raw(mut self, method: Method, paths: &[&'static str], auth: Auth, run: Run) -> Routes {
        self.0.push(Route { method, paths: paths.to_vec(), auth, run });
        self
    }
}

/// The server that signed the request.
fn signer(origin: Option<Origin>) -> Reply<Origin> {
    origin.ok_or_else(|| Error::refused(401, "M_UNAUTHORIZED", "no server has signed this"))
}

/// Caller and request in the types that the endpoint wants.
fn open<C, R>(caller: Proven, asked: &mut Asked) -> Reply<(C, R)>
where
    R: IncomingRequest,
    C: Who<R::Authentication>,
{
    let caller = C::from_proven(caller)
        .ok_or_else(|| Error::refused(401, "M_MISSING_TOKEN", "missing access token"))?;
    Ok((caller, asked.parse::<R>()?))
}
