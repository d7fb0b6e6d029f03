//! TLS to somebody who is known by other means than an authority of the web alone.
//!
//! Whose certificate is taken is for a [`Judge`] to say. That whoever shows it also has its key is
//! verified here, once for all of them, so a copied certificate alone proves nothing (F81).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// What a server shows of itself.
pub struct Shown<'a> {
    /// Its own certificate.
    pub leaf: &'a CertificateDer<'a>,
    /// Those that lead from it to an authority.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name that it is called by.
    pub name: &'a ServerName<'a>,
    /// What its authority says of it now; may be empty.
    pub ocsp: &'a [u8],
    /// When that is.
    pub now: UnixTime,
}

/// Says whose certificate is taken.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges what a server shows, whose key is not proven yet.
    ///
    /// # Errors
    ///
    /// It is not taken.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

#[derive(Debug)]
struct Proven<J> {
    judge: Arc<J>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Returns what verifies a server: the judge's word, and the signature of the handshake.
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
