//! The program as operators and tools see it: commands, exit codes, signals, files.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
};

fn althing(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_althing"));
    command.args(words).current_dir(folder).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn run(folder: &Path, words: &[&str]) -> Output {
    althing(folder, words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server that listens, killed when the test ends.
struct Server {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _code = self.child.wait();
    }
}

const ANY_PORT: [&str; 2] = ["-o", "listeners.0.bind=127.0.0.1:0"];

impl Server {
    fn start(folder: &Path, more: &[&str]) -> Server {
        let words = [&["serve"], &ANY_PORT[..], more].concat();
        let mut child =
            althing(folder, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended: {seen}");
            if line.contains("listening") {
                let at = line.find("127.0.0.1:").unwrap();
                let end = |c: char| !(c.is_ascii_digit() || c == '.' || c == ':');
                break line[at..].split(end).next().unwrap().parse().unwrap();
            }
            seen.push_str(&line);
        };
        Server { child, address, stderr }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends JSON as whoever holds the token; gives the answer's body.
    fn send(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Stops it; gives the exit code and what it printed.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }
}

#[test]
fn a_bad_configuration_ends_with_code_2_and_one_line_for_each_mistake() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "[store]\nengine = 5\n").unwrap();
    for command in ["check-config", "serve"] {
        let out = run(folder.path(), &[command, "--config", "a.toml"]);
        assert_eq!(out.status.code(), Some(2));
        assert_eq!(
            text(&out.stderr),
            "althing: a.toml: server_name is missing: expected a server name such as \
             \"example.org\" or \"example.org:8448\"\n\
             althing: a.toml: store.engine = 5: expected \"embedded\" or \"postgres\"\n"
        );
        assert!(out.stdout.is_empty());
    }
    assert!(!folder.path().join("althing-data").exists());
}

#[test]
fn check_config_prints_the_effective_configuration_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &["check-config", "-o", "registration.token=hush"]);
    assert_eq!(out.status.code(), Some(0));
    let printed = text(&out.stdout);
    assert!(printed.contains("server_name = \"localhost\"") && printed.contains("token = \"***\""));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn bad_usage_ends_with_code_2_and_help_and_version_with_0() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["fly"]).status.code(), Some(2));
    assert_eq!(run(folder.path(), &["help"]).status.code(), Some(0));
    let version = run(folder.path(), &["version"]);
    assert_eq!(text(&version.stdout), format!("althing {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_server_says_where_it_listens_and_stops_cleanly_on_either_signal() {
    for (signal, log) in [("-TERM", "text"), ("-INT", "json")] {
        let folder = tempfile::tempdir().unwrap();
        let format = format!("log.format={log}");
        // Tools wait for the line, so it comes at every level.
        let server = Server::start(folder.path(), &["-o", &format, "-o", "log.level=error"]);
        // For servers without certificates too.
        server.signal("-HUP");
        let health = server.get("/health");
        assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("ok"), "{health}");
        assert_eq!(server.stop(signal).0, Some(0));
    }
}

#[test]
fn the_first_start_prints_the_registration_token_and_later_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let (_, printed) = Server::start(folder.path(), &[]).stop("-TERM");
    let kept = folder.path().join("althing-data/registration.token");
    let token = std::fs::read_to_string(kept).unwrap();
    assert!(printed.contains(token.trim()), "{printed}");
    let (_, printed) = Server::start(folder.path(), &[]).stop("-TERM");
    assert_eq!(printed, "");
}

#[test]
fn an_account_can_be_made_while_the_server_runs_and_while_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| {
        let mut command = althing(folder.path(), &["user", "create", name, "--password-stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
        child.wait_with_output().unwrap()
    };
    let out = create("alice");
    assert_eq!(text(&out.stdout), "created @alice:localhost\n", "{}", text(&out.stderr));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(text(&create("bob").stdout), "created @bob:localhost\n");
    // The name is taken, whoever asks.
    assert_eq!(create("alice").status.code(), Some(1));
    let profile = server.get("/_matrix/client/v3/register/available?username=bob");
    assert!(profile.contains("M_USER_IN_USE"), "{profile}");
    assert_eq!(server.stop("-TERM").0, Some(0));
    assert_eq!(create("bob").status.code(), Some(1));
}

#[test]
fn without_a_password_one_is_made_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = text(&run(folder.path(), &["user", "create", "alice", "--admin"]).stdout);
    let lines: Vec<&str> = printed.lines().collect();
    let ["created @alice:localhost", password] = lines.as_slice() else { panic!("{printed}") };
    assert_eq!(password.strip_prefix("password ").unwrap().len(), 20);
}

#[test]
fn a_backup_made_while_the_server_runs_can_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    assert!(run(folder.path(), &["user", "create", "alice"]).status.success());
    let out = run(folder.path(), &["backup", "copy"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(run(folder.path(), &["user", "create", "later"]).status.success());
    assert_eq!(server.stop("-TERM").0, Some(0));

    let copy = Server::start(folder.path(), &["-o", "data_dir=copy"]);
    let available = |name: &str| {
        let path = format!("/_matrix/client/v3/register/available?username={name}");
        copy.get(&path).starts_with("HTTP/1.1 200 ")
    };
    assert!(!available("alice") && available("later"));
}

/// A text in a JSON answer.
fn field(answer: &str, name: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    answer.get(name).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn an_event_is_explained_while_the_server_runs_and_while_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let made = text(&run(folder.path(), &["user", "create", "alice"]).stdout);
    let password = made.trim().rsplit_once(' ').unwrap().1;
    let server = Server::start(folder.path(), &[]);
    let login = format!(
        r#"{{"type":"m.login.password","password":"{password}","identifier":{{"type":"m.id.user","user":"alice"}}}}"#
    );
    let v3 = "/_matrix/client/v3";
    let token = field(&server.send("POST", &format!("{v3}/login"), "", &login), "access_token");
    let room = server.send("POST", &format!("{v3}/createRoom"), &token, "{}");
    let room = field(&room, "room_id");
    let path = format!("{v3}/rooms/{room}/send/m.room.message/1");
    let body = r#"{"msgtype":"m.text","body":"hello"}"#;
    let event = field(&server.send("PUT", &path, &token, body), "event_id");

    let running = run(folder.path(), &["explain", &event]);
    let told = text(&running.stdout);
    assert_eq!(running.status.code(), Some(0), "{}", text(&running.stderr));
    assert!(told.starts_with(&format!("event     {event}\ntype      m.room.message\n")), "{told}");
    assert!(told.contains("\nverdict   accepted\n"), "{told}");
    assert_eq!(told.matches("m.room.member @alice:localhost = join  $").count(), 3, "{told}");
    assert!(!told.contains("hello"), "what people say is nobody's business here: {told}");
    assert_eq!(run(folder.path(), &["explain", "$nothing"]).status.code(), Some(1));

    assert_eq!(server.stop("-TERM").0, Some(0));
    assert_eq!(text(&run(folder.path(), &["explain", &event]).stdout), told);
    assert_eq!(run(folder.path(), &["explain", "nothing"]).status.code(), Some(1));
}

#[test]
fn the_store_is_compacted_only_while_nobody_has_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(run(folder.path(), &["compact"]).status.code(), Some(1));
    assert_eq!(server.stop("-TERM").0, Some(0));
    let out = run(folder.path(), &["compact"]);
    assert!(text(&out.stdout).starts_with("compacted from "), "{}", text(&out.stderr));
    assert_eq!(Server::start(folder.path(), &[]).stop("-TERM").0, Some(0));
}

#[test]
fn a_second_server_on_the_same_data_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(folder.path(), &[]);
    let out = run(folder.path(), &[&["serve"], &ANY_PORT[..]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("in use"), "{}", text(&out.stderr));
    assert!(first.get("/health").starts_with("HTTP/1.1 200 "));
}

#[test]
fn the_data_folder_holds_what_the_handbook_says() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path(), &[]).stop("-TERM");
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder.path().join("althing-data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    names.sort();
    let expected =
        ["media", "registration.token", "search", "signing.key", "store"].map(PathBuf::from);
    assert_eq!(names, expected);
}
