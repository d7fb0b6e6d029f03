//! Faults and abuse of the engine, by case number, with the required behaviour.
//!
//! Every case ends with a clear error or normal service, bounded memory, and without loss. Cases
//! F01 to F42 are here, or in the places of this list. Most later cases concern the gateway or the
//! board. F40 is the simulator's (`tests/sim`), which tests many of these at once.
//! `docs/reliability.md` lists all cases with their tests.
//!
//! | case | what | where |
//! | --- | --- | --- |
//! | F01 | cut anywhere, one byte per read | `framing`, `wire::line`; transcripts: `tests/transcripts.rs` |
//! | F02, F03, F04 | many lines, the longest line, no line end at all | `framing`, `wire::line` |
//! | F05 | a notify of 40 KiB, a line above 64 KiB | `framing`, `work::job` |
//! | F06, F07 | bytes that are no text, nesting, numbers | `framing`, `wire::json`, `wire::text` |
//! | F08 | ids of every kind | `framing`, `wire::id` |
//! | F09 | a wrong type in every position | `tests/session_matrix.rs` |
//! | F10 | other protocols on the port | `framing`, `wire::guess` |
//! | F11, F12 | unknown methods, answers to nothing | `framing` |
//! | F13 | hex in every spelling | `wire::hex`; `tests/vectors.rs` |
//! | F14, F15, F16 | requests out of order, again, for many workers | `session`, `tests/session_matrix.rs` |
//! | F17 | names at and above the limit | `session`, `downstream` |
//! | F18 | the pool refuses the account | `session` |
//! | F19, F20 | slow handshakes, slow miners | `session` |
//! | F21, F22 | version rolling, and masks that change | `session`; `tests/vectors.rs` |
//! | F23 | suggestions without end | `session` |
//! | F24 | another extranonce1 | `session`, `tests/upstream_invisible.rs` |
//! | F25 | sizes of extranonce2 that hold no farm | `session`, `work::extranonce` |
//! | F26 | what else a pool says | `session` |
//! | F27, F28 | duplicates | `shares`; `tests/vectors.rs` |
//! | F29, F31, F32 | floods, and honest bursts | `shares`, `downstream` |
//! | F30 | a neighbour's search space | `shares` |
//! | F33, F34 | difficulties that change, and that are none | `shares`, `downstream` |
//! | F35 | submits around `clean_jobs` | `shares`, `tests/upstream_invisible.rs` |
//! | F36, F37 | job ids used again, jobs without end | `shares`, `work::job` |
//! | F38 | ntime at its edges | `tests/vectors.rs` |
//! | F39 | block candidates | `blocks`, `shares`, `pending` |
//! | F41 | answers late, never, twice, for others, in every form | `shares` |
//! | F42 | request ids that wrap | `pending` |
//! | F49 | miner ids after many connections | `shares`, `table`, `tests/search_space.rs` |
//! | F50 | budgets of an address | `offenders`, `offenders` of the engine |
//! | F55 to F59 | pools that go and come | `session`, `tests/links.rs`, `tests/upstream_invisible.rs` |
//! | F90 | shares sent again, and who they are laid to | `shares`, `blame`, `seen`, `health` |
//! | F92 | a block and several pools at a host | `blocks`, `shares` |
//! | F66, F78 | time that leaps, settings that change | `session` |
//!
//! Lines that are nearly valid, and invalid lines, of both sides are in `noise`.

mod farm;

#[path = "abuse/blame.rs"]
mod blame;
#[path = "abuse/blocks.rs"]
mod blocks;
#[path = "abuse/framing.rs"]
mod framing;
#[path = "abuse/noise.rs"]
mod noise;
#[path = "abuse/offenders.rs"]
mod offenders;
#[path = "abuse/session.rs"]
mod session;
#[path = "abuse/shares.rs"]
mod shares;
