//! Addresses that broke the protocol lately: budgets that outlive a connection (F50).
//!
//! A connection has its own budgets and is closed when one is used up. A reconnect would start with
//! new ones, so used budget is booked to the address. An address that used up several connections'
//! worth is refused for a time. Only offences that no miner commits are booked: unreadable lines,
//! wrong requests, another protocol, a flood. Connected miners stay, since many may share an
//! address with one broken device. Their work speaks for the address: each accepted share forgives
//! some of its offences.
//!
//! The table is small and fixed. An address leaves it only when it owes nothing. While every entry
//! is in use, other addresses get the strict default: their connections have a part of the usual
//! budgets ([`STRICT_DIVISOR`](crate::limits::STRICT_DIVISOR)).
//!
//! Connections from this machine, or from no known address, are not booked.

use core::net::{IpAddr, Ipv6Addr};

use crate::limits::{
    OFFENCE_FORGIVEN_IN, OFFENCES_ALLOWED, OFFENCES_FORGIVEN_BY_SHARE, OFFENDERS_MAX,
};
use crate::time::{Duration, Instant};

/// The key of one address: all of an IPv4 address, or the /64 of an IPv6 address, within which a
/// host may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place([u8; 16]);

impl Place {
    /// Takes an address as IPv6, with IPv4 mapped.
    pub fn of(peer: [u8; 16]) -> Self {
        let mut place = peer;
        if address(peer).is_ipv6()
            && let Some((_, host)) = place.split_first_chunk_mut::<8>()
        {
            host.fill(0);
        }
        Self(place)
    }
}

impl From<IpAddr> for Place {
    fn from(peer: IpAddr) -> Self {
        Self::of(octets(peer))
    }
}

/// Returns an address as the engine takes it: IPv6, with IPv4 mapped.
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Says whether a connection comes from this machine. No address limit applies: a local process
/// could do worse.
pub fn is_this_machine(peer: [u8; 16]) -> bool {
    let address = address(peer);
    address == IpAddr::from([127, 0, 0, 1]) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

fn address(peer: [u8; 16]) -> IpAddr {
    IpAddr::from(peer).to_canonical()
}

fn is_booked(peer: [u8; 16]) -> bool {
    !is_this_machine(peer) && peer != [0; 16]
}

/// An address and its offences.
#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    /// When all of it is forgiven: the time until then measures the offences.
    clean_at: Instant,
    /// It exceeded the limit and has not come down to half of it.
    is_refused: bool,
}

/// The addresses with unforgiven offences.
#[derive(Debug, Default)]
pub struct Offenders {
    entries: heapless::Vec<Entry, OFFENDERS_MAX>,
    /// When the last of them is clean; the table is searched only until then.
    clean_at: Instant,
}

/// Limit of an address's offences, and the level at which it is accepted again.
const ALLOWED: Duration = OFFENCE_FORGIVEN_IN.saturating_mul(OFFENCES_ALLOWED as u64);
const HALF: Duration = Duration::from_micros(ALLOWED.as_micros() / 2);

impl Offenders {
    /// Books offences of an address.
    pub fn book(&mut self, peer: [u8; 16], offences: u16, now: Instant) {
        if offences == 0 || !is_booked(peer) {
            return;
        }
        let place = Place::of(peer);
        let found = self.entries.iter().position(|entry| entry.place == place);
        let free = || self.entries.iter().position(|entry| entry.clean_at <= now);
        let fresh = Entry { place, clean_at: now, is_refused: false };
        let index = match found.or_else(free) {
            Some(index) => index,
            // All entries are in use: this address gets the strict default.
            None if self.entries.push(fresh).is_err() => return,
            None => self.entries.len().saturating_sub(1),
        };
        let Some(entry) = self.entries.get_mut(index) else { return };
        if entry.clean_at <= now {
            *entry = fresh;
        }
        let owed = OFFENCE_FORGIVEN_IN.saturating_mul(u64::from(offences));
        // Twice the limit is the maximum, so that the longest refusal is bounded.
        entry.clean_at = (entry.clean_at + owed).min(now + ALLOWED.saturating_mul(2));
        entry.is_refused |= entry.clean_at.since(now) >= ALLOWED;
        self.clean_at = self.clean_at.max(entry.clean_at);
    }

    /// Counts an accepted share in favour of its address.
    pub fn vouch(&mut self, peer: [u8; 16], now: Instant) {
        if now >= self.clean_at {
            return;
        }
        let word = OFFENCE_FORGIVEN_IN.saturating_mul(OFFENCES_FORGIVEN_BY_SHARE);
        if let Some(entry) = self.entry_mut(peer) {
            entry.clean_at = now + (entry.clean_at.since(now) - word);
        }
    }

    /// Returns how much longer an address is refused, if it is.
    pub fn refused_for(&mut self, peer: [u8; 16], now: Instant) -> Option<Duration> {
        if now >= self.clean_at {
            return None;
        }
        let entry = self.entry_mut(peer)?;
        let left = entry.clean_at.since(now) - HALF;
        entry.is_refused &= left > Duration::ZERO;
        entry.is_refused.then_some(left)
    }

    /// Says whether a connection from an address gets the strict default, because the table has no
    /// entry left for it.
    pub fn is_strict_for(&self, peer: [u8; 16], now: Instant) -> bool {
        let place = Place::of(peer);
        let is_held = |entry: &Entry| entry.clean_at > now && entry.place != place;
        is_booked(peer) && self.entries.is_full() && self.entries.iter().all(is_held)
    }

    fn entry_mut(&mut self, peer: [u8; 16]) -> Option<&mut Entry> {
        let place = Place::of(peer);
        self.entries.iter_mut().find(|entry| entry.place == place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> [u8; 16] {
        core::net::Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets()
    }

    fn v6(net: u16, host: u16) -> [u8; 16] {
        Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host).octets()
    }

    fn after(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn f50_what_an_address_did_outlives_its_connections_and_is_forgiven_in_time() {
        let mut offenders = Offenders::default();
        let start = after(1_000);
        offenders.book(v4(1), OFFENCES_ALLOWED - 1, start);
        assert_eq!(offenders.refused_for(v4(1), start), None, "just below");
        offenders.book(v4(1), 1, start);
        let left = offenders.refused_for(v4(1), start).expect("just there");
        assert_eq!(offenders.refused_for(v4(2), start), None, "another address");
        let soon = start + Duration::from_micros(left.as_micros() - 1);
        assert!(offenders.refused_for(v4(1), soon).is_some());
        assert_eq!(offenders.refused_for(v4(1), start + left), None);
        offenders.book(v4(1), 1, start + left);
        assert_eq!(offenders.refused_for(v4(1), start + left), None, "half of it is free again");
    }

    #[test]
    fn f50_a_refusal_has_a_longest_time() {
        let mut offenders = Offenders::default();
        (0..1_000).for_each(|_| offenders.book(v4(1), u16::MAX, after(0)));
        let left = offenders.refused_for(v4(1), after(0)).expect("refused");
        assert_eq!(left.as_micros(), ALLOWED.as_micros() * 3 / 2);
    }

    #[test]
    fn f50_a_host_that_moves_within_its_64_is_one_address() {
        let mut offenders = Offenders::default();
        for host in 0..OFFENCES_ALLOWED {
            offenders.book(v6(1, host), 1, after(0));
        }
        assert!(offenders.refused_for(v6(1, 0xffff), after(0)).is_some());
        assert_eq!(offenders.refused_for(v6(2, 1), after(0)), None);
        assert_eq!(offenders.entries.len(), 1);
    }

    #[test]
    fn f50_shares_speak_for_an_address_of_many() {
        let mut offenders = Offenders::default();
        offenders.book(v4(1), OFFENCES_ALLOWED, after(0));
        assert!(offenders.refused_for(v4(1), after(0)).is_some());
        let enough = u64::from(OFFENCES_ALLOWED) / 2 / OFFENCES_FORGIVEN_BY_SHARE + 1;
        (0..enough).for_each(|_| offenders.vouch(v4(1), after(0)));
        assert_eq!(offenders.refused_for(v4(1), after(0)), None);
        offenders.vouch(v4(2), after(0));
    }

    #[test]
    fn f50_a_full_table_keeps_who_owes_and_is_strict_with_the_rest() {
        let mut offenders = Offenders::default();
        for net in 0..OFFENDERS_MAX {
            assert!(!offenders.is_strict_for(v4(1), after(0)));
            offenders.book(v6(net as u16, 1), OFFENCES_ALLOWED, after(0));
        }
        assert!(offenders.is_strict_for(v4(1), after(0)));
        assert!(!offenders.is_strict_for(v6(0, 2), after(0)), "that one is booked");
        offenders.book(v4(1), OFFENCES_ALLOWED, after(0));
        assert_eq!(offenders.refused_for(v4(1), after(0)), None, "it found no entry");
        for net in 0..OFFENDERS_MAX {
            assert!(offenders.refused_for(v6(net as u16, 1), after(0)).is_some(), "none was lost");
        }
        let later = after(0) + ALLOWED;
        assert!(!offenders.is_strict_for(v4(1), later), "they owe nothing any more");
        offenders.book(v4(1), OFFENCES_ALLOWED, later);
        assert!(offenders.refused_for(v4(1), later).is_some());
        assert_eq!(offenders.entries.len(), OFFENDERS_MAX);
    }

    #[test]
    fn f50_this_machine_and_nobody_are_not_booked() {
        let mut offenders = Offenders::default();
        let mapped = core::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
        for peer in [[0; 16], mapped, Ipv6Addr::LOCALHOST.octets()] {
            offenders.book(peer, u16::MAX, after(0));
            assert_eq!(offenders.refused_for(peer, after(0)), None);
        }
        assert!(offenders.entries.is_empty());
        assert_eq!(Place::from(IpAddr::from([127, 0, 0, 1])), Place::of(mapped));
        assert!(!is_this_machine(core::net::Ipv4Addr::new(127, 0, 0, 2).to_ipv6_mapped().octets()));
    }
}
