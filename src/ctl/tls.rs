//! Trust of `ctl` in a gateway: by the fingerprint of the page's self-signed certificate.
//!
//! The fingerprint is the certificate's SHA-256, which the gateway shows on its serial line and in
//! its log. It comes from `--fingerprint`, or from a file of gateways accepted before. Nothing is
//! sent before it matches, least of all a password. A new gateway is accepted only on request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use loka_stratum::limits::CONFIG_BYTES_MAX;
use rustls::crypto::ring;
use rustls::{CertificateError, ClientConfig};
use tokio_rustls::TlsConnector;

use super::CtlError;
use crate::gateway::base::fingerprint::Fingerprint;
use crate::gateway::base::proven::{self, Judge, Shown};

/// Flags about certificates.
#[derive(clap::Args, Clone)]
pub struct TlsArgs {
    /// SHA-256 of the certificate that the gateway's page must have, as its serial line shows it.
    #[arg(long, value_name = "SHA256")]
    pub fingerprint: Option<String>,
    /// Accept a gateway that is not known yet, and remember its certificate.
    #[arg(long)]
    pub accept_new: bool,
    /// File of the gateways that were accepted [default: loka-stratum/gateways in the folder of
    /// the user's settings]
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
}

/// The expected certificate, and the certificate that the gateway showed.
#[derive(Debug)]
pub struct Trust {
    expected: Option<Fingerprint>,
    accepts_new: bool,
    offered: Mutex<Option<Fingerprint>>,
}

impl TlsArgs {
    /// Chooses the expected certificate of the gateway at `place`.
    ///
    /// # Errors
    ///
    /// The fingerprint is malformed, or the file cannot be read.
    pub fn trust(&self, place: &str) -> Result<Arc<Trust>, CtlError> {
        let expected = match &self.fingerprint {
            Some(text) => Some(Fingerprint::parse(text).ok_or_else(|| {
                CtlError::Usage(format!("--fingerprint: got {text:?}, allowed 64 hex digits"))
            })?),
            None => known(&self.file()?, place)?,
        };
        let (accepts_new, offered) = (self.accept_new, Mutex::new(None));
        Ok(Arc::new(Trust { expected, accepts_new, offered }))
    }

    /// Remembers a newly accepted gateway.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn remember(&self, place: &str, trust: &Trust) -> Result<(), CtlError> {
        let Some(offered) = trust.offered().filter(|_| trust.expected.is_none()) else {
            return Ok(());
        };
        let path = self.file()?;
        if known(&path, place)? == Some(offered) {
            return Ok(());
        }
        let usage = |error: io::Error| CtlError::Usage(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(usage)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(usage)?;
        writeln!(file, "{place} {offered}").map_err(usage)
    }

    fn file(&self) -> Result<PathBuf, CtlError> {
        if let Some(path) = &self.known {
            return Ok(path.clone());
        }
        let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
        let folder = folder.or_else(home).ok_or_else(|| {
            CtlError::Usage("no folder for the known gateways; --known FILE names one".to_owned())
        })?;
        Ok(folder.join("loka-stratum").join("gateways"))
    }
}

/// Looks up a gateway accepted before; the last entry counts.
fn known(path: &Path, place: &str) -> Result<Option<Fingerprint>, CtlError> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX as u64).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CtlError::Usage(format!("{}: {error}", path.display()))),
    }
    let of_place = |line: &str| line.strip_prefix(place)?.strip_prefix(' ').map(str::to_owned);
    let Some(last) = text.lines().rev().find_map(of_place) else { return Ok(None) };
    let wrong = || CtlError::Usage(format!("{}: {last:?} is no fingerprint", path.display()));
    Fingerprint::parse(last.trim()).map(Some).ok_or_else(wrong)
}

impl Trust {
    /// Returns the TLS connector.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn connector(self: &Arc<Self>) -> Result<TlsConnector, CtlError> {
        let provider = ring::default_provider();
        let proven = proven::verifier(self.clone(), &provider);
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| CtlError::Lost(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(proven)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn offered(&self) -> Option<Fingerprint> {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why the certificate was refused, if it was.
    pub fn complaint(&self) -> Option<String> {
        let offered = self.offered()?;
        match self.expected {
            Some(expected) if expected == offered => None,
            Some(expected) => Some(format!(
                "its certificate is {offered}, and {expected} is expected: somebody is in \
                 between, or it has a new one"
            )),
            None if self.accepts_new => None,
            None => Some(format!(
                "it is not known yet; its certificate is {offered}. Compare that with what its \
                 serial line shows, then give --fingerprint {offered} or --accept-new"
            )),
        }
    }
}

impl Judge for Trust {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let offered = Fingerprint::of(shown.leaf);
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = Some(offered);
        match self.complaint() {
            None => Ok(()),
            Some(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_what_is_expected_or_new_and_wanted() {
        let of = |expected, accepts_new, offered| {
            let offered = Mutex::new(Some(Fingerprint::of(&[offered])));
            Trust { expected, accepts_new, offered }.complaint()
        };
        let print = Fingerprint::of(&[1]);
        let one = Some(print);
        assert_eq!(of(one, false, 1), None);
        assert_eq!(of(None, true, 1), None);
        assert!(of(one, true, 2).unwrap().contains("somebody is in between"));
        assert!(of(None, false, 1).unwrap().contains(&format!("--fingerprint {print}")));
    }
}
