//! Connection slots of the HTTP ports: who gets one, and whose is reclaimed.
//!
//! Three kinds of connections have their own slots: this machine's, and the network's at the page
//! and at the status port. So no network address can block a health check or the operator at the
//! device (F97). One address gets a part of the page's slots and not all (F74).
//!
//! A place is not kept by being silent: when a newcomer finds none, the connection whose request
//! has not come to its end goes first, then one whose request nobody is logged in for; of those the
//! one of the address that has the most, and of these the oldest. Who is logged in keeps his place.
//!
//! Three bounds hold for handshakes: slots, per address and in all; the share of a core that their
//! thread takes ([`crate::gateway::base::handshakes`]); and a token bucket per address of the
//! network, so that no address spends that share on abandoned handshakes (F97). Connections beyond
//! the bucket are closed unread, and counted.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::rc::Rc;

use loka_stratum::limits::{
    HTTP_CONNECTIONS_PER_ADDRESS_MAX, HTTP_HANDSHAKE_ADDRESSES_MAX, HTTP_HANDSHAKE_INTERVAL,
    HTTP_HANDSHAKES_BURST_MAX, HTTP_HANDSHAKES_MAX, HTTP_HANDSHAKES_PER_ADDRESS_MAX,
    HTTP_OWN_CONNECTIONS_MAX, HTTP_PAGE_CONNECTIONS_MAX, HTTP_STATUS_CONNECTIONS_MAX,
};
use loka_stratum::offenders::{self, Place as Network};
use loka_stratum::time::Instant;
use tokio::sync::Notify;

use super::guard::Peer;
use crate::gateway::base::allowance::Allowance;
use crate::gateway::base::handshakes;

/// The slots of connections, and of running TLS handshakes.
#[derive(Default)]
pub struct Places {
    page: Taken,
    status: Taken,
    own: Taken,
    handshakes: Taken,
    begun: Begun,
}

/// Handshakes that addresses began lately, each with what it may begin now.
#[derive(Default)]
struct Begun(RefCell<heapless::Vec<(Network, Allowance), HTTP_HANDSHAKE_ADDRESSES_MAX>>);

/// Places that are taken, the oldest first.
#[derive(Default)]
struct Taken(RefCell<Vec<Rc<Seat>>>);

/// A connection that holds a slot.
pub struct Seat {
    by: Network,
    rank: Cell<Rank>,
    taken_back: Notify,
}

/// A connection's claim to its slot; the least is reclaimed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Its request is incomplete, or its answer waits to be read.
    Silent,
    /// It sent a request without a log-in.
    Stranger,
    /// It sent a request with a session, or from a known browser.
    Known,
}

/// A slot in use, freed on drop.
pub struct Place<'a> {
    of: &'a Taken,
    seat: Rc<Seat>,
}

impl Places {
    /// Takes a slot for a connection; `None` if all holders keep theirs.
    pub fn connection(&self, peer: Peer) -> Option<Place<'_>> {
        let is_own = offenders::is_this_machine(offenders::octets(peer.address));
        let (taken, max) = match (is_own, peer.is_tls) {
            (true, _) => (&self.own, HTTP_OWN_CONNECTIONS_MAX),
            (false, true) => (&self.page, HTTP_PAGE_CONNECTIONS_MAX),
            (false, false) => (&self.status, HTTP_STATUS_CONNECTIONS_MAX),
        };
        taken.take(peer.address, max, HTTP_CONNECTIONS_PER_ADDRESS_MAX)
    }

    /// Says whether an address may begin a handshake now, and counts it, as refused where it may
    /// not. This machine always may: a program that runs on it could do worse.
    pub fn may_shake_hands(&self, by: IpAddr, now: Instant) -> bool {
        let is_own = offenders::is_this_machine(offenders::octets(by));
        let may = is_own || self.begun.allow(Network::from(by), now);
        if !may {
            handshakes::count_refused();
        }
        may
    }

    /// Takes a place for a handshake.
    pub fn handshake(&self, by: IpAddr) -> Option<Place<'_>> {
        self.handshakes.take(by, HTTP_HANDSHAKES_MAX, HTTP_HANDSHAKES_PER_ADDRESS_MAX)
    }
}

impl Begun {
    fn allow(&self, by: Network, now: Instant) -> bool {
        let mut begun = self.0.borrow_mut();
        if let Some((_, allowance)) = begun.iter_mut().find(|(of, _)| *of == by) {
            return allowance.allow(now);
        }
        begun.iter_mut().for_each(|(_, allowance)| allowance.forgive(now));
        if begun.is_full() {
            // Who has the least to be forgiven gains the least by being forgotten.
            let all = begun.iter().enumerate();
            let least = all.min_by_key(|(_, (_, allowance))| allowance.recent());
            if let Some((index, _)) = least {
                begun.swap_remove(index);
            }
        }
        let mut allowance = Allowance::new(HTTP_HANDSHAKES_BURST_MAX, HTTP_HANDSHAKE_INTERVAL);
        let is_allowed = allowance.allow(now);
        // There is room: a full list has just lost one.
        let _ = begun.push((by, allowance));
        is_allowed
    }
}

impl Taken {
    /// Takes one of `max` slots for an address, which may hold `by_address_max`.
    fn take(&self, by: IpAddr, max: usize, by_address_max: usize) -> Option<Place<'_>> {
        let by = Network::from(by);
        let mut taken = self.0.borrow_mut();
        let count = |of: Network| taken.iter().filter(|seat| seat.by == of).count();
        let is_at_its_own = count(by) >= by_address_max;
        if is_at_its_own || taken.len() >= max {
            // The newcomer counts as if it held a slot already.
            let weight = |of: Network| count(of) + usize::from(of == by);
            let may_go = taken.iter().enumerate().filter(|(_, seat)| {
                seat.rank.get() < Rank::Known && (!is_at_its_own || seat.by == by)
            });
            let first =
                may_go.min_by_key(|(_, seat)| (seat.rank.get(), Reverse(weight(seat.by))))?;
            let index = first.0;
            taken.remove(index).taken_back.notify_one();
        }
        let seat = Rc::new(Seat { by, rank: Cell::new(Rank::Silent), taken_back: Notify::new() });
        taken.push(seat.clone());
        Some(Place { of: self, seat })
    }
}

impl Place<'_> {
    /// Returns the connection that holds the slot.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }
}

impl Seat {
    /// Sets the connection's claim to its slot.
    pub fn set_rank(&self, rank: Rank) {
        self.rank.set(rank);
    }

    /// Returns the connection's claim to its slot.
    pub fn rank(&self) -> Rank {
        self.rank.get()
    }

    /// Waits until the slot is reclaimed.
    pub async fn taken_back(&self) {
        self.taken_back.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.0.borrow_mut().retain(|seat| !Rc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: bool = true;
    const STATUS: bool = false;

    fn peer(address: &str, is_tls: bool) -> Peer {
        Peer { address: address.parse().unwrap(), is_tls }
    }

    /// Says whether the slot was reclaimed.
    fn is_gone(place: &Place<'_>) -> bool {
        !place.of.0.borrow().iter().any(|seat| Rc::ptr_eq(seat, &place.seat))
    }

    #[test]
    fn f97_who_never_finishes_keeps_nobody_out_from_one_two_or_a_hundred_addresses() {
        for addresses in [1, 2, 100] {
            for port in [PAGE, STATUS] {
                let places = Places::default();
                let from = |n: usize| peer(&format!("192.0.2.{}", n % addresses), port);
                let silent: Vec<_> = (0..200).filter_map(|n| places.connection(from(n))).collect();
                assert_eq!(silent.len(), 200, "they take each other's");
                let place = places.connection(peer("192.0.2.200", port)).expect("a newcomer's");
                let held = silent.iter().filter(|place| !is_gone(place)).count();
                assert!(held <= 16, "{held} of {addresses} addresses");
                // Those who come after him take the oldest, and not his.
                let _more: Vec<_> = (0..4).map(|n| places.connection(from(n))).collect();
                assert!(!is_gone(&place));
                // This machine's requests have their own slots.
                for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                    let place = places.connection(peer(own, port)).expect("this machine's");
                    assert!(!is_gone(&place));
                }
                assert!(places.connection(peer("192.0.2.201", !port)).is_some(), "other port");
            }
        }
    }

    #[test]
    fn f97_the_address_with_the_most_gives_the_place_and_not_who_has_one() {
        let places = Places::default();
        let one = places.connection(peer("192.0.2.1", PAGE)).unwrap();
        let flood: Vec<_> = (0..300)
            .map(|n| places.connection(peer(&format!("192.0.2.{}", 2 + n % 2), PAGE)).unwrap())
            .collect();
        assert!(!is_gone(&one), "its address has one place");
        let held = flood.iter().filter(|place| !is_gone(place)).count();
        assert_eq!(held, HTTP_PAGE_CONNECTIONS_MAX - 1);
    }

    #[test]
    fn f97_who_has_asked_goes_after_the_silent_and_who_is_logged_in_stays() {
        let places = Places::default();
        let address = |n: usize| peer(&format!("192.0.2.{n}"), PAGE);
        let take = |n| places.connection(address(n));
        let known: Vec<_> = (0..HTTP_PAGE_CONNECTIONS_MAX - 2).map(|n| take(n).unwrap()).collect();
        known.iter().for_each(|place| place.seat().set_rank(Rank::Known));
        let stranger = take(100).unwrap();
        stranger.seat().set_rank(Rank::Stranger);
        let silent = take(101).unwrap();
        let next = take(102).unwrap();
        assert!(is_gone(&silent) && !is_gone(&stranger), "the silent one goes first");
        next.seat().set_rank(Rank::Known);
        let last = take(103).unwrap();
        assert!(is_gone(&stranger), "then the stranger");
        last.seat().set_rank(Rank::Known);
        assert!(take(104).is_none(), "and nobody who is logged in");
        assert!(known.iter().all(|place| !is_gone(place)));
        drop(last);
        assert!(take(105).is_some());
    }

    #[test]
    fn f97_an_address_that_throws_handshakes_away_is_refused_and_nobody_else() {
        let places = Places::default();
        let at = |millis: u64| Instant::from_micros(1_000_000_000 + 1_000 * millis);
        let may =
            |address: &str, millis| places.may_shake_hands(address.parse().unwrap(), at(millis));
        let begun = (0..10_000).filter(|_| may("192.0.2.1", 0)).count();
        assert_eq!(begun, 128);
        assert!(may("192.0.2.2", 0), "another begins");
        assert!((0..10_000).all(|_| may("127.0.0.1", 0) && may("::1", 0)), "and this machine");
        // As many addresses as there can be do not wash away what the first one owes.
        for n in 0..250 {
            assert!(may(&format!("198.51.100.{n}"), 1));
        }
        assert!(!may("192.0.2.1", 1));
        assert_eq!((0..10_000).filter(|_| may("192.0.2.1", 1_000)).count(), 20, "in a second");
        // A host of IPv6 has more addresses than anybody could count.
        let begun = (0..1_000).filter(|n| may(&format!("2001:db8::{n:x}"), 2_000)).count();
        assert_eq!(begun, 128);
        assert!(may("2001:db8:0:1::1", 2_000));
    }

    #[test]
    fn f97_an_address_beyond_its_share_takes_its_own_places() {
        let places = Places::default();
        let other = places.connection(peer("192.0.2.9", PAGE)).unwrap();
        let own: Vec<_> = (0..20).map(|_| places.connection(peer("192.0.2.1", PAGE))).collect();
        let held = own.iter().flatten().filter(|place| !is_gone(place)).count();
        assert_eq!(held, HTTP_CONNECTIONS_PER_ADDRESS_MAX);
        assert!(!is_gone(&other));
        let own: Vec<_> = own.into_iter().flatten().filter(|place| !is_gone(place)).collect();
        own.iter().for_each(|place| place.seat().set_rank(Rank::Known));
        assert!(places.connection(peer("192.0.2.1", PAGE)).is_none(), "all of its share works");
    }
}
