//! Tells all miners of a new job: one walk over the table, a slice at a time.
//!
//! A job is state, not a message. The walk asks the engine who still lacks the newest job, so a
//! job that comes during a walk reaches the rest of the miners at once and the others by a second
//! walk, and no miner gets two where one will do (F37, F46).

use std::rc::Rc;

use super::clock;
use super::hub::Hub;

/// Miners told in a row before everybody else gets a turn; about a quarter of a millisecond.
const SLICE: usize = 64;

/// Walks the miners whenever it is woken.
pub async fn run(hub: Rc<Hub>) {
    loop {
        hub.fan_out.wait().await;
        let mut cursor = 0;
        while tell_slice(&hub, &mut cursor) {
            tokio::task::yield_now().await;
        }
    }
}

/// Tells one slice; returns whether there may be more.
fn tell_slice(hub: &Hub, cursor: &mut usize) -> bool {
    let now = clock::now();
    for _ in 0..SLICE {
        let Some(miner) = hub.proxy.borrow_mut().poll_wanting(cursor) else { return false };
        hub.deliver(miner, now);
    }
    true
}
