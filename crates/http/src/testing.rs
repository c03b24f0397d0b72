//! A server on a loopback port with a store in memory, and a client that says exactly what it is told to. For tests.

use std::{net::SocketAddr, sync::Arc};

use accounts::{Cost, Hasher, account::New, device::Login};
use base::Reply;
use egress::Egress;
use flows::appservice::Bridges;
use ruma::{OwnedServerName, server_name};
use store::{Options, Store};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};

use crate::{Bind, ClientInfo, Listener, Outside, Resources, Routes, Settings, Stop, Tls};

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<Reply<()>>,
    /// Where media lie.
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    pub(crate) fn errcode(&self) -> (u16, String) {
        (self.status, self.json()["errcode"].as_str().unwrap_or_default().to_owned())
    }
    /// The value of a header; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub(crate) fn store() -> Store {
    store_of(server_name!("x").to_owned(), 7)
}

/// Of a server of this name, with a key of its own.
pub(crate) fn store_of(name: OwnedServerName, key: u8) -> Store {
    let key = Arc::new(protocol::SigningKey::generate([key; 32], "1").unwrap());
    let mut options = Options::new(name, key);
    (options.threads, options.seed) = (2, Some(1));
    Store::open(Arc::new(kv::Memory::default()), options).unwrap()
}

/// What a flow may reach. Rate limits are off unless `change` switches them on.
pub(crate) fn outside(
    store: &Store,
    folder: &TempDir,
    change: impl FnOnce(&mut Settings),
) -> (watch::Sender<bool>, Outside) {
    outside_by(store, folder, change, |egress, options| {
        flows::peers::Peers::new(store.clone(), egress.clone(), options)
    })
}

/// The same, with another way to other servers.
pub(crate) fn outside_by(
    store: &Store,
    folder: &TempDir,
    change: impl FnOnce(&mut Settings),
    peers: impl FnOnce(&Egress, flows::peers::Options) -> flows::peers::Peers,
) -> (watch::Sender<bool>, Outside) {
    let mut settings = Settings::new(store.server_name().to_owned());
    settings.rate_limits = false;
    change(&mut settings);
    let (tell, stop) = Stop::channel();
    let egress = Egress::new(egress::Options::default()).unwrap();
    let enabled = settings.federation_enabled;
    let peers = peers(&egress, flows::peers::Options { enabled, ..Default::default() });
    let media = media::Library::open(store.clone(), folder.path()).unwrap();
    let journeys =
        flows::journey::Journeys::new(store.clone(), peers.clone(), media.clone(), egress.clone());
    let outside = Outside {
        store: store.clone(),
        accounts: Hasher::start(Cost::CHEAP).unwrap(),
        media,
        inbound: flows::inbound::Inbound::new(store.clone(), peers.clone(), journeys.clone()),
        journeys,
        peers,
        previews: None,
        finder: finder(store, folder),
        mail: None,
        sliding: ::sync::sliding::Connections::default(),
        rendezvous: crate::Rendezvous::default(),
        bridges: Bridges::new(settings.appservices.clone(), egress.clone()),
        egress,
        client: ClientInfo::default(),
        settings: Arc::new(settings),
        stop,
    };
    (tell, outside)
}

fn finder(store: &Store, folder: &TempDir) -> crate::Finder {
    let index = search::Messages::open(&folder.path().join("search"), store.head()).unwrap();
    crate::Finder::new(Arc::new(index))
}

/// Serves on a free port of this machine.
pub(crate) async fn start(routes: Routes, change: impl FnOnce(&mut Settings)) -> Server {
    start_with(routes, None, change).await
}

pub(crate) async fn start_with(
    routes: Routes,
    tls: Option<Tls>,
    change: impl FnOnce(&mut Settings),
) -> Server {
    let (store, folder) = (store(), TempDir::new().unwrap());
    let (stop, outside) = outside(&store, &folder, change);
    let at = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener { bind: at, resources: Resources::all(), tls };
    let bound = crate::bind(vec![listener]).await.unwrap();
    let Some(Bind::Tcp(address)) = bound.addresses().into_iter().next() else { panic!() };
    let serving = tokio::spawn(bound.serve(routes, outside));
    Server { address, store, stop, serving, _folder: folder }
}

impl Server {
    /// Makes an account with one device and returns its access token.
    pub(crate) async fn token(&self, name: &str, guest: bool) -> String {
        self.log_in(name, guest, false).await.access
    }

    pub(crate) async fn log_in(
        &self,
        name: &str,
        guest: bool,
        refreshable: bool,
    ) -> accounts::session::Pair {
        let name = Some(name.to_owned());
        let new = New { name, guest, password: None, admin: false, display_name: None };
        let made = self.store.write(None, move |tx| {
            let (user, _) = accounts::account::register(tx, &new)?;
            let login = Login { device: Some("DEVICE".into()), refreshable, ..Login::default() };
            Ok(accounts::device::log_in(tx, user, &login)?.tokens)
        });
        made.await.unwrap().value
    }

    /// Sends bytes as they are and reads to the end of the connection.
    pub(crate) async fn say(&self, text: &str) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// One request on a connection of its own. `headers`: whole lines.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &str,
    ) -> Answered {
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for header in headers {
            text.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.say(&format!("{text}\r\n{body}")).await
    }

    pub(crate) async fn get(&self, target: &str, token: &str) -> Answered {
        self.ask("GET", target, &[&format!("authorization: Bearer {token}")], "").await
    }
}

pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Answered {
    let mut bytes = Vec::new();
    // A server that closes with unread bytes of ours makes an error of the end.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answered { status, head: head.to_owned(), body: body.to_owned() }
}
