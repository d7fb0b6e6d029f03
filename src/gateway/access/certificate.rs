//! The page's TLS certificate: self-made, or brought by the operator.
//!
//! At the first start of the page a key and a self-signed certificate are made and stored. Its
//! fingerprint, shown only to a person at the device, stays the same for ten years. An operator's
//! certificate replaces it until it is removed; the self-made one is kept meanwhile. Keys arrive as
//! text in a request, never as a path (F79).

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
use tokio::task::spawn_blocking;

use crate::gateway::base::clock;
use crate::gateway::base::fingerprint::Fingerprint;
use crate::gateway::base::shelf::{Shelf, Writing};
use crate::gateway::base::socket;

/// The name of the store.
pub const NAME: &str = "page";

/// The certificate in use, once there is one.
#[derive(Default)]
pub struct Certificate {
    state: RefCell<State>,
    /// Held by each change, so that changes run one after the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    shelf: Option<Shelf<Stored>>,
    kept: Kept,
    in_use: Option<InUse>,
}

#[derive(Clone)]
struct InUse {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

/// The stored certificates; fields are only ever appended to the versions of [`Stored`].
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

/// Days that a self-made certificate is valid, from the day before it is made.
const DAYS: u64 = 3650;

const DAY_SECS: u64 = 86_400;

impl Certificate {
    /// Loads the certificates of a folder; without a folder they last until the process ends.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn open(folder: &str) -> io::Result<Self> {
        let mut state = State::default();
        if !folder.is_empty() {
            let (shelf, found) = Shelf::open(Path::new(folder), NAME)?;
            state.shelf = Some(shelf);
            if let Some(Stored::V1(kept)) = found.value {
                state.kept = kept;
            }
        }
        Ok(Self { state: RefCell::new(state), ..Self::default() })
    }

    /// Returns the TLS server's configuration. If there is no certificate yet, it makes one for the
    /// page's names.
    ///
    /// # Errors
    ///
    /// No certificate can be made, or the stored one is unusable.
    pub async fn config(&self, settings: &Settings) -> io::Result<Arc<ServerConfig>> {
        if let Some(config) = self.in_use() {
            return Ok(config);
        }
        let _turn = self.turn.lock().await;
        if let Some(config) = self.in_use() {
            return Ok(config);
        }
        let mut kept = self.state.borrow().kept.clone();
        if kept.made.is_none() {
            let settings = settings.clone();
            let made = spawn_blocking(move || Identity::make(&settings)).await;
            kept.made = Some(made.map_err(io::Error::other)?.map_err(io::Error::other)?);
        }
        let config = Self::ready(&kept).await?;
        // The page works without a disk too; the shelf logs a failed write.
        self.state.borrow_mut().take(kept, config.clone());
        Ok(config.config)
    }

    fn in_use(&self) -> Option<Arc<ServerConfig>> {
        self.state.borrow().in_use.as_ref().map(|in_use| in_use.config.clone())
    }

    /// Builds the server's configuration beside the event loop, since checking a large key takes
    /// time.
    async fn ready(kept: &Kept) -> io::Result<InUse> {
        let missing = || io::Error::other("there is no certificate");
        let identity = kept.brought.as_ref().or(kept.made.as_ref()).ok_or_else(missing)?.clone();
        let fingerprint = identity.fingerprint();
        let config = spawn_blocking(move || identity.config()).await.map_err(io::Error::other)?;
        Ok(InUse { config: config.map_err(io::Error::other)?, fingerprint })
    }

    /// Returns the SHA-256 of the certificate in use, as browsers show it.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Some(self.state.borrow().in_use.as_ref()?.fingerprint)
    }

    /// Says whether the operator brought the certificate in use.
    pub fn is_brought(&self) -> bool {
        self.state.borrow().kept.brought.is_some()
    }

    /// Uses an operator's certificate: its chain and its private key as PEM.
    ///
    /// # Errors
    ///
    /// The certificate is unusable or was not written; the one before stays in use.
    pub async fn bring(&self, pem: &str) -> Result<(), Refused<String>> {
        let pem = pem.to_owned();
        let read = spawn_blocking(move || {
            let identity = Identity::read(&pem)?;
            identity.config().map_err(|error| format!("pem: {error}"))?;
            Ok(identity)
        });
        let read: Result<Identity, String> =
            read.await.map_err(|error| Refused::Failed(error.to_string()))?;
        let identity = read.map_err(Refused::Invalid)?;
        self.change(|kept| kept.brought = Some(identity)).await
    }

    /// Returns to the self-made certificate.
    ///
    /// # Errors
    ///
    /// It is in use already, or the change cannot be written.
    pub async fn drop_brought(&self) -> Result<(), Refused<String>> {
        if !self.is_brought() {
            let text = "the certificate of the gateway's own making is in use already";
            return Err(Refused::Conflict(text.to_owned()));
        }
        self.change(|kept| kept.brought = None).await
    }

    /// Forgets all certificates; the next use makes a new one. The caller erases the file later in
    /// the disk's queue.
    pub fn forget(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(shelf) = &state.shelf {
            shelf.forget();
        }
        state.kept = Kept::default();
        state.in_use = None;
    }

    /// Writes again what is in use, where the disk did not take it before.
    pub fn retry(&self) {
        let state = self.state.borrow();
        let Some(shelf) = &state.shelf else { return };
        if !shelf.is_written() && state.in_use.is_some() {
            // The shelf reports a failure.
            let _ = shelf.put(Stored::V1(state.kept.clone()));
        }
    }

    /// Applies a change and waits until it is written. If the write fails, the previous state is
    /// restored.
    async fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), Refused<String>> {
        let failed =
            |error: io::Error| Refused::Failed(format!("the certificate is not changed: {error}"));
        let _turn = self.turn.lock().await;
        let before = self.state.borrow().kept.clone();
        let mut kept = before.clone();
        change(&mut kept);
        // Without any certificate there was no page yet; opening the page makes one.
        let is_none = kept.brought.is_none() && kept.made.is_none();
        let ready = if is_none { None } else { Some(Self::ready(&kept).await.map_err(failed)?) };
        let (before, writing) = {
            let mut state = self.state.borrow_mut();
            let before = (before, std::mem::replace(&mut state.in_use, ready));
            (before, state.put(kept))
        };
        if let Some(writing) = writing
            && let Err(error) = writing.outcome().await
        {
            let mut state = self.state.borrow_mut();
            (state.kept, state.in_use) = before;
            return Err(failed(error));
        }
        Ok(())
    }
}

impl State {
    /// Puts certificates into use and queues their write.
    fn take(&mut self, kept: Kept, ready: InUse) {
        self.in_use = Some(ready);
        // Nobody waits for this write; the shelf logs a failure.
        let _ = self.put(kept);
    }

    fn put(&mut self, kept: Kept) -> Option<Writing> {
        let writing = self.shelf.as_ref().map(|shelf| shelf.put(Stored::V1(kept.clone())));
        self.kept = kept;
        writing
    }
}

impl Identity {
    /// Makes a key and a self-signed certificate. If the clock reads 1970, the certificate starts
    /// on the day this program was written.
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
        // The parser's error may quote parts of the key.
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "pem: got no private key, allowed one without a password".to_owned())?;
        let chain = chain.into_iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Self { chain, key: key.secret_der().to_vec() })
    }

    /// Builds the server's configuration; rustls checks that the key fits the leaf.
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

/// The addresses of the page known at this moment.
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
    use crate::gateway::base::disk::thread;

    fn settings() -> Settings {
        Settings::default()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn brought(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn one_that_is_brought_takes_the_place_of_the_one_made_until_it_is_dropped() {
        let certificate = Certificate::default();
        run(certificate.config(&settings())).unwrap();
        let made = certificate.fingerprint().unwrap();
        let (pem, key) = brought("gw.farm.example");
        run(certificate.bring(&(pem + &key))).unwrap();
        assert!(certificate.is_brought());
        assert_ne!(certificate.fingerprint().unwrap(), made);
        run(certificate.drop_brought()).unwrap();
        assert_eq!(certificate.fingerprint().unwrap(), made, "the same as before");
        assert!(matches!(run(certificate.drop_brought()), Err(Refused::Conflict(_))));
    }

    #[test]
    fn f79_what_is_no_certificate_with_its_key_changes_nothing() {
        let certificate = Certificate::default();
        run(certificate.config(&settings())).unwrap();
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
            let Err(Refused::Invalid(error)) = run(certificate.bring(text)) else {
                panic!("{text}")
            };
            assert!(error.to_lowercase().contains(wrong), "{error:?} for {text}");
            assert_eq!(certificate.fingerprint(), made);
        }
    }

    #[test]
    fn f69_one_that_the_disk_did_not_take_is_written_later_and_no_refused_one_is() {
        let name = format!("loka-certificate-retry-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let open = || Certificate::open(folder.to_str().unwrap()).unwrap();
        let finish = || assert!(thread::finish(std::time::Duration::from_secs(60)));
        let certificate = open();
        // A folder in the way fails the write as a full disk would, for root too.
        std::fs::create_dir(folder.join("page.new")).unwrap();
        run(certificate.config(&settings())).unwrap();
        let made = certificate.fingerprint();
        let (pem, key) = brought("gw.farm.example");
        assert!(run(certificate.bring(&(pem + &key))).is_err());
        certificate.retry();
        finish();
        std::fs::remove_dir(folder.join("page.new")).unwrap();
        certificate.retry();
        finish();
        let kept = open();
        run(kept.config(&settings())).unwrap();
        assert_eq!(kept.fingerprint(), made);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn it_outlives_the_process_and_is_made_anew_when_forgotten() {
        let name = format!("loka-certificate-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let open = || Certificate::open(folder.to_str().unwrap()).unwrap();
        let fingerprint = |certificate: &Certificate| {
            run(certificate.config(&settings())).unwrap();
            // All writes queued before this are on the disk.
            assert!(thread::finish(std::time::Duration::from_secs(20)));
            certificate.fingerprint()
        };
        let made = fingerprint(&open());
        assert_eq!(fingerprint(&open()), made);
        let certificate = open();
        certificate.forget();
        assert_ne!(fingerprint(&certificate), made);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
