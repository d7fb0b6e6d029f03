//! The list of keys, each with its range, its effect, and how its text is read and shown.

use core::fmt;
use core::str::FromStr;

use heapless::{String, Vec};

use super::doors::OFF;
use super::field::{Allowed, Applies, Field, Got, REFUSED, Refused, parts};
use super::{AUTO, AdmitMode, HostName, IdentityMode, Pool, PoolUrl, Settings, Trust, VerdictMode};
use crate::limits;

/// Highest difficulty in a setting: the first power of two above any share that an ASIC of today
/// finds in a year (500 TH/s: 2^42).
pub(super) const DIFFICULTY_MAX: f64 = (1_u64 << 42) as f64;

/// Lowest difficulty in a setting. At 2.3e-10 and below every hash is a share, as a rehearsal or a
/// load test wants. A microcontroller finds a share of 1e-6 in a second.
const DIFFICULTY_MIN: f64 = 1e-10;

const ADDRESS_FORM: &str = "address:port, such as 0.0.0.0:3333";
const STATUS_FORM: &str = "address:port, such as 127.0.0.1:8080, or \"off\"";
const WEB_FORM: &str = "auto, address:port, such as 0.0.0.0:8443, or \"off\"";
const DEVICE_FORM: &str = "off, auto, or the name of a port: letters and digits, such as ttyS0";
const BOARD_FORM: &str = "auto, or a profile's name: small letters, digits and hyphens";
/// Every key there is, in the order of the file.
pub const FIELDS: &[Field] = &[
    Field {
        section: "pool",
        name: "url",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::Url,
        effect: "The pool's address. stratum+ssl is verified TLS; over stratum+tcp anybody on the \
                 path can take the hash-rate, and the gateway warns of it.",
        set: |s, pool, text| {
            let url = text.parse::<PoolUrl>().map_err(|error| Refused {
                // The text before an '@' may be a password.
                got: text.contains('@').then_some(Got::Hidden),
                allowed: Some(Allowed::UrlPart(error)),
            })?;
            of_pool(s, pool)?.url = url;
            Ok(())
        },
        show: |s, pool, f| show_pool(s, pool, f, |p, f| write!(f, "{}", p.url)),
    },
    Field {
        section: "pool",
        name: "user",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::Bytes { min: 1, max: limits::WORKER_NAME_BYTES_MAX },
        effect: "The account, or account.worker, that gets the farm's shares.",
        set: |s, pool, text| set_text(&mut of_pool(s, pool)?.user, text),
        show: |s, pool, f| show_pool(s, pool, f, |p, f| f.write_str(&p.user)),
    },
    Field {
        section: "pool",
        name: "password",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::Bytes { min: 0, max: limits::PASSWORD_BYTES_MAX },
        effect: "The password of the account. Most pools take anything; some read options from it.",
        set: |s, pool, text| set_text(&mut of_pool(s, pool)?.password.0, text),
        show: |s, pool, f| show_pool(s, pool, f, |p, f| f.write_str(p.password.expose())),
    },
    Field {
        section: "pool",
        name: "ca_file",
        applies: Applies::File,
        unit: "",
        allowed: Allowed::Bytes { min: 0, max: limits::PATH_BYTES_MAX },
        effect: "File of PEM certificates that are trusted for this pool instead of the built-in \
                 web roots. Empty: the web roots.",
        set: |s, pool, text| set_text(&mut of_pool(s, pool)?.ca_file, text),
        show: |s, pool, f| show_pool(s, pool, f, |p, f| f.write_str(&p.ca_file)),
    },
    Field {
        section: "pool",
        name: "pins",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::List {
            min: 0,
            max: limits::PINS_MAX,
            form: "SHA-256 of a public key (DER), 64 hex digits",
        },
        effect: "Public keys, one of which the pool's certificate must hold. No other certificate \
                 passes, whatever its signer. Add the next key before the pool changes it.",
        set: |s, pool, text| set_list(&mut of_pool(s, pool)?.pins, text),
        show: |s, pool, f| show_pool(s, pool, f, |p, f| show_list(&p.pins, f)),
    },
    Field {
        section: "pool",
        name: "trust",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::OneOf(&["chain", "pin"]),
        effect: "chain: the certificate's chain to a root, its name and its dates are verified, \
                 and a pin if there are pins. pin: only a pin is verified, for a pool with a \
                 self-signed certificate.",
        set: |s, pool, text| {
            of_pool(s, pool)?.trust = match text {
                "chain" => Trust::Chain,
                "pin" => Trust::Pin,
                _ => return Err(REFUSED),
            };
            Ok(())
        },
        show: |s, pool, f| {
            show_pool(s, pool, f, |p, f| {
                f.write_str(match p.trust {
                    Trust::Chain => "chain",
                    Trust::Pin => "pin",
                })
            })
        },
    },
    Field {
        section: "pool",
        name: "goal",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Bytes { min: 0, max: limits::GOAL_NAME_BYTES_MAX },
        effect: "Pools of one goal replace each other, in this order. Several goals share the \
                 farm's work by weight; miners move by a new job and stay connected. The empty \
                 name is a goal too.",
        set: |s, pool, text| set_text(&mut of_pool(s, pool)?.goal, text),
        show: |s, pool, f| show_pool(s, pool, f, |p, f| f.write_str(&p.goal)),
    },
    Field {
        section: "pool",
        name: "weight",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Integer { min: 1, max: 10_000 },
        effect: "The goal's part of the work, relative to the other goals' weights: 70 and 30, or \
                 7 and 3. The first pool of a goal sets it.",
        set: |s, pool, text| set_integer(&mut of_pool(s, pool)?.weight, text),
        show: |s, pool, f| show_pool(s, pool, f, |p, f| write!(f, "{}", p.weight)),
    },
    Field {
        section: "listen",
        name: "addresses",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::List { min: 1, max: limits::LISTEN_MAX, form: ADDRESS_FORM },
        effect: "Where miners connect: stratum+tcp://<this machine>:<port>. [::] is for IPv4 and \
                 IPv6; with an IPv4 address at the same port it is for IPv6 only.",
        set: |s, _, text| set_list(&mut s.listen.addresses, text),
        show: |s, _, f| show_list(&s.listen.addresses, f),
    },
    Field {
        section: "listen",
        name: "per_address_max",
        applies: Applies::Live,
        unit: "connections",
        allowed: Allowed::Integer { min: 1, max: limits::MINERS_MAX as u64 },
        effect: "Connections from one IP address (one /64 of IPv6) at once; more are refused. \
                 Raise it if more miners share an address (NAT). This machine itself is not \
                 counted.",
        set: |s, _, text| set_integer(&mut s.listen.per_address_max, text),
        show: |s, _, f| write!(f, "{}", s.listen.per_address_max),
    },
    Field {
        section: "board",
        name: "profile",
        applies: Applies::Restart,
        unit: "",
        allowed: Allowed::Form(BOARD_FORM),
        effect: "The machine's profile, which sets the sizes of tables and buffers. auto: the \
                 board named by the device tree, or generic if that board is unknown. A change \
                 takes effect at the next start.",
        set: |s, _, text| set_name(&mut s.board.profile, text),
        show: |s, _, f| f.write_str(&s.board.profile),
    },
    Field {
        section: "miners",
        name: "max",
        applies: Applies::Restart,
        unit: "miners",
        allowed: Allowed::IntegerOrAuto { min: 1, max: limits::MINERS_MAX as u64 },
        effect: "Miners served at once; their memory is reserved at the start. auto: as many as \
                 the board's profile and the machine's memory hold, up to 10000. A larger number \
                 than they hold is an error. A change takes effect at the next start.",
        set: |s, _, text| {
            s.miners.max = match text {
                AUTO => None,
                _ => Some(text.parse().map_err(|_| REFUSED)?),
            };
            Ok(())
        },
        show: |s, _, f| match s.miners.max {
            Some(max) => write!(f, "{max}"),
            None => f.write_str(AUTO),
        },
    },
    Field {
        section: "miners",
        name: "blocked_secs",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 5, max: 120 },
        effect: "Time that a miner may leave its answers unread; a slower miner is closed. The \
                 kernel waits 40 s at most, whatever this value.",
        set: |s, _, text| set_integer(&mut s.miners.blocked_secs, text),
        show: |s, _, f| write!(f, "{}", s.miners.blocked_secs),
    },
    Field {
        section: "difficulty",
        name: "start",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Number { min: DIFFICULTY_MIN, max: DIFFICULTY_MAX },
        effect: "Difficulty of a miner that asks for none, until its rate is known. Miners get \
                 powers of two, rounded down, and never more than the pool's.",
        set: |s, _, text| set_difficulty(&mut s.difficulty.start, text),
        show: |s, _, f| write!(f, "{}", s.difficulty.start),
    },
    Field {
        section: "difficulty",
        name: "min",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Number { min: DIFFICULTY_MIN, max: DIFFICULTY_MAX },
        effect: "Lowest difficulty that a miner gets.",
        set: |s, _, text| set_difficulty(&mut s.difficulty.min, text),
        show: |s, _, f| write!(f, "{}", s.difficulty.min),
    },
    Field {
        section: "difficulty",
        name: "max",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Number { min: DIFFICULTY_MIN, max: DIFFICULTY_MAX },
        effect: "Highest difficulty that a miner gets.",
        set: |s, _, text| set_difficulty(&mut s.difficulty.max, text),
        show: |s, _, f| write!(f, "{}", s.difficulty.max),
    },
    Field {
        section: "difficulty",
        name: "seconds_per_share",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 1, max: 600 },
        effect: "Target interval between two shares of one miner. A shorter one shows a miner's \
                 rate sooner and costs more CPU; the link to the pool is not affected.",
        set: |s, _, text| set_integer(&mut s.difficulty.seconds_per_share, text),
        show: |s, _, f| write!(f, "{}", s.difficulty.seconds_per_share),
    },
    Field {
        section: "upstream",
        name: "retry_min_secs",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 1, max: 60 },
        effect: "Delay before a lost pool is tried again; it doubles with every failure.",
        set: |s, _, text| set_integer(&mut s.upstream.retry_min_secs, text),
        show: |s, _, f| write!(f, "{}", s.upstream.retry_min_secs),
    },
    Field {
        section: "upstream",
        name: "retry_max_secs",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 1, max: 600 },
        effect: "Longest delay between two attempts.",
        set: |s, _, text| set_integer(&mut s.upstream.retry_max_secs, text),
        show: |s, _, f| write!(f, "{}", s.upstream.retry_max_secs),
    },
    Field {
        section: "upstream",
        name: "healthy_secs",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 10, max: 3600 },
        effect: "Time that a pool must be healthy before its failures are forgotten, and before \
                 miners return to it from the next in the list.",
        set: |s, _, text| set_integer(&mut s.upstream.healthy_secs, text),
        show: |s, _, f| write!(f, "{}", s.upstream.healthy_secs),
    },
    Field {
        section: "upstream",
        name: "keepalive_secs",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 30, max: limits::KEEPALIVE_MAX.as_secs() },
        effect: "A miner without a new job for this long gets the last job again. Miners give a \
                 pool up after 90 s without a line.",
        set: |s, _, text| set_integer(&mut s.upstream.keepalive_secs, text),
        show: |s, _, f| write!(f, "{}", s.upstream.keepalive_secs),
    },
    Field {
        section: "upstream",
        name: "failover_secs",
        applies: Applies::Live,
        unit: "seconds",
        allowed: Allowed::Integer { min: 1, max: 300 },
        effect: "How long a pool may leave a share unanswered, or be disconnected, before the next \
                 pool of its goal takes over.",
        set: |s, _, text| set_integer(&mut s.upstream.failover_secs, text),
        show: |s, _, f| write!(f, "{}", s.upstream.failover_secs),
    },
    Field {
        section: "upstream",
        name: "standby",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Switch,
        effect: "true: the next pool of every goal stays connected, with a job, so that the farm \
                 moves the moment the first is lost. false: the next pool is connected when \
                 needed.",
        set: |s, _, text| set_switch(&mut s.upstream.standby, text),
        show: |s, _, f| write!(f, "{}", s.upstream.standby),
    },
    Field {
        section: "upstream",
        name: "warm",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Switch,
        effect: "The behaviour of miners after 30 s without any pool. true: they keep hashing on \
                 the last job. Their shares are checked, counted as orphaned (no_pool) and \
                 answered with an error, since no pool will pay. false: they get no more jobs and \
                 move to the pools of their own settings. A block is kept either way.",
        set: |s, _, text| set_switch(&mut s.upstream.warm, text),
        show: |s, _, f| write!(f, "{}", s.upstream.warm),
    },
    Field {
        section: "identity",
        name: "mode",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::OneOf(&["single", "per-worker"]),
        effect: "The name that shares are submitted under. single: pool.user for the whole farm. \
                 per-worker: each miner's own worker is authorized on the same link. Its name \
                 stays unchanged if it begins with the account of pool.user and a dot, else it \
                 becomes account.worker.",
        set: |s, _, text| {
            s.identity.mode = match text {
                "single" => IdentityMode::Single,
                "per-worker" => IdentityMode::PerWorker,
                _ => return Err(REFUSED),
            };
            Ok(())
        },
        show: |s, _, f| {
            f.write_str(match s.identity.mode {
                IdentityMode::Single => "single",
                IdentityMode::PerWorker => "per-worker",
            })
        },
    },
    Field {
        section: "verdict",
        name: "mode",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::OneOf(&["local", "pool"]),
        effect: "The source of a share's verdict. local: the gateway's own check, at once. pool: \
                 the pool's answer, if the share is heavy enough for it; the miner waits for it.",
        set: |s, _, text| {
            s.verdict.mode = match text {
                "local" => VerdictMode::Local,
                "pool" => VerdictMode::Pool,
                _ => return Err(REFUSED),
            };
            Ok(())
        },
        show: |s, _, f| {
            f.write_str(match s.verdict.mode {
                VerdictMode::Local => "local",
                VerdictMode::Pool => "pool",
            })
        },
    },
    Field {
        section: "status",
        name: "address",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::Form(STATUS_FORM),
        effect: "Address of /metrics, /healthz, /readyz and /api/v1/status, without a password. \
                 off: no status port.",
        set: |s, _, text| set_or_off(&mut s.status.address, text),
        show: |s, _, f| show_or_off(s.status.address.as_ref(), f),
    },
    Field {
        section: "state",
        name: "dir",
        applies: Applies::File,
        unit: "",
        allowed: Allowed::Bytes { min: 0, max: limits::PATH_BYTES_MAX },
        effect: "Directory for the gateway's stored state, a write or two a day: block candidates, \
                 committed settings, passwords. Default: systemd's STATE_DIRECTORY, else \
                 /var/lib/loka-stratum for root, else loka-stratum in XDG_STATE_HOME or \
                 ~/.local/state. Empty: no state is stored.",
        set: |s, _, text| set_text(&mut s.state.dir, text),
        show: |s, _, f| f.write_str(&s.state.dir),
    },
    Field {
        section: "web",
        name: "address",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::Form(WEB_FORM),
        effect: "Address of the set-up page and the API over TLS. auto: port 8443 of every \
                 address, for private and link-local addresses only, if there is a state.dir. An \
                 explicit address is open to every network once admin has a password. off: no \
                 page.",
        set: |s, _, text| {
            s.web.address = text.parse().map_err(|()| REFUSED)?;
            Ok(())
        },
        show: |s, _, f| write!(f, "{}", s.web.address),
    },
    Field {
        section: "web",
        name: "hosts",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::List {
            min: 0,
            max: limits::WEB_HOSTS_MAX,
            form: "a host's name, such as gateway.farm.example",
        },
        effect: "Host names that the page answers to, besides IP addresses, localhost and the name \
                 of mdns.name. A request under any other name is refused.",
        set: |s, _, text| set_list(&mut s.web.hosts, text),
        show: |s, _, f| show_list(&s.web.hosts, f),
    },
    Field {
        section: "serial",
        name: "device",
        applies: Applies::Provisional,
        unit: "",
        allowed: Allowed::Form(DEVICE_FORM),
        effect: "The serial port with the console. auto: the port named by the board's profile, if \
                 it names one. off: none.",
        set: |s, _, text| {
            s.serial.device = text.parse().map_err(|()| REFUSED)?;
            Ok(())
        },
        show: |s, _, f| write!(f, "{}", s.serial.device),
    },
    Field {
        section: "serial",
        name: "baud",
        applies: Applies::Provisional,
        unit: "bits per second",
        allowed: Allowed::Integer { min: 1200, max: 4_000_000 },
        effect: "The speed of the serial port; 8 data bits, no parity, 1 stop bit.",
        set: |s, _, text| set_integer(&mut s.serial.baud, text),
        show: |s, _, f| write!(f, "{}", s.serial.baud),
    },
    Field {
        section: "admit",
        name: "mode",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::OneOf(&["any", "name", "list", "address"]),
        effect: "The miners that are admitted. any: all. name: the worker matches a pattern of \
                 admit.names. list: the worker is in the list of miners, with its password. \
                 address: the miner connects from a range of admit.addresses.",
        set: |s, _, text| {
            let mode = AdmitMode::ALL.into_iter().find(|mode| mode.name() == text);
            s.admit.mode = mode.ok_or(REFUSED)?;
            Ok(())
        },
        show: |s, _, f| f.write_str(s.admit.mode.name()),
    },
    Field {
        section: "admit",
        name: "names",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::List {
            min: 0,
            max: limits::ADMIT_MAX,
            form: "a worker's name of up to 64 bytes, with * for any text, such as farm.hall-2-*",
        },
        effect: "Patterns of worker names admitted by admit.mode = \"name\".",
        set: |s, _, text| set_list(&mut s.admit.names, text),
        show: |s, _, f| show_list(&s.admit.names, f),
    },
    Field {
        section: "admit",
        name: "addresses",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::List {
            min: 0,
            max: limits::ADMIT_MAX,
            form: "an address and its prefix length, such as 10.20.0.0/16",
        },
        effect: "Ranges of addresses admitted by admit.mode = \"address\".",
        set: |s, _, text| set_list(&mut s.admit.addresses, text),
        show: |s, _, f| show_list(&s.admit.addresses, f),
    },
    Field {
        section: "mdns",
        name: "name",
        applies: Applies::Live,
        unit: "",
        allowed: Allowed::Form("a host's name without a dot, such as loka, or \"off\""),
        effect: "The gateway's name on the LAN, followed by .local: the page is at that name, and \
                 miners may use it as address. off: none.",
        set: |s, _, text| {
            let mut name: Option<HostName> = None;
            set_or_off(&mut name, text)?;
            if name.as_ref().is_some_and(|name| !name.is_label()) {
                return Err(REFUSED);
            }
            s.mdns.name = name;
            Ok(())
        },
        show: |s, _, f| show_or_off(s.mdns.name.as_ref(), f),
    },
];

fn of_pool(settings: &mut Settings, pool: usize) -> Result<&mut Pool, Refused> {
    settings.pools.get_mut(pool).ok_or(REFUSED)
}

fn show_pool(
    settings: &Settings,
    pool: usize,
    f: &mut fmt::Formatter<'_>,
    show: fn(&Pool, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    settings.pools.get(pool).map_or(Ok(()), |pool| show(pool, f))
}

fn set_text<const N: usize>(value: &mut String<N>, text: &str) -> Result<(), Refused> {
    let too_long = |_| Refused { got: Some(Got::Bytes(text.len())), allowed: None };
    *value = String::try_from(text).map_err(too_long)?;
    Ok(())
}

/// Sets a name without any path characters (F79).
fn set_name<const N: usize>(value: &mut String<N>, text: &str) -> Result<(), Refused> {
    let is_of_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if text.is_empty() || !text.bytes().all(is_of_name) {
        return Err(REFUSED);
    }
    set_text(value, text)
}

fn set_integer<T: FromStr>(value: &mut T, text: &str) -> Result<(), Refused> {
    *value = text.parse().map_err(|_| REFUSED)?;
    Ok(())
}

fn set_or_off<T: FromStr>(value: &mut Option<T>, text: &str) -> Result<(), Refused> {
    *value = match text {
        OFF => None,
        _ => Some(text.parse().map_err(|_| REFUSED)?),
    };
    Ok(())
}

fn show_or_off<T: fmt::Display>(value: Option<&T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Some(value) => write!(f, "{value}"),
        None => f.write_str(OFF),
    }
}

fn set_switch(value: &mut bool, text: &str) -> Result<(), Refused> {
    *value = text.parse().map_err(|_| REFUSED)?;
    Ok(())
}

fn set_difficulty(value: &mut f64, text: &str) -> Result<(), Refused> {
    *value = text.parse().map_err(|_| REFUSED)?;
    Ok(())
}

fn set_list<T: FromStr, const N: usize>(list: &mut Vec<T, N>, text: &str) -> Result<(), Refused> {
    let mut new = Vec::new();
    for part in parts(text) {
        let refused = |_| Refused { got: Some(Got::text(part)), allowed: None };
        let count = text.split(',').count();
        let too_many = |_| Refused { got: Some(Got::Count(count)), allowed: None };
        new.push(part.parse().map_err(refused)?).map_err(too_many)?;
    }
    *list = new;
    Ok(())
}

fn show_list<T: fmt::Display>(list: &[T], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut separator = "";
    for item in list {
        write!(f, "{separator}{item}")?;
        separator = ",";
    }
    Ok(())
}
