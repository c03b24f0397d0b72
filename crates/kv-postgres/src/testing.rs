//! A private PostgreSQL server for tests: made in a temporary folder, reached over a unix socket there,
//! gone with the process, however that ends. Needs PostgreSQL's own programs on the machine (in
//! `/usr/lib/postgresql/*/bin` or the `PATH`); without them everything here is an error, so that no test
//! passes by not running.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio_postgres::{Config, NoTls};

use crate::wait::{Threads, wait};

/// Result with a message for the reader of a failed test.
pub type Result<T> = std::result::Result<T, String>;

/// How long a server may take to start or to die: generous, for loaded build machines.
const START_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The account that runs the server when the tests run as root, which PostgreSQL refuses.
const ACCOUNT: &str = "postgres";

/// A running server. Stopped and removed when dropped.
pub struct Server {
    programs: PathBuf,
    folder: TempDir,
    as_root: bool,
    postmaster: Mutex<Option<Child>>,
    /// Kills what is left when this process is gone without a goodbye.
    guard: Option<Child>,
    databases: AtomicU64,
}

impl Server {
    /// Makes and starts a server.
    ///
    /// # Errors
    /// If PostgreSQL isn't installed or doesn't start; says what it said.
    pub fn start() -> Result<Server> {
        let programs = programs()?;
        let folder = TempDir::with_prefix("pg-").map_err(|e| format!("no folder: {e}"))?;
        let as_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
        if as_root {
            run(Command::new("chown").arg(ACCOUNT).arg(folder.path()))?;
        }
        let mut server = Server {
            programs,
            folder,
            as_root,
            postmaster: Mutex::new(None),
            guard: None,
            databases: AtomicU64::new(0),
        };
        let mut initdb = server.command("initdb");
        initdb.args(["--username=althing", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        run(initdb.arg("--no-sync").arg("-D").arg(server.data()))?;
        server.guard = Some(guard(server.folder.path())?);
        server.launch()?;
        Ok(server)
    }

    /// The address of a database, as [`crate::Postgres::open`] takes it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://althing@{folder}/{database}")
    }

    /// Makes an empty database and gives its address.
    ///
    /// # Errors
    /// If the server doesn't answer or refuses.
    pub fn database(&self) -> Result<String> {
        let n = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{n}");
        self.sql("postgres", &format!("create database {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs statements without parameters.
    ///
    /// # Errors
    /// What the server says.
    pub fn sql(&self, database: &str, sql: &str) -> Result<()> {
        execute(&self.url(database), sql)
    }

    /// Kills the whole server at once, as a power cut would (what the kernel has, it keeps).
    ///
    /// # Errors
    /// If it isn't running.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.postmaster.lock().take().ok_or("the server is not running")?;
        child.kill().map_err(|e| format!("the server cannot be killed: {e}"))?;
        child.wait().map_err(|e| format!("the server does not end: {e}"))?;
        Ok(())
    }

    /// Starts a killed server again and waits until it answers.
    ///
    /// # Errors
    /// If it doesn't within a minute.
    pub fn launch(&self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        let mut child = self.spawn()?;
        loop {
            // Processes of a killed server hold its memory for a moment; a new one then gives up.
            if child.try_wait().map_err(|e| e.to_string())?.is_some() {
                child = self.spawn()?;
            }
            let answer = execute(&self.url("postgres"), "select 1");
            match answer {
                Ok(()) => break,
                Err(_) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
                Err(error) => {
                    let log = fs::read_to_string(self.log()).unwrap_or_default();
                    return Err(format!("PostgreSQL does not start: {error}\n{log}"));
                }
            }
        }
        *self.postmaster.lock() = Some(child);
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.map_err(|e| format!("no log: {e}"))?;
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        for setting in [
            "listen_addresses=",
            "shared_buffers=16MB",
            "fsync=on",
            "max_connections=100",
            "max_wal_size=256MB",
            "log_min_messages=warning",
        ] {
            postgres.arg("-c").arg(setting);
        }
        postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        postgres.spawn().map_err(|e| format!("PostgreSQL cannot be started: {e}"))
    }

    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = if self.as_root {
            // It replaces itself, so that the child we know is the server.
            let mut command = Command::new("setpriv");
            let (uid, gid) = (format!("--reuid={ACCOUNT}"), format!("--regid={ACCOUNT}"));
            command.args([uid, gid]).arg("--clear-groups").arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.folder.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The guard does it: end of its input is its sign.
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        if let Some(mut child) = self.postmaster.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The server that all tests of this process share. It ends with the process.
///
/// # Errors
/// As [`Server::start`].
pub fn shared() -> Result<&'static Server> {
    static SHARED: OnceLock<Result<Server>> = OnceLock::new();
    SHARED.get_or_init(Server::start).as_ref().map_err(Clone::clone)
}

/// The address of a new, empty database on the shared server.
///
/// # Errors
/// As [`Server::start`] and [`Server::database`].
pub fn database() -> Result<String> {
    shared()?.database()
}

/// Runs statements without parameters on the database at an address.
///
/// # Errors
/// What the server says.
pub fn execute(url: &str, sql: &str) -> Result<()> {
    ask(url, sql).map(drop)
}

/// Runs statements without parameters and gives the first column of their rows, as text.
///
/// # Errors
/// What the server says.
pub fn ask(url: &str, sql: &str) -> Result<Vec<String>> {
    let config: Config = url.parse().map_err(|e: tokio_postgres::Error| e.to_string())?;
    let threads = Threads::start().map_err(|e| e.to_string())?;
    let handle = threads.handle().ok_or("no runtime")?;
    let answer = wait(handle, async {
        let (client, connection) = config.connect(NoTls).await?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query(sql).await;
        drop(client);
        let _ = driver.await;
        answer
    });
    let messages = answer.map_err(|e: tokio_postgres::Error| match e.as_db_error() {
        Some(said) => said.message().to_owned(),
        None => e.to_string(),
    })?;
    let cells = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(cells.collect())
}

/// A shell that waits for the end of its input, which is our end, and then clears up.
fn guard(folder: &Path) -> Result<Child> {
    let script = r#"
        trap '' INT TERM HUP
        cat >/dev/null
        pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null; then
            tries=0
            while kill -0 "$pid" 2>/dev/null && [ -e "$1/data/postmaster.pid" ] && [ $tries -lt 100 ]; do
                sleep 0.05
                tries=$((tries + 1))
            done
        fi
        rm -rf "$1"
    "#;
    let mut shell = Command::new("sh");
    shell.args([OsStr::new("-c"), OsStr::new(script), OsStr::new("guard"), folder.as_os_str()]);
    shell.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().map_err(|e| format!("no shell: {e}"))?;
    // A line that says nothing, to find out at once if it doesn't run.
    if let Some(stdin) = child.stdin.as_mut() {
        stdin.write_all(b"\n").map_err(|e| format!("the guard does not run: {e}"))?;
    }
    Ok(child)
}

fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|v| v.path().join("bin")).collect();
    found.sort();
    found.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    let complete = |bin: &PathBuf| bin.join("initdb").is_file() && bin.join("postgres").is_file();
    found.into_iter().find(complete).ok_or_else(|| {
        "this test needs PostgreSQL: initdb and postgres are neither in /usr/lib/postgresql/*/bin nor \
         in the PATH (Debian: apt install postgresql)"
            .to_owned()
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output: Output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)))
}
