//! Runtime: the engine, the sockets, and the tasks that carry bytes between them.
//!
//! [`hub::Hub`] owns the engine and the sockets. `listen` accepts miners, `miner` serves one,
//! `link` and `dial` serve a pool, `pump` serves the engine's deadlines, `fanout` sends jobs,
//! `asking` answers the engine's questions about workers, `crowd` frees places of full addresses.

pub mod asking;
pub mod crowd;
pub mod dial;
pub mod fanout;
pub mod hub;
pub mod link;
pub mod listen;
pub mod miner;
pub mod pump;
