//! The board profile and the memory plan.
//!
//! The profiles are the files of `board/`, embedded. A profile is chosen by the setting
//! `board.profile`, or by the machine's names in the device tree; a path is never accepted (F79).
//! Each capacity of a profile is at most the engine's limit; a test checks each profile's largest
//! gateway against its budget.
//!
//! A [`Plan`] is the sum of all memory at its peak (B6): the engine's storage, the buffers of
//! connections and links, spills, and the process itself. `check`, `run` and a reload compute it by
//! the same call; each refuses a plan above the budget (F67).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use loka_stratum::limits::{KERNEL_FILE_BYTES_MAX, LANES_MAX, MINERS_AUTO_MAX};
use loka_stratum::settings::{AUTO, Key, Settings, nearest};
use rlimit::Resource;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::gateway::base::plan::Plan;

/// The files of `board/`, by name.
const FILES: [(&str, &str); 6] = [
    (GENERIC, include_str!("../../../board/generic.toml")),
    ("glinet-mt3000", include_str!("../../../board/glinet-mt3000.toml")),
    ("glinet-mt6000", include_str!("../../../board/glinet-mt6000.toml")),
    ("raspberry-pi-4", include_str!("../../../board/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../../../board/raspberry-pi-5.toml")),
    ("virt-aarch64", include_str!("../../../board/virt-aarch64.toml")),
];

/// The profile of machines without their own.
const GENERIC: &str = "generic";

/// The machine's facts.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Its names in the device tree, the most specific first.
    compatible: Vec<String>,
    /// Its memory, in bytes.
    memory_bytes: Option<u64>,
    /// The process's limit of address space, in bytes.
    address_bytes_max: Option<u64>,
}

/// A profile: a file of `board/`. `cargo xtask tidy` checks the parts unused here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "images use the rest")]
struct Profile {
    name: String,
    target: IgnoredAny,
    compatible: Vec<String>,
    soc: Option<IgnoredAny>,
    memory: Option<IgnoredAny>,
    serial: Option<SerialFacts>,
    watchdog: Option<Watchdog>,
    #[serde(default)]
    leds: Leds,
    button: Option<Button>,
    network: Option<IgnoredAny>,
    capacity: Capacity,
}

/// A profile's serial port.
#[derive(Debug, Deserialize)]
struct SerialFacts {
    device: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for those who choose a board")]
struct Watchdog {
    device: Option<String>,
    driver: Option<IgnoredAny>,
    timeout_secs_max: Option<IgnoredAny>,
}

/// The LEDs of a board, by their names in the kernel.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leds {
    /// Lit while a pool is live.
    pub upstream: Option<String>,
    /// Lit while miners are connected.
    pub miners: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Button {
    code: u16,
}

/// A board's devices beside processor and network.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// The path of its watchdog.
    pub watchdog: Option<String>,
    /// Its LEDs.
    pub leds: Leds,
    /// The kernel's key code of its reset button.
    pub button: Option<u16>,
}

/// The capacities of a profile.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capacity {
    miners_max: usize,
    links_max: usize,
    pending_max: usize,
    spill_bytes_max: usize,
    gateway_bytes_max: u64,
}

/// Why no plan can be made.
#[derive(Debug)]
pub enum PlanError {
    /// No profile has this name.
    Unknown {
        /// The name.
        got: String,
    },
    /// More miners than the profile allows.
    Miners {
        /// The wanted number.
        got: usize,
        /// The allowed number.
        max: usize,
        /// The name of the profile.
        board: &'static str,
    },
    /// The plan exceeds the budget.
    Bytes {
        /// The plan.
        plan: Plan,
        /// The number of miners that would fit.
        miners_max: usize,
        /// The source of the budget.
        bound: Bound,
    },
    /// A file of `board/` is not a profile.
    Profile {
        /// Its name.
        board: &'static str,
        /// The fault.
        source: toml::de::Error,
    },
}

/// The source of the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The board's profile.
    Board,
    /// Half of the machine's memory: the other half is for other programs.
    Machine,
    /// The process's limit of address space.
    AddressSpace,
}

impl Machine {
    /// Reads the facts from the system.
    pub fn read() -> Self {
        let compatible = kernel_file("/proc/device-tree/compatible").unwrap_or_default();
        let memory = kernel_file("/proc/meminfo");
        Self {
            compatible: names(&compatible),
            memory_bytes: memory.as_deref().and_then(memory_bytes),
            address_bytes_max: match Resource::AS.get_soft() {
                Ok(rlimit::INFINITY) | Err(_) => None,
                Ok(bytes) => Some(bytes),
            },
        }
    }

    /// Returns the memory budget for a profile, and its source.
    fn budget(&self, profile: &Profile) -> (u64, Bound) {
        let board = (profile.capacity.gateway_bytes_max, Bound::Board);
        let machine = self.memory_bytes.map(|bytes| (bytes / 2, Bound::Machine));
        let address_space = self.address_bytes_max.map(|bytes| (bytes, Bound::AddressSpace));
        let others = [machine, address_space].into_iter().flatten();
        others.fold(board, |least, other| if other.0 < least.0 { other } else { least })
    }
}

impl Profile {
    fn parse(board: &'static str, text: &str) -> Result<Self, PlanError> {
        toml::from_str(text).map_err(|source| PlanError::Profile { board, source })
    }

    /// Chooses by name, or for `auto` by the device tree.
    fn choose(wanted: &str, machine: &Machine) -> Result<(&'static str, Self), PlanError> {
        let mut generic = None;
        for (name, text) in FILES {
            let is_wanted = name == wanted;
            if !is_wanted && wanted != AUTO {
                continue;
            }
            let profile = Self::parse(name, text)?;
            if is_wanted || profile.compatible.iter().any(|c| machine.compatible.contains(c)) {
                return Ok((name, profile));
            }
            if name == GENERIC {
                generic = Some((name, profile));
            }
        }
        generic.ok_or_else(|| PlanError::Unknown { got: wanted.to_owned() })
    }
}

/// Returns the devices of a profile; an unknown name has none.
pub fn devices(name: &str) -> Devices {
    let file = FILES.into_iter().find(|(board, _)| *board == name);
    let profile = file.and_then(|(board, text)| Profile::parse(board, text).ok());
    profile.map_or_else(Devices::default, |profile| Devices {
        watchdog: profile.watchdog.and_then(|watchdog| watchdog.device),
        leds: profile.leds,
        button: profile.button.map(|button| button.code),
    })
}

/// Plans a gateway with these settings on this machine. If the settings leave the number of miners
/// open, the plan takes the most that fits.
///
/// # Errors
///
/// The board is unknown, or has less than the settings ask for (F67).
pub fn plan(settings: &Settings, machine: &Machine) -> Result<Plan, PlanError> {
    let (board, profile) = Profile::choose(&settings.board.profile, machine)?;
    let Capacity { miners_max, links_max, pending_max, spill_bytes_max, .. } = profile.capacity;
    let (bytes_max, bound) = machine.budget(&profile);
    let of = |miners| Plan {
        board,
        miners,
        links: (2 * settings.pools.len() + LANES_MAX).min(links_max),
        pending: pending_max,
        wide: 2 * settings.pools.len(),
        spill_bytes: spill_bytes_max,
        bytes_max,
    };
    let fits = |miners: &usize| of(*miners).bytes() <= bytes_max;
    let most = (1..=miners_max).rev().find(fits).unwrap_or(0);
    let wanted = settings.miners.max.map_or(most.clamp(1, MINERS_AUTO_MAX), usize::from);
    if wanted > miners_max {
        return Err(PlanError::Miners { got: wanted, max: miners_max, board });
    }
    if wanted > most {
        return Err(PlanError::Bytes { plan: of(wanted), miners_max: most, bound });
    }
    Ok(of(wanted))
}

impl PlanError {
    /// Returns the key whose value does not fit.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::Profile { .. } => "board.profile",
            Self::Miners { .. } | Self::Bytes { .. } => "miners.max",
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is always known.
        if let Some(key) = Key::parse(self.key()) {
            write!(f, "{}: ", key.title())?;
        }
        match self {
            Self::Unknown { got } => {
                write!(f, "got {got:?}, allowed {AUTO:?}")?;
                FILES.iter().try_for_each(|(name, _)| write!(f, ", {name:?}"))?;
                match nearest(got, FILES.iter().map(|(name, _)| *name)) {
                    Some(name) => write!(f, "; did you mean {name:?}"),
                    None => Ok(()),
                }
            }
            Self::Miners { got, max, board } => {
                write!(f, "got {got}, allowed 1..{max} on board {board}")
            }
            Self::Bytes { plan, miners_max: 0, bound } => write!(
                f,
                "one miner and {} links take up to {} bytes, and {bound} gives {}",
                plan.links,
                plan.bytes(),
                plan.bytes_max
            ),
            Self::Bytes { plan, miners_max, bound } => write!(
                f,
                "got {}, which takes up to {} bytes, and {bound} gives {}; allowed \
                 1..{miners_max}",
                plan.miners,
                plan.bytes(),
                plan.bytes_max
            ),
            Self::Profile { board, source } => write!(f, "board/{board}.toml: {source}"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Board => "its board's profile",
            Self::Machine => "half of this machine's memory",
            Self::AddressSpace => "the limit of this process (ulimit -v)",
        })
    }
}

impl std::error::Error for PlanError {}

/// Returns a board's serial port, if its profile names one.
pub fn serial_port(board: &str) -> Option<String> {
    let (name, text) = FILES.into_iter().find(|(name, _)| *name == board)?;
    Some(Profile::parse(name, text).ok()?.serial?.device)
}

/// Reads the relevant start of a kernel file; `None` if there is no such file.
fn kernel_file(path: impl AsRef<Path>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(KERNEL_FILE_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Splits a list of the device tree: texts that end in NUL.
fn names(list: &[u8]) -> Vec<String> {
    let texts = list.split(|&byte| byte == 0).filter(|text| !text.is_empty());
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// Returns the total memory in `/proc/meminfo`, in bytes.
fn memory_bytes(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use loka_stratum::limits::{
        LINKS_MAX, LINKS_MIN, MINERS_AUTO_MAX, MINERS_MAX, PENDING_SHARES_MAX, SPILL_BYTES_MAX,
        SPILLS_BYTES_MAX,
    };
    use loka_stratum::settings::Key;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        let pool = [("pool.1.url", "stratum+ssl://a.example:1"), ("pool.1.user", "farm")];
        for (key, text) in pool.iter().chain(pairs) {
            settings.set(Key::parse(key).unwrap(), text).unwrap();
        }
        settings
    }

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], machine: &Machine) -> String {
        plan(&settings(pairs), machine).expect_err("the plan passed").to_string()
    }

    /// A machine with this much memory whose device tree says `compatible`.
    fn machine(compatible: &str, mebibytes: u64) -> Machine {
        Machine {
            compatible: names(compatible.as_bytes()),
            memory_bytes: Some(mebibytes << 20),
            address_bytes_max: None,
        }
    }

    #[test]
    fn every_file_of_the_folder_is_embedded_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("board");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.filter_map(|name| {
            name.to_str().and_then(|name| name.strip_suffix(".toml")).map(str::to_owned)
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert_eq!(names, FILES.map(|(name, _)| name));
        for (name, text) in FILES {
            assert_eq!(Profile::parse(name, text).unwrap().name, name);
        }
    }

    #[test]
    fn f67_no_profile_asks_for_more_than_the_limits_or_its_budget() {
        for (name, text) in FILES {
            let capacity = Profile::parse(name, text).unwrap().capacity;
            let Capacity { miners_max, links_max, pending_max, spill_bytes_max, .. } = capacity;
            assert!((1..=MINERS_MAX).contains(&miners_max), "{name}: miners_max");
            assert!((LINKS_MIN..=LINKS_MAX).contains(&links_max), "{name}: links_max");
            assert!((256..=PENDING_SHARES_MAX).contains(&pending_max), "{name}: pending_max");
            let spills = SPILL_BYTES_MAX..=SPILLS_BYTES_MAX;
            assert!(spills.contains(&spill_bytes_max), "{name}: spill_bytes_max");
            let plan = Plan {
                board: name,
                miners: miners_max,
                links: links_max,
                pending: pending_max,
                wide: LINKS_MIN,
                spill_bytes: spill_bytes_max,
                bytes_max: capacity.gateway_bytes_max,
            };
            assert!(plan.bytes() <= plan.bytes_max, "{plan}");
        }
    }

    #[test]
    fn a_profile_with_an_unknown_key_or_without_one_is_refused() {
        let text = FILES[0].1;
        for wrong in [
            text.replace("links_max", "linksmax"),
            text.replace("miners_max = 16_384", "miners_max = -1"),
            text.replace("links_max = 16\n", ""),
            format!("{text}ports = 4\n"),
        ] {
            let error = Profile::parse(GENERIC, &wrong).expect_err(&wrong).to_string();
            assert!(
                error.starts_with("Board, Profile (board.profile): board/generic.toml: "),
                "{error}"
            );
        }
    }

    #[test]
    fn the_device_tree_names_the_board() {
        for (compatible, board, miners) in [
            ("glinet,gl-mt3000\0mediatek,mt7981\0", "glinet-mt3000", 4096),
            ("glinet,gl-mt6000\0mediatek,mt7986a\0", "glinet-mt6000", 10_000),
            ("raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberry-pi-4", 10_000),
            ("raspberrypi,5-model-b\0brcm,bcm2712\0", "raspberry-pi-5", 10_000),
            ("linux,dummy-virt\0", "virt-aarch64", 1024),
            ("some,board\0mediatek,mt7981\0", "generic", MINERS_AUTO_MAX),
            ("", "generic", MINERS_AUTO_MAX),
        ] {
            let plan = plan(&settings(&[]), &machine(compatible, 2048)).unwrap();
            assert_eq!((plan.board, plan.miners), (board, miners), "{compatible:?}");
        }
    }

    #[test]
    fn a_name_wins_over_the_device_tree_and_one_that_is_unknown_is_refused() {
        let of_pi = machine("raspberrypi,4-model-b\0", 4096);
        let plan = plan(&settings(&[("board.profile", "glinet-mt3000")]), &of_pi).unwrap();
        assert_eq!(plan.board, "glinet-mt3000");
        assert_eq!(
            refused(&[("board.profile", "commodore-64")], &of_pi),
            "Board, Profile (board.profile): got \"commodore-64\", allowed \"auto\", \"generic\", \
             \"glinet-mt3000\", \"glinet-mt6000\", \"raspberry-pi-4\", \"raspberry-pi-5\", \
             \"virt-aarch64\""
        );
    }

    #[test]
    fn miners_beyond_the_profile_are_refused_with_both_numbers() {
        let pairs = [("board.profile", "glinet-mt3000"), ("miners.max", "4097")];
        assert_eq!(
            refused(&pairs, &Machine::default()),
            "Miners, Max (miners.max): got 4097, allowed 1..4096 on board glinet-mt3000"
        );
        let pairs = [("board.profile", "glinet-mt3000"), ("miners.max", "4096")];
        assert_eq!(plan(&settings(&pairs), &Machine::default()).unwrap().miners, 4096);
    }

    #[test]
    fn f67_a_plan_above_the_budget_is_refused_with_both_numbers_and_the_way_out() {
        let small = machine("", 128);
        let most = plan(&settings(&[]), &small).unwrap();
        assert!(most.bytes() <= 64 << 20 && most.miners < MINERS_MAX, "{most}");
        let larger = Plan { miners: most.miners + 1, ..most.clone() };
        assert!(larger.bytes() > 64 << 20, "one more would have fitted: {larger}");
        assert_eq!(
            refused(&[("miners.max", &larger.miners.to_string())], &small),
            format!(
                "Miners, Max (miners.max): got {}, which takes up to {} bytes, and half of this \
                 machine's memory gives 67108864; allowed 1..{}",
                larger.miners,
                larger.bytes(),
                most.miners
            )
        );
        let text = refused(&[], &machine("", 16));
        let start = "Miners, Max (miners.max): one miner and 10 links take up to ";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("gives 8388608"), "{text}");
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(names(b"a,b\0c,d\0"), ["a,b", "c,d"]);
        assert_eq!(
            memory_bytes(b"MemTotal:         503540 kB\nMemFree: 1 kB\n"),
            Some(515_624_960)
        );
        assert_eq!(memory_bytes(b"MemFree: 1 kB\n"), None);
        assert_eq!(memory_bytes(b"MemTotal: 99999999999999999999 kB\n"), None);
    }
}
