//! Observe: one snapshot of the gateway, and its text for people.

pub mod report;
pub mod summary;
pub mod system;
