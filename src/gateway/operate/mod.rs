//! Operate: settings at work.
//!
//! `config` reads the file, the environment and the flags, `load` chooses at the start, `control`
//! carries out an operator's requests, `probe` tries a pool, `options` translates for the engine.

pub mod config;
pub mod control;
pub mod load;
pub mod options;
pub mod probe;
