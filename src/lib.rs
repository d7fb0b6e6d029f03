//! The engine of Loka Stratum. (Skeleton; the overview is written with the proxy.)
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod limits;
pub mod settings;
pub mod time;
pub mod wire;
pub mod work;
