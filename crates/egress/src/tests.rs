//! Against a server of HTTP on a loopback port.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Response, header::LOCATION};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

type Replied = Response<http_body_util::Full<Bytes>>;

/// The connections that were accepted.
#[derive(Clone, Default)]
struct Accepted(Arc<AtomicUsize>);

fn pem(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../http/src/testing").join(file)
}

/// Serves what `reply` says.
async fn serve(
    tls: bool,
    reply: impl Fn(http::Request<Incoming>) -> Replied + Clone + Send + Sync + 'static,
) -> (SocketAddr, Accepted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, accepted) = (listener.local_addr().unwrap(), Accepted::default());
    let counted = accepted.clone();
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(pem("certificate.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(pem("key.pem")).unwrap(),
            )
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.0.fetch_add(1, Ordering::SeqCst);
            let (reply, acceptor) = (reply.clone(), acceptor.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let reply = reply.clone();
                    async move { Ok::<_, Infallible>(reply(request)) }
                });
                let builder = Builder::new(TokioExecutor::new());
                if tls {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                } else {
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    (at, accepted)
}

fn text(body: impl Into<Bytes>) -> Replied {
    Response::new(http_body_util::Full::new(body.into()))
}

fn egress() -> Egress {
    Egress::new(Options::default()).unwrap()
}

fn get(url: &str) -> Request {
    Request::new(Method::GET, url.parse().unwrap(), Trust::Operator)
}

#[tokio::test]
async fn an_answer_comes_back_and_its_connection_is_used_again() {
    let (at, accepted) = serve(false, |request| {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        text(format!("{} {} {host}", request.method(), request.uri()))
    })
    .await;
    let egress = egress();
    for _ in 0..3 {
        let answer = egress.send(get(&format!("http://{at}/a/b?c=d"))).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, format!("GET /a/b?c=d {at}"));
    }
    assert_eq!(accepted.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_others_name_may_not_be_on_this_machine() {
    let (at, accepted) = serve(false, |_| text("secret")).await;
    let names = [format!("http://{at}/"), format!("http://localhost:{}/", at.port())];
    for url in names {
        let mut request = get(&url);
        request.trust = Trust::Public;
        let failure = egress().send(request.clone()).await.unwrap_err();
        assert!(matches!(failure, Failure::RefusedAddress(ip) if ip.is_loopback()), "{failure}");
        assert_eq!(accepted.0.load(Ordering::SeqCst), 0);
        let open = Options { allow_private_ips: true, ..Options::default() };
        assert!(Egress::new(open).unwrap().send(request).await.is_ok());
        accepted.0.store(0, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_connection_of_the_operator_is_not_lent_to_others() {
    let (at, _) = serve(false, |_| text("secret")).await;
    let egress = egress();
    let mut request = get(&format!("http://{at}/"));
    egress.send(request.clone()).await.unwrap();
    request.trust = Trust::Public;
    assert!(matches!(egress.send(request).await, Err(Failure::RefusedAddress(_))));
}

#[tokio::test]
async fn a_redirect_does_not_lead_to_a_private_address() {
    let (inner, accepted) = serve(false, |_| text("secret")).await;
    let (at, _) = serve(false, move |_| {
        let mut moved = text("");
        *moved.status_mut() = StatusCode::FOUND;
        moved.headers_mut().insert(LOCATION, format!("http://{inner}/").parse().unwrap());
        moved
    })
    .await;
    let mut request = get(&format!("http://{at}/"));
    assert_eq!(egress().send(request.clone()).await.unwrap().status, 302);
    request.redirects = 3;
    assert!(matches!(egress().send(request).await, Err(Failure::RefusedAddress(_))));
    assert_eq!(accepted.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn redirects_are_followed_as_often_as_asked() {
    let (at, _) = serve(false, |request| match request.uri().path() {
        "/2" => text("here"),
        path => {
            let next = if path == "/0" { "/1" } else { "/2" };
            let mut moved = text("");
            *moved.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            moved.headers_mut().insert(LOCATION, next.parse().unwrap());
            moved
        }
    })
    .await;
    let mut request = get(&format!("http://{at}/0"));
    request.redirects = 2;
    let answer = egress().send(request.clone()).await.unwrap();
    assert_eq!((answer.body, answer.url.path()), (Bytes::from("here"), "/2"));
    request.redirects = 1;
    assert!(matches!(egress().send(request).await, Err(Failure::Protocol(_))));
}

#[tokio::test]
async fn a_larger_answer_than_allowed_is_cut() {
    let (at, _) = serve(false, |_| text(vec![b'x'; 100_000])).await;
    let mut request = get(&format!("http://{at}/"));
    request.body_max = 99_999;
    assert_eq!(egress().send(request.clone()).await.unwrap_err(), Failure::TooLarge);
    let (egress, mut read) = (egress(), 0);
    let mut opened = egress.open(request.clone()).await.unwrap();
    let cut = loop {
        match opened.chunk().await {
            Ok(piece) => read += piece.unwrap().len(),
            Err(failure) => break failure,
        }
    };
    assert_eq!(cut, Failure::TooLarge);
    assert!(read <= 99_999);
    request.body_max = 100_000;
    assert_eq!(egress.send(request).await.unwrap().body.len(), 100_000);
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut request = get(&format!("http://{}/", listener.local_addr().unwrap()));
    request.timeout = Duration::from_millis(50);
    assert_eq!(egress().send(request).await.unwrap_err(), Failure::Timeout);
}

#[tokio::test]
async fn nobody_there_nothing_of_that_name_and_no_http_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let failure = egress().send(get(&format!("http://{at}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect(_)), "{failure}");
    let failure = egress().send(get("http://nothing.invalid/")).await.unwrap_err();
    assert!(matches!(failure, Failure::Dns(_)), "{failure}");
    let failure = egress().send(get("ftp://127.0.0.1/")).await.unwrap_err();
    assert!(matches!(failure, Failure::Url(_)), "{failure}");
}

#[tokio::test]
async fn certificates_are_checked_against_the_operators_authorities_too() {
    let (at, accepted) = serve(true, |request| text(format!("{:?}", request.version()))).await;
    let url = format!("https://localhost:{}/", at.port());
    let failure = egress().send(get(&url)).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(_)), "{failure}");
    let options = Options { trusted_ca: vec![pem("ca.pem")], ..Options::default() };
    let egress = Egress::new(options.clone()).unwrap();
    accepted.0.store(0, Ordering::SeqCst);
    assert_eq!(egress.send(get(&url)).await.unwrap().body, "HTTP/2.0");
    assert_eq!(egress.send(get(&url)).await.unwrap().body, "HTTP/2.0");
    assert_eq!(accepted.0.load(Ordering::SeqCst), 1);
    // The name in the certificate is the URL's, wherever the connection goes.
    let mut elsewhere = get("https://localhost/");
    elsewhere.at = vec![("127.0.0.1".to_owned(), at.port())];
    assert_eq!(egress.send(elsewhere).await.unwrap().body, "HTTP/2.0");
    let failure = egress.send(get(&format!("https://{at}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(_)), "{failure}");
    let none = Options { trusted_ca: vec![pem("nothing.pem")], ..Options::default() };
    assert!(Egress::new(none).err().unwrap().to_string().contains("nothing.pem"));
}

/// A server that answers the first request on each connection and hangs up at the second.
async fn hangs_up() -> (SocketAddr, Accepted) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, accepted) = (listener.local_addr().unwrap(), Accepted::default());
    let counted = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.0.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                let _ = stream.read(&mut request).await;
            });
        }
    });
    (at, accepted)
}

#[tokio::test]
async fn what_may_be_said_twice_is_when_a_kept_connection_breaks() {
    let (at, accepted) = hangs_up().await;
    let egress = egress();
    let url = format!("http://{at}/");
    assert_eq!(egress.send(get(&url)).await.unwrap().body, "ok");
    assert_eq!(egress.send(get(&url)).await.unwrap().body, "ok");
    assert_eq!(accepted.0.load(Ordering::SeqCst), 2);
    let mut post = get(&url);
    post.method = Method::POST;
    assert!(matches!(egress.send(post).await, Err(Failure::Protocol(_))));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    let (at, accepted) = serve(false, |_| {
        let mut reply = text("bye");
        reply.headers_mut().insert("connection", "close".parse().unwrap());
        reply
    })
    .await;
    let egress = egress();
    for n in 1..4 {
        assert_eq!(egress.send(get(&format!("http://{at}/"))).await.unwrap().body, "bye");
        assert_eq!(accepted.0.load(Ordering::SeqCst), n);
    }
}

/// A proxy that connects wherever it is asked to, and what it was asked; it refuses `nowhere.example`.
async fn proxy() -> (SocketAddr, Arc<parking_lot::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, asked) =
        (listener.local_addr().unwrap(), Arc::<parking_lot::Mutex<Vec<_>>>::default());
    let noted = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut first, mut line) = (String::new(), String::from("-"));
                stream.read_line(&mut first).await.unwrap();
                while line.trim() != "" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
                noted.lock().push(first.trim().to_owned());
                let to = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let Ok(mut there) = TcpStream::connect(to.replace("a.example", "127.0.0.1")).await
                else {
                    return stream.write_all(b"HTTP/1.1 502 Nobody there\r\n\r\n").await.unwrap();
                };
                stream.write_all(b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
            });
        }
    });
    (at, asked)
}

#[tokio::test]
async fn a_request_goes_by_way_of_the_proxy_if_it_says_so_and_no_other_does() {
    let (at, _) = serve(true, |request| text(request.uri().path().to_owned())).await;
    let (proxy, asked) = proxy().await;
    let options = Options {
        trusted_ca: vec![pem("ca.pem")],
        proxy: Some((proxy.ip().to_string(), proxy.port())),
        ..Options::default()
    };
    let egress = Egress::new(options).unwrap();
    let mut request = get(&format!("https://localhost:{}/tls", at.port()));
    // The proxy resolves names; this one has no address here.
    request.at = vec![("a.example".to_owned(), at.port())];
    assert!(matches!(egress.send(request.clone()).await, Err(Failure::Dns(_))));
    assert_eq!(asked.lock().len(), 0);
    request.by_proxy = true;
    for _ in 0..2 {
        assert_eq!(egress.send(request.clone()).await.unwrap().body, "/tls");
    }
    // The second went over the same connection.
    assert_eq!(*asked.lock(), [format!("CONNECT a.example:{} HTTP/1.1", at.port())]);
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_and_it_is_not_asked_for_private_addresses() {
    let (proxy, asked) = proxy().await;
    let proxy = Some((proxy.ip().to_string(), proxy.port()));
    let egress = Egress::new(Options { proxy, ..Options::default() }).unwrap();
    let mut request = get("http://127.0.0.1:1/");
    request.by_proxy = true;
    let failure = egress.send(request.clone()).await.unwrap_err().to_string();
    assert!(failure.contains("the proxy does not connect to 127.0.0.1:1"), "{failure}");
    assert!(failure.contains("502 Nobody there"), "{failure}");
    request.trust = Trust::Public;
    assert!(matches!(egress.send(request).await, Err(Failure::RefusedAddress(_))));
    assert_eq!(asked.lock().len(), 1);
}
