//! Listeners, connections, and how both end.
//!
//! Every connection is bounded in memory and time: its head in size and number of headers, the wait for a request,
//! for a body and for a reader that does not read. When the server stops it accepts nothing more, wakes whoever
//! waits, lets what runs finish, and cuts what does not finish in time.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::{Error, Reply};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::Arriving,
    call::{Peer, Resources, Rim},
    handler::Routes,
    metrics::{self, OneMore},
    outside::Outside,
    stall::Stall,
    tls::{Presented, Tls},
};

/// Where to listen, and what to serve there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub bind: Bind,
    /// What.
    pub resources: Resources,
    /// With which certificate; `None`: without TLS.
    pub tls: Option<Tls>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An address; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// As in the configuration: `127.0.0.1:8008` or `unix:/run/althing.sock`.
impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Connections at once. Their memory, about 20 KiB each when idle, is the reason.
const CONNECTIONS_MAX: usize = 50_000;
/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1_024;
/// For a TLS handshake, and for the first request on a new connection.
const HELLO_TIME_MAX: Duration = Duration::from_secs(15);
/// For the head of a request, and so for an idle connection: longer than proxies keep theirs.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
/// The head of a request. Tokens and filters in a query are the longest things in it.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// What hyper buffers of a connection in each direction: larger bodies come and go in pieces.
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// How often the other end of an HTTP/2 connection is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(60);
/// What runs when the server stops has this long to finish.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);
/// After a failed accept (no more file descriptors, mostly).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

struct Open {
    socket: Socket,
    at: Bind,
    resources: Resources,
    tls: Option<Arc<Presented>>,
}

/// Listeners that are bound and do not accept yet.
pub struct Bound {
    open: Vec<Open>,
}

/// Reads the certificates again. Cheap to clone.
#[derive(Clone)]
pub struct Reload(Arc<[Arc<Presented>]>);

impl Reload {
    /// Reads all certificates again; those that are no good stay as they were.
    ///
    /// # Errors
    /// A fault that names the first file that is no good.
    pub fn reload(&self) -> Reply<()> {
        self.0.iter().map(|presented| presented.reload()).fold(Ok(()), Reply::and)
    }
}

/// Binds all listeners.
///
/// # Errors
/// A fault that names the address or the file, and what is wrong.
pub async fn bind(listeners: Vec<Listener>) -> Reply<Bound> {
    let mut open = Vec::with_capacity(listeners.len());
    for Listener { bind, resources, tls } in listeners {
        let tls = tls.map(Presented::load).transpose()?.map(Arc::new);
        let (socket, at) = listen(&bind)
            .await
            .map_err(|error| Error::fault(format!("cannot listen on {bind}: {error}")))?;
        open.push(Open { socket, at, resources, tls });
    }
    Ok(Bound { open })
}

async fn listen(bind: &Bind) -> std::io::Result<(Socket, Bind)> {
    match bind {
        Bind::Tcp(address) => {
            let socket =
                if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(*address)?;
            let listener = socket.listen(BACKLOG)?;
            let at = Bind::Tcp(listener.local_addr()?);
            Ok((Socket::Tcp(listener), at))
        }
        Bind::Unix(path) => {
            remove_dead_socket(path).await?;
            let listener = UnixListener::bind(path)?;
            Ok((Socket::Unix(listener, path.clone()), Bind::Unix(path.clone())))
        }
    }
}

/// A socket that nobody answers on was left behind by a process that was killed.
async fn remove_dead_socket(path: &Path) -> std::io::Result<()> {
    let Ok(kind) = std::fs::symlink_metadata(path).map(|m| m.file_type()) else { return Ok(()) };
    if kind.is_socket() && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

impl Bound {
    /// Where it listens, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> Vec<Bind> {
        self.open.iter().map(|open| open.at.clone()).collect()
    }

    /// To read the certificates again.
    #[must_use]
    pub fn reload(&self) -> Reload {
        Reload(self.open.iter().filter_map(|open| open.tls.clone()).collect())
    }

    /// Serves until `outside.stop` says so; returns when everything is answered, or the time for that is over.
    ///
    /// # Errors
    /// A fault if two endpoints share a place.
    pub async fn serve(self, routes: Routes, outside: Outside) -> Reply<()> {
        let recorder = metrics::recorder();
        let mut stop = outside.stop.clone();
        let rim = Arc::new(Rim::new(routes, outside)?);
        let (cut, is_cut) = watch::channel(false);
        // Each connection holds a sender; when all are gone, so are the connections.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let acceptor = Arc::new(Acceptor {
            rim,
            http: http_builder(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            is_cut,
        });
        for open in self.open {
            tokio::spawn(accept_all(acceptor.clone(), open, alive.clone()));
        }
        drop(alive);
        loop {
            tokio::select! {
                () = stop.stopped() => break,
                () = sleep(metrics::UPKEEP) => recorder.run_upkeep(),
            }
        }
        if timeout(DRAIN_TIME_MAX, all_gone.recv()).await.is_err() {
            let connections = acceptor.rim.running.connections.load(Ordering::Relaxed);
            tracing::warn!(connections, "cutting connections that did not finish");
            cut.send_replace(true);
            all_gone.recv().await;
        }
        Ok(())
    }
}

fn http_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(HELLO_TIME_MAX);
    builder
}

struct Acceptor {
    rim: Arc<Rim>,
    http: Builder<TokioExecutor>,
    places: Arc<Semaphore>,
    is_cut: watch::Receiver<bool>,
}

/// Accepts until the server stops.
async fn accept_all(acceptor: Arc<Acceptor>, open: Open, alive: mpsc::Sender<()>) {
    let mut stop = acceptor.rim.outside.stop.clone();
    loop {
        // Full: the kernel keeps newcomers waiting.
        let Ok(place) = acceptor.places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = stop.stopped() => break,
            accepted = open.socket.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                let held = Held { place, alive: alive.clone() };
                let (acceptor, tls) = (acceptor.clone(), open.tls.clone());
                match stream {
                    Stream::Tcp(stream, ip) => {
                        greet(acceptor, stream, tls, Peer::new(ip, false, open.resources), held);
                    }
                    Stream::Unix(stream) => {
                        let peer = Peer::new(IpAddr::V6(Ipv6Addr::LOCALHOST), true, open.resources);
                        greet(acceptor, stream, tls, peer, held);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    if let Socket::Unix(_, path) = &open.socket {
        let _ = std::fs::remove_file(path);
    }
}

/// A connection that was accepted.
enum Stream {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream, address.ip().to_canonical()))
            }
            Socket::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// What a connection holds as long as it is there.
struct Held {
    #[expect(dead_code, reason = "held for its drop")]
    place: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held for its drop")]
    alive: mpsc::Sender<()>,
}

/// Starts serving a connection: by a task of its own, which shakes hands first if the listener has TLS.
fn greet<T>(acceptor: Arc<Acceptor>, stream: T, tls: Option<Arc<Presented>>, peer: Peer, held: Held)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(tls) = tls else {
        tokio::spawn(converse(acceptor, stream, peer, held));
        return;
    };
    tokio::spawn(async move {
        let handshake = Box::pin(TlsAcceptor::from(tls.config()).accept(stream));
        match timeout(HELLO_TIME_MAX, handshake).await {
            Ok(Ok(stream)) => converse(acceptor, stream, peer, held).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
            Err(_) => tracing::debug!("no TLS handshake in time"),
        }
    });
}

/// Serves a connection to its end.
async fn converse<T>(acceptor: Arc<Acceptor>, stream: T, peer: Peer, held: Held)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (_held, rim) = (held, &acceptor.rim);
    let (_one_more, _) = OneMore::of(&rim.running.connections);
    let peer = Arc::new(peer);
    let service = {
        let (rim, peer) = (rim.clone(), peer.clone());
        // Boxed: an idle connection then keeps room for a pointer, not for the largest state of a request.
        service_fn(move |request: Request<Incoming>| {
            Box::pin(rim.clone().answer(peer.clone(), request.map(Arriving::Socket)))
        })
    };
    let io = TokioIo::new(Stall::new(stream));
    let mut connection = Box::pin(acceptor.http.serve_connection(io, service));
    let mut stop = rim.outside.stop.clone();
    let mut is_cut = acceptor.is_cut.clone();
    let (mut greeted, mut stopping) = (false, false);
    let mut hello = std::pin::pin!(sleep(HELLO_TIME_MAX));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = stop.stopped(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = is_cut.wait_for(|cut| *cut), if stopping => return,
            () = hello.as_mut(), if !greeted => {
                if !peer.spoke.load(Ordering::Relaxed) {
                    return;
                }
                greeted = true;
            }
        }
    }
}

impl Peer {
    fn new(ip: IpAddr, local: bool, resources: Resources) -> Peer {
        Peer { ip, local, resources, spoke: AtomicBool::new(false) }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    };
    use tempfile::TempDir;
    use tokio::io::AsyncWriteExt as _;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::testing::{self, read_all};

    fn here(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing").join(file)
    }

    fn tls() -> Tls {
        Tls { certificate: here("certificate.pem"), private_key: here("key.pem") }
    }

    #[tokio::test]
    async fn tls_is_spoken_with_the_given_certificate() {
        let server = testing::start_with(Routes::default(), Some(tls()), |_| {}).await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(here("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        assert_eq!(read_all(&mut stream).await.body, "ok");
    }

    #[tokio::test]
    async fn a_certificate_that_became_bad_is_not_taken_over() {
        let dir = TempDir::new().unwrap();
        let files = Tls { certificate: dir.path().join("c.pem"), private_key: here("key.pem") };
        std::fs::copy(here("certificate.pem"), &files.certificate).unwrap();
        let presented = Presented::load(files.clone()).unwrap();
        presented.reload().unwrap();
        let before = presented.config();
        std::fs::write(&files.certificate, "nonsense").unwrap();
        let error = presented.reload().unwrap_err().to_string();
        assert!(error.contains("c.pem"), "{error}");
        assert!(Arc::ptr_eq(&before, &presented.config()));
    }

    #[tokio::test]
    async fn a_unix_socket_is_served_and_removed_at_the_end() {
        let (store, dir) = (testing::store(), TempDir::new().unwrap());
        let path = dir.path().join("socket");
        // Left behind by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let at = Bind::Unix(path.clone());
        let listener = Listener { bind: at, resources: Resources::all(), tls: None };
        let bound = bind(vec![listener]).await.unwrap();
        let (stop, outside) = testing::outside(&store, &dir, |_| {});
        let serving = tokio::spawn(bound.serve(Routes::default(), outside));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        assert_eq!(read_all(&mut stream).await.body, "ok");
        stop.send_replace(true);
        serving.await.unwrap().unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listener =
            Listener { bind: Bind::Tcp(address), resources: Resources::all(), tls: None };
        let Err(error) = bind(vec![listener]).await else { panic!() };
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
