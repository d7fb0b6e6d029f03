//! Addresses at their connection limit: dead connections are found and ended.
//!
//! A NAT router that lost its table looks like this: its miners reconnect at once, while their old
//! connections still hold their slots. At a full address, a connection is ended if the kernel has
//! waited for an answer in vain: bytes were retransmitted [`UNANSWERED_MIN`] times, or as many
//! probes went unanswered. Idle connections are probed at once. A live miner answers, so it keeps
//! its slot, however quiet it is.
//!
//! The facts, the same as in `TCP_INFO`, come from the kernel's table of connections, read at most
//! once a second. Probes of one address pause for [`REST`] between two rounds.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::offenders::{Place, octets};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::{Duration as EngineDuration, Instant};
use tokio::time::sleep;

use crate::gateway::base::clock;
use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::socket;
use crate::gateway::runtime::hub::{End, Hub};

/// Unanswered retransmissions or probes. The fourth retransmission goes out at least 3 s after the
/// first, the fourth probe after 4 s.
const UNANSWERED_MIN: u8 = 4;

/// Reads of the table per full address, a second apart: time for [`UNANSWERED_MIN`] probes.
const LOOKS: u32 = 7;

/// Time between two reads of the table.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time between two rounds of probes at one address; a round costs a packet per connection and
/// second.
const REST: EngineDuration = EngineDuration::from_secs(60);

/// Addresses that rest; further addresses are probed later.
const RESTING_MAX: usize = 16;

/// Time that a refusal is shown: miners retry within a minute.
const SHOWN: EngineDuration = EngineDuration::from_secs(60);

/// Addresses at their limit, and the probes sent to them.
#[derive(Default)]
pub struct Crowd {
    refused: Option<Refused>,
    looked: Option<Instant>,
    is_probing: bool,
    resting: Vec<(Place, Instant)>,
}

/// Recent refusals in a row.
#[derive(Clone, Copy)]
struct Refused {
    count: u64,
    address: IpAddr,
    allowed: u16,
    last: Instant,
}

impl Crowd {
    /// Counts a refused connection.
    pub fn refuse(&mut self, address: IpAddr, allowed: u16, now: Instant) {
        let before = self.refused.filter(|refused| refused.is_shown(now));
        let count = before.map_or(1, |refused| refused.count.saturating_add(1));
        self.refused = Some(Refused { count, address, allowed, last: now });
    }

    /// Returns the warning shown while newcomers are refused.
    pub fn warning(&self, now: Instant) -> Option<String> {
        let refused = self.refused.filter(|refused| refused.is_shown(now))?;
        let Refused { count, address, allowed, .. } = refused;
        Some(format!(
            "{count} connections were refused of late: {address} has the {allowed} that \
             listen.per_address_max allows; raise it where many miners share an address (NAT)"
        ))
    }

    /// Says whether the table may be read again.
    fn may_look(&mut self, now: Instant) -> bool {
        let every = EngineDuration::from_micros(u64::try_from(LOOK_EVERY.as_micros()).unwrap_or(0));
        let may = self.looked.is_none_or(|looked| now.since(looked) >= every);
        if may {
            self.looked = Some(now);
        }
        may
    }

    /// Says whether an address may be probed now, and notes the probe.
    fn may_probe(&mut self, place: Place, now: Instant) -> bool {
        self.resting.retain(|(_, since)| now.since(*since) < REST);
        let rests = self.resting.iter().any(|(resting, _)| *resting == place);
        if rests || self.is_probing || self.resting.len() >= RESTING_MAX {
            return false;
        }
        self.resting.push((place, now));
        self.is_probing = true;
        true
    }
}

impl Refused {
    fn is_shown(&self, now: Instant) -> bool {
        now.since(self.last) < SHOWN
    }
}

impl Hub {
    /// Ends dead connections of a full address, and has the kernel probe the others.
    pub(crate) fn make_room(self: &Rc<Self>, peer: [u8; 16], now: Instant) {
        let place = Place::of(peer);
        let looks = self.crowd.borrow_mut().may_look(now);
        let probes = self.crowd.borrow_mut().may_probe(place, now);
        if !looks && !probes {
            return;
        }
        let hub = self.clone();
        event_loop::spawn("crowd", async move {
            if looks {
                hub.end_gone(place).await;
            }
            if !probes {
                return;
            }
            hub.tune(place, socket::probe_now);
            for _ in 0..LOOKS {
                sleep(LOOK_EVERY).await;
                hub.crowd.borrow_mut().looked = Some(clock::now());
                hub.end_gone(place).await;
            }
            hub.tune(place, |stream| socket::tune(stream));
            hub.crowd.borrow_mut().is_probing = false;
        });
    }

    fn tune(&self, place: Place, tune: impl Fn(&tokio::net::TcpStream) -> std::io::Result<()>) {
        let ports = self.ports.borrow();
        for port in ports.iter().flatten().filter(|port| Place::of(port.peer) == place) {
            // A dead socket refuses the options; nothing is lost.
            let _ = tune(&port.stream);
        }
    }

    /// The kernel's table lists all connections of the machine, so it is read beside the loop.
    async fn end_gone(&self, place: Place) {
        let silent = event_loop::beside(move || silent(place)).await.unwrap_or_default();
        if silent.is_empty() {
            return;
        }
        let is_gone = |stream: &tokio::net::TcpStream| {
            let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
            ends.is_ok_and(|(local, peer)| {
                silent.contains(&(socket::canonical(local), socket::canonical(peer)))
            })
        };
        let gone: Vec<MinerHandle> = {
            let ports = self.ports.borrow();
            let of_place = ports.iter().flatten().filter(|port| Place::of(port.peer) == place);
            of_place.filter(|port| is_gone(&port.stream)).map(|port| port.miner).collect()
        };
        if !gone.is_empty() {
            let text = "connections of a full address do not answer any more, and are ended";
            log::info(Kind::Closed, format_args!("{} {text}", gone.len()));
        }
        for miner in gone {
            self.end(miner, End::Vanished);
        }
    }
}

/// Both ends of a connection: ours, the peer's.
type Ends = (SocketAddr, SocketAddr);

/// Returns an address's connections whose peer has not answered for long.
fn silent(place: Place) -> HashSet<Ends> {
    event_loop::must_not_turn("the table of all connections is read");
    let mut silent = HashSet::new();
    // A missing address family or an unreadable table lists no connection.
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        let is_of_place = |ends: &Ends| Place::of(octets(ends.1.ip())) == place;
        silent.extend(text.lines().filter_map(unanswered).filter(is_of_place));
    }
    silent
}

/// Returns the ends of a connection in a line of the kernel's table, if its peer does not answer.
/// The columns: number, our end, the peer's, state, queues, timer, retransmissions, user,
/// unanswered probes.
fn unanswered(line: &str) -> Option<Ends> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, peer, _state, _queues, _timer, repeated, _user, probes, ..] = *columns else {
        return None;
    };
    let repeated = u32::from_str_radix(repeated, 16).ok()?;
    let probes: u32 = probes.parse().ok()?;
    if repeated.max(probes) < u32::from(UNANSWERED_MIN) {
        return None;
    }
    Some((end(local)?, end(peer)?))
}

/// Parses one end: the address in 32-bit words in memory order, and the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn f47_the_table_of_connections_says_who_does_not_answer() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode";
        assert_eq!(unanswered(head), None);
        let line = |queue: &str, timer: &str, repeated: &str, probes: &str| {
            format!(
                "  12: 0200000A:0D05 0102A8C0:C350 01 {queue} {timer} {repeated}     0        \
                 {probes} 4711 2 0000000000000000 20 4 0 10 -1"
            )
        };
        let ends = ("10.0.0.2:3333".parse().unwrap(), "192.168.2.1:50000".parse().unwrap());
        let quiet = line("00000000:00000000", "02:00000500", "00000000", "0");
        assert_eq!(unanswered(&quiet), None, "idle");
        let busy = line("00000100:00000000", "01:00000014", "00000003", "0");
        assert_eq!(unanswered(&busy), None, "a radio that stumbles");
        let gone = line("00000100:00000000", "01:00000014", "00000004", "0");
        assert_eq!(unanswered(&gone), Some(ends));
        let gone = line("00000000:00000000", "02:00000064", "00000000", "4");
        assert_eq!(unanswered(&gone), Some(ends));
        let mapped = "0: 0000000000000000FFFF00000200000A:0D05 \
                      0000000000000000FFFF00000102A8C0:C350 01 00000001:00000000 01:00000014 \
                      0000000A 0 0 1";
        assert_eq!(unanswered(mapped), Some(ends), "IPv4 at a listener of both families");
        let v6 = "0: B80D0120000000000000000001000000:0D05 B80D0120000000000000000002000000:C350 \
                  01 00000001:00000000 01:00000014 0000000A 0 0 1";
        let ends = ("[2001:db8::1]:3333".parse().unwrap(), "[2001:db8::2]:50000".parse().unwrap());
        assert_eq!(unanswered(v6), Some(ends));
    }

    #[test]
    fn f44_refusals_are_shown_with_number_and_setting_as_long_as_they_come() {
        let at = |secs| Instant::from_micros(1) + EngineDuration::from_secs(secs);
        let mut crowd = Crowd::default();
        assert_eq!(crowd.warning(at(0)), None);
        let address = IpAddr::from([10, 99, 0, 2]);
        for secs in [0, 5, 50] {
            crowd.refuse(address, 256, at(secs));
        }
        let text = crowd.warning(at(100)).unwrap();
        for part in ["3 connections", "10.99.0.2", "256", "listen.per_address_max"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(crowd.warning(at(111)), None, "it is over");
        crowd.refuse(address, 256, at(200));
        assert!(crowd.warning(at(200)).unwrap().starts_with("1 connections"));
    }

    #[test]
    fn f47_a_full_address_is_probed_by_turns_and_not_without_end() {
        let at = |secs| Instant::from_micros(1) + EngineDuration::from_secs(secs);
        let place = |last| Place::of(octets(IpAddr::from([10, 0, 0, last])));
        let mut crowd = Crowd::default();
        assert!(crowd.may_probe(place(1), at(0)));
        assert!(!crowd.may_probe(place(2), at(1)), "one after the other");
        crowd.is_probing = false;
        assert!(!crowd.may_probe(place(1), at(59)), "it rests");
        assert!(crowd.may_probe(place(2), at(59)));
        crowd.is_probing = false;
        assert!(crowd.may_probe(place(1), at(60)));
        assert!(crowd.may_look(at(60)) && !crowd.may_look(at(60)) && crowd.may_look(at(61)));
    }
}
