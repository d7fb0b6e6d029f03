//! Sends a new job to all miners: one walk over the table, a slice at a time.
//!
//! A job is state, not a message. The walk asks the engine for miners that lack the newest job. A
//! job that arrives during a walk reaches the remaining miners at once and the others in a second
//! walk. No miner gets two jobs where one suffices (F37, F46).

use std::rc::Rc;

use crate::gateway::base::clock;
use crate::gateway::runtime::hub::Hub;

/// Miners served in a row before other tasks run; about a quarter of a millisecond.
const SLICE: usize = 64;

/// Walks the table whenever it is woken.
pub async fn run(hub: Rc<Hub>) {
    loop {
        hub.fan_out.wait().await;
        let mut cursor = 0;
        while tell_slice(&hub, &mut cursor) {
            tokio::task::yield_now().await;
        }
    }
}

/// Serves one slice; returns whether more miners may wait.
fn tell_slice(hub: &Hub, cursor: &mut usize) -> bool {
    let now = clock::now();
    for _ in 0..SLICE {
        let Some(miner) = hub.proxy.borrow_mut().poll_wanting(cursor) else { return false };
        hub.deliver(miner, now);
    }
    true
}
