//! The settings: one type for the file, the environment, the command line and the store.
//!
//! Every setting enters as text by [`Settings::set`] under its [`Key`], from any source. So each
//! has one grammar, one range and one message. [`FIELDS`] is the only list of keys.
//! `config/default.toml` is generated from it, and [`Settings::check`] reads the ranges from it.
//! Relations between keys are checked in one place at the end, since a file may list keys in any
//! order. No setting is applied before all have passed.
//!
//! The gateway reads files and the environment, and gives the settings their effect.
//!
//! Invariant: no setting can switch a bound of [`crate::limits`] off (R8 in CONTRIBUTING).
//!
//! ```
//! use loka_stratum::settings::{Key, Settings};
//!
//! let mut settings = Settings::default();
//! settings.set(Key::parse("pool.1.url").unwrap(), "stratum+ssl://pool.example:3334").unwrap();
//! settings.set(Key::parse("pool.1.user").unwrap(), "farm.gateway").unwrap();
//! settings.check(&mut |problem| panic!("{problem}"));
//!
//! let problem = settings.set(Key::parse("miners.max").unwrap(), "20000").unwrap_err();
//! let text = "Miners, Max (miners.max): got 20000, allowed 1..16384 or \"auto\"";
//! assert_eq!(problem.to_string(), text);
//! ```

use core::fmt;
use core::net::{Ipv6Addr, SocketAddr};
use core::str::FromStr;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::split::Weights;
use crate::wire::hex::{Digits, decode_exact};

mod admit;
mod doors;
mod field;
mod fields;
pub mod stored;
mod typed;
mod url;

pub use admit::{Admit, AdmitMode, Pattern, Range};
pub use doors::{Device, HostName, Mdns, PageAddress, Serial, Web};
pub use field::{Allowed, Applies, Field, Got, Key, Problem, Title};
pub use fields::FIELDS;
pub use typed::{nearest, nearest_field, trim};
pub use url::{PoolUrl, Scheme, UrlError};

/// All settings of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The pools in order of preference; the first serves while it is live.
    pub pools: Vec<Pool, { limits::POOLS_MAX }>,
    /// The listening addresses for miners.
    pub listen: Listen,
    /// The machine that the gateway runs on.
    pub board: Board,
    /// The number of miners, and their time limits.
    pub miners: Miners,
    /// The miners' difficulty.
    pub difficulty: DifficultySettings,
    /// The handling of pool links.
    pub upstream: UpstreamSettings,
    /// The name that shares are submitted under.
    pub identity: Identity,
    /// The source of a share's verdict.
    pub verdict: Verdict,
    /// The status port.
    pub status: Status,
    /// The state directory.
    pub state: State,
    /// The page and the API.
    pub web: Web,
    /// The serial line.
    pub serial: Serial,
    /// The admission of miners.
    pub admit: Admit,
    /// The gateway's mDNS name.
    pub mdns: Mdns,
}

/// One pool, `[[pool]]` in the file and `pool.1` in a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Address and transport.
    pub url: PoolUrl,
    /// The account, or account and worker, of submitted shares.
    pub user: String<{ limits::WORKER_NAME_BYTES_MAX }>,
    /// The password of the account; most pools take anything.
    pub password: Secret,
    /// File of PEM certificates trusted instead of the built-in roots; empty for none.
    pub ca_file: String<{ limits::PATH_BYTES_MAX }>,
    /// Public keys, one of which the pool's certificate must hold; empty for any.
    pub pins: Vec<Pin, { limits::PINS_MAX }>,
    /// The checks of the pool's certificate.
    pub trust: Trust,
    /// The goal that the pool serves.
    pub goal: String<{ limits::GOAL_NAME_BYTES_MAX }>,
    /// The weight of that goal, if the pool is its first.
    pub weight: u16,
}

/// The goals of the pools: [`limits::GOALS_MAX`] at most, numbered in order of appearance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goals {
    /// The goal of each pool.
    pub of_pool: [u8; limits::POOLS_MAX],
    /// The weight of each goal; 0 for a goal that does not exist.
    pub weights: Weights,
}

/// The checks of a pool's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// The chain to a root, the name and the dates; and a pin, if there are pins.
    #[default]
    Chain,
    /// Only a pin.
    Pin,
}

/// SHA-256 of a certificate's public key (its `SubjectPublicKeyInfo` in DER).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin([u8; 32]);

/// A text that must not appear in a log or debug line (F87).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String<{ limits::PASSWORD_BYTES_MAX }>);

/// The listening addresses for miners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listen {
    /// The addresses.
    pub addresses: Vec<SocketAddr, { limits::LISTEN_MAX }>,
    /// Connections at once from one address.
    pub per_address_max: u16,
}

/// The machine that the gateway runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// The name of its profile, or [`AUTO`].
    pub profile: String<{ limits::BOARD_NAME_BYTES_MAX }>,
}

/// The value of a key that the machine decides.
pub const AUTO: &str = "auto";

/// The number of miners, and their time limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Miners {
    /// Connections at once; `None` for as many as the board holds.
    pub max: Option<u16>,
    /// Seconds that a miner may leave its answers unread.
    pub blocked_secs: u16,
}

/// The miners' difficulty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifficultySettings {
    /// The initial difficulty.
    pub start: f64,
    /// The lowest difficulty.
    pub min: f64,
    /// The highest difficulty.
    pub max: f64,
    /// The target interval between two shares of a miner, in seconds.
    pub seconds_per_share: u16,
}

/// The handling of pool links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamSettings {
    /// First retry delay, in seconds.
    pub retry_min_secs: u16,
    /// Longest retry delay, in seconds.
    pub retry_max_secs: u16,
    /// Seconds of health that reset the back-off.
    pub healthy_secs: u16,
    /// Age in seconds at which the newest job is sent again.
    pub keepalive_secs: u16,
    /// Seconds without a live pool before the next in the list serves.
    pub failover_secs: u16,
    /// Whether the next pool of every goal is kept connected as standby.
    pub standby: bool,
    /// Whether miners keep hashing while no pool is reachable.
    pub warm: bool,
}

/// The name that shares are submitted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The owner of the name.
    pub mode: IdentityMode,
}

/// The name that shares are submitted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityMode {
    /// The farm's name: the pool's user in the settings.
    #[default]
    Single,
    /// The name of each miner's own worker.
    PerWorker,
}

/// The source of a share's verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The source.
    pub mode: VerdictMode,
}

/// The source of a share's verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerdictMode {
    /// The gateway's own check, at once.
    #[default]
    Local,
    /// The pool's answer, if the share was sent to it.
    Pool,
}

/// The status port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its address; `None` if it is off.
    pub address: Option<SocketAddr>,
}

/// The state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its path; empty for no stored state.
    pub dir: String<{ limits::PATH_BYTES_MAX }>,
}

impl Settings {
    /// Sets one key from its text.
    ///
    /// A pool number one past the last begins a new pool.
    ///
    /// # Errors
    ///
    /// The value received and the values allowed; the settings are then unchanged.
    pub fn set(&mut self, key: Key, text: &str) -> Result<(), Problem> {
        let pools = self.pools.len();
        if key.field().is_of_pool() {
            if key.pool() >= limits::POOLS_MAX {
                let allowed = Allowed::Integer { min: 1, max: limits::POOLS_MAX as u64 };
                return Err(Problem {
                    key,
                    got: Got::Count(key.pool().saturating_add(1)),
                    allowed,
                });
            }
            while key.pool() >= self.pools.len() && self.pools.push(Pool::default()).is_ok() {}
        }
        let result = key.field().set(self, key, text);
        if result.is_err() {
            // A pool begun for this value is removed again.
            self.pools.truncate(pools);
        }
        result
    }

    /// Reports every problem that prevents use of these settings, in ranges and relations.
    pub fn check(&self, report: &mut dyn FnMut(Problem)) {
        self.check_ranges(report);
        self.check_pools(report);
        self.check_relations(report);
    }

    /// Returns the goals of the pools.
    pub fn goals(&self) -> Goals {
        let mut goals = Goals::default();
        let mut next = 0_u8;
        for (index, pool) in self.pools.iter().enumerate() {
            let earlier = self.pools.iter().take(index).position(|p| p.goal == pool.goal);
            let goal = match earlier.and_then(|earlier| goals.of_pool.get(earlier)) {
                Some(goal) => *goal,
                None => {
                    if let Some(weight) = goals.weights.get_mut(usize::from(next)) {
                        *weight = pool.weight;
                    }
                    next = next.saturating_add(1);
                    next.saturating_sub(1)
                }
            };
            if let Some(of_pool) = goals.of_pool.get_mut(index) {
                *of_pool = goal;
            }
        }
        goals
    }

    /// Returns the page's address; `None` if it is off. On `auto` it is `None` too if its port is
    /// taken or no state directory is set.
    pub fn page_address(&self) -> Option<SocketAddr> {
        match self.web.address {
            PageAddress::Off => None,
            PageAddress::At(address) => Some(address),
            PageAddress::Auto => {
                let address = SocketAddr::from(([0, 0, 0, 0], limits::PAGE_PORT));
                let others = self.listen.addresses.iter().copied().chain(self.status.address);
                let mut is_taken = others.map(|other| may_meet(other, address));
                let is_wanted = !self.state.dir.is_empty() && !is_taken.any(|is_taken| is_taken);
                is_wanted.then_some(address)
            }
        }
    }

    /// Says whether [`Self::check`] reports no problem.
    pub fn is_valid(&self) -> bool {
        let mut valid = true;
        self.check(&mut |_| valid = false);
        valid
    }

    /// Sets every key of a copy to its shown text, to check settings from a store.
    fn check_ranges(&self, report: &mut dyn FnMut(Problem)) {
        let mut copy = self.clone();
        for field in FIELDS {
            let count = if field.is_of_pool() { self.pools.len() } else { 1 };
            for key in (0..count).filter_map(|pool| Key::of(field, pool)) {
                let mut text = String::<{ limits::SETTING_BYTES_MAX }>::new();
                if fmt::write(&mut text, format_args!("{}", self.show(key))).is_err() {
                    report(Problem { key, got: Got::Bytes(text.len()), allowed: field.allowed });
                } else if !text.is_empty()
                    && let Err(problem) = copy.set(key, &text)
                {
                    report(problem);
                }
            }
        }
    }

    fn check_pools(&self, report: &mut dyn FnMut(Problem)) {
        let mut say = |name, pool, got, relation| {
            if let Some(key) = Key::named("pool", name, pool) {
                report(Problem { key, got, allowed: Allowed::Relation(relation) });
            }
        };
        if self.pools.is_empty() && self.state.dir.is_empty() {
            let relation = "at least one pool; none only with state.dir, where one that is set \
                            while the gateway runs is kept";
            say("url", 0, Got::Nothing, relation);
        }
        for (index, pool) in self.pools.iter().enumerate() {
            if pool.url.host().is_empty() {
                say("url", index, Got::Nothing, "an address, since every pool needs one");
            }
            if pool.user.is_empty() {
                say("user", index, Got::Nothing, "a name, since every pool needs one");
            }
            if pool.trust == Trust::Pin && pool.pins.is_empty() {
                let got = Got::text("pin");
                say("trust", index, got, "\"pin\" only with at least one key in pins");
            }
            if pool.url.scheme() == Scheme::Tcp && !pool.url.host().is_empty() {
                let relation = "only with stratum+ssl://, since plain TCP has no certificate";
                if !pool.ca_file.is_empty() {
                    say("ca_file", index, Got::text(&pool.ca_file), relation);
                }
                if !pool.pins.is_empty() {
                    say("pins", index, Got::Count(pool.pins.len()), relation);
                }
            }
            if pool.trust == Trust::Pin && !pool.ca_file.is_empty() {
                let relation = "only with trust = \"chain\", since trust by pin uses no authority";
                say("ca_file", index, Got::text(&pool.ca_file), relation);
            }
        }
    }

    fn check_relations(&self, report: &mut dyn FnMut(Problem)) {
        let mut say = |section, name, got, relation| {
            if let Some(key) = Key::named(section, name, 0) {
                report(Problem { key, got, allowed: Allowed::Relation(relation) });
            }
        };
        let difficulty = &self.difficulty;
        if difficulty.min > difficulty.max {
            let got = Got::Number(difficulty.min);
            say("difficulty", "min", got, "at most difficulty.max");
        } else if difficulty.start < difficulty.min || difficulty.start > difficulty.max {
            let got = Got::Number(difficulty.start);
            say("difficulty", "start", got, "from difficulty.min to difficulty.max");
        }
        if self.upstream.retry_min_secs > self.upstream.retry_max_secs {
            let got = Got::Number(f64::from(self.upstream.retry_min_secs));
            say("upstream", "retry_min_secs", got, "at most upstream.retry_max_secs");
        }
        let addresses = &self.listen.addresses;
        if addresses.is_empty() {
            say("listen", "addresses", Got::Nothing, "at least one address");
        }
        for (index, address) in addresses.iter().enumerate() {
            if addresses.iter().take(index).any(|earlier| is_same_place(*earlier, *address)) {
                let relation = "each address once; 0.0.0.0 and [::] include all of their kind";
                say("listen", "addresses", Got::Address(*address), relation);
            }
        }
        let relation = "a port of its own, not one of listen.addresses";
        let web = match self.web.address {
            PageAddress::At(address) => Some(address),
            PageAddress::Off | PageAddress::Auto => None,
        };
        for (section, address) in [("status", self.status.address), ("web", web)] {
            if let Some(address) = address
                && addresses.iter().any(|other| may_meet(*other, address))
            {
                say(section, "address", Got::Address(address), relation);
            }
        }
        if let (Some(address), Some(status)) = (web, self.status.address)
            && may_meet(address, status)
        {
            let relation = "a port of its own, not that of status.address";
            say("web", "address", Got::Address(address), relation);
        }
        let admit = &self.admit;
        let mut say_mode = |relation| say("admit", "mode", Got::text(admit.mode.name()), relation);
        match admit.mode {
            AdmitMode::Name if admit.names.is_empty() => {
                say_mode("\"name\" only with at least one pattern in admit.names");
            }
            AdmitMode::Address if admit.addresses.is_empty() => {
                say_mode("\"address\" only with at least one range in admit.addresses");
            }
            _ => {}
        }
    }

    /// Shows the value of a key in the form that [`Self::set`] reads. A secret is shown too: for
    /// stores and comparisons only, never for a log.
    pub fn show(&self, key: Key) -> impl fmt::Display + '_ {
        field::Shown { settings: self, key }
    }
}

impl Listen {
    /// Says whether an address is for IPv6 only. `[::]` is for both families, unless the list has
    /// an IPv4 address at the same port.
    pub fn is_only_v6(&self, address: SocketAddr) -> bool {
        let is_v4 = |other: &SocketAddr| other.ip().to_canonical().is_ipv4();
        self.addresses.iter().any(|other| is_v4(other) && other.port() == address.port())
    }
}

/// Says whether two addresses of a list overlap, so that connections to one reach the other. Two
/// families at one port do not overlap.
fn is_same_place(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let is_of_both = a == b || a.is_unspecified() || b.is_unspecified();
    one.port() != 0 && one.port() == other.port() && a.is_ipv4() == b.is_ipv4() && is_of_both
}

/// Says whether two ports of different kinds overlap: `[::]` alone is for both families.
fn may_meet(one: SocketAddr, other: SocketAddr) -> bool {
    let is_all_v6 = |a: SocketAddr| a.ip() == Ipv6Addr::UNSPECIFIED;
    let is_all = one.port() == other.port() && (is_all_v6(one) || is_all_v6(other));
    one.port() != 0 && (is_all || is_same_place(one, other))
}

impl Default for Pool {
    fn default() -> Self {
        let mut password = Secret::default();
        // The usual password for pools that ignore it.
        let _ = password.0.push('x');
        Self {
            url: PoolUrl::default(),
            user: String::new(),
            password,
            ca_file: String::new(),
            pins: Vec::new(),
            trust: Trust::Chain,
            goal: String::new(),
            weight: 100,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let mut addresses = Vec::new();
        let _ = addresses.push(SocketAddr::from(([0, 0, 0, 0], 3333)));
        Self { addresses, per_address_max: 256 }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self { profile: String::try_from(AUTO).unwrap_or_default() }
    }
}

impl Default for Miners {
    fn default() -> Self {
        Self { max: None, blocked_secs: 30 }
    }
}

impl Default for DifficultySettings {
    fn default() -> Self {
        Self { start: 65_536.0, min: 0.001, max: fields::DIFFICULTY_MAX, seconds_per_share: 10 }
    }
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            retry_min_secs: 1,
            retry_max_secs: 60,
            healthy_secs: 60,
            keepalive_secs: 45,
            failover_secs: 5,
            standby: true,
            warm: true,
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self { address: Some(SocketAddr::from(([127, 0, 0, 1], 8080))) }
    }
}

impl Pin {
    /// Creates the pin from the hash itself.
    pub const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Returns the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Pin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        decode_exact(text.as_bytes()).map(Self).map_err(drop)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digits(&self.0).fmt(f)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Secret {
    /// Returns the text, for the pool only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::{String as StdString, ToString};
    use std::vec::Vec as StdVec;

    fn key(path: &str) -> Key {
        Key::parse(path).unwrap_or_else(|| panic!("no key {path}"))
    }

    fn complete() -> Settings {
        let mut settings = Settings::default();
        settings.set(key("pool.1.url"), "stratum+ssl://pool.example:3334").unwrap();
        settings.set(key("pool.1.user"), "farm").unwrap();
        settings
    }

    #[track_caller]
    fn problems(sets: &[(&str, &str)]) -> StdVec<StdString> {
        let mut settings = complete();
        let mut all = StdVec::new();
        for (path, text) in sets {
            if let Err(problem) = settings.set(key(path), text) {
                all.push(problem.to_string());
            }
        }
        settings.check(&mut |problem| all.push(problem.to_string()));
        all
    }

    #[test]
    fn defaults_lack_a_pool_and_nothing_else() {
        let mut all = StdVec::new();
        Settings::default().check(&mut |problem| all.push(problem.to_string()));
        let text = "Pool 1, URL (pool.1.url): got nothing, allowed at least one pool; none only with state.dir, \
                    where one that is set while the gateway runs is kept";
        assert_eq!(all, [text]);
        let mut settings = Settings::default();
        settings.set(key("state.dir"), "/var/lib/loka").unwrap();
        assert!(settings.is_valid(), "there is a way to set a pool later");
        assert!(complete().is_valid());
    }

    #[test]
    fn every_key_shows_what_it_was_set_to() {
        let pin = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (path, text) in [
            ("pool.2.url", "stratum+tcp://[2001:db8::1]:3333"),
            ("pool.1.user", "farm.\"gateway\""),
            ("pool.1.password", "d=1024,x"),
            ("pool.1.ca_file", "/etc/loka/ca.pem"),
            ("pool.1.pins", pin),
            ("pool.1.trust", "pin"),
            ("pool.1.goal", "main"),
            ("pool.1.weight", "70"),
            ("upstream.standby", "false"),
            ("listen.addresses", "127.0.0.1:3333,[::1]:3334"),
            ("board.profile", "raspberry-pi-4"),
            ("miners.max", "16384"),
            ("miners.max", "auto"),
            ("difficulty.min", "0.001"),
            ("verdict.mode", "pool"),
            ("upstream.warm", "false"),
            ("identity.mode", "per-worker"),
            ("status.address", "off"),
            ("state.dir", "/var/lib/loka"),
            ("web.address", "0.0.0.0:443"),
            ("web.address", "off"),
            ("web.address", "auto"),
            ("web.hosts", "gw.farm.example,loka"),
            ("serial.device", "ttyS0"),
            ("serial.device", "auto"),
            ("serial.baud", "9600"),
            ("admit.mode", "list"),
            ("admit.names", "farm.*,*.s19"),
            ("admit.addresses", "10.0.0.0/8,2001:db8::/32"),
            ("mdns.name", "loka"),
            ("mdns.name", "off"),
        ] {
            let mut settings = complete();
            settings.set(key(path), text).unwrap();
            assert_eq!(settings.show(key(path)).to_string(), text, "{path}");
        }
    }

    #[test]
    fn f06_no_key_takes_what_nobody_sees() {
        let mut settings = complete();
        for letter in "\n\r\0\u{1b}\u{7f}\u{200b}\u{202e}\u{2066}\u{feff}\u{ad}\u{3164}".chars() {
            for path in
                ["pool.1.user", "pool.1.goal", "pool.1.password", "state.dir", "admit.names"]
            {
                let problem = settings.set(key(path), &format!("a{letter}b")).unwrap_err();
                let text = problem.to_string();
                assert!(text.contains("visible letters"), "{path}: {text}");
                assert!(!text.contains(letter), "{text:?}");
            }
        }
        let problem = settings.set(key("pool.1.password"), "secret\u{1b}").unwrap_err();
        assert!(!problem.to_string().contains("secret"));
        settings.set(key("pool.1.goal"), "Süd 2").unwrap();
        settings.set(key("pool.1.user"), "农场.1").unwrap();
    }

    #[test]
    fn pools_of_one_name_make_a_goal_and_its_first_gives_the_weight() {
        let mut settings = complete();
        for (path, text) in [
            ("pool.1.goal", "a"),
            ("pool.1.weight", "70"),
            ("pool.2.goal", "b"),
            ("pool.2.weight", "30"),
            ("pool.3.goal", "a"),
            ("pool.3.weight", "5"),
        ] {
            settings.set(key(path), text).unwrap();
        }
        let goals = settings.goals();
        assert_eq!(&goals.of_pool[..3], &[0, 1, 0]);
        assert_eq!(&goals.weights[..3], &[70, 30, 0]);
    }

    #[test]
    fn a_refused_value_leaves_the_settings_as_they_were() {
        let mut settings = complete();
        for (path, text) in [
            ("pool.2.url", "nowhere"),
            ("pool.4.trust", "x"),
            ("miners.max", "0"),
            // Found by the fuzzer: a list of nothing but space is an empty one.
            ("listen.addresses", " "),
            ("listen.addresses", ","),
        ] {
            assert!(settings.set(key(path), text).is_err());
            assert_eq!(settings, complete(), "{path}");
        }
    }

    #[test]
    fn f80_values_at_their_limit_pass_and_above_are_refused_by_number() {
        for field in FIELDS {
            let (Allowed::Integer { min, max } | Allowed::IntegerOrAuto { min, max }) =
                field.allowed
            else {
                continue;
            };
            let key = Key::of(field, 0).unwrap();
            for (value, good) in [(min, true), (max, true), (max + 1, false)] {
                let result = Settings::default().set(key, &value.to_string());
                assert_eq!(result.is_ok(), good, "{key} = {value}");
            }
        }
        assert_eq!(
            problems(&[
                ("miners.max", "0"),
                ("miners.max", "16385"),
                ("upstream.keepalive_secs", "29")
            ]),
            [
                "Miners, Max (miners.max): got 0, allowed 1..16384 or \"auto\"",
                "Miners, Max (miners.max): got 16385, allowed 1..16384 or \"auto\"",
                "Upstream, Keepalive (upstream.keepalive_secs): got 29, allowed 30..60",
            ]
        );
        let long = "u".repeat(129);
        assert_eq!(
            problems(&[("pool.1.user", &long), ("pool.1.password", &long)]),
            [
                "Pool 1, User (pool.1.user): got 129 bytes, allowed 1..128 bytes",
                "Pool 1, Password (pool.1.password): got 129 bytes, allowed 0..128 bytes",
            ]
        );
        let url = format!("stratum+ssl://{}:3333", "a".repeat(4096));
        assert_eq!(problems(&[("pool.1.url", &url)]).len(), 1);
        assert_eq!(
            problems(&[("listen.addresses", "127.0.0.1:70000")]),
            [
                "Listen, Addresses (listen.addresses): got \"127.0.0.1:70000\", allowed 1..4 of address:port, such as 0.0.0.0:3333"
            ]
        );
    }

    #[test]
    fn f79_a_board_is_a_name_and_never_a_path() {
        for path in ["/etc/passwd", "../generic", "generic.toml", "a/b", "Generic", "a b", ""] {
            let expected = format!(
                "Board, Profile (board.profile): got {}, allowed auto, or a profile's name: small letters, \
                 digits and hyphens",
                if path.is_empty() { "nothing".into() } else { format!("{path:?}") }
            );
            assert_eq!(problems(&[("board.profile", path)])[0], expected);
        }
        let long = "a".repeat(33);
        assert!(problems(&[("board.profile", &long)])[0].contains("got 33 bytes"));
    }

    #[test]
    fn f77_all_problems_are_reported_at_once() {
        let all = problems(&[
            ("difficulty.min", "64"),
            ("difficulty.start", "32"),
            ("upstream.retry_min_secs", "30"),
            ("upstream.retry_max_secs", "10"),
            ("listen.addresses", "127.0.0.1:1,127.0.0.1:1"),
            ("status.address", "127.0.0.1:1"),
            ("web.address", "127.0.0.1:1"),
            ("admit.mode", "name"),
            ("pool.1.trust", "pin"),
            ("pool.2.password", "secret"),
        ]);
        assert_eq!(
            all,
            [
                "Pool 1, Trust (pool.1.trust): got \"pin\", allowed \"pin\" only with at least one key in pins",
                "Pool 2, URL (pool.2.url): got nothing, allowed an address, since every pool needs one",
                "Pool 2, User (pool.2.user): got nothing, allowed a name, since every pool needs one",
                "Difficulty, Start (difficulty.start): got 32, allowed from difficulty.min to difficulty.max",
                "Upstream, Retry min (upstream.retry_min_secs): got 30, allowed at most upstream.retry_max_secs",
                "Listen, Addresses (listen.addresses): got 127.0.0.1:1, allowed each address once; 0.0.0.0 and [::] include all of their kind",
                "Status, Address (status.address): got 127.0.0.1:1, allowed a port of its own, not one of listen.addresses",
                "Web, Address (web.address): got 127.0.0.1:1, allowed a port of its own, not one of listen.addresses",
                "Web, Address (web.address): got 127.0.0.1:1, allowed a port of its own, not that of status.address",
                "Admit, Mode (admit.mode): got \"name\", allowed \"name\" only with at least one pattern in admit.names",
            ]
        );
    }

    #[test]
    fn both_families_may_have_one_port_and_what_cannot_be_bound_is_refused() {
        let refused = |listen: &str, status: &str, web: &str| {
            problems(&[
                ("listen.addresses", listen),
                ("status.address", status),
                ("web.address", web),
            ])
            .len()
        };
        for listen in [
            "0.0.0.0:3333,[::]:3333",
            "[::]:3333,0.0.0.0:3333",
            "[::]:3333,10.0.0.1:3333",
            "0.0.0.0:3333,[2001:db8::1]:3333",
            "10.0.0.1:3333,10.0.0.2:3333",
            "0.0.0.0:3333,0.0.0.0:3334",
            "0.0.0.0:0,127.0.0.1:0",
        ] {
            assert_eq!(refused(listen, "off", "off"), 0, "{listen}");
        }
        for listen in [
            "0.0.0.0:3333,10.0.0.1:3333",
            "10.0.0.1:3333,0.0.0.0:3333",
            "[::]:3333,[2001:db8::1]:3333",
            "[::ffff:10.0.0.1]:3333,10.0.0.1:3333",
        ] {
            assert_eq!(refused(listen, "off", "off"), 1, "{listen}");
        }
        assert_eq!(refused("0.0.0.0:8080", "127.0.0.1:8080", "off"), 1);
        assert_eq!(refused("[::]:8080", "127.0.0.1:8080", "off"), 1, "[::] is IPv4's too");
        assert_eq!(refused("0.0.0.0:8080", "[::1]:8080", "off"), 0);
        assert_eq!(refused("0.0.0.0:1", "127.0.0.1:8443", "0.0.0.0:8443"), 1);
        let mut settings = complete();
        settings.set(key("listen.addresses"), "[::]:1,0.0.0.0:1,[::]:2").unwrap();
        let of = |text: &str| settings.listen.is_only_v6(text.parse().unwrap());
        assert!(of("[::]:1") && !of("[::]:2"));
    }

    #[test]
    fn the_page_is_on_the_lan_where_something_is_remembered_and_where_it_is_put() {
        let mut settings = complete();
        assert_eq!(settings.page_address(), None, "nothing is remembered");
        settings.set(key("state.dir"), "/var/lib/loka").unwrap();
        assert_eq!(settings.page_address(), Some("0.0.0.0:8443".parse().unwrap()));
        settings.set(key("listen.addresses"), "0.0.0.0:8443").unwrap();
        assert_eq!(settings.page_address(), None, "the port is the miners'");
        assert!(settings.is_valid());
        settings.set(key("web.address"), "127.0.0.1:1").unwrap();
        assert_eq!(settings.page_address(), Some("127.0.0.1:1".parse().unwrap()));
        settings.set(key("web.address"), "off").unwrap();
        assert_eq!(settings.page_address(), None);
    }

    #[test]
    fn f80_people_are_told_of_a_key_in_words_with_the_key_behind() {
        for (path, title) in [
            ("pool.1.url", "Pool 1, URL (pool.1.url)"),
            ("pool.2.ca_file", "Pool 2, CA file (pool.2.ca_file)"),
            ("upstream.retry_min_secs", "Upstream, Retry min (upstream.retry_min_secs)"),
            ("listen.addresses", "Listen, Addresses (listen.addresses)"),
        ] {
            assert_eq!(key(path).title().to_string(), title);
        }
        for key in Key::all(limits::POOLS_MAX) {
            let title = key.title().to_string();
            let (words, behind) = title.split_once(" (").unwrap();
            assert_eq!(behind, format!("{key})"));
            assert!(!words.contains(['_', '.']) && words.len() >= 8, "{title}");
            assert!(words.starts_with(|first: char| first.is_ascii_uppercase()), "{title}");
        }
    }

    #[test]
    fn f80_one_slip_is_one_line_with_the_word_that_was_meant() {
        for (path, text, end) in [
            ("identity.mode", "singel", "; did you mean \"single\""),
            ("pool.1.trust", "chian", "; did you mean \"chain\""),
            ("upstream.warm", "yes", "allowed true or false; did you mean \"true\""),
            ("upstream.warm", "False", "; did you mean \"false\""),
            ("miners.max", "atuo", "; did you mean \"auto\""),
        ] {
            let all = problems(&[(path, text)]);
            assert!(all.len() == 1 && all[0].ends_with(end), "{all:?}");
        }
    }

    #[test]
    fn f80_what_a_paste_brings_along_is_cut_of_every_value_but_a_secret() {
        let mut settings = complete();
        for (path, text, kept) in [
            (
                "pool.1.url",
                "\u{feff}stratum+tcp://p.example:3333 \n",
                "stratum+tcp://p.example:3333",
            ),
            ("pool.1.user", "\tfarm.a b\u{a0}\r\n", "farm.a b"),
            ("pool.1.goal", " main\u{200b}", "main"),
            ("pool.1.password", " x ", " x "),
            ("web.hosts", "gw.example , \u{a0}loka.example\n", "gw.example,loka.example"),
            ("mdns.name", " loka\n", "loka"),
            ("miners.max", " 10 ", "10"),
            ("difficulty.start", "\u{a0}1024", "1024"),
            ("upstream.warm", " true\n", "true"),
            ("status.address", " 127.0.0.1:1\t", "127.0.0.1:1"),
            ("listen.addresses", "\u{200b}0.0.0.0:3333 ,\n[::]:3333 ", "0.0.0.0:3333,[::]:3333"),
            ("admit.names", " farm.* ", "farm.*"),
        ] {
            settings.set(key(path), text).unwrap();
            assert_eq!(settings.show(key(path)).to_string(), kept, "{path}");
        }
        let problem = settings.set(key("pool.1.user"), " \u{200b}\n").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "Pool 1, User (pool.1.user): got nothing, allowed 1..128 bytes"
        );
    }

    #[test]
    fn f80_the_longest_lists_are_read_shown_and_checked() {
        let names = [const { "n" }; limits::ADMIT_MAX].map(|n| n.repeat(limits::PATTERN_BYTES_MAX));
        let address = "fd00:1111:2222:3333:4444:5555:6666:7777/128";
        let host = ["h".repeat(61), "h".repeat(63), "h".repeat(63), "h".repeat(63)].join(".");
        let mut settings = complete();
        for (path, text) in [
            ("admit.names", names.join(",")),
            ("admit.addresses", [address; limits::ADMIT_MAX].join(",")),
            ("web.hosts", [host.as_str(); limits::WEB_HOSTS_MAX].join(",")),
        ] {
            settings.set(key(path), &text).unwrap();
            assert_eq!(settings.show(key(path)).to_string(), text);
            let one_more = format!("{text},a");
            assert!(settings.set(key(path), &one_more).is_err(), "{path}");
        }
        assert!(settings.is_valid());
        let problem = settings.set(key("admit.names"), &"n".repeat(65)).unwrap_err();
        assert!(problem.to_string().contains("up to 64 bytes"), "{problem}");
    }

    #[test]
    fn f81_certificates_are_refused_beside_plain_tcp() {
        let pin = "00".repeat(32);
        let all = problems(&[
            ("pool.1.url", "stratum+tcp://pool.example:3333"),
            ("pool.1.ca_file", "ca.pem"),
            ("pool.1.pins", &pin),
        ]);
        assert_eq!(all.len(), 2, "{all:?}");
    }

    #[test]
    fn f87_no_debug_line_shows_a_password() {
        let mut settings = complete();
        settings.set(key("pool.1.password"), "hunter2").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let problem = settings.set(key("pool.1.password"), &"hunter2".repeat(30)).unwrap_err();
        assert!(!problem.to_string().contains("hunter2"));
        let url = "stratum+ssl://me:hunter2@pool.example:3333";
        let problem = settings.set(key("pool.1.url"), url).unwrap_err();
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }

    #[test]
    fn settings_survive_the_store() {
        let mut settings = complete();
        settings.set(key("pool.2.pins"), &"ab".repeat(32)).unwrap();
        let mut buffer = [0; 4096];
        let bytes = postcard::to_slice(&settings, &mut buffer).unwrap();
        assert_eq!(postcard::from_bytes::<Settings>(bytes).unwrap(), settings);
    }

    #[test]
    fn ranges_of_stored_settings_are_checked_too() {
        let mut settings = complete();
        settings.miners.max = Some(20_000);
        let mut all = StdVec::new();
        settings.check(&mut |problem| all.push(problem.to_string()));
        assert_eq!(all, ["Miners, Max (miners.max): got 20000, allowed 1..16384 or \"auto\""]);
    }
}
