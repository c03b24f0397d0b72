//! Certificates: read at the start, and again when told to.

use std::{path::PathBuf, sync::Arc};

use base::{Error, Reply};
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Where a listener's certificate lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those between it and a root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub private_key: PathBuf,
}

/// What a listener presents now.
pub(crate) struct Presented {
    files: Tls,
    config: RwLock<Arc<ServerConfig>>,
}

impl Presented {
    /// # Errors
    /// A fault that names the file and what is wrong with it.
    pub(crate) fn load(files: Tls) -> Reply<Presented> {
        let config = RwLock::new(read(&files)?);
        Ok(Presented { files, config })
    }

    /// Reads the files again. If they are no good, what was presented stays.
    ///
    /// # Errors
    /// As [`Presented::load`].
    pub(crate) fn reload(&self) -> Reply<()> {
        let config = read(&self.files)?;
        *self.config.write() = config;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().clone()
    }
}

fn read(files: &Tls) -> Reply<Arc<ServerConfig>> {
    let Tls { certificate, private_key } = files;
    let bad = |path: &PathBuf, why: &dyn std::fmt::Display| {
        Error::fault(format!("TLS: {}: {why}", path.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(certificate, &error))?;
    if chain.is_empty() {
        return Err(bad(certificate, &"no certificate in it"));
    }
    let key =
        PrivateKeyDer::from_pem_file(private_key).map_err(|error| bad(private_key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| bad(certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
