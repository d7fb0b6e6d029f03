//! TLS to a server whose certificate is judged by our own rules.
//!
//! A [`Judge`] decides on the certificate. The handshake's signature is verified here for all
//! judges, so a copied certificate alone proves nothing (F81).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// The parts that a server shows.
pub struct Shown<'a> {
    /// Its own certificate.
    pub leaf: &'a CertificateDer<'a>,
    /// The chain from the leaf to an authority.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The wanted server name.
    pub name: &'a ServerName<'a>,
    /// The stapled OCSP response; may be empty.
    pub ocsp: &'a [u8],
    /// The time of the handshake.
    pub now: UnixTime,
}

/// Decides which certificates are accepted.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges a server's certificate; its key is not proven yet.
    ///
    /// # Errors
    ///
    /// It is rejected.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

#[derive(Debug)]
struct Proven<J> {
    judge: Arc<J>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Returns a verifier that combines the judge with the check of the handshake's signature.
pub fn verifier<J: Judge + 'static>(
    judge: Arc<J>,
    provider: &CryptoProvider,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Proven { judge, algorithms: provider.signature_verification_algorithms })
}

impl<J: Judge> ServerCertVerifier for Proven<J> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(&Shown { leaf, intermediates, name, ocsp, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
