//! The name that the gateway is found by on its own network: mDNS and DNS-SD.
//!
//! Where `mdns.name` is not off, `NAME.local` leads to the gateway, and its ports can be browsed:
//! `_stratum._tcp` for miners, `_http._tcp` and `_https._tcp` for the page. Ports that only this
//! machine reaches are not told. A name that another has is changed by a number behind it, which
//! the log says once, and the page answers to the name that is used. While it is off nothing is
//! sent and no socket is open (F86).
//!
//! The protocol is [`responder`]'s, over a parser of DNS that others keep. A responder of a whole
//! library (mdns-sd, which `ctl find` uses to look) keeps what others tell, looks at each packet as
//! it comes, and renames as often as somebody wishes: 50 packets a second took 89 % of a core. This
//! one keeps nothing, reads so many packets a second and leaves the rest to the kernel, which drops
//! them, answers so many times a second, and gives up so many names (F97).

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

use super::allowance::Allowance;
use super::clock;
use super::control::Control;
use super::log::{self, Kind};
use super::service::{PAGE, PRODUCT, VERSION};
use super::socket;
use responder::{Asked, News, Outgoing, Responder, Told};

const MINERS: &str = "_stratum._tcp.local";
const HTTP: &str = "_http._tcp.local";
const HTTPS: &str = "_https._tcp.local";

/// Where everybody listens.
const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Hops that a packet of this network has.
const HOPS: u32 = 255;

/// Bytes that the kernel keeps of what was not read; it drops the rest.
const RECEIVE_BYTES: usize = 65_536;

/// Time between two looks at this machine's cables and addresses.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Time that a farewell may take.
pub const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// One of this machine's cables, and its addresses there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cable {
    name: String,
    index: u32,
    addresses: Vec<IpAddr>,
}

/// The sockets, and the cables that they speak over.
struct Lines {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    cables: Vec<Cable>,
}

/// What is being told.
struct Announcement {
    responder: Responder,
    lines: Lines,
    /// How many packets are read, and answered.
    reads: Allowance,
    answers: Allowance,
    looked: Instant,
}

/// Returns what the settings want told; none where that is nothing.
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

/// Returns where the page is, for those who found the miners' port.
fn page(ports: &[(&'static str, u16)]) -> String {
    let port = |of| ports.iter().find(|(kind, _)| *kind == of).map(|(_, port)| *port);
    match (port(HTTPS), port(HTTP)) {
        (Some(port), _) => format!("https:{port}"),
        (None, Some(port)) => format!("http:{port}"),
        (None, None) => String::new(),
    }
}

impl Cable {
    /// Returns this machine's cables, but for the one to itself.
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
    /// Opens what can be had.
    ///
    /// # Errors
    ///
    /// Neither of both can.
    fn open() -> io::Result<Self> {
        let v4 = open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, PORT).into());
        let v6 = open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, PORT).into());
        let v6 = v6.ok();
        let v4 = if v6.is_some() { v4.ok() } else { Some(v4?) };
        Ok(Self { v4, v6, cables: Vec::new() })
    }

    /// Looks at the cables anew; returns whether they changed.
    fn look(&mut self) -> bool {
        let cables = Cable::all();
        if cables == self.cables {
            return false;
        }
        for cable in &cables {
            // What is joined already stays joined, and a cable that just went is looked at again.
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

    /// Sends over every cable what `make` makes for its addresses. What cannot be sent is lost, as
    /// on the way it may be.
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

    /// Answers who asked by an ordinary port.
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
    // Others on this machine listen there too.
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
    fn begin(told: Told) -> io::Result<Self> {
        let now = clock::now();
        let mut lines = Lines::open()?;
        lines.look();
        let responder = Responder::new(told, id(), now);
        Ok(Self {
            responder,
            lines,
            reads: Allowance::new(MDNS_PACKETS_BURST_MAX, MDNS_PACKET_INTERVAL),
            answers: Allowance::new(MDNS_ANSWERS_BURST_MAX, MDNS_ANSWER_INTERVAL),
            looked: now,
        })
    }

    /// Sends what is due, and says what came of it.
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

    /// Waits for a packet, or for what is due.
    async fn wait(&mut self) {
        let now = clock::now();
        let due = self
            .responder
            .poll_timeout()
            .map_or(LOOK_EVERY, |due| Duration::from_micros(due.since(now).as_micros()));
        let due = due.min(LOOK_EVERY);
        if !self.reads.allow(now) {
            // What comes meanwhile waits in the kernel, or is dropped there.
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
        // Who is not of this network has nothing to say or to ask here.
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
    /// Says goodbye, so that nobody is led to a gateway that is gone.
    fn drop(&mut self) {
        if self.responder.name().is_some() {
            self.lines.send(|addresses| self.responder.announcement(addresses, true));
        }
    }
}

fn our(time: Duration) -> loka_stratum::time::Duration {
    loka_stratum::time::Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Returns what tells this machine from others of its name: the end of a hardware address, else
/// something random.
fn id() -> String {
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

/// Tells the network what the settings want told, until the gateway ends; then says goodbye.
pub async fn run(control: Rc<Control>) {
    let mut changes = control.changes();
    let mut present: Option<Announcement> = None;
    // What could not be begun is begun again when the settings change it.
    let mut tried = None;
    loop {
        let is_ending = control.is_ending();
        let wanted = if is_ending { None } else { told(&control.settings()) };
        if wanted != tried {
            tried.clone_from(&wanted);
            // The old name is given back before the new one is asked for.
            drop(present.take());
            present = wanted.and_then(begin);
        }
        let name = present.as_ref().and_then(|present| present.responder.name());
        control.set_told_name(name);
        if is_ending {
            return;
        }
        // The wait cannot fail: the sender lives as long as the control.
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

fn begin(told: Told) -> Option<Announcement> {
    let (name, count) = (told.name.clone(), told.ports.len());
    match Announcement::begin(told) {
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
