//! The name that the gateway is found by on its own network: mDNS and DNS-SD.
//!
//! Where `mdns.name` is not off, `NAME.local` leads to the gateway, and its ports can be browsed:
//! `_stratum._tcp` for miners, `_http._tcp` and `_https._tcp` for the page. Ports that only this
//! machine reaches are not told. A name that another has is changed by a number behind it, which
//! the log says. While it is off nothing is sent and no thread runs (F86).
//!
//! The protocol is the crate's, on a thread of its own: probing, conflicts, goodbyes, interfaces
//! that come and go (RFC 6762 and 6763). Here it is decided what is told, at every change of the
//! settings.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::settings::Settings;
use mdns_sd::{DaemonEvent, DnsNameChange, IfKind, Receiver, ServiceDaemon, ServiceInfo};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::control::Control;
use super::log::{self, Kind};

/// What miners look for.
pub const STRATUM: &str = "_stratum._tcp.local.";
const HTTP: &str = "_http._tcp.local.";
const HTTPS: &str = "_https._tcp.local.";

/// Keys of what is told beside a port.
pub const PRODUCT: &str = "product";
pub const VERSION: &str = "version";
pub const PAGE: &str = "page";

/// Time between two looks at what the thread has to say.
const CHECK: Duration = Duration::from_secs(1);

/// Time that a farewell may take.
pub const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// What is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    name: String,
    /// Each kind of port and its number; none of a kind where nobody else reaches it.
    ports: Vec<(&'static str, u16)>,
}

/// What is being told.
struct Announcement {
    told: Told,
    /// What others know it by, with the number behind it where there is one.
    host: String,
    daemon: ServiceDaemon,
    events: Receiver<DaemonEvent>,
}

impl Told {
    /// Returns what the settings want told; none where that is nothing.
    fn of(settings: &Settings) -> Option<Self> {
        let name = settings.mdns.name.as_ref()?.as_str().to_owned();
        let port = |address: SocketAddr| {
            let is_reached = !address.ip().is_loopback() && address.port() != 0;
            is_reached.then_some(address.port())
        };
        let stratum = settings.listen.addresses.iter().find_map(|address| port(*address));
        let ports = [
            (STRATUM, stratum),
            (HTTP, settings.status.address.and_then(port)),
            (HTTPS, settings.web.address.and_then(port)),
        ];
        let ports: Vec<_> =
            ports.into_iter().filter_map(|(kind, port)| Some((kind, port?))).collect();
        (!ports.is_empty()).then_some(Self { name, ports })
    }

    /// Returns where the page is, for those who found the miners' port.
    fn page(&self) -> String {
        let port = |of| self.ports.iter().find(|(kind, _)| *kind == of).map(|(_, port)| *port);
        match (port(HTTPS), port(HTTP)) {
            (Some(port), _) => format!("https:{port}"),
            (None, Some(port)) => format!("http:{port}"),
            (None, None) => String::new(),
        }
    }
}

impl Announcement {
    fn begin(told: Told) -> mdns_sd::Result<Self> {
        let daemon = ServiceDaemon::new()?;
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = daemon.monitor()?;
        let host = format!("{}.local.", told.name);
        let page = told.page();
        let about = [
            (PRODUCT, env!("CARGO_PKG_NAME")),
            (VERSION, env!("CARGO_PKG_VERSION")),
            (PAGE, page.as_str()),
        ];
        for (kind, port) in &told.ports {
            let service = ServiceInfo::new(kind, &told.name, &host, "", *port, &about[..])?;
            daemon.register(service.enable_addr_auto())?;
        }
        Ok(Self { told, host, daemon, events })
    }

    /// Logs what the thread has to say.
    fn handle_event(&mut self, event: DaemonEvent) {
        match event {
            // The names of its ports change as well, and once for each interface.
            DaemonEvent::NameChange(DnsNameChange { new_name, .. })
                if is_host(&new_name) && new_name != self.host =>
            {
                let text = "is another's on this network; the name here is now";
                log::warn(Kind::Mdns, format_args!("{:?} {text} {new_name:?}", self.host));
                self.host = new_name;
            }
            DaemonEvent::Error(error) => log::warn(Kind::Mdns, format_args!("mDNS: {error}")),
            _ => {}
        }
    }
}

impl Drop for Announcement {
    /// Says goodbye, so that nobody is led to a gateway that is gone.
    fn drop(&mut self) {
        if let Ok(done) = self.daemon.shutdown() {
            let _ = done.recv_timeout(FAREWELL_MAX);
        }
    }
}

/// Says whether a name is a host's: one label before `.local.`.
fn is_host(name: &str) -> bool {
    name.strip_suffix(".local.").is_some_and(|label| !label.contains('.'))
}

/// Tells the network what the settings want told, until the gateway ends; then says goodbye.
pub async fn run(control: Rc<Control>) {
    let mut changes = control.changes();
    let mut present: Option<Announcement> = None;
    // What could not be begun is begun again when the settings change it.
    let mut tried = None;
    loop {
        let is_ending = control.is_ending();
        let wanted = if is_ending { None } else { Told::of(&control.settings()) };
        if wanted != tried {
            tried.clone_from(&wanted);
            // The old name is given back before the new one is asked for.
            if let Some(old) = present.take() {
                let _ = spawn_blocking(move || drop(old)).await;
            }
            present = wanted.and_then(begin);
        }
        if is_ending {
            return;
        }
        // The wait cannot fail: the sender lives as long as the control.
        let Some(present) = &mut present else {
            let _ = changes.changed().await;
            continue;
        };
        while let Ok(event) = present.events.try_recv() {
            present.handle_event(event);
        }
        let _ = timeout(CHECK, changes.changed()).await;
    }
}

fn begin(told: Told) -> Option<Announcement> {
    let name = told.name.clone();
    match Announcement::begin(told) {
        Ok(announcement) => {
            let count = announcement.told.ports.len();
            let text = "the gateway tells its network that it is";
            log::info(Kind::Settings, format_args!("{text} {name}.local, with {count} ports"));
            Some(announcement)
        }
        Err(error) => {
            log::error(Kind::Mdns, format_args!("{name}.local cannot be told: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loka_stratum::settings::Key;

    fn told(sets: &[(&str, &str)]) -> Option<Told> {
        let mut settings = Settings::default();
        for (key, text) in sets {
            settings.set(Key::parse(key).unwrap(), text).unwrap();
        }
        Told::of(&settings)
    }

    #[test]
    fn f86_nothing_is_told_while_it_is_off_or_of_ports_that_only_this_machine_reaches() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("mdns.name", "loka"), ("listen.addresses", "127.0.0.1:3333")]), None);
        let of = told(&[("mdns.name", "loka"), ("status.address", "127.0.0.1:8080")]).unwrap();
        assert_eq!(of.ports, [(STRATUM, 3333)]);
    }

    #[test]
    fn every_port_that_others_reach_is_told_and_the_page_over_tls_first() {
        let http = [("mdns.name", "loka"), ("status.address", "0.0.0.0:8080")];
        let of = told(&http).unwrap();
        assert_eq!(of.ports, [(STRATUM, 3333), (HTTP, 8080)]);
        assert_eq!(of.page(), "http:8080");
        let of = told(&[http[0], http[1], ("web.address", "0.0.0.0:8443")]).unwrap();
        assert_eq!(of.ports, [(STRATUM, 3333), (HTTP, 8080), (HTTPS, 8443)]);
        assert_eq!(of.page(), "https:8443");
    }
}
