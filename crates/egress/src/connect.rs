//! From a destination to a connection: resolve, check, connect, shake hands.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{Failure, Inner, Trust, address::is_public, line::Line, pool::Destination, proxy};

/// For one address to accept. A dead one must not use up the time for the next.
const ACCEPT_TIME_MAX: Duration = Duration::from_secs(5);
/// For TLS to be agreed on.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// For a name to be resolved.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 6;

pub(crate) async fn connect(egress: &Inner, to: &Destination) -> Result<Line, Failure> {
    let own = [(to.host.clone(), to.port)];
    let targets: &[(String, u16)] = if to.at.is_empty() { &own } else { &to.at };
    let mut failure = Failure::Connect("nowhere to connect to".to_owned());
    for (host, port) in targets {
        match reach(egress, to, host, *port).await {
            Ok(stream) if to.tls => return secure(egress, to, stream).await,
            Ok(stream) => return Line::begin(stream, false).await,
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

/// A connection to one of the addresses of a name. Which of them are allowed is known before any is tried.
async fn reach(
    egress: &Inner,
    to: &Destination,
    host: &str,
    port: u16,
) -> Result<TcpStream, Failure> {
    let allowed =
        |ip: IpAddr| to.trust == Trust::Operator || egress.allow_private_ips || is_public(ip);
    if let Some((by, by_port)) = egress.proxy.as_ref().filter(|_| to.by_proxy) {
        if let Some(ip) = literal(host).filter(|ip| !allowed(*ip)) {
            return Err(Failure::RefusedAddress(ip));
        }
        // The operator named it: it may be anywhere.
        let stream = open(resolve(by, *by_port).await?, by, |_| true).await;
        let stream = stream.map_err(|e| Failure::Connect(format!("the proxy: {e}")))?;
        return proxy::through(stream, host, port).await;
    }
    open(resolve(host, port).await?, host, allowed).await
}

/// A connection to the first of these addresses that may be used and accepts.
async fn open(
    addresses: Vec<SocketAddr>,
    host: &str,
    allowed: impl Fn(IpAddr) -> bool,
) -> Result<TcpStream, Failure> {
    let mut failure = match addresses.first() {
        Some(first) => Failure::RefusedAddress(first.ip()),
        None => Failure::Dns(format!("{host} has no address")),
    };
    for address in addresses.into_iter().filter(|a| allowed(a.ip())).take(ADDRESSES_MAX) {
        match timeout(ACCEPT_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Only latency is at stake.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Failure::Connect(format!("{address}: {error}")),
            Err(_) => failure = Failure::Connect(format!("{address}: not in time")),
        }
    }
    Err(failure)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Some(ip) = literal(host) {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match timeout(RESOLVE_TIME_MAX, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(Failure::Dns(format!("{host}: {error}"))),
        Err(_) => Err(Failure::Dns(format!("{host}: not in time"))),
    }
}

/// The address that a host is, if it is written as one.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

async fn secure(egress: &Inner, to: &Destination, stream: TcpStream) -> Result<Line, Failure> {
    let bare = to.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|e| Failure::Tls(e.to_string()))?;
    let config = egress.roots.config().await?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    match timeout(HANDSHAKE_TIME_MAX, Box::pin(handshake)).await {
        Ok(Ok(stream)) => {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Line::begin(stream, h2).await
        }
        Ok(Err(error)) => Err(Failure::Tls(error.to_string())),
        Err(_) => Err(Failure::Tls("not in time".to_owned())),
    }
}
