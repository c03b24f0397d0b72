//! An HTTP proxy that connects for us (RFC 9110, 9.3.6 `CONNECT`).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::Failure;

/// For the proxy to connect.
const TUNNEL_TIME_MAX: Duration = Duration::from_secs(15);
/// The head of the proxy's answer, bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Has the proxy at the other end of this connection connect to `host:port`. What is then written goes there.
///
/// # Errors
/// [`Failure::Connect`] with what the proxy says, or that it says nothing.
pub(crate) async fn through(
    stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, Failure> {
    let broken = |why: &dyn std::fmt::Display| {
        Failure::Connect(format!("the proxy does not connect to {host}:{port}: {why}"))
    };
    match timeout(TUNNEL_TIME_MAX, ask(stream, host, port)).await {
        Ok(Ok((stream, line))) if is_success(&line) => Ok(stream),
        Ok(Ok((_, line))) => Err(broken(&line)),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(broken(&"not in time")),
    }
}

/// Asks, and reads the first line of the answer; the rest of its head is read and means nothing.
async fn ask(mut stream: TcpStream, host: &str, port: u16) -> std::io::Result<(TcpStream, String)> {
    // A host comes out of a URL, a server name or a DNS record; what does not look like one ends here.
    if host.is_empty() || host.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        return Err(std::io::Error::other("no such host"));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    let question = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(std::io::Error::other("its answer is too large"));
        }
        // One by one: what comes behind the head belongs to whoever is there.
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    Ok((stream, String::from_utf8_lossy(line).into_owned()))
}

/// `HTTP/1.1 2xx …`
fn is_success(line: &str) -> bool {
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    is_http && words.next().is_some_and(|status| status.len() == 3 && status.starts_with('2'))
}
