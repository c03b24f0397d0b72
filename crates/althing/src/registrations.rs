//! Application services: reading their registration files, and their own users.

use std::path::Path;

use accounts::account::{self, New};
use protocol::appservice::{self, Appservices, Registration};
use ruma::ServerName;
use store::{Store, schema::ACCOUNTS, user};

use crate::{config::Config, failure::Failure};

/// A registration is a page of text.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads all registration files that the configuration names.
///
/// # Errors
/// Every mistake in every file, each with file and key.
pub(crate) fn load(config: &Config) -> Result<Appservices, Failure> {
    let mut problems = Vec::new();
    let mut all = Vec::new();
    for file in &config.appservices.registrations {
        match read(&file.0, &config.top.server_name) {
            Ok(registration) => all.push(registration),
            Err(mistakes) => {
                let named = mistakes.iter().map(|why| format!("{}: {why}", file.0.display()));
                problems.extend(named);
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Usage(problems));
    }
    Appservices::new(all)
        .map_err(|why| Failure::Usage(vec![format!("appservices.registrations: {why}")]))
}

fn read(path: &Path, server_name: &ServerName) -> Result<Registration, Vec<String>> {
    let unreadable = |why: &dyn std::fmt::Display| vec![format!("{why}: expected a readable file")];
    let size = std::fs::metadata(path).map_err(|e| unreadable(&e))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(&"larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(&e))?;
    let value: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| {
        // Its second line on would show the file, and so its tokens.
        let why = error.to_string();
        vec![format!("{}: expected YAML", why.lines().next().unwrap_or("unreadable"))]
    })?;
    appservice::read(&value, server_name)
}

/// Makes the application services' own users, where they are not there yet.
pub(crate) fn make_senders(store: &Store, services: &Appservices) -> Result<(), Failure> {
    for service in services.all() {
        let id = service.sender.clone();
        let made = store.write_here(move |tx| {
            if let Some(user) = user::find(tx, &id)?
                && tx.has(&ACCOUNTS, (user,))?
            {
                return Ok(());
            }
            let name = Some(id.localpart().to_owned());
            let new = New { name, password: None, admin: false, guest: false, display_name: None };
            account::register(tx, &new).map(drop)
        });
        made?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn of(text: &str) -> Result<Registration, Vec<String>> {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("bridge.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path, server_name!("x.org"))
    }

    #[test]
    fn yaml_is_read_as_people_and_as_bridges_write_it() {
        let plain = "id: irc\nurl: null\nas_token: abc\nhs_token: \"12\"\nsender_localpart: bot\n\
                     namespaces:\n  users:\n  - exclusive: true\n    regex: '@irc_.*:x\\.org'\n  rooms: []\n";
        assert_eq!(of(plain).unwrap().id, "irc");
        let json = r##"{"id":"irc","url":"http://127.0.0.1:1","as_token":"abc","hs_token":"12",
            "sender_localpart":"bot","namespaces":{"aliases":[{"exclusive":true,"regex":"#irc_.*"}]}}"##;
        assert!(of(json).unwrap().has_alias("#irc_a:x.org"));
    }

    #[test]
    fn a_mistake_shows_no_token() {
        let no = of("id: irc\nas_token: SECRET\n  bad: [\n").unwrap_err().join(" ");
        assert!(no.contains("YAML") && !no.contains("SECRET"), "{no}");
        let no = of("id: irc\nas_token: SECRET\n").unwrap_err();
        assert!(no.iter().any(|why| why.starts_with("hs_token")), "{no:?}");
    }
}
