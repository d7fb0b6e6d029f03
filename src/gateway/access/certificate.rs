//! What the page proves itself with: a certificate of its own making, or one that was brought.
//!
//! At the first start of the page a key and a certificate are made and kept, so that its
//! fingerprint, which is shown where only somebody at the device reads it, stays the same for ten
//! years. A certificate that an operator brings takes its place until it is taken away; the one of
//! our own making is kept meanwhile. Keys come and go as text in a request, never by a path (F79).

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use loka_stratum::control::Refused;
use loka_stratum::limits::{CERTIFICATES_MAX, HTTP_TLS_SESSIONS_MAX};
use loka_stratum::settings::Settings;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use serde::{Deserialize, Serialize};

use crate::gateway::clock;
use crate::gateway::fingerprint::Fingerprint;
use crate::gateway::socket;
use crate::gateway::store::Store;

/// The name of the store.
pub const NAME: &str = "page";

/// The certificate in use, once there is one.
#[derive(Default)]
pub struct Certificate {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    store: Option<Store<Stored>>,
    kept: Kept,
    in_use: Option<InUse>,
}

struct InUse {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

/// What is kept of certificates; fields are only ever appended to the versions of [`Stored`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    made: Option<Identity>,
    brought: Option<Identity>,
}

/// A chain, the leaf first, and the leaf's private key, in DER.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    V1(Kept),
}

/// Days that a certificate of our own making is good for, from the day before it is made.
const DAYS: u64 = 3650;

const DAY_SECS: u64 = 86_400;

impl Certificate {
    /// Takes up what is kept in a folder; with none, a certificate lasts until the process ends.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub fn open(folder: &str) -> io::Result<Self> {
        let mut state = State::default();
        if !folder.is_empty() {
            let (store, stored) = Store::load(Path::new(folder), NAME)?;
            state.store = Some(store);
            if let Some(Stored::V1(kept)) = stored {
                state.kept = kept;
            }
        }
        Ok(Self { state: RefCell::new(state) })
    }

    /// Returns the settings of a TLS server; where there is no certificate yet, makes one for the
    /// names that the page answers to.
    ///
    /// # Errors
    ///
    /// None can be made, or what is kept cannot be used.
    pub fn config(&self, settings: &Settings) -> io::Result<Arc<ServerConfig>> {
        let mut state = self.state.borrow_mut();
        if let Some(in_use) = &state.in_use {
            return Ok(in_use.config.clone());
        }
        let mut kept = state.kept.clone();
        if kept.made.is_none() {
            kept.made = Some(Identity::make(settings).map_err(io::Error::other)?);
        }
        state.take(kept)
    }

    /// Returns the SHA-256 of the certificate in use as browsers show it.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Some(self.state.borrow().in_use.as_ref()?.fingerprint)
    }

    /// Says whether the certificate in use was brought.
    pub fn is_brought(&self) -> bool {
        self.state.borrow().kept.brought.is_some()
    }

    /// Takes a certificate that was brought: its chain and its private key as PEM.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the one before stays in use.
    pub fn bring(&self, pem: &str) -> Result<(), Refused<String>> {
        let identity = Identity::read(pem).map_err(Refused::Invalid)?;
        identity.config().map_err(|error| Refused::Invalid(format!("pem: {error}")))?;
        self.change(|kept| kept.brought = Some(identity))
    }

    /// Goes back to the certificate of our own making.
    ///
    /// # Errors
    ///
    /// That is the one in use, or it cannot be written.
    pub fn drop_brought(&self) -> Result<(), Refused<String>> {
        if !self.is_brought() {
            let text = "the certificate of the gateway's own making is in use already";
            return Err(Refused::Conflict(text.to_owned()));
        }
        self.change(|kept| kept.brought = None)
    }

    /// Forgets all certificates; the next that is asked for is made anew.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn forget(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.save(Kept::default())?;
        state.in_use = None;
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), Refused<String>> {
        let mut state = self.state.borrow_mut();
        let mut kept = state.kept.clone();
        change(&mut kept);
        let failed = |error| Refused::Failed(format!("the certificate is not changed: {error}"));
        if kept.brought.is_none() && kept.made.is_none() {
            // There was no page yet; it makes one.
            state.in_use = None;
            return state.save(kept).map_err(failed);
        }
        state.take(kept).map(drop).map_err(failed)
    }
}

impl State {
    /// Puts into use what is kept, and keeps it.
    fn take(&mut self, kept: Kept) -> io::Result<Arc<ServerConfig>> {
        let missing = || io::Error::other("there is no certificate");
        let identity = kept.brought.as_ref().or(kept.made.as_ref()).ok_or_else(missing)?;
        let config = identity.config().map_err(io::Error::other)?;
        let fingerprint = identity.fingerprint();
        self.save(kept)?;
        self.in_use = Some(InUse { config: config.clone(), fingerprint });
        Ok(config)
    }

    fn save(&mut self, kept: Kept) -> io::Result<()> {
        if let Some(store) = &mut self.store {
            store.save(&Stored::V1(kept.clone()))?;
        }
        self.kept = kept;
        Ok(())
    }
}

impl Identity {
    /// Makes a key and a certificate that it signs itself. A clock that reads 1970 is taken for
    /// the day that this program was written.
    fn make(settings: &Settings) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(names(settings))?;
        for address in addresses(settings) {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        params.distinguished_name.push(DnType::CommonName, "Loka Stratum");
        let today = clock::wall().max(clock::FLOOR).as_secs() / DAY_SECS;
        let date = |days| {
            let (year, month, day) = clock::civil(days);
            let part = |number: u64| u8::try_from(number).unwrap_or(1);
            rcgen::date_time_ymd(i32::try_from(year).unwrap_or(2026), part(month), part(day))
        };
        params.not_before = date(today - 1);
        params.not_after = date(today + DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { chain: vec![certificate.der().to_vec()], key: key.serialize_der() })
    }

    fn read(pem: &str) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let chain = chain.map_err(|_| "pem: a certificate cannot be read".to_owned())?;
        let count = chain.len();
        if !(1..=CERTIFICATES_MAX).contains(&count) {
            return Err(format!("pem: got {count} certificates, allowed 1..{CERTIFICATES_MAX}"));
        }
        // What the parser says may hold parts of the key.
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "pem: got no private key, allowed one without a password".to_owned())?;
        let chain = chain.into_iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Self { chain, key: key.secret_der().to_vec() })
    }

    /// Makes the settings of a server; the library checks that the key fits the leaf.
    fn config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = PrivateKeyDer::try_from(self.key.clone())
            .map_err(|text| rustls::Error::General(text.to_owned()))?;
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(HTTP_TLS_SESSIONS_MAX);
        Ok(Arc::new(config))
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.chain.first().map(Vec::as_slice).unwrap_or_default())
    }
}

/// The names that the page answers to.
fn names(settings: &Settings) -> Vec<String> {
    let mdns = settings.mdns.name.iter().map(|label| format!("{label}.local"));
    let hosts = settings.web.hosts.iter().map(ToString::to_string);
    mdns.chain(hosts).chain(["localhost".to_owned()]).collect()
}

/// The addresses that the page is at, as far as this moment knows.
fn addresses(settings: &Settings) -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    match settings.page_address().map(|address| address.ip()) {
        Some(address) if !address.is_unspecified() => addresses.push(address),
        _ => addresses.extend(socket::own_addresses()),
    }
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::default()
    }

    fn brought(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn one_that_is_brought_takes_the_place_of_the_one_made_until_it_is_dropped() {
        let certificate = Certificate::default();
        certificate.config(&settings()).unwrap();
        let made = certificate.fingerprint().unwrap();
        let (pem, key) = brought("gw.farm.example");
        certificate.bring(&(pem + &key)).unwrap();
        assert!(certificate.is_brought());
        assert_ne!(certificate.fingerprint().unwrap(), made);
        certificate.drop_brought().unwrap();
        assert_eq!(certificate.fingerprint().unwrap(), made, "the same as before");
        assert!(matches!(certificate.drop_brought(), Err(Refused::Conflict(_))));
    }

    #[test]
    fn f79_what_is_no_certificate_with_its_key_changes_nothing() {
        let certificate = Certificate::default();
        certificate.config(&settings()).unwrap();
        let made = certificate.fingerprint();
        let ((pem, key), (_, other)) = (brought("a"), brought("b"));
        let chain = pem.repeat(CERTIFICATES_MAX + 1);
        for (text, wrong) in [
            ("", "0 certificates"),
            ("/etc/ssl/private/key.pem", "0 certificates"),
            (pem.as_str(), "no private key"),
            (key.as_str(), "0 certificates"),
            (&format!("{pem}{other}"), "not be consistent"),
            (&format!("{chain}{key}"), "9 certificates"),
            (&format!("{}{key}", pem.replace('M', "!")), "cannot be read"),
        ] {
            let Err(Refused::Invalid(error)) = certificate.bring(text) else { panic!("{text}") };
            assert!(error.to_lowercase().contains(wrong), "{error:?} for {text}");
            assert_eq!(certificate.fingerprint(), made);
        }
    }

    #[test]
    fn it_outlives_the_process_and_is_made_anew_when_forgotten() {
        let name = format!("loka-certificate-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let open = || Certificate::open(folder.to_str().unwrap()).unwrap();
        let fingerprint = |certificate: &Certificate| {
            certificate.config(&settings()).unwrap();
            certificate.fingerprint()
        };
        let made = fingerprint(&open());
        assert_eq!(fingerprint(&open()), made);
        let certificate = open();
        certificate.forget().unwrap();
        assert_ne!(fingerprint(&certificate), made);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
