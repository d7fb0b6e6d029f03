//! The pool's self-made certificates: a CA for the gateway to trust, and a leaf under it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};

use crate::lab::hex;

/// A key with its certificates, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The leaf, the CA, and the leaf's private key, one after the other.
    pem: String,
}

impl Identity {
    /// Makes a CA and a leaf for `localhost`, 127.0.0.1 and ::1.
    ///
    /// # Errors
    ///
    /// The certificate library fails, which does not happen on a healthy machine.
    pub fn make() -> io::Result<Self> {
        Self::signed().map_err(io::Error::other)
    }

    fn signed() -> Result<Self, rcgen::Error> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "Loka lab CA");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            leaf.subject_alt_names.push(SanType::IpAddress(address));
        }
        leaf.distinguished_name.push(DnType::CommonName, "Loka lab pool");
        let leaf = leaf.signed_by(&key, &ca)?;
        Ok(Self { pem: format!("{}{}{}", leaf.pem(), ca.pem(), key.serialize_pem()) })
    }

    /// Reads the identity in `path`; if the file is missing, generates and writes it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn load_or_make(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(pem) => Ok(Self { pem }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self::make()?;
                write_private(path, identity.pem.as_bytes())?;
                Ok(identity)
            }
            Err(error) => Err(error),
        }
    }

    fn chain(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_slice_iter(self.pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(io::Error::other)
    }

    /// Returns the CA's certificate as PEM.
    pub fn ca_pem(&self) -> &str {
        let end = "-----END CERTIFICATE-----\n";
        let Some(leaf_end) = self.pem.find(end) else { return "" };
        let rest = &self.pem[leaf_end + end.len()..];
        rest.find(end).map_or("", |at| &rest[..at + end.len()])
    }

    /// Returns the SHA-256 of the leaf's public key (SPKI, DER), as 64 hex digits.
    ///
    /// # Errors
    ///
    /// The identity holds no certificate.
    pub fn pin(&self) -> io::Result<String> {
        let chain = self.chain()?;
        let leaf = chain.first().ok_or(io::ErrorKind::InvalidData)?;
        let leaf = ParsedCertificate::try_from(leaf).map_err(io::Error::other)?;
        Ok(hex::text(&Sha256::digest(leaf.subject_public_key_info())))
    }

    /// Returns the settings of a TLS server with this identity.
    ///
    /// # Errors
    ///
    /// The identity's file was damaged.
    pub fn server_config(&self) -> io::Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from_pem_slice(self.pem.as_bytes()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(self.chain()?, key)
            .map_err(io::Error::other)?;
        Ok(Arc::new(config))
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_serves_and_names_its_ca_and_pin() -> io::Result<()> {
        let identity = Identity::make()?;
        identity.server_config()?;
        assert_eq!(identity.pin()?.len(), 64);
        assert_eq!(identity.chain()?.len(), 2);
        let ca = CertificateDer::from_pem_slice(identity.ca_pem().as_bytes());
        assert_eq!(ca.ok().as_ref(), identity.chain()?.get(1));
        Ok(())
    }
}
