//! F50: the offences of an address outlive its connections, and harm no other miner at that
//! address.

use std::net::{Ipv4Addr, Ipv6Addr};

use loka_stratum::downstream::{Close, State};
use loka_stratum::limits::{
    INVALID_LINES_MAX, OFFENCES_ALLOWED, OFFENCES_OF_CONNECTION, OFFENDERS_MAX,
};
use loka_stratum::proxy::Refusal;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use serde_json::json;

use super::farm::{Farm, TRIVIAL, notified, notify, parse};

const SUBSCRIBE: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"t/1\"]}\n";
const AUTHORIZE: &[u8] =
    b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"farm.1\",\"x\"]}\n";

/// Connections that may use up their whole budget.
const CONNECTIONS: u16 = OFFENCES_ALLOWED / OFFENCES_OF_CONNECTION;

fn v4(last: u8) -> [u8; 16] {
    Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets()
}

fn v6(net: u16, host: u16) -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host).octets()
}

fn connect(farm: &mut Farm, peer: [u8; 16]) -> Result<MinerHandle, Refusal> {
    farm.proxy.handle_connect(peer, farm.now)
}

/// A connection that is not Stratum; returns whether it was accepted.
fn knock(farm: &mut Farm, peer: [u8; 16]) -> bool {
    let Ok(miner) = connect(farm, peer) else { return false };
    let (_, close) = farm.bytes(miner, b"GET / HTTP/1.1\r\n");
    assert!(matches!(close, Some(Close::NotStratum(_))), "{close:?}");
    true
}

#[test]
fn f50_reconnecting_under_other_names_and_addresses_of_a_64_renews_no_budget() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let mut connections = 0;
    // Each time one line below the closing limit, then a reconnect under another name and address.
    while let Ok(miner) = connect(&mut farm, v6(1, connections)) {
        for _ in 0..INVALID_LINES_MAX {
            assert_eq!(farm.bytes(miner, b"{\"bad\n").1, None);
        }
        let name = json!({"id": 1, "method": "mining.authorize", "params": [format!("w{connections}"), "x"]});
        farm.bytes(miner, format!("{name}\n").as_bytes());
        farm.proxy.handle_disconnect(miner);
        connections += 1;
        assert!(connections < 100, "never refused");
    }
    assert!(connections >= CONNECTIONS, "{connections}: honest errors are not this few");
    let Err(Refusal::Offender { secs }) = connect(&mut farm, v6(1, 0xffff)) else {
        panic!("another address of the /64 was taken");
    };
    assert!(connect(&mut farm, v6(2, 1)).is_ok(), "the next /64 has done nothing");
    farm.now = farm.now + Duration::from_secs(secs);
    assert!(connect(&mut farm, v6(1, 1)).is_ok(), "it was said to be {secs} s");
}

#[test]
fn f50_who_is_connected_stays_when_its_address_is_refused() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let miner = connect(&mut farm, v4(1)).unwrap();
    let mut heard = farm.bytes(miner, SUBSCRIBE).0;
    heard.extend(farm.bytes(miner, AUTHORIZE).0);
    let job = notified(&heard);
    let taken = (0..100).take_while(|_| knock(&mut farm, v4(1))).count();
    assert_eq!(taken, usize::from(CONNECTIONS));
    assert!(connect(&mut farm, v4(1)).is_err());
    let share = json!(["farm.1", job[0], "00000000", job[7], "00000001"]);
    assert_eq!(farm.submit(miner, share)["result"], true);
    assert_eq!(farm.proxy.miner(miner).unwrap().state(), State::Authorized);
}

#[test]
fn f50_a_farm_behind_one_address_is_not_refused_for_one_broken_device() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let mut miners: Vec<_> = (0..6)
        .map(|_| {
            let miner = connect(&mut farm, v4(1)).unwrap();
            let mut heard = farm.bytes(miner, SUBSCRIBE).0;
            heard.extend(farm.bytes(miner, AUTHORIZE).0);
            (miner, notified(&heard))
        })
        .collect();
    // Ten minutes: each second a broken device connects, and each other miner sends a share.
    for second in 0..600_u32 {
        if second % 60 == 0 {
            farm.pool_says(link, &notify(&format!("job-{second}"), (second / 60) as u8, true));
            for (miner, job) in &mut miners {
                *job = notified(&farm.due(*miner));
            }
        }
        assert!(knock(&mut farm, v4(1)), "refused after {second} s");
        for (miner, job) in &miners {
            let share = json!(["farm.1", job[0], "00000000", job[7], format!("{second:08x}")]);
            assert_eq!(farm.submit(*miner, share)["result"], true);
        }
        for line in farm.pool_hears(link) {
            let answer = json!({"id": parse(&line)["id"], "result": true, "error": null});
            farm.pool_says(link, &answer.to_string());
        }
        farm.now = farm.now + Duration::from_secs(1);
        farm.proxy.handle_timeout(farm.now);
    }
    // Without the accepted shares the address would be refused.
    let alone = (0..600).take_while(|_| {
        farm.now = farm.now + Duration::from_secs(1);
        knock(&mut farm, v4(2))
    });
    assert!(alone.count() < 20);
}

#[test]
fn f50_more_offenders_than_there_is_room_for_meet_the_strict_default() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    for net in 0..OFFENDERS_MAX as u16 {
        while knock(&mut farm, v6(net, 1)) {}
    }
    // A well-behaved miner is served as before.
    let honest = connect(&mut farm, v4(1)).unwrap();
    farm.bytes(honest, SUBSCRIBE);
    farm.bytes(honest, AUTHORIZE);
    assert_eq!(farm.proxy.miner(honest).unwrap().state(), State::Authorized);
    let stranger = connect(&mut farm, v4(2)).unwrap();
    assert_eq!(farm.bytes(stranger, b"{\"bad\n").1, Some(Close::InvalidLines), "the first");
    for net in 0..OFFENDERS_MAX as u16 {
        assert!(connect(&mut farm, v6(net, 2)).is_err(), "{net} was cleared by it");
    }
}
