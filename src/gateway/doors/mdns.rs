//! The gateway's name on its own network: mDNS and DNS-SD.
//!
//! Unless `mdns.name` is off, `NAME.local` resolves to the gateway and its ports can be browsed:
//! `_stratum._tcp` for miners, `_http._tcp` and `_https._tcp` for the page. Loopback ports are not
//! published. A name that another host uses gets a number; the log says so once, and the page
//! accepts the name in use. While mDNS is off, nothing is sent and no socket is open (F86).
//!
//! [`responder`] speaks the protocol, over an existing DNS parser. The library behind `ctl find`
//! (mdns-sd) caches other hosts' records, parses each packet at once and renames without limit: 50
//! packets a second took 89 % of a core. This responder caches nothing and limits packets read,
//! answers sent and renames; the kernel drops the excess packets (F97).

mod responder;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::rc::Rc;
use std::time::Duration;

use if_addrs::IfAddr;
use loka_stratum::limits::{
    MDNS_ANSWER_INTERVAL, MDNS_ANSWERS_BURST_MAX, MDNS_CABLES_MAX, MDNS_PACKET_BYTES_MAX,
    MDNS_PACKET_INTERVAL, MDNS_PACKETS_BURST_MAX, MDNS_QUIET,
};
use loka_stratum::settings::Settings;
use loka_stratum::time::Instant;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::gateway::base::allowance::Allowance;
use crate::gateway::base::clock;
use crate::gateway::base::event_loop::{beside, must_not_turn};
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::service::{PAGE, PRODUCT, VERSION};
use crate::gateway::base::socket;
use crate::gateway::operate::control::Control;
use responder::{Asked, News, Outgoing, Responder, Told};

const MINERS: &str = "_stratum._tcp.local";
const HTTP: &str = "_http._tcp.local";
const HTTPS: &str = "_https._tcp.local";

/// The mDNS port and groups.
const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Hop limit of mDNS packets (RFC 6762 section 11).
const HOPS: u32 = 255;

/// Bytes of the kernel's receive buffer; it drops the rest.
const RECEIVE_BYTES: usize = 65_536;

/// Time between two scans of this machine's interfaces and addresses.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Longest wait for the goodbye to be sent.
pub const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// A network interface of this machine, and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cable {
    name: String,
    index: u32,
    addresses: Vec<IpAddr>,
}

/// The sockets, and the interfaces that they send over.
struct Lines {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    cables: Vec<Cable>,
}

/// A name being published.
struct Announcement {
    responder: Responder,
    lines: Lines,
    /// Rate limits for packets read and for packets answered.
    reads: Allowance,
    answers: Allowance,
    looked: Instant,
}

/// Returns the name and ports to publish; `None` if mDNS is off or no port is reachable.
fn told(settings: &Settings) -> Option<Told> {
    let name = settings.mdns.name.as_ref()?.as_str().to_owned();
    let port = |address: SocketAddr| {
        let is_reached = !address.ip().is_loopback() && address.port() != 0;
        is_reached.then_some(address.port())
    };
    let stratum = settings.listen.addresses.iter().find_map(|address| port(*address));
    let ports = [
        (MINERS, stratum),
        (HTTP, settings.status.address.and_then(port)),
        (HTTPS, settings.page_address().and_then(port)),
    ];
    let ports: Vec<_> = ports.into_iter().filter_map(|(kind, port)| Some((kind, port?))).collect();
    if ports.is_empty() {
        return None;
    }
    let about = vec![
        (PRODUCT, env!("CARGO_PKG_NAME").to_owned()),
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (PAGE, page(&ports)),
    ];
    Some(Told { name, ports, about })
}

/// Returns the page's port, for hosts that found the miners' port.
fn page(ports: &[(&'static str, u16)]) -> String {
    let port = |of| ports.iter().find(|(kind, _)| *kind == of).map(|(_, port)| *port);
    match (port(HTTPS), port(HTTP)) {
        (Some(port), _) => format!("https:{port}"),
        (None, Some(port)) => format!("http:{port}"),
        (None, None) => String::new(),
    }
}

impl Cable {
    /// Returns this machine's interfaces without the loopback.
    fn all() -> Vec<Self> {
        let mut cables: Vec<Self> = Vec::new();
        for interface in if_addrs::get_if_addrs().unwrap_or_default() {
            if interface.is_loopback() {
                continue;
            }
            let address = match interface.addr {
                IfAddr::V4(address) => IpAddr::V4(address.ip),
                IfAddr::V6(address) => IpAddr::V6(address.ip),
            };
            let count = cables.len();
            match cables.iter_mut().find(|cable| cable.name == interface.name) {
                Some(cable) => cable.addresses.push(address),
                None if count < MDNS_CABLES_MAX => cables.push(Self {
                    index: interface.index.unwrap_or_default(),
                    name: interface.name,
                    addresses: vec![address],
                }),
                None => {}
            }
        }
        cables
    }

    fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    fn has_v6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }
}

impl Lines {
    /// Opens the sockets that can be opened.
    ///
    /// # Errors
    ///
    /// Neither socket can be opened.
    fn open() -> io::Result<Self> {
        let v4 = open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, PORT).into());
        let v6 = open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, PORT).into());
        let v6 = v6.ok();
        let v4 = if v6.is_some() { v4.ok() } else { Some(v4?) };
        Ok(Self { v4, v6, cables: Vec::new() })
    }

    /// Scans the interfaces again; returns whether they changed.
    fn look(&mut self) -> bool {
        let cables = Cable::all();
        if cables == self.cables {
            return false;
        }
        for cable in &cables {
            // A repeated join fails harmlessly; an interface that just went is scanned again later.
            if let (Some(socket), Some(address)) = (&self.v4, cable.v4()) {
                let _ = socket.join_multicast_v4(GROUP_V4, address);
            }
            if let (Some(socket), true) = (&self.v6, cable.has_v6()) {
                let _ = socket.join_multicast_v6(&GROUP_V6, cable.index);
            }
        }
        self.cables = cables;
        true
    }

    /// Returns this machine's addresses.
    fn own(&self) -> Vec<IpAddr> {
        self.cables.iter().flat_map(|cable| cable.addresses.iter().copied()).collect()
    }

    /// Sends over every interface the packet that `make` builds for its addresses. A packet that
    /// cannot be sent is lost, as it may be on the wire.
    fn send(&self, make: impl Fn(&[IpAddr]) -> Option<Vec<u8>>) {
        for cable in &self.cables {
            let Some(bytes) = make(&cable.addresses) else { continue };
            if let (Some(socket), Some(address)) = (&self.v4, cable.v4()) {
                let socket = SockRef::from(socket);
                let to = SocketAddr::from((GROUP_V4, PORT));
                let _ = socket
                    .set_multicast_if_v4(&address)
                    .and_then(|()| socket.send_to(&bytes, &to.into()));
            }
            if let (Some(socket), true) = (&self.v6, cable.has_v6()) {
                let socket = SockRef::from(socket);
                let to = SocketAddrV6::new(GROUP_V6, PORT, 0, cable.index);
                let _ = socket
                    .set_multicast_if_v6(cable.index)
                    .and_then(|()| socket.send_to(&bytes, &SocketAddr::from(to).into()));
            }
        }
    }

    /// Sends a unicast answer to a legacy query.
    fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            let _ = SockRef::from(socket).send_to(bytes, &to.into());
        }
    }

    /// Reads the next packet.
    async fn receive(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match (&self.v4, &self.v6) {
            (Some(v4), None) => v4.recv_from(bytes).await,
            (None, Some(v6)) => v6.recv_from(bytes).await,
            (Some(v4), Some(v6)) => {
                tokio::select! {
                    ready = v4.readable() => ready.and_then(|()| v4.try_recv_from(bytes)),
                    ready = v6.readable() => ready.and_then(|()| v6.try_recv_from(bytes)),
                }
            }
            (None, None) => std::future::pending().await,
        }
    }
}

fn open(domain: Domain, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // Other responders on this machine use the port too.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.set_nonblocking(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
        socket.set_multicast_hops_v6(HOPS)?;
    } else {
        socket.set_multicast_ttl_v4(HOPS)?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

impl Announcement {
    fn begin(told: Told, id: String) -> io::Result<Self> {
        let now = clock::now();
        let mut lines = Lines::open()?;
        lines.look();
        let responder = Responder::new(told, id, now);
        Ok(Self {
            responder,
            lines,
            reads: Allowance::new(MDNS_PACKETS_BURST_MAX, MDNS_PACKET_INTERVAL),
            answers: Allowance::new(MDNS_ANSWERS_BURST_MAX, MDNS_ANSWER_INTERVAL),
            looked: now,
        })
    }

    /// Sends the due packets and reports the outcome of probing.
    fn step(&mut self) {
        let now = clock::now();
        if now.since(self.looked) >= our(LOOK_EVERY) {
            self.looked = now;
            if self.lines.look() {
                self.responder.begin_again(now);
            }
        }
        while let Some(send) = self.responder.poll(now) {
            let responder = &self.responder;
            self.lines.send(|addresses| match send {
                Outgoing::Probe => responder.probe(addresses),
                Outgoing::Announcement => responder.announcement(addresses, false),
            });
        }
        let name = format!("{}.local.", self.responder.told().name);
        match self.responder.poll_news() {
            Some(News::Renamed(label)) => {
                let text = "is another's on this network; the name here is now";
                let label = format!("{label}.local.");
                log::warn(Kind::Mdns, format_args!("{name:?} {text} {label:?}"));
            }
            Some(News::Quiet) => {
                let text = "and names like it are all another's on this network; none is told for";
                let secs = MDNS_QUIET.as_secs();
                log::warn(Kind::Mdns, format_args!("{name:?} {text} {secs} s"));
            }
            None => {}
        }
    }

    /// Waits for a packet or for the next due step.
    async fn wait(&mut self) {
        let now = clock::now();
        let due = self
            .responder
            .poll_timeout()
            .map_or(LOOK_EVERY, |due| Duration::from_micros(due.since(now).as_micros()));
        let due = due.min(LOOK_EVERY);
        if !self.reads.allow(now) {
            // Packets that arrive meanwhile wait in the kernel, or are dropped there.
            let pause = Duration::from_micros(MDNS_PACKET_INTERVAL.as_micros());
            return sleep(due.min(pause)).await;
        }
        let mut bytes = [0; MDNS_PACKET_BYTES_MAX + 1];
        tokio::select! {
            received = self.lines.receive(&mut bytes) => {
                if let Ok((length, from)) = received
                    && length <= MDNS_PACKET_BYTES_MAX
                {
                    self.handle_packet(bytes.get(..length).unwrap_or_default(), from);
                }
            }
            () = sleep(due) => {}
        }
    }

    fn handle_packet(&mut self, bytes: &[u8], from: SocketAddr) {
        // Packets from outside the local network are ignored.
        if !socket::is_local(from.ip()) {
            return;
        }
        let (now, own) = (clock::now(), self.lines.own());
        let asked = self.responder.handle_packet(bytes, &own, now);
        if let Some(asked) = asked.filter(|_| self.answers.allow(now)) {
            self.answer(&asked, from);
        }
    }

    fn answer(&self, asked: &Asked, from: SocketAddr) {
        let responder = &self.responder;
        if from.port() == PORT {
            return self.lines.send(|addresses| responder.answer(asked, addresses));
        }
        if let Some(bytes) = responder.legacy_answer(asked, &self.lines.own()) {
            self.lines.send_to(&bytes, from);
        }
    }
}

impl Drop for Announcement {
    /// Sends a goodbye, so that nobody resolves a gateway that is gone.
    fn drop(&mut self) {
        if self.responder.name().is_some() {
            self.lines.send(|addresses| self.responder.announcement(addresses, true));
        }
    }
}

fn our(time: Duration) -> loka_stratum::time::Duration {
    loka_stratum::time::Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Returns a suffix that tells this machine from others of its name: the end of a hardware address,
/// else random digits.
fn id() -> String {
    must_not_turn("hardware addresses are read");
    let folders = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let address = |folder: std::fs::DirEntry| {
        let text = std::fs::read_to_string(folder.path().join("address")).ok()?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let end = digits.get(digits.len().checked_sub(6)?..)?.to_owned();
        (digits.len() == 12 && digits.bytes().any(|digit| digit != b'0')).then_some(end)
    };
    folders.filter_map(address).min().unwrap_or_else(|| {
        let mut bytes = [0; 3];
        let _ = getrandom::fill(&mut bytes);
        loka_stratum::wire::hex::Digits(&bytes).to_string()
    })
}

/// Publishes the name from the settings until the gateway ends, then sends a goodbye.
pub async fn run(control: Rc<Control>) {
    let mut changes = control.changes();
    let mut present: Option<Announcement> = None;
    // A failed start is retried when the settings change it.
    let mut tried = None;
    loop {
        let is_ending = control.is_ending();
        let wanted = if is_ending { None } else { told(&control.settings()) };
        if wanted != tried {
            tried.clone_from(&wanted);
            // The goodbye of the old name precedes the probes for the new one.
            drop(present.take());
            if let Some(told) = wanted {
                let id = beside(id).await.unwrap_or_default();
                present = begin(told, id);
            }
        }
        let name = present.as_ref().and_then(|present| present.responder.name());
        control.set_told_name(name);
        if is_ending {
            return;
        }
        // The wait cannot fail: the control owns the sender.
        let Some(present) = &mut present else {
            let _ = changes.changed().await;
            continue;
        };
        present.step();
        tokio::select! {
            _ = changes.changed() => {}
            () = present.wait() => {}
        }
    }
}

fn begin(told: Told, id: String) -> Option<Announcement> {
    let (name, count) = (told.name.clone(), told.ports.len());
    match Announcement::begin(told, id) {
        Ok(announcement) => {
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

    fn told_of(sets: &[(&str, &str)]) -> Option<Told> {
        let mut settings = Settings::default();
        for (key, text) in sets {
            settings.set(Key::parse(key).unwrap(), text).unwrap();
        }
        super::told(&settings)
    }

    #[test]
    fn f86_nothing_is_told_while_it_is_off_or_of_ports_that_only_this_machine_reaches() {
        assert_eq!(told_of(&[]), None);
        assert_eq!(told_of(&[("mdns.name", "loka"), ("listen.addresses", "127.0.0.1:3333")]), None);
        let of = told_of(&[("mdns.name", "loka"), ("status.address", "127.0.0.1:8080")]).unwrap();
        assert_eq!(of.ports, [(MINERS, 3333)]);
    }

    #[test]
    fn every_port_that_others_reach_is_told_and_the_page_over_tls_first() {
        let http = [("mdns.name", "loka"), ("status.address", "0.0.0.0:8080")];
        let of = told_of(&http).unwrap();
        assert_eq!(of.ports, [(MINERS, 3333), (HTTP, 8080)]);
        assert_eq!(page(&of.ports), "http:8080");
        let of = told_of(&[http[0], http[1], ("web.address", "0.0.0.0:8443")]).unwrap();
        assert_eq!(of.ports, [(MINERS, 3333), (HTTP, 8080), (HTTPS, 8443)]);
        assert_eq!(page(&of.ports), "https:8443");
    }
}
