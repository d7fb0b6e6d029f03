//! Merges the settings: flags over environment over file over defaults.
//!
//! Every source becomes (key, text) pairs for [`Settings::set`]. All problems of all sources are
//! collected and shown together, each with its place (F77): `path:line: Pool 1, URL (pool.1.url):
//! got X, allowed Y`. Settings apply only if there is no problem. `check`, `run` and a reload all
//! use [`load`], so they cannot disagree.
//!
//! In the environment `LOKA_MINERS__MAX` stands for `miners.max` and `LOKA_POOL__2__URL` for
//! `pool.2.url`; lists are separated by commas. A `LOKA_` variable that names no key is an error,
//! since it was meant to be one; [`OTHER_VARIABLES`] are read elsewhere.
//!
//! One slip gives one line. A missing or unfitting value is not reported if a slip explains it: an
//! unreadable value, or a misspelt key.
//!
//! [`render_default`] writes `config/default.toml` from the list of keys.

use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use loka_stratum::limits::{CONFIG_BYTES_MAX, POOLS_MAX};
use loka_stratum::settings::{
    AUTO, Allowed, FIELDS, Field, Key, Pool, Settings, nearest, nearest_field,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::gateway::base::event_loop::must_not_turn;
use crate::gateway::base::plan::Plan;
use crate::gateway::boards::board::{self, Machine};

/// The sources of the settings, as given at start-up.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment variables that begin with `LOKA_`.
    pub environment: Vec<(String, String)>,
    /// The flags: name, key and text.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// Whether a flag named a pool, which replaces the pools of the file.
    pub replaces_pools: bool,
    /// The machine that the settings are for.
    pub machine: Machine,
    /// The state folder used unless a setting names one; `None` if the process has none.
    pub state_dir: Option<String>,
}

/// The problems that make the settings unusable.
#[derive(Debug)]
pub struct ConfigError {
    /// All problems, at least one.
    pub problems: Vec<Problem>,
}

/// One problem.
#[derive(Debug)]
pub struct Problem {
    /// The key concerned; `None` if the word is not a key.
    pub key: Option<Key>,
    /// A line for people: `place: key: got X, allowed Y`.
    pub text: String,
}

/// Valid settings and their sources.
pub struct Merged {
    /// The settings in use.
    pub settings: Box<Settings>,
    /// The memory plan.
    pub plan: Plan,
    /// The settings without environment and flags: the base of a commit.
    pub base: Box<Settings>,
    /// The source of each key that was set, the latest last.
    pub origins: Vec<(Key, Origin)>,
    /// The mark of the file, if one was read.
    pub mark: Option<u32>,
}

/// Collects settings and problems.
#[derive(Default)]
struct Collector {
    settings: Box<Settings>,
    /// The source of each key, the latest last.
    origins: Vec<(Key, Origin)>,
    mark: Option<u32>,
    /// Each problem with its line of the file, if it has one.
    problems: Vec<(usize, Problem)>,
    /// Keys with an unreadable value, and keys meant by a misspelt word.
    unread: Vec<Key>,
    /// Part of the file could not be read, so absent keys prove nothing.
    is_partly_read: bool,
    /// The base is a commit, so the file's `state.dir` is not in it.
    is_stored: bool,
}

/// The source of a key's value.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

/// Reads, merges and checks the settings, and plans their memory.
///
/// # Errors
///
/// All problems; the settings in use stay as they are.
pub fn load(sources: &Sources) -> Result<Merged, ConfigError> {
    Collector::read(sources).overlay(sources, sources.file.as_deref())
}

/// Returns the state folder, as far as it can be read beside other problems.
pub fn state_dir(sources: &Sources) -> String {
    let mut collector = Collector::read(sources);
    collector.read_over(sources);
    collector.place_state(sources);
    collector.settings.state.dir.as_str().to_owned()
}

/// Merges and checks settings over a given base.
///
/// # Errors
///
/// All problems; the settings in use stay as they are.
pub fn load_on(base: Box<Settings>, sources: &Sources) -> Result<Merged, ConfigError> {
    let collector = Collector { settings: base, is_stored: true, ..Collector::default() };
    collector.overlay(sources, None)
}

/// Returns the file's CRC-32, by which a change is noticed.
pub fn mark(sources: &Sources) -> Option<u32> {
    let text = read(sources.file.as_deref()?).ok()?;
    Some(CRC.checksum(text.as_bytes()))
}

/// Returns the environment variables that may be settings.
pub fn environment() -> Vec<(String, String)> {
    let is_ours = |(name, _): &(String, String)| strip_prefix(name).is_some();
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        // A value that is not UTF-8 is converted to text that no key accepts, so it is reported.
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    let mut all: Vec<_> = std::env::vars_os().filter_map(readable).filter(is_ours).collect();
    all.sort();
    all
}

const PREFIX: &str = "LOKA_";

/// Our variables that are not settings: the secrets of `ctl`.
const OTHER_VARIABLES: [&str; 2] = ["LOKA_CTL_PASSWORD", "LOKA_CTL_SECRET"];

/// Returns the path in a variable's name if it may be a setting; wrong case is a slip too.
fn strip_prefix(name: &str) -> Option<&str> {
    let (prefix, path) = name.split_at_checked(PREFIX.len())?;
    (prefix.eq_ignore_ascii_case(PREFIX) && !OTHER_VARIABLES.contains(&name)).then_some(path)
}

/// Returns the variable of a key.
fn variable(key: Key) -> String {
    format!("{PREFIX}{}", key.to_string().replace('.', "__").to_ascii_uppercase())
}

/// Returns the key meant by an unknown path; `pool` is its pool's index, if known.
fn meant(path: &str, pool: Option<usize>) -> Option<Key> {
    let mut numbers = path.split(['.', '_']).filter_map(|part| part.parse::<usize>().ok());
    let pool = pool.or_else(|| numbers.next()?.checked_sub(1)).unwrap_or(0);
    let field = nearest_field(path)?;
    Key::of(field, if field.is_of_pool() { pool } else { 0 })
}

/// The section of the pools.
const POOL: &str = "pool";

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

fn read(path: &Path) -> io::Result<String> {
    must_not_turn("the settings file is read");
    let mut bytes = Vec::new();
    File::open(path)?.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > CONFIG_BYTES_MAX {
        let text = format!("longer than the allowed {CONFIG_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Collector {
    /// Reads the file.
    fn read(sources: &Sources) -> Self {
        let mut collector = Self::default();
        let Some(path) = &sources.file else { return collector };
        match read(path) {
            Ok(text) => {
                collector.mark = Some(CRC.checksum(text.as_bytes()));
                collector.read_file(path, &text);
            }
            Err(error) => {
                collector.is_partly_read = true;
                let text = format!("{}: cannot be read: {error}", path.display());
                collector.problems.push((0, Problem { key: None, text }));
            }
        }
        collector
    }

    fn set(&mut self, key: Key, text: &str, origin: Origin) {
        if let Err(problem) = self.settings.set(key, text) {
            self.report(&origin, Some(key), &problem);
            self.leave_unread(key);
        }
        self.origins.push((key, origin));
    }

    /// Notes a key that was meant but has no value; its pool counts as begun.
    fn leave_unread(&mut self, key: Key) {
        self.unread.push(key);
        let pools = &mut self.settings.pools;
        let is_wanted = key.field().is_of_pool() && key.pool() < POOLS_MAX;
        while is_wanted && key.pool() >= pools.len() && pools.push(Pool::default()).is_ok() {}
    }

    /// Reports an unknown word and the likely key, `spelt` as its source spells keys.
    fn report_unknown(
        &mut self,
        origin: &Origin,
        unknown: &str,
        allowed: &str,
        meant: Option<(Key, String)>,
    ) {
        let mut text = format!("{unknown}: got an unknown key, allowed {allowed}");
        if let Some((key, spelt)) = meant {
            let _ = write!(text, "; did you mean {spelt}");
            self.leave_unread(key);
        }
        self.report(origin, None, &text);
    }

    fn report(&mut self, origin: &Origin, key: Option<Key>, text: &dyn fmt::Display) {
        let line = if let Origin::File { line, .. } = origin { *line } else { usize::MAX };
        self.problems.push((line, Problem { key, text: format!("{origin}: {text}") }));
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let place = |start| {
            let before = text.as_bytes().get(..start).unwrap_or_default();
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            Origin::File { path: path.to_owned(), line }
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        self.is_partly_read |= !errors.is_empty();
        for error in errors {
            let start = error.span().map_or(0, |span| span.start);
            self.report(&place(start), None, &error.message());
        }
        for (name, value) in document.get_ref() {
            let origin = place(name.span().start);
            let name = name.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Array(pools) if name == "pool" => {
                    self.read_pools(pools.iter(), &place);
                }
                DeValue::Table(_) if name == "pool" => {
                    let text = "pool: got one table, allowed [[pool]] for each pool";
                    self.report(&origin, None, &text);
                    self.leave_pools_unread();
                }
                DeValue::Table(table) if is_section(name) => {
                    self.read_section(name, 0, table, &place);
                }
                _ if is_section(name) => {
                    let form = if name == POOL { "[[pool]]" } else { &format!("[{name}]") };
                    let text = format!("{name}: got {}, allowed {form}", shape(value.get_ref()));
                    self.report(&origin, None, &text);
                    self.leave_section_unread(name);
                }
                _ => self.read_unknown(&origin, name, value.get_ref()),
            }
        }
    }

    /// Reports an unknown section of the file, with the section or key that was likely meant.
    fn read_unknown(&mut self, origin: &Origin, name: &str, value: &DeValue<'_>) {
        let is_table = matches!(value, DeValue::Table(_) | DeValue::Array(_));
        let section = nearest(name, FIELDS.iter().map(|field| field.section));
        match section.filter(|_| is_table) {
            Some(section) => {
                let spelt = if section == POOL { "[[pool]]" } else { &format!("[{section}]") };
                let text = format!("{name}: got an unknown key, allowed {}", sections());
                self.report(origin, None, &format!("{text}; did you mean {spelt}"));
                self.leave_section_unread(section);
            }
            None => {
                let meant = meant(name, None).filter(|_| !is_table);
                let spelt = |key: Key| (key, format!("{} in {}", key.field().name, table_of(key)));
                self.report_unknown(origin, name, &sections(), meant.map(spelt));
            }
        }
    }

    fn leave_section_unread(&mut self, section: &str) {
        if section == POOL {
            return self.leave_pools_unread();
        }
        let of_section = FIELDS.iter().filter(|field| field.section == section);
        self.unread.extend(of_section.filter_map(|field| Key::of(field, 0)));
    }

    /// Notes that pools were meant, in unknown number.
    fn leave_pools_unread(&mut self) {
        let of_pool = FIELDS.iter().filter(|field| field.is_of_pool());
        self.unread.extend(of_pool.filter_map(|field| Key::of(field, 0)));
    }

    fn read_pools<'a, 'i: 'a>(
        &mut self,
        pools: impl Iterator<Item = &'a Spanned<DeValue<'i>>>,
        place: &dyn Fn(usize) -> Origin,
    ) {
        for (index, pool) in pools.enumerate() {
            let origin = place(pool.span().start);
            match pool.get_ref() {
                _ if index == POOLS_MAX => {
                    let text = format!("pool.{}: got too many, allowed 1..{POOLS_MAX}", index + 1);
                    self.report(&origin, None, &text);
                }
                _ if index > POOLS_MAX => {}
                DeValue::Table(table) => {
                    // An empty pool is still a pool, and lacks its keys.
                    if let (true, Some(key)) = (table.is_empty(), Key::named(POOL, "url", index)) {
                        self.set(key, "", origin);
                    }
                    self.read_section(POOL, index, table, place);
                }
                other => {
                    let text = format!("pool: got {}, allowed [[pool]]", shape(other));
                    self.report(&origin, None, &text);
                }
            }
        }
    }

    fn read_section(
        &mut self,
        section: &str,
        pool: usize,
        table: &DeTable<'_>,
        place: &dyn Fn(usize) -> Origin,
    ) {
        for (name, value) in table {
            let origin = place(name.span().start);
            let name = name.get_ref().as_ref();
            let Some(key) = Key::named(section, name, pool) else {
                let path = format!("{section}.{name}");
                let spelt = |key: Key| {
                    let is_here = key.field().section == section;
                    let place =
                        if is_here { String::new() } else { format!(" in {}", table_of(key)) };
                    (key, format!("{}{place}", key.field().name))
                };
                let meant = meant(&path, Some(pool)).map(spelt);
                self.report_unknown(&origin, &path, &names(section), meant);
                continue;
            };
            match text_of(key.field(), value.get_ref()) {
                Some(text) => self.set(key, &text, origin),
                None => {
                    let (got, allowed) = (shape(value.get_ref()), key.field().allowed);
                    let text = format!("{}: got {got}, allowed {allowed}", key.title());
                    self.report(&origin, Some(key), &text);
                    self.leave_unread(key);
                }
            }
        }
    }

    fn read_environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let Some(rest) = strip_prefix(name) else { continue };
            let path = rest.to_ascii_lowercase().replace("__", ".");
            let origin = Origin::Environment(name.clone());
            match Key::parse(&path) {
                // A lower-case name may belong to another program; it is not read, only reported.
                Some(key) if variable(key) == *name || is_of_first_pool(key, name) => {
                    self.set(key, value, origin);
                }
                _ => {
                    let section = path.split('.').next().unwrap_or_default();
                    let allowed = if is_section(section) { names(section) } else { sections() };
                    let meant = Key::parse(&path).or_else(|| meant(&path, None));
                    let meant = meant.map(|key| (key, variable(key)));
                    self.report_unknown(&origin, &path, &allowed, meant);
                }
            }
        }
    }

    /// Applies environment and flags over the file.
    fn read_over(&mut self, sources: &Sources) {
        if sources.replaces_pools {
            self.settings.pools.clear();
            let of_first = Key::all(1).filter(|key| key.field().is_of_pool());
            self.origins.extend(of_first.map(|key| (key, Origin::Flag("--pool"))));
        }
        self.read_environment(&sources.environment);
        for (flag, path, text) in &sources.flags {
            if let Some(key) = Key::parse(path) {
                self.set(key, text, Origin::Flag(flag));
            }
        }
    }

    /// Sets the process's state folder unless a setting names one. An empty setting turns state
    /// off.
    fn place_state(&mut self, sources: &Sources) {
        let Some(key) = Key::parse("state.dir") else { return };
        if !self.settings.state.dir.is_empty() || self.origins.iter().any(|(set, _)| *set == key) {
            return;
        }
        let place =
            if self.is_stored { Some(state_dir(sources)) } else { sources.state_dir.clone() };
        // A folder whose path is too long counts as none.
        let _ = self.settings.set(key, &place.unwrap_or_default());
    }

    /// Applies environment and flags, and checks the whole. A problem without a key is reported at
    /// the file.
    fn overlay(mut self, sources: &Sources, file: Option<&Path>) -> Result<Merged, ConfigError> {
        let base = self.settings.clone();
        self.read_over(sources);
        self.place_state(sources);
        let mut relations = Vec::new();
        self.settings.check(&mut |problem| relations.push(problem));
        let unread = std::mem::take(&mut self.unread);
        for problem in relations {
            let comes_of_another = unread.iter().any(|key| problem.comes_of(*key));
            if !comes_of_another && !self.is_partly_read {
                self.report_relation(problem.key, &problem, file);
            }
        }
        match board::plan(&self.settings, &sources.machine) {
            Ok(plan) if self.problems.is_empty() => {
                let Self { settings, origins, mark, .. } = self;
                return Ok(Merged { settings, plan, base, origins, mark });
            }
            Ok(_) => {}
            Err(error) => {
                let key = Key::parse(error.key()).filter(|key| !unread.contains(key));
                if let Some(key) = key {
                    self.report_relation(key, &error, file);
                }
            }
        }
        self.problems.sort_by_key(|(line, _)| *line);
        Err(ConfigError {
            problems: self.problems.into_iter().map(|(_, problem)| problem).collect(),
        })
    }

    /// Reports a problem between keys at the last place that set the key, else at its pool.
    fn report_relation(&mut self, of: Key, problem: &dyn fmt::Display, file: Option<&Path>) {
        let of_key = self.origins.iter().rev().find(|(key, _)| *key == of);
        let of_pool = || {
            let is_of_pool = of.field().is_of_pool();
            self.origins
                .iter()
                .find(|(key, _)| is_of_pool && key.field().is_of_pool() && key.pool() == of.pool())
        };
        match (of_key.or_else(of_pool), file) {
            (Some((_, origin)), _) => {
                let origin = origin.clone();
                self.report(&origin, Some(of), problem);
            }
            (None, file) => {
                let text = match file {
                    Some(path) => format!("{}: {problem}", path.display()),
                    None => problem.to_string(),
                };
                self.problems.push((usize::MAX, Problem { key: Some(of), text }));
            }
        }
    }
}

/// Turns a value of the file into the text that its key parses, if its type fits.
fn text_of(field: &Field, value: &DeValue<'_>) -> Option<String> {
    let is_list = matches!(field.allowed, Allowed::List { .. });
    let is_fraction = matches!(field.allowed, Allowed::Number { .. });
    let is_switch = field.allowed == Allowed::Switch;
    let is_auto = matches!(field.allowed, Allowed::IntegerOrAuto { .. });
    let is_number = is_fraction || is_auto || matches!(field.allowed, Allowed::Integer { .. });
    match value {
        DeValue::Integer(integer) if is_number => {
            i128::from_str_radix(integer.as_str(), integer.radix()).ok().map(|i| i.to_string())
        }
        DeValue::Float(float) if is_fraction => Some(float.as_str().to_owned()),
        DeValue::Boolean(switch) if is_switch => Some(switch.to_string()),
        DeValue::String(text) if is_auto && text == AUTO => Some(AUTO.to_owned()),
        DeValue::String(text) if !is_number && !is_list && !is_switch => {
            Some(text.as_ref().to_owned())
        }
        DeValue::Array(items) if is_list => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.as_ref()),
                _ => None,
            });
            Some(texts.collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

fn shape(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array of something else",
        DeValue::Table(_) => "a table",
    }
}

/// Returns a key's section as the file writes it.
fn table_of(key: Key) -> String {
    let section = key.field().section;
    if key.field().is_of_pool() { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// Says whether a variable names a key of the first pool without its number.
fn is_of_first_pool(key: Key, name: &str) -> bool {
    let field = key.field();
    let short = format!("{PREFIX}{}__{}", field.section, field.name).to_ascii_uppercase();
    field.is_of_pool() && key.pool() == 0 && short == name
}

fn is_section(name: &str) -> bool {
    FIELDS.iter().any(|field| field.section == name)
}

fn sections() -> String {
    let mut names: Vec<_> = FIELDS.iter().map(|field| field.section).collect();
    names.dedup();
    names.join(", ")
}

fn names(section: &str) -> String {
    let of_section = FIELDS.iter().filter(|field| field.section == section);
    of_section.map(|field| field.name).collect::<Vec<_>>().join(", ")
}

/// Renders `config/default.toml`, the file of all defaults.
pub fn render_default() -> String {
    let settings = Settings::default();
    let mut text = String::from(HEAD);
    let mut section = "";
    for field in FIELDS {
        if field.section != section {
            section = field.section;
            let head =
                if field.is_of_pool() { "\n# [[pool]]\n" } else { &format!("\n[{section}]\n") };
            text.push_str(head);
        }
        text.push('\n');
        for line in wrap(field.effect, 92) {
            let _ = writeln!(text, "# {line}");
        }
        let unit = match field.unit {
            "" => String::new(),
            unit => format!(" In {unit}."),
        };
        let allowed = field.allowed;
        if field.is_of_pool() {
            let (default, example) = pool_default(field);
            let _ = writeln!(text, "# Default {default}. Allowed {allowed}.{unit}");
            let _ = writeln!(text, "# {} = {example}", field.name);
        } else {
            let default = Key::of(field, 0).map(|key| literal(&settings, key)).unwrap_or_default();
            // An empty text turns state off, which is not the default.
            let (default, mark) = match (field.section, field.name) {
                ("state", "dir") => ("none, as above", "# "),
                _ => (default.as_str(), ""),
            };
            let value = if mark.is_empty() { default } else { "\"\"" };
            let _ = writeln!(text, "# Default {default}. Allowed {allowed}.{unit}");
            let _ = writeln!(text, "{mark}{} = {value}", field.name);
        }
    }
    text
}

const HEAD: &str = "\
# Every setting of Loka Stratum with its default. A file needs only the settings that it changes,
# and at least one [[pool]], or a state.dir that stores a pool set while the gateway runs. The same
# keys are read from the environment (LOKA_MINERS__MAX for miners.max, LOKA_POOL__1__URL for the
# first pool's url) and from flags. Flags win over the environment. The environment wins over the
# file, and over a commit made since the file was edited. `loka-stratum check --config FILE` lists
# all problems.
#
# The list of keys in src/engine/settings/fields.rs makes this file. A test compares them.

# The pools in order of preference, a table each, 1 to 4 of them. The farm mines at the first live
# pool of a goal.
";

/// Returns a pool key's default and an example, as the file writes them.
fn pool_default(field: &Field) -> (&'static str, &'static str) {
    match field.name {
        "url" => ("none, it must be given", r#""stratum+ssl://pool.example:3334""#),
        "user" => ("none, it must be given", r#""account.worker""#),
        "password" => (r#""x""#, r#""x""#),
        "ca_file" => (r#""""#, r#""/etc/loka/pool-ca.pem""#),
        "pins" => ("[]", r#"["<64 hex digits>"]"#),
        "goal" => (r#""""#, r#""main""#),
        "weight" => ("100", "70"),
        _ => (r#""chain""#, r#""chain""#),
    }
}

/// Renders the value of a key as TOML.
fn literal(settings: &Settings, key: Key) -> String {
    let text = settings.show(key).to_string();
    match key.field().allowed {
        Allowed::Integer { .. } | Allowed::Number { .. } | Allowed::Switch => text,
        Allowed::IntegerOrAuto { .. } if text != AUTO => text,
        Allowed::List { .. } => {
            let quoted = text.split(',').filter(|part| !part.is_empty());
            format!("[{}]", quoted.map(|part| format!("{part:?}")).collect::<Vec<_>>().join(", "))
        }
        _ => format!("{text:?}"),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl ConfigError {
    /// Wraps a problem without a key.
    pub fn of(error: impl fmt::Display) -> Self {
        Self { problems: vec![Problem { key: None, text: error.to_string() }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.problems {
            write!(f, "{separator}{}", problem.text)?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Box<Settings>, ConfigError> {
        load_with(text, &[])
    }

    fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Box<Settings>, ConfigError> {
        let mut collector = Collector::default();
        let path = Path::new("farm.toml");
        collector.read_file(path, text);
        let own = |(name, value): &(&str, &str)| (String::from(*name), String::from(*value));
        let sources = Sources {
            file: Some(path.to_owned()),
            environment: environment.iter().map(own).collect(),
            ..Sources::default()
        };
        collector.overlay(&sources, Some(path)).map(|merged| merged.settings)
    }

    fn lines(error: &ConfigError) -> Vec<&str> {
        error.problems.iter().map(|problem| problem.text.as_str()).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let error = load_text(text).expect_err("the file passed");
        assert_eq!(lines(&error), expected);
    }

    const GOOD_URL: &str = "stratum+ssl://a.example:1";

    const POOL_TEXT: &str = "[[pool]]\nurl = \"stratum+ssl://a.example:1\"\nuser = \"farm\"\n";

    /// After a deliberate change of the key list, `LOKA_BLESS=1 cargo test` writes the file.
    #[test]
    fn the_default_file_is_what_the_list_of_keys_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
        if std::env::var_os("LOKA_BLESS").is_some() {
            std::fs::write(&path, render_default()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, render_default());
        let settings = load_text(&format!("{text}\n{POOL_TEXT}")).unwrap();
        let expected = Settings { pools: settings.pools.clone(), ..Settings::default() };
        assert_eq!(*settings, expected);
        assert!(text.lines().all(|line| line.len() <= 120), "a line is too long");
    }

    #[test]
    fn the_examples_are_good() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".example.toml") {
                count += 1;
                let sources = Sources { file: Some(path.clone()), ..Sources::default() };
                let result = load(&sources).map(|_| ());
                assert!(result.is_ok(), "{}: {result:?}", path.display());
            }
        }
        assert!(count > 0);
    }

    #[test]
    fn f77_every_problem_is_listed_with_its_line() {
        check(
            "[miners]\nmax = 20000\nmxa = 1\nblocked_secs = \"30\"\n[upstraem]\nx = 1\n\
             [verdict]\nmode = \"both\"\n[[pool]]\nurl = \"stratum+ssl://a.example:1\"\n",
            &[
                "farm.toml:2: Miners, Max (miners.max): got 20000, allowed 1..16384 or \"auto\"",
                "farm.toml:3: miners.mxa: got an unknown key, allowed max, blocked_secs; did you mean \
                 max",
                "farm.toml:4: Miners, Blocked (miners.blocked_secs): got a string, allowed 5..120",
                "farm.toml:5: upstraem: got an unknown key, allowed pool, listen, board, miners, \
                 difficulty, upstream, identity, verdict, status, state, web, serial, admit, mdns; \
                 did you mean [upstream]",
                "farm.toml:8: Verdict, Mode (verdict.mode): got \"both\", allowed \"local\" or \"pool\"",
                "farm.toml:10: Pool 1, User (pool.1.user): got nothing, allowed a name, since every pool needs one",
            ],
        );
    }

    #[test]
    fn f77_duplicate_and_conflicting_keys_are_errors() {
        check(
            &format!("{POOL_TEXT}[miners]\nmax = 10\nmax = 11\n"),
            &["farm.toml:6: duplicate key"],
        );
        check(
            &format!("{POOL_TEXT}[difficulty]\nmax = 8\nmin = 16\n"),
            &[
                "farm.toml:6: Difficulty, Min (difficulty.min): got 16, allowed at most difficulty.max",
            ],
        );
        check(
            &format!("{POOL_TEXT}{POOL_TEXT}{POOL_TEXT}{POOL_TEXT}{POOL_TEXT}"),
            &["farm.toml:13: pool.5: got too many, allowed 1..4"],
        );
    }

    #[test]
    fn f77_ten_thousand_bad_lines_are_ten_thousand_problems() {
        let keys: String = (0..10_000).map(|line| format!("x{line} = 1\n")).collect();
        let error = load_text(&format!("{POOL_TEXT}[miners]\n{keys}")).unwrap_err();
        assert_eq!(error.problems.len(), 10_000);
        assert!(lines(&error)[9_999].starts_with("farm.toml:10004: miners.x9999:"));
    }

    #[test]
    fn every_key_is_also_a_variable() {
        for field in FIELDS {
            let pool = if field.is_of_pool() { "1__" } else { "" };
            let name = format!("LOKA_{}__{pool}{}", field.section, field.name).to_uppercase();
            let mut other = load_text(POOL_TEXT).unwrap();
            let key = Key::of(field, 0).unwrap();
            let pin = "ab".repeat(32);
            let value =
                ["7", "30", "pin", "off", &pin, "[::1]:9", "pool", "per-worker", "false", "a"]
                    .into_iter()
                    .chain(["stratum+tcp://b.example:2", "9600", "list", "10.0.0.0/8"])
                    .find(|text| {
                        other.set(key, text).is_ok() && other.show(key).to_string() == *text
                    })
                    .unwrap_or_else(|| panic!("no value for {key}"));
            // Relations between keys are not tested here.
            let mut collector = Collector::default();
            collector.read_environment(&[(name.clone(), value.to_owned())]);
            assert!(collector.problems.is_empty(), "{name}: {:?}", collector.problems);
            assert_eq!(collector.settings.show(key).to_string(), value, "{name}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file_and_is_checked_like_it() {
        let text = format!("{POOL_TEXT}[miners]\nmax = 10\n");
        let settings = load_with(&text, &[("LOKA_MINERS__MAX", "20")]).unwrap();
        assert_eq!(settings.miners.max, Some(20));
        let wrong = [("LOKA_MINERS__MXA", "20"), ("LOKA_POOL__9__URL", "x")];
        let error = load_with(&text, &wrong).unwrap_err();
        assert_eq!(error.problems.len(), 2, "{error}");
        assert!(lines(&error)[0].starts_with("LOKA_MINERS__MXA: miners.mxa: got an unknown key"));
        assert!(
            lines(&error)[1]
                .starts_with("LOKA_POOL__9__URL: Pool 9, URL (pool.9.url): got 9 of them")
        );
    }

    #[test]
    fn f77_a_variable_that_names_no_key_is_an_error_that_shows_the_right_name() {
        for (name, meant) in [
            ("LOKA_MINERS_MAX", Some("LOKA_MINERS__MAX")),
            ("LOKA_MINERS__MXA", Some("LOKA_MINERS__MAX")),
            ("LOKA_POOL_URL", Some("LOKA_POOL__1__URL")),
            ("LOKA_POOL_1_URL", Some("LOKA_POOL__1__URL")),
            ("LOKA_POOLS__1__USER", Some("LOKA_POOL__1__USER")),
            ("LOKA_POOL1__URL", Some("LOKA_POOL__1__URL")),
            ("LOKA_URL", Some("LOKA_POOL__1__URL")),
            ("LOKA_STATE_DIR", Some("LOKA_STATE__DIR")),
            ("loka_miners__max", Some("LOKA_MINERS__MAX")),
            ("LOKA_miners__max", Some("LOKA_MINERS__MAX")),
            ("LOKA_VECTORS", None),
            ("LOKA_", None),
        ] {
            let error = load_with(POOL_TEXT, &[(name, "10")]).unwrap_err();
            assert_eq!(error.problems.len(), 1, "{name}: {error}");
            let line = lines(&error)[0];
            assert!(line.starts_with(&format!("{name}: ")), "{line}");
            let end = meant.map(|meant| format!("; did you mean {meant}"));
            match end {
                Some(end) => assert!(line.ends_with(&end), "{line}"),
                None => assert!(!line.contains("did you mean"), "{line}"),
            }
        }
        let second = meant("pool_2_url", None).map(variable);
        assert_eq!(second.as_deref(), Some("LOKA_POOL__2__URL"));
        for name in ["LOKA_CTL_PASSWORD", "LOKA_CTL_SECRET"] {
            assert!(load_with(POOL_TEXT, &[(name, "x")]).is_ok(), "{name} is ctl's");
        }
    }

    /// Each key with one bad value, the rest good: one line that shows the bad value.
    #[test]
    fn f77_one_slip_is_one_line_for_every_key() {
        for field in FIELDS {
            let key = Key::of(field, 0).unwrap();
            let mut good = load_text(POOL_TEXT).unwrap();
            let long = "\u{e9}".repeat(5000);
            let bad = ["tcp://p.example:3333", "-1", long.as_str()].into_iter();
            let Some(bad) = bad.into_iter().find(|text| good.set(key, text).is_err()) else {
                panic!("{key} takes everything");
            };
            let others = [("LOKA_POOL__1__URL", GOOD_URL), ("LOKA_POOL__1__USER", "a.b")];
            let name = variable(key);
            let mut given: Vec<_> = others.into_iter().filter(|(n, _)| *n != name).collect();
            given.push((&name, bad));
            let error = load_with("", &given).unwrap_err();
            assert_eq!(error.problems.len(), 1, "{key}: {error}");
            assert!(
                lines(&error)[0].starts_with(&format!("{name}: {}: got ", key.title())),
                "{error}"
            );
            assert!(!lines(&error)[0].contains("got nothing"), "{error}");
        }
    }

    #[test]
    fn f77_one_slip_in_the_file_is_one_line_with_what_was_meant() {
        let url = format!("url = \"{GOOD_URL}\"");
        for (text, line) in [
            (
                format!("[[pool]]\n{url}\nusr = \"a\"\n"),
                "farm.toml:3: pool.usr: got an unknown key, allowed url, user, password, ca_file, \
                 pins, trust, goal, weight; did you mean user",
            ),
            (
                format!("[[pools]]\n{url}\nuser = \"a\"\n"),
                "farm.toml:1: pools: got an unknown key, allowed pool, listen, board, miners, \
                 difficulty, upstream, identity, verdict, status, state, web, serial, admit, mdns; \
                 did you mean [[pool]]",
            ),
            (
                format!("[pool]\n{url}\nuser = \"a\"\n"),
                "farm.toml:1: pool: got one table, allowed [[pool]] for each pool",
            ),
            (
                format!("[[pool]]\n{url}\nuser = 7\n"),
                "farm.toml:3: Pool 1, User (pool.1.user): got an integer, allowed 1..128 bytes",
            ),
            (
                format!("{POOL_TEXT}[difficulty]\nmin = \"x\"\nstart = 0.0001\n"),
                "farm.toml:5: Difficulty, Min (difficulty.min): got a string, allowed 0.0000000001..4398046511104",
            ),
            (
                format!("{POOL_TEXT}[miners]\nport = 3333\n"),
                "farm.toml:5: miners.port: got an unknown key, allowed max, blocked_secs",
            ),
        ] {
            check(&text, &[line]);
        }
        let error = load_text("[[pool]]\nurl = stratum+ssl://a.example:1\nuser = \"a\"\n");
        let error = error.unwrap_err();
        assert!(lines(&error).iter().all(|line| !line.contains("got nothing")), "{error}");
        // A missing key beside it is another slip.
        let text = "[[pool]]\nurl = \"tcp://p.example:3333\"\n";
        assert_eq!(load_text(text).unwrap_err().problems.len(), 2, "no user");
    }

    #[test]
    fn f67_what_the_board_does_not_hold_is_reported_where_it_was_set() {
        let text =
            format!("{POOL_TEXT}[board]\nprofile = \"virt-aarch64\"\n[miners]\nmax = 1025\n");
        check(
            &text,
            &[
                "farm.toml:7: Miners, Max (miners.max): got 1025, allowed 1..1024 on board virt-aarch64",
            ],
        );
        let error = load_with(&text, &[("LOKA_BOARD__PROFILE", "no-such")]).unwrap_err();
        assert!(
            lines(&error)[0].starts_with(
                "LOKA_BOARD__PROFILE: Board, Profile (board.profile): got \"no-such\""
            )
        );
        check(
            &format!("{POOL_TEXT}[miners]\nmax = \"1025\"\n"),
            &["farm.toml:5: Miners, Max (miners.max): got a string, allowed 1..16384 or \"auto\""],
        );
    }

    #[test]
    fn f80_numbers_in_any_notation_of_toml() {
        let text =
            format!("{POOL_TEXT}[miners]\nmax = 0x10\n[difficulty]\nmin = 1e-3\nstart = 1_024\n");
        let settings = load_text(&text).unwrap();
        assert_eq!(settings.miners.max, Some(16));
        assert!((settings.difficulty.min - 0.001).abs() < 1e-12);
        assert!((settings.difficulty.start - 1024.0).abs() < 1e-12);
        check(
            &format!("{POOL_TEXT}[miners]\nmax = -1\n[difficulty]\nstart = nan\n"),
            &[
                "farm.toml:5: Miners, Max (miners.max): got -1, allowed 1..16384 or \"auto\"",
                "farm.toml:7: Difficulty, Start (difficulty.start): got \"nan\", allowed 0.0000000001..4398046511104",
            ],
        );
    }

    #[test]
    fn a_flag_for_a_pool_replaces_the_pools_of_the_file() {
        let folder = std::env::temp_dir().join(format!("loka-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("farm.toml");
        std::fs::write(&path, format!("{POOL_TEXT}{POOL_TEXT}")).unwrap();
        let sources = Sources {
            file: Some(path),
            environment: vec![("LOKA_POOL__1__PASSWORD".into(), "secret".into())],
            flags: vec![
                ("--pool", "pool.1.url", "stratum+tcp://b.example:2".into()),
                ("--user", "pool.1.user", "other".into()),
            ],
            replaces_pools: true,
            ..Sources::default()
        };
        let settings = load(&sources).unwrap_or_else(|error| panic!("{error}")).settings;
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(settings.pools.len(), 1);
        assert_eq!(settings.pools[0].user, "other");
        assert_eq!(settings.pools[0].password.expose(), "secret");
    }
}
