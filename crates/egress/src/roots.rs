//! Whom to believe about certificates: the system's roots and the operator's. The system's are read when the first
//! request needs them, since that takes some milliseconds and a server in a closed network never does.

use std::{path::PathBuf, sync::Arc};

use base::{Error, Reply};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::sync::OnceCell;

use crate::Failure;

pub(crate) struct Roots {
    added: RootCertStore,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Roots {
    /// # Errors
    /// A fault that names the file and what is wrong with it.
    pub(crate) fn new(files: &[PathBuf]) -> Reply<Roots> {
        let mut added = RootCertStore::empty();
        for file in files {
            let bad = |why: &dyn std::fmt::Display| {
                Error::fault(format!("trusted CA: {}: {why}", file.display()))
            };
            let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect)
                .map_err(|error| bad(&error))?;
            if certificates.is_empty() {
                return Err(bad(&"no certificate in it"));
            }
            for certificate in certificates {
                added.add(certificate).map_err(|error| bad(&error))?;
            }
        }
        Ok(Roots { added, config: OnceCell::new() })
    }

    pub(crate) async fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        self.config.get_or_try_init(|| self.read()).await.cloned()
    }

    async fn read(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut roots = self.added.clone();
        let made = tokio::task::spawn_blocking(move || {
            let system = rustls_native_certs::load_native_certs();
            let (taken, _no_use) = roots.add_parsable_certificates(system.certs);
            if taken == 0 {
                tracing::warn!(
                    "the system has no certificate authorities: install its package of them"
                );
            }
            let mut config =
                ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok::<_, rustls::Error>(Arc::new(config))
        });
        match made.await {
            Ok(Ok(config)) => Ok(config),
            Ok(Err(error)) => Err(Failure::Tls(error.to_string())),
            Err(error) => Err(Failure::Tls(error.to_string())),
        }
    }
}
