//! Between the configuration and the way out: what [`egress`](::egress) and [`peers`](flows::peers) are told.

use flows::peers::{self, Border};
use protocol::server_keys::Retired;

use crate::config::{Config, ServerPattern};

/// What the operator decided about going out.
pub(crate) fn egress(config: &Config) -> egress::Options {
    let federation = &config.federation;
    egress::Options {
        trusted_ca: federation.trusted_ca.iter().map(|file| file.0.clone()).collect(),
        allow_private_ips: federation.allow_private_ips,
        proxy: federation.proxy.as_ref().and_then(|proxy| proxy.host_and_port()),
    }
}

/// What the operator decided about other servers.
pub(crate) fn peers(config: &Config, retired_keys: Vec<Retired>) -> peers::Options {
    let federation = &config.federation;
    peers::Options {
        enabled: federation.enabled,
        trusted_key_servers: federation.trusted_key_servers.clone(),
        retired_keys,
        border: border(config),
    }
}

/// Whom this server talks to.
pub(crate) fn border(config: &Config) -> Border {
    let texts = |list: &[ServerPattern]| list.iter().map(|p| p.0.clone()).collect::<Vec<_>>();
    let federation = &config.federation;
    Border::new(&texts(&federation.allow_servers), &texts(&federation.deny_servers))
}
