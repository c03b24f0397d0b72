//! What operators are promised about the configuration.

use std::path::PathBuf;

use super::{
    table::{OPTIONS_MAX, SECTIONS},
    value::File,
    *,
};

/// A folder with `althing.toml` in it, and what else a test wants to give.
struct Given {
    folder: tempfile::TempDir,
    sources: Sources,
}

fn file(text: &str) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("althing.toml");
    std::fs::write(&path, text).unwrap();
    Given { folder, sources: Sources { file: Some(path), ..Sources::default() } }
}

fn nothing() -> Given {
    Given { folder: tempfile::tempdir().unwrap(), sources: Sources::default() }
}

impl Given {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.to_owned(), value.to_owned()));
        self
    }
    fn arg(mut self, assignment: &str) -> Self {
        self.sources.assignments.push(assignment.to_owned());
        self
    }
    fn ok(self) -> Config {
        Config::load(self.sources).unwrap()
    }
    /// The only mistake, without the folder.
    fn mistake(self) -> String {
        let folder = format!("{}/", self.folder.path().display());
        let problems = Config::load(self.sources).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let line = problems.first().unwrap().to_string().replace(&folder, "");
        assert!(!line.contains('\n'));
        line
    }
}

const MINIMAL: &str = "server_name = \"example.org\"\n";

#[test]
fn without_a_file_the_embedded_default_serves_localhost_on_loopback() {
    let config = nothing().ok();
    assert_eq!(config.top.server_name, "localhost");
    assert_eq!(config.top.data_dir.0, std::env::current_dir().unwrap().join("althing-data"));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind, Bind::Tcp("127.0.0.1:8008".parse().unwrap()));
    assert_eq!(config.registration.mode, RegistrationMode::Token);
    assert_eq!(config.store.engine, Engine::Embedded);
    assert_eq!(config.store.durability, Durability::Sync);
    assert_eq!(config.base_url(&["127.0.0.1:5".to_owned()]), "http://127.0.0.1:5");
}

#[test]
fn a_file_must_name_the_server() {
    assert_eq!(
        file("").mistake(),
        "althing.toml: server_name is missing: \
         expected a server name such as \"example.org\" or \"example.org:8448\""
    );
}

#[test]
fn the_environment_is_stronger_than_the_file_and_o_stronger_than_both() {
    let text = format!("{MINIMAL}[media]\nmax_upload = \"1MiB\"\n");
    let size = |given: Given| given.ok().media.max_upload.show().unwrap();
    assert_eq!(size(file(&text)), "\"1MiB\"");
    assert_eq!(size(file(&text).env("ALTHING__MEDIA__MAX_UPLOAD", "2MiB")), "\"2MiB\"");
    let both = || file(&text).env("ALTHING__MEDIA__MAX_UPLOAD", "2MiB");
    assert_eq!(size(both().arg("media.max_upload=3MiB")), "\"3MiB\"");
    assert_eq!(size(both().arg("media.max_upload=3MiB").arg("media.max_upload=4MiB")), "\"4MiB\"");
}

#[test]
fn other_variables_of_the_environment_are_not_ours() {
    nothing().env("PATH", "/bin").env("ALTHING_DEBUG", "1").ok();
}

#[test]
fn text_from_outside_the_file_needs_no_quotes() {
    let config = nothing()
        .env("ALTHING__REGISTRATION__TOKEN", "12345")
        .env("ALTHING__FEDERATION__TRUSTED_KEY_SERVERS", "a.example, b.example")
        .arg("federation.enabled=false")
        .arg("server_name=\"quoted.example\"")
        .ok();
    assert_eq!(config.registration.token.unwrap().0, "12345");
    assert_eq!(config.federation.trusted_key_servers, ["a.example", "b.example"]);
    assert!(!config.federation.enabled);
    assert_eq!(config.top.server_name, "quoted.example");
}

#[test]
fn listeners_can_be_set_one_by_one_or_all_at_once() {
    let text = format!(
        "{MINIMAL}[[listeners]]\nbind = \"[::]:80\"\nresources = [\"health\"]\n\
         [[listeners]]\nbind = \"unix:run/a.sock\"\n"
    );
    let given = file(&text);
    let socket = given.folder.path().join("run/a.sock");
    let config = given.arg("listeners.0.bind=127.0.0.1:0").ok();
    assert_eq!(config.listeners[0].bind, Bind::Tcp("127.0.0.1:0".parse().unwrap()));
    assert_eq!(config.listeners[0].resources, [Resource::Health]);
    assert_eq!(config.listeners[1].bind, Bind::Unix(socket));

    let all = r#"[{bind="127.0.0.1:1",resources=["metrics"]}]"#;
    let config = file(&text).env("ALTHING__LISTENERS", all).ok();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].resources, [Resource::Metrics]);
}

#[test]
fn paths_are_relative_to_the_file() {
    let given =
        file(&format!("{MINIMAL}data_dir = \"data\"\n[federation]\ntrusted_ca = [\"ca.pem\"]"));
    let folder = given.folder.path().to_owned();
    std::fs::write(folder.join("ca.pem"), "").unwrap();
    let Given { folder: _alive, sources } = given;
    let config = Config::load(sources).unwrap();
    assert_eq!(config.top.data_dir.0, folder.join("data"));
    assert_eq!(config.federation.trusted_ca, [File(folder.join("ca.pem"))]);
}

#[test]
fn a_wrong_value_is_one_line_with_file_key_value_and_what_was_expected() {
    let cases = [
        (
            "[store]\nengine = \"mysql\"",
            r#"store.engine = "mysql": expected "embedded" or "postgres""#,
        ),
        (
            "[federation]\nenabled = \"yes\"",
            r#"federation.enabled = "yes": expected true or false"#,
        ),
        (
            "[media]\nmax_upload = 50",
            "media.max_upload = 50: expected a size such as \"50MiB\" \
             (units: B, KB, MB, GB, KiB, MiB, GiB)",
        ),
        (
            "[rooms]\ndefault_version = \"13\"",
            r#"rooms.default_version = "13": expected "1" to "12""#,
        ),
        (
            "[[listeners]]\nbind = \"localhost\"",
            "listeners.0.bind = \"localhost\": expected an address such as \
             \"127.0.0.1:8008\", \"[::]:8008\" or \"unix:/run/althing.sock\"",
        ),
        (
            "[[listeners]]\nbind = \"127.0.0.1:1\"\nresources = [\"clients\"]",
            "listeners.0.resources = [\"clients\"]: expected a list, each \
             \"client\" or \"federation\" or \"health\" or \"metrics\"",
        ),
        (
            "[public]\nbase_url = \"matrix.example.org/\"",
            "public.base_url = \"matrix.example.org/\": expected an address such as \
             \"https://matrix.example.org\", without a slash at its end",
        ),
        (
            "[federation]\ntrusted_ca = [\"gone.pem\"]",
            r#"federation.trusted_ca = ["gone.pem"]: expected a list, each the path of a file that exists"#,
        ),
        (
            "[log]\nlevel = \"a=b=c\"",
            "log.level = \"a=b=c\": expected error, warn, info, debug, trace, \
             or a filter such as \"info,store=debug\"",
        ),
        (
            "[email]\nsmtp = \"smtp://m\"\nfrom = \"nobody\"",
            r#"email.from = "nobody": expected a mailbox such as "Althing <noreply@example.org>""#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            file(&format!("{MINIMAL}{text}")).mistake(),
            format!("althing.toml: {expected}")
        );
    }
}

#[test]
fn a_mistake_names_the_variable_or_the_option_that_made_it() {
    assert_eq!(
        nothing().env("ALTHING__STORE__ENGINE", "mysql").mistake(),
        "environment variable ALTHING__STORE__ENGINE: store.engine = \"mysql\": \
         expected \"embedded\" or \"postgres\""
    );
    assert_eq!(
        nothing().arg("store.engine=mysql").mistake(),
        "option -o: store.engine = \"mysql\": expected \"embedded\" or \"postgres\""
    );
    assert_eq!(
        nothing().arg("verbose").mistake(),
        "option -o: verbose: expected section.key=value"
    );
}

#[test]
fn unknown_keys_are_mistakes_wherever_they_are_given() {
    let keys = "expected a key that exists in [limits] (rate_limits, trusted_proxies)";
    let text = format!("{MINIMAL}[limits]\nrate_limit = true");
    assert_eq!(file(&text).mistake(), format!("althing.toml: limits.rate_limit = true: {keys}"));
    assert_eq!(
        nothing().env("ALTHING__LIMITS__RATE_LIMIT", "true").mistake(),
        format!(
            "environment variable ALTHING__LIMITS__RATE_LIMIT: limits.rate_limit = true: {keys}"
        )
    );
    assert_eq!(
        nothing().arg("limits.rate_limit=true").mistake(),
        format!("option -o: limits.rate_limit = true: {keys}")
    );
    let line = file(&format!("{MINIMAL}[postgres]\nurl = 1")).mistake();
    assert!(
        line.starts_with("althing.toml: postgres.url = 1: expected a key that exists"),
        "{line}"
    );
    let line = file(&format!("store = 5\n{MINIMAL}")).mistake();
    assert_eq!(line, "althing.toml: store = 5: expected a section [store]");
    let line = file(&format!("listeners = []\n{MINIMAL}")).mistake();
    assert_eq!(line, "althing.toml: listeners = []: expected one or more [[listeners]]");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let given = file(&format!("{MINIMAL}[store]\nengine = 1\ndurability = 2\nx = 3"));
    assert_eq!(Config::load(given.sources).unwrap_err().len(), 3);
}

#[test]
fn a_file_that_is_not_toml_is_one_line_with_its_place() {
    let line = file("server_name = \"a\"\n[store\n").mistake();
    assert!(line.starts_with("althing.toml:2:"), "{line}");
    assert!(line.ends_with(": expected valid TOML"), "{line}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut given = nothing();
    given.sources.file = Some(PathBuf::from("/nonexistent/althing.toml"));
    let line = given.mistake();
    assert!(line.starts_with("/nonexistent/althing.toml: "), "{line}");
}

#[test]
fn options_that_belong_together_are_asked_for_together() {
    assert!(nothing().arg("store.engine=postgres").mistake().contains("store.url is missing"));
    assert_eq!(
        nothing().arg("email.smtp=smtp://m").mistake(),
        "email.smtp is set and email.from is not: expected both, or neither"
    );
    let given = file(MINIMAL);
    std::fs::write(given.folder.path().join("key.pem"), "").unwrap();
    assert_eq!(
        given
            .arg("listeners.0.bind=127.0.0.1:1")
            .arg("listeners.0.tls.private_key=key.pem")
            .mistake(),
        "listeners.0.tls.private_key is set and listeners.0.tls.certificate is not: \
         expected both, or neither"
    );
}

/// Every option that holds a secret, with a value that is wrong for it and one that is right.
const SECRETS: [(&str, &str, &str); 5] = [
    ("registration.token", "not allowed!", "hush-hush"),
    ("registration.shared_secret", "", "hush-hush"),
    ("turn.shared_secret", "", "hush-hush"),
    ("store.url", "mysql://u:hush-hush@h/d", "postgres://u:hush-hush@h/d"),
    ("email.smtp", "http://u:hush-hush@h", "smtp://u:hush-hush@h"),
];

#[test]
fn secrets_are_never_shown() {
    let marked = SECTIONS.iter().flat_map(|s| s.options).filter(|o| o.secret).count();
    assert_eq!(marked, SECRETS.len());
    for (key, wrong, right) in SECRETS {
        let line = nothing().arg(&format!("{key}={wrong}")).mistake();
        assert!(line.starts_with(&format!("option -o: {key} = ***: expected ")), "{line}");
        let config = nothing().arg(&format!("{key}={right}")).arg("email.from=a@b");
        let config = match key {
            "email.smtp" => config.ok(),
            _ => config.arg("email.smtp=smtp://m").ok(),
        };
        let (section, option) = key.split_once('.').unwrap();
        let shown = config.effective();
        let body = shown.split(&format!("[{section}]")).nth(1).unwrap();
        assert!(body.contains(&format!("{option} = \"***\"")), "{shown}");
        assert!(!shown.contains("hush") && !format!("{config:?}").contains("hush"));
    }
    let line = nothing().arg("registration.shared_secre=hush-hush").mistake();
    assert!(!line.contains("hush"), "{line}");
}

#[test]
fn check_config_prints_every_option() {
    let given =
        file(&format!("{MINIMAL}data_dir = \"/srv/data\"\n[registration]\ntoken = \"abc\"\n"));
    assert_eq!(given.ok().effective(), include_str!("../../tests/golden/effective.toml"));
}

#[test]
fn what_check_config_prints_is_a_configuration_again() {
    let given = file(&format!("{MINIMAL}[registration]\ntoken = \"abc\"\n"));
    let shown = given.ok().effective().replace("***", "abc");
    assert_eq!(file(&shown).ok().effective().replace("***", "abc"), shown);
}

#[test]
fn the_example_file_is_a_valid_configuration() {
    let config = file(&example()).arg("data_dir=data").ok();
    assert_eq!(config.top.server_name, "example.org");
    assert_eq!(config.base_url(&[]), "https://matrix.example.org");
}

#[test]
fn the_example_file_and_the_page_name_every_option() {
    for option in SECTIONS.iter().flat_map(|s| s.options) {
        assert!(example().contains(&format!("{} = ", option.key)), "{}", option.key);
        assert!(page().contains(&format!("| `{}` |", option.key)), "{}", option.key);
        assert!(!option.doc.trim().is_empty(), "{}", option.key);
    }
}

#[test]
fn the_commented_values_of_the_example_are_valid_too() {
    let text: String = example()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let given = file(&text);
    for name in ["fullchain.pem", "key.pem", "ca.pem", "bridge.yaml"] {
        std::fs::write(given.folder.path().join(name), "").unwrap();
    }
    given.arg("data_dir=data").ok();
}

#[test]
fn patterns_of_servers_have_no_ports_and_a_proxy_has_one() {
    let config = nothing()
        .arg("federation.deny_servers=evil.example,*.evil.example,[2001:db8::*]")
        .arg("federation.proxy=http://[2001:db8::1]:3128")
        .ok();
    assert_eq!(config.federation.deny_servers.len(), 3);
    let proxy = config.federation.proxy.and_then(|proxy| proxy.host_and_port());
    assert_eq!(proxy, Some(("[2001:db8::1]".to_owned(), 3128)));
    for wrong in ["evil.example:8448", "https://evil.example", "a b"] {
        let line = nothing().arg(&format!("federation.allow_servers={wrong}")).mistake();
        assert!(line.contains("federation.allow_servers"), "{line}");
    }
    for wrong in ["http://proxy", "https://proxy:1", "http://user@proxy:1", "http://proxy:0"] {
        let line = nothing().arg(&format!("federation.proxy={wrong}")).mistake();
        assert!(line.contains("federation.proxy"), "{line}");
    }
}

#[test]
fn there_are_at_most_sixty_options() {
    let count: usize = SECTIONS.iter().map(|section| section.options.len()).sum();
    assert!(count <= OPTIONS_MAX, "{count}");
}
