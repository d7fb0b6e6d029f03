//! The engine of Loka Stratum. (Skeleton; the overview is written with the proxy.)
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod downstream;
pub mod ledger;
pub mod limits;
pub mod links;
pub mod pending;
pub mod proxy;
pub mod settings;
pub mod table;
pub mod time;
pub mod upstream;
pub mod vardiff;
pub mod wire;
pub mod work;
