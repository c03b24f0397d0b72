//! How a command reaches the running server: one line of JSON there, one back, over a unix socket in the
//! data folder, which only the server's own user can enter.
//!
//! A command is a [`Chore`]. The running server does it when it is asked here; where none runs, the command
//! opens the store and does it itself. Both ways end in the same function.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

/// A request is a name, a password, a path or a notice: none is longer.
const LINE_BYTES_MAX: u64 = 128 * 1024;
/// An answer may be a list.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A connection that says nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something to be done with the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Chore {
    /// Make an account.
    CreateUser {
        /// The localpart.
        name: String,
        /// In clear: it goes through a socket of our own, and is hashed by whoever does the chore.
        password: Password,
        /// May it administer the server?
        admin: bool,
    },
    /// Tell why an event is in its room.
    Explain {
        /// Its id.
        event: String,
    },
    /// Change what an account may do.
    Restrain {
        /// A user id or localpart.
        name: String,
        /// Suspend it, or not.
        suspended: Option<bool>,
        /// Lock it, or not.
        locked: Option<bool>,
    },
    /// Make a registration token.
    CreateToken {
        /// The token; none: make one up.
        token: Option<String>,
        /// How often it may be used.
        uses: Option<u64>,
        /// After how many days it ends.
        days: Option<u64>,
    },
    /// List the registration tokens.
    ListTokens,
    /// End a registration token.
    RevokeToken {
        /// The token.
        token: String,
    },
    /// List reports.
    ListReports {
        /// Only those before this one.
        before: Option<String>,
        /// How many.
        limit: usize,
    },
    /// Send a notice.
    Notify {
        /// A user id or localpart; none: to everyone.
        to: Option<String>,
        /// What it says.
        text: String,
    },
    /// Write a copy of everything to a new folder (absolute).
    Backup {
        /// The folder.
        dir: PathBuf,
    },
}

/// A password on its way; never shown.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Password(pub(crate) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What came of it: text for the person, either way.
pub(crate) type Outcome = Result<String, String>;

/// Asks the running server. `None`: none runs.
pub(crate) fn ask(socket: &Path, chore: &Chore) -> io::Result<Option<Outcome>> {
    let mut stream = match UnixStream::connect(short(socket)?) {
        Ok(stream) => stream,
        Err(e)
            if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut line = serde_json::to_vec(chore)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("the server ended before it answered"));
    }
    Ok(Some(serde_json::from_str(&answer)?))
}

/// Does chores for whoever asks, one connection at a time: commands are rare and need no more.
/// Ends only by being dropped. `perform` may block.
pub(crate) async fn serve(
    listener: UnixListener,
    perform: Arc<dyn Fn(Chore) -> Outcome + Send + Sync>,
) {
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(e) => {
                tracing::warn!(error = %e, "the control socket cannot accept");
                tokio::time::sleep(PATIENCE).await;
                continue;
            }
        };
        if let Err(e) = answer(connection, perform.clone()).await {
            tracing::warn!(error = %e, "a command was not answered");
        }
    }
}

async fn answer(
    connection: tokio::net::UnixStream,
    perform: Arc<dyn Fn(Chore) -> Outcome + Send + Sync>,
) -> io::Result<()> {
    let (read, mut write) = connection.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(LINE_BYTES_MAX));
    tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await??;
    let outcome: Outcome = match serde_json::from_str(&line) {
        Ok(chore) => tokio::task::spawn_blocking(move || perform(chore)).await?,
        Err(e) => Err(format!("a command of another version of althing? {e}")),
    };
    let mut line = serde_json::to_vec(&outcome)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Listens. What an earlier process left is replaced; that no other process runs, the engine has made sure.
pub(crate) fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => UnixListener::bind(short(socket)?),
    }
}

/// The kernel takes at most 107 bytes for a socket's path; a longer one is named from the current
/// folder if that helps.
fn short(socket: &Path) -> io::Result<PathBuf> {
    const PATH_BYTES_MAX: usize = 107;
    let fits = |path: &Path| path.as_os_str().len() <= PATH_BYTES_MAX;
    if fits(socket) {
        return Ok(socket.to_owned());
    }
    let here = std::env::current_dir()?;
    match socket.strip_prefix(&here) {
        Ok(relative) if fits(relative) => Ok(relative.to_owned()),
        _ => Err(io::Error::other(format!("the path is longer than {PATH_BYTES_MAX} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chore() -> Chore {
        let password = Password("pass\nword".to_owned());
        Chore::CreateUser { name: "alice".to_owned(), password, admin: true }
    }

    #[test]
    fn without_a_server_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        assert!(ask(&socket, &chore()).unwrap().is_none());
        // Left behind by a server that was killed.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(ask(&socket, &chore()).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_running_server_does_the_chore_and_tells_what_came_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let listener = bind(&socket).unwrap();
        let perform = |got: Chore| match got {
            got if got == chore() => Ok("made".to_owned()),
            other => Err(format!("refused {other:?}")),
        };
        let server = tokio::spawn(serve(listener, Arc::new(perform)));
        let ask_here = |chore: Chore| {
            let socket = socket.clone();
            tokio::task::spawn_blocking(move || ask(&socket, &chore).unwrap().unwrap())
        };
        assert_eq!(ask_here(chore()).await.unwrap(), Ok("made".to_owned()));
        let other = ask_here(Chore::Backup { dir: "/x".into() }).await.unwrap();
        assert!(other.unwrap_err().starts_with("refused"));
        server.abort();
    }

    #[test]
    fn a_password_is_never_shown() {
        assert!(!format!("{:?}", chore()).contains("nword"));
    }
}
