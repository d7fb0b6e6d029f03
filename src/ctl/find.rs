//! `ctl find`: lists the gateways that publish their name on this network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant as StdInstant};

use loka_stratum::limits::FOUND_MAX;
use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent};

use crate::gateway::base::say::{say, say_error};
use crate::gateway::base::service::{PAGE, PRODUCT, STRATUM, VERSION};

/// Flags of `find`.
#[derive(clap::Args)]
pub struct FindArgs {
    /// Seconds to listen for answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
}

/// A gateway found on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name, `loka.local`.
    pub host: String,
    /// The miners' addresses, IPv4 first.
    pub miners: Vec<SocketAddr>,
    /// The page's URL; empty if only the gateway itself reaches it.
    pub page: String,
    /// Its version.
    pub version: String,
}

/// Searches for gateways and prints them.
pub fn run(args: &FindArgs) -> ExitCode {
    match gateways(Duration::from_secs(args.seconds)) {
        Ok(all) if all.is_empty() => {
            let seconds = args.seconds;
            say_error(format_args!(
                "no gateway told its name within {seconds} s; mdns.name must not be off, and this \
                 machine must be on the same network"
            ));
            ExitCode::FAILURE
        }
        Ok(all) => {
            for Found { host, miners, page, version } in all {
                let miners: Vec<_> = miners.iter().map(SocketAddr::to_string).collect();
                let page = if page.is_empty() { "no page" } else { &page };
                let miners = miners.join(" ");
                say(format_args!("{host}  miners {miners}  {page}  version {version}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            say_error(format_args!("cannot look for gateways: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Collects answers for `wait`; keeps at most [`FOUND_MAX`] gateways.
///
/// # Errors
///
/// The network cannot be queried.
pub fn gateways(wait: Duration) -> mdns_sd::Result<Vec<Found>> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.browse(STRATUM)?;
    let found = collect(&events, wait);
    if let Ok(done) = daemon.shutdown() {
        let _ = done.recv_timeout(Duration::from_millis(500));
    }
    Ok(found.into_values().collect())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line waits for so long, nothing else does"
)]
fn collect(events: &Receiver<ServiceEvent>, wait: Duration) -> BTreeMap<String, Found> {
    let end = StdInstant::now() + wait;
    let mut found = BTreeMap::new();
    while let Ok(event) = events.recv_timeout(end.saturating_duration_since(StdInstant::now())) {
        match event {
            ServiceEvent::ServiceResolved(service)
                if is_ours(&service) && found.len() < FOUND_MAX =>
            {
                found.insert(service.get_fullname().to_owned(), Found::of(&service));
            }
            ServiceEvent::ServiceRemoved(_, fullname) => drop(found.remove(&fullname)),
            _ => {}
        }
    }
    found
}

fn is_ours(service: &ResolvedService) -> bool {
    service.get_property_val_str(PRODUCT) == Some(env!("CARGO_PKG_NAME"))
}

impl Found {
    fn of(service: &ResolvedService) -> Self {
        let text = |key| service.get_property_val_str(key).unwrap_or_default();
        let host = shown(service.get_hostname().trim_end_matches('.'));
        // A link-local address is useless without its link.
        let is_whole = |address: &IpAddr| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        };
        let addresses = service.get_addresses().iter().map(|address| address.to_ip_addr());
        let mut addresses: Vec<_> = addresses.filter(is_whole).collect();
        addresses.sort();
        let port = service.get_port();
        let page = match text(PAGE).split_once(':') {
            Some((scheme @ ("http" | "https"), port)) => {
                let port: String = port.chars().filter(char::is_ascii_digit).collect();
                format!("{scheme}://{host}:{port}")
            }
            _ => String::new(),
        };
        let miners = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        Self { miners, page, version: shown(text(VERSION)), host }
    }
}

/// An answer may hold any text.
fn shown(text: &str) -> String {
    let is_plain = |character: &char| character.is_ascii_graphic();
    text.chars().filter(is_plain).take(80).collect()
}
