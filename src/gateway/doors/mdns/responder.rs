//! A multicast DNS responder, sans-IO: probing, announcing, answering, conflicts and goodbyes (RFC
//! 6762, RFC 6763 section 4).
//!
//! It sends no queries and caches no records of others, so no peer can fill its memory. In other
//! hosts' answers it reads only records of our own names. A packet is parsed only if its counts fit
//! its length. After a few conflicts the name takes a part of this machine's address; if that
//! conflicts too, the responder is silent for a while (F97).

use std::net::IpAddr;

use loka_stratum::limits::{MDNS_QUIET, MDNS_RENAMES_MAX};
use loka_stratum::time::{Duration, Instant};
use simple_dns::rdata::{A, AAAA, NSEC, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// TTL in seconds of the host's records, and of the records of service types.
const HOST_SECS: u32 = 120;
const KIND_SECS: u32 = 4500;

/// TTL in seconds of answers to legacy unicast queries.
const LEGACY_SECS: u32 = 10;

/// Probes before a name is ours, and the time between two probes (RFC 6762 section 8.1).
const PROBES: u8 = 3;
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Announcements after the probes, and the time between two announcements.
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// Wait after a lost tie-break between two simultaneous probes.
const LOST_RACE: Duration = Duration::from_secs(1);

/// Fewest bytes of a question and of a record; bytes of a packet's header.
const QUESTION_BYTES_MIN: usize = 5;
const RECORD_BYTES_MIN: usize = 11;
const HEAD_BYTES: usize = 12;

/// The name under which every responder lists its service types.
const KINDS: &str = "_services._dns-sd._udp.local";

/// The published name, ports and texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The name of the settings.
    pub name: String,
    /// Each service type, such as `_stratum._tcp.local`, and its port.
    pub ports: Vec<(&'static str, u16)>,
    /// Keys and texts of the TXT record, the same for each port.
    pub about: Vec<(&'static str, String)>,
}

/// Publishes one name.
pub struct Responder {
    told: Told,
    /// A part of this machine's hardware address, which tells it from others.
    id: String,
    /// The name being probed for, or in use.
    label: String,
    renames: u32,
    /// The name last reported by [`News`].
    said: String,
    state: State,
    /// When the next step is due.
    due: Instant,
    /// The outcome of probing, not yet polled.
    news: Option<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Probing {
        done: u8,
    },
    Announcing {
        done: u8,
    },
    Running,
    /// Every candidate name belonged to another host.
    Quiet,
}

/// The outcome of probing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The wanted name is taken; this name is used instead.
    Renamed(String),
    /// Every name was taken; probing starts again later.
    Quiet,
}

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A probe, by multicast.
    Probe,
    /// All records, by multicast.
    Announcement,
}

/// The parts of a query that concern our names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    host: bool,
    /// Indices into the ports: service types queried by PTR, and instances queried by SRV or TXT.
    kinds: Vec<usize>,
    places: Vec<usize>,
    all_kinds: bool,
    /// The query's id and questions, which a legacy unicast answer repeats.
    id: u16,
    questions: Vec<(String, QTYPE)>,
}

/// Full names, which records borrow.
struct Names {
    host: String,
    instances: Vec<String>,
}

impl Responder {
    /// Starts probing; `id` tells this machine from others.
    pub fn new(told: Told, id: String, now: Instant) -> Self {
        let label = told.name.clone();
        let state = State::Probing { done: 0 };
        let said = label.clone();
        Self { told, id, label, renames: 0, said, state, due: now, news: None }
    }

    /// Returns this machine's name on the network, without its domain; `None` until probing is
    /// done.
    pub fn name(&self) -> Option<&str> {
        let is_ours = matches!(self.state, State::Announcing { .. } | State::Running);
        is_ours.then_some(self.label.as_str())
    }

    /// Returns the published name, ports and texts.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Returns the outcome of probing, once.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Probes again for the same name, since the addresses and maybe the network changed.
    pub fn begin_again(&mut self, now: Instant) {
        if self.name().is_some() {
            (self.state, self.due) = (State::Probing { done: 0 }, now);
        }
    }

    /// Returns when [`Self::poll`] is due next; `None` if only packets can cause work.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.state != State::Running).then_some(self.due)
    }

    /// Returns the packet due now.
    pub fn poll(&mut self, now: Instant) -> Option<Outgoing> {
        if self.state == State::Running || self.due > now {
            return None;
        }
        match self.state {
            State::Running => None,
            State::Quiet => {
                self.state = State::Probing { done: 0 };
                None
            }
            State::Probing { done } if done < PROBES => {
                self.state = State::Probing { done: done + 1 };
                self.due = now + PROBE_EVERY;
                Some(Outgoing::Probe)
            }
            State::Probing { .. } => {
                if self.label != self.said {
                    self.said.clone_from(&self.label);
                    self.news = Some(News::Renamed(self.label.clone()));
                }
                self.state = State::Announcing { done: 1 };
                self.due = now + ANNOUNCE_EVERY;
                Some(Outgoing::Announcement)
            }
            State::Announcing { done } => {
                self.due = now + ANNOUNCE_EVERY;
                self.state = match done + 1 {
                    done @ ..ANNOUNCEMENTS => State::Announcing { done },
                    _ => State::Running,
                };
                Some(Outgoing::Announcement)
            }
        }
    }

    /// Reads a packet; `own` are this machine's addresses. Returns the parts to answer. Malformed
    /// packets are ignored.
    pub fn handle_packet(&mut self, bytes: &[u8], own: &[IpAddr], now: Instant) -> Option<Asked> {
        if !may_be_true(bytes) {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        if packet.has_flags(PacketFlag::RESPONSE) {
            let records = packet.answers.iter().chain(&packet.additional_records);
            let is_conflict = records.into_iter().any(|record| self.conflicts(record, own));
            if is_conflict && self.state != State::Quiet {
                self.give_way(now);
            }
            return None;
        }
        if let State::Probing { .. } = self.state {
            self.race(&packet, own, now);
            return None;
        }
        if self.state == State::Quiet {
            return None;
        }
        self.asked(&packet)
    }

    /// Gives up the name: a few times for a numbered one, then for one with a part of this
    /// machine's address, then the responder is silent.
    fn give_way(&mut self, now: Instant) {
        self.renames += 1;
        let name = &self.told.name;
        let (state, due) = (State::Probing { done: 0 }, now + PROBE_EVERY);
        (self.state, self.due) = (state, due);
        self.label = match self.renames {
            count @ ..=MDNS_RENAMES_MAX => format!("{name}-{}", count + 1),
            count if count == MDNS_RENAMES_MAX + 1 => format!("{name}-{}", self.id),
            _ => {
                (self.state, self.due) = (State::Quiet, now + MDNS_QUIET);
                self.news = Some(News::Quiet);
                format!("{name}-{}", self.id)
            }
        };
    }

    /// Says whether another host's record contradicts a record of ours.
    fn conflicts(&self, record: &ResourceRecord<'_>, own: &[IpAddr]) -> bool {
        if record.ttl == 0 {
            return false;
        }
        let name = record.name.to_string();
        match &record.rdata {
            RData::A(A { address }) => {
                self.is_host(&name) && !own.contains(&std::net::Ipv4Addr::from(*address).into())
            }
            RData::AAAA(AAAA { address }) => {
                self.is_host(&name) && !own.contains(&std::net::Ipv6Addr::from(*address).into())
            }
            RData::SRV(SRV { port, target, .. }) => match self.instance(&name) {
                Some(index) => {
                    let ours = self.told.ports.get(index).map(|(_, port)| *port);
                    !self.is_host(&target.to_string()) || Some(*port) != ours
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Breaks the tie when two hosts probe for one name: the later records win (RFC 6762 section
    /// 8.2). The loser waits, probes again and then hears that the name is taken.
    fn race(&mut self, packet: &Packet<'_>, own: &[IpAddr], now: Instant) {
        let mut theirs: Vec<Vec<u8>> = Vec::new();
        for record in &packet.name_servers {
            if !self.is_host(&record.name.to_string()) {
                continue;
            }
            match &record.rdata {
                RData::A(A { address }) => theirs.push([&[1][..], &address.to_be_bytes()].concat()),
                RData::AAAA(AAAA { address }) => {
                    theirs.push([&[28][..], &address.to_be_bytes()].concat());
                }
                _ => {}
            }
        }
        let mut ours: Vec<Vec<u8>> = own
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => [&[1][..], &address.octets()].concat(),
                IpAddr::V6(address) => [&[28][..], &address.octets()].concat(),
            })
            .collect();
        // Records that loop back, or come over another of our interfaces, are our own.
        let is_own = theirs.iter().all(|record| ours.contains(record));
        if theirs.is_empty() || is_own {
            return;
        }
        theirs.sort_unstable();
        ours.sort_unstable();
        if theirs > ours {
            self.state = State::Probing { done: 0 };
            self.due = now + LOST_RACE;
        }
    }

    fn is_host(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        name.rsplit_once('.').is_some_and(|(label, domain)| {
            label.eq_ignore_ascii_case(&self.label) && domain.eq_ignore_ascii_case("local")
        })
    }

    /// Returns the port whose instance has this name.
    fn instance(&self, name: &str) -> Option<usize> {
        let name = name.trim_end_matches('.');
        self.told
            .ports
            .iter()
            .position(|(kind, _)| name.eq_ignore_ascii_case(&format!("{}.{kind}", self.label)))
    }

    /// Returns the parts of a query that concern our names; `None` if there are none.
    fn asked(&self, packet: &Packet<'_>) -> Option<Asked> {
        let mut asked = Asked { id: packet.id(), ..Asked::default() };
        for question in packet.questions.iter().filter(|question| is_of_internet(question)) {
            let name = question.qname.to_string();
            let wants = |kind: TYPE| match question.qtype {
                QTYPE::ANY => true,
                QTYPE::TYPE(wanted) => wanted == kind,
                _ => false,
            };
            let of_kind = |(kind, _): &(&str, u16)| name.eq_ignore_ascii_case(kind);
            let kind = self.told.ports.iter().position(of_kind);
            if self.is_host(&name) && (wants(TYPE::A) || wants(TYPE::AAAA)) {
                asked.host = true;
            } else if let Some(kind) = kind.filter(|_| wants(TYPE::PTR)) {
                if self.is_known(packet, kind) {
                    continue;
                }
                asked.kinds.push(kind);
            } else if let Some(place) = self.instance(&name)
                && (wants(TYPE::SRV) || wants(TYPE::TXT))
            {
                asked.places.push(place);
            } else if name.eq_ignore_ascii_case(KINDS) && wants(TYPE::PTR) {
                asked.all_kinds = true;
            } else {
                continue;
            }
            asked.questions.push((name, question.qtype));
        }
        (!asked.questions.is_empty()).then_some(asked)
    }

    /// Says whether the querier already lists our instance with at least half of its TTL left.
    fn is_known(&self, packet: &Packet<'_>, kind: usize) -> bool {
        packet.answers.iter().any(|record| match &record.rdata {
            RData::PTR(PTR(target)) => {
                record.ttl >= KIND_SECS / 2 && self.instance(&target.to_string()) == Some(kind)
            }
            _ => false,
        })
    }

    /// Builds a probe for an interface with these addresses.
    pub fn probe(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let names = self.names();
        let mut packet = Packet::new_query(0);
        for name in names.instances.iter().chain([&names.host]) {
            let (any, internet) = (QTYPE::ANY, QCLASS::CLASS(CLASS::IN));
            packet.questions.push(Question::new(Name::new(name).ok()?, any, internet, true));
        }
        packet.name_servers = self.of_host(&names, addresses, HOST_SECS)?;
        for index in 0..self.told.ports.len() {
            packet.name_servers.extend(self.of_place(&names, index, HOST_SECS)?);
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// Builds an announcement of all records, or a goodbye.
    pub fn announcement(&self, addresses: &[IpAddr], is_goodbye: bool) -> Option<Vec<u8>> {
        let asked = Asked {
            host: true,
            kinds: (0..self.told.ports.len()).collect(),
            all_kinds: true,
            ..Asked::default()
        };
        let names = self.names();
        let mut packet = self.records(&asked, &names, addresses)?;
        packet.answers.append(&mut packet.additional_records);
        if is_goodbye {
            packet.answers.iter_mut().for_each(|record| record.ttl = 0);
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// Builds the multicast answer.
    pub fn answer(&self, asked: &Asked, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        self.records(asked, &self.names(), addresses)?.build_bytes_vec_compressed().ok()
    }

    /// Builds the answer to a legacy unicast query (RFC 6762 section 6.7).
    pub fn legacy_answer(&self, asked: &Asked, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let names = self.names();
        let mut packet = self.records(asked, &names, addresses)?;
        packet.set_id(asked.id);
        for (name, kind) in &asked.questions {
            let internet = QCLASS::CLASS(CLASS::IN);
            packet.questions.push(Question::new(Name::new(name).ok()?, *kind, internet, false));
        }
        for record in packet.answers.iter_mut().chain(&mut packet.additional_records) {
            record.ttl = record.ttl.min(LEGACY_SECS);
            record.cache_flush = false;
        }
        packet.build_bytes_vec_compressed().ok()
    }

    fn names(&self) -> Names {
        let label = &self.label;
        let of_kind = |(kind, _): &(&str, u16)| format!("{label}.{kind}");
        let instances = self.told.ports.iter().map(of_kind).collect();
        Names { host: format!("{label}.local"), instances }
    }

    /// Collects the queried records, and as additional records those that are needed next.
    fn records<'n>(
        &'n self,
        asked: &Asked,
        names: &'n Names,
        addresses: &[IpAddr],
    ) -> Option<Packet<'n>> {
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        for index in &asked.kinds {
            let (kind, _) = self.told.ports.get(*index)?;
            let target = Name::new(names.instances.get(*index)?).ok()?;
            packet.answers.push(record(kind, KIND_SECS, RData::PTR(PTR(target)))?);
            packet.additional_records.extend(self.of_place(names, *index, HOST_SECS)?);
        }
        for index in &asked.places {
            packet.answers.extend(self.of_place(names, *index, HOST_SECS)?);
        }
        for (kind, _) in self.told.ports.iter().filter(|_| asked.all_kinds) {
            let target = Name::new(kind).ok()?;
            packet.answers.push(record(KINDS, KIND_SECS, RData::PTR(PTR(target)))?);
        }
        let host = self.of_host(names, addresses, HOST_SECS)?;
        if asked.host {
            packet.answers.extend(host);
            packet.additional_records.push(of_nothing_else(names, addresses)?);
        } else if !(asked.kinds.is_empty() && asked.places.is_empty()) {
            packet.additional_records.extend(host);
        }
        Some(packet)
    }

    fn of_host<'n>(
        &self,
        names: &'n Names,
        addresses: &[IpAddr],
        secs: u32,
    ) -> Option<Vec<ResourceRecord<'n>>> {
        let of = |address: &IpAddr| {
            let data = match *address {
                IpAddr::V4(address) => RData::A(A { address: address.to_bits() }),
                IpAddr::V6(address) => RData::AAAA(AAAA { address: address.to_bits() }),
            };
            Some(record(&names.host, secs, data)?.with_cache_flush(true))
        };
        addresses.iter().map(of).collect()
    }

    /// Returns the SRV and TXT records of a port.
    fn of_place<'n>(
        &self,
        names: &'n Names,
        index: usize,
        secs: u32,
    ) -> Option<[ResourceRecord<'n>; 2]> {
        let name = names.instances.get(index)?;
        let (_, port) = *self.told.ports.get(index)?;
        let target = Name::new(&names.host).ok()?;
        let place = RData::SRV(SRV { priority: 0, weight: 0, port, target });
        let mut about = TXT::new();
        for (key, value) in &self.told.about {
            about.add_attribute(key, Some(value.as_bytes())).ok()?;
        }
        Some([
            record(name, secs, place)?.with_cache_flush(true),
            record(name, secs, RData::TXT(about))?.with_cache_flush(true),
        ])
    }
}

/// Denies the address types that the host lacks, so queriers do not wait for them (NSEC).
fn of_nothing_else<'n>(names: &'n Names, addresses: &[IpAddr]) -> Option<ResourceRecord<'n>> {
    let has = |is_v4: bool| addresses.iter().any(|address| address.is_ipv4() == is_v4);
    let kinds = [(TYPE::A, has(true)), (TYPE::AAAA, has(false))];
    let kinds: Vec<TYPE> =
        kinds.into_iter().filter(|(_, has)| *has).map(|(kind, _)| kind).collect();
    let next = Name::new(&names.host).ok()?;
    let data = RData::NSEC(NSEC::from_types(next, &kinds));
    Some(record(&names.host, HOST_SECS, data)?.with_cache_flush(true))
}

fn record<'n>(name: &'n str, secs: u32, data: RData<'n>) -> Option<ResourceRecord<'n>> {
    Some(ResourceRecord::new(Name::new(name).ok()?, CLASS::IN, secs, data))
}

fn is_of_internet(question: &Question<'_>) -> bool {
    matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN))
}

/// Says whether a packet is long enough for the counts in its header, so that the parser allocates
/// nothing for records that cannot be there.
fn may_be_true(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return false };
    let count = |at: usize| match head.get(at..at + 2) {
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let records = count(6) + count(8) + count(10);
    count(4) * QUESTION_BYTES_MIN + records * RECORD_BYTES_MIN <= rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(10, 215, 0, 1)),
        IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    ];
    const OTHER: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(10, 215, 0, 9))];
    const STRATUM: &str = "_stratum._tcp.local";

    fn told(name: &str) -> Told {
        let about = vec![("product", "loka-stratum".to_owned())];
        let ports = vec![(STRATUM, 3333), ("_https._tcp.local", 8443)];
        Told { name: name.to_owned(), ports, about }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(1) + Duration::from_millis(millis)
    }

    fn responder() -> Responder {
        Responder::new(told("loka"), "c0ffee".to_owned(), at(0))
    }

    /// Lets time pass; returns the packets sent.
    fn pass(responder: &mut Responder, from: u64, to: u64) -> Vec<Outgoing> {
        (from..to).filter_map(|millis| responder.poll(at(millis))).collect()
    }

    fn running() -> Responder {
        let mut responder = responder();
        pass(&mut responder, 0, 5_000);
        assert_eq!(responder.state, State::Running);
        responder
    }

    /// Another host's announcement of a name.
    fn claim(label: &str) -> Vec<u8> {
        let mut other = Responder::new(told(label), String::new(), at(0));
        other.label = label.to_owned();
        other.announcement(&OTHER, false).unwrap()
    }

    fn question(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let class = QCLASS::CLASS(CLASS::IN);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), class, false));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_name_is_probed_for_three_times_then_announced_twice() {
        let mut responder = responder();
        assert_eq!(responder.name(), None);
        let sent = pass(&mut responder, 0, 10_000);
        let (probe, announcement) = (Outgoing::Probe, Outgoing::Announcement);
        assert_eq!(sent, [probe, probe, probe, announcement, announcement]);
        assert_eq!(responder.name(), Some("loka"));
        assert_eq!(responder.poll_timeout(), None, "nothing is left to do");
        assert_eq!(responder.poll_news(), None);
    }

    #[test]
    fn what_is_asked_for_is_answered_and_nothing_else() {
        let mut responder = running();
        for (name, kind) in [
            ("loka.local", TYPE::A),
            ("LOKA.local", TYPE::AAAA),
            (STRATUM, TYPE::PTR),
            ("loka._stratum._tcp.local", TYPE::SRV),
            ("loka._https._tcp.local", TYPE::TXT),
            (KINDS, TYPE::PTR),
        ] {
            let asked = responder.handle_packet(&question(name, kind), &OWN, at(9_000));
            let asked = asked.unwrap_or_else(|| panic!("{name}"));
            let answer = responder.answer(&asked, &OWN).unwrap();
            let packet = Packet::parse(&answer).unwrap();
            assert!(packet.has_flags(PacketFlag::RESPONSE) && packet.questions.is_empty());
            assert!(packet.answers.iter().any(|r| r.name.to_string().eq_ignore_ascii_case(name)));
            let legacy = responder.legacy_answer(&asked, &OWN).unwrap();
            let packet = Packet::parse(&legacy).unwrap();
            assert_eq!((packet.id(), packet.questions.len()), (7, 1));
            assert!(packet.answers.iter().all(|record| record.ttl <= 10 && !record.cache_flush));
        }
        for (name, kind) in [
            ("other.local", TYPE::A),
            ("loka.local", TYPE::MX),
            ("loka.example", TYPE::A),
            ("_ipp._tcp.local", TYPE::PTR),
            ("loka._ipp._tcp.local", TYPE::SRV),
        ] {
            assert!(responder.handle_packet(&question(name, kind), &OWN, at(9_000)).is_none());
        }
        assert_eq!(responder.name(), Some("loka"));
    }

    #[test]
    fn who_knows_the_name_is_not_told_again() {
        let mut responder = running();
        let asking = question(STRATUM, TYPE::PTR);
        let mut packet = Packet::parse(&asking).unwrap();
        let known = RData::PTR(PTR(Name::new("loka._stratum._tcp.local").unwrap()));
        packet.answers.push(record(STRATUM, KIND_SECS, known).unwrap());
        let bytes = packet.build_bytes_vec().unwrap();
        assert!(responder.handle_packet(&bytes, &OWN, at(9_000)).is_none());
    }

    #[test]
    fn f97_names_that_conflict_are_given_up_a_few_times_and_then_there_is_silence() {
        let mut responder = responder();
        let (mut labels, mut news, mut sent) = (vec!["loka".to_owned()], Vec::new(), 0);
        // Another host claims every name taken up, a hundred times a second.
        for millis in (0..60_000).step_by(10) {
            sent += usize::from(responder.poll(at(millis)).is_some());
            let claim = claim(&responder.label);
            assert!(responder.handle_packet(&claim, &OWN, at(millis)).is_none());
            if labels.last() != Some(&responder.label) {
                labels.push(responder.label.clone());
            }
            news.extend(responder.poll_news());
        }
        assert_eq!(labels, ["loka", "loka-2", "loka-3", "loka-4", "loka-c0ffee"]);
        assert_eq!(news, [News::Quiet], "it is said once");
        assert!(sent < 20, "{sent} packets");
        assert_eq!(responder.name(), None);
        // After the quiet time it probes again and may win.
        let quiet = 60_000 + MDNS_QUIET.as_micros() / 1000;
        let mut millis = 60_000;
        while millis < quiet + 10_000 {
            responder.poll(at(millis));
            millis += 50;
        }
        assert_eq!(responder.name(), Some("loka-c0ffee"));
        assert_eq!(responder.poll_news(), Some(News::Renamed("loka-c0ffee".to_owned())));
    }

    #[test]
    fn a_name_that_another_has_is_changed_by_a_number_and_that_is_said_once() {
        let mut responder = responder();
        responder.poll(at(0));
        responder.handle_packet(&claim("loka"), &OWN, at(10));
        pass(&mut responder, 11, 5_000);
        assert_eq!(responder.name(), Some("loka-2"));
        assert_eq!(responder.poll_news(), Some(News::Renamed("loka-2".to_owned())));
        assert_eq!(responder.poll_news(), None);
        responder.begin_again(at(5_000));
        pass(&mut responder, 5_000, 9_000);
        assert_eq!(responder.poll_news(), None, "it is said once");
        assert_eq!(responder.name(), Some("loka-2"));
        // A name lost while in use is given up too.
        responder.handle_packet(&claim("loka-2"), &OWN, at(9_000));
        assert_eq!(responder.name(), None);
        pass(&mut responder, 9_000, 15_000);
        assert_eq!(responder.name(), Some("loka-3"));
    }

    #[test]
    fn what_we_said_ourselves_and_what_ends_is_no_conflict() {
        let mut responder = running();
        let own = responder.announcement(&OWN[..1], false).unwrap();
        responder.handle_packet(&own, &OWN, at(9_000));
        let mut other = Responder::new(told("loka"), String::new(), at(0));
        other.label = "loka".to_owned();
        let goodbye = other.announcement(&OTHER, true).unwrap();
        responder.handle_packet(&goodbye, &OWN, at(9_000));
        assert_eq!(responder.name(), Some("loka"));
    }

    #[test]
    fn of_two_that_probe_at_once_one_waits() {
        let (mut first, mut second) = (responder(), responder());
        first.poll(at(0));
        second.poll(at(0));
        let (ours, theirs) = (first.probe(&OWN[..1]).unwrap(), second.probe(&OTHER).unwrap());
        first.handle_packet(&theirs, &OWN[..1], at(1));
        second.handle_packet(&ours, &OTHER, at(1));
        let waits = |responder: &Responder| responder.due == at(1) + LOST_RACE;
        assert_eq!((waits(&first), waits(&second)), (true, false), "10.215.0.9 is the later");
        first.handle_packet(&first.probe(&OWN[..1]).unwrap(), &OWN, at(2));
        assert!(waits(&first), "its own probe is no race");
    }

    #[test]
    fn f97_nothing_of_what_comes_unasked_is_kept_and_no_bytes_do_harm() {
        let mut responder = running();
        let before = (responder.label.clone(), responder.state, responder.told.clone());
        let mut bytes = claim("loka");
        let mut seed = 1_u32;
        for round in 0..20_000_u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = seed as usize % bytes.len();
            bytes[index] ^= (seed >> 24) as u8;
            let length = (seed >> 8) as usize % bytes.len();
            let cut = if round % 3 == 0 { &bytes[..length] } else { &bytes };
            responder.handle_packet(cut, &OWN, at(9_000));
            responder.state = State::Running;
            responder.label = "loka".to_owned();
            responder.renames = 0;
            responder.news = None;
        }
        let mut others = claim("somebody-else");
        for _ in 0..1_000 {
            responder.handle_packet(&others, &OWN, at(9_000));
        }
        assert_eq!((responder.label.clone(), responder.state, responder.told.clone()), before);
        // A header that promises more than the packet holds is rejected.
        others[6] = 0xff;
        assert!(!may_be_true(&others) && !may_be_true(&others[..11]) && may_be_true(&[0; 12]));
    }
}
