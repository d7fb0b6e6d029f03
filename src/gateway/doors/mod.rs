//! Doors: the ways in for people and tools: HTTP and the page, the serial line, mDNS.

pub mod http;
pub mod mdns;
pub mod serial;
