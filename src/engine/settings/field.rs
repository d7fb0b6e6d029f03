//! The properties of a key: its name, its allowed values, its effect, and the message for a wrong
//! value.

use core::fmt;
use core::net::SocketAddr;

use heapless::String;
use serde::{Deserialize, Serialize};

use super::{AUTO, FIELDS, Settings, UrlError, nearest, trim};
use crate::control::Role;
use crate::limits;
use crate::visible::{self, Visible};

/// One key of the settings.
#[derive(Debug)]
pub struct Field {
    /// The table of the file that holds it.
    pub section: &'static str,
    /// Its name within the table.
    pub name: &'static str,
    /// The unit of its value; empty if it has none.
    pub unit: &'static str,
    /// The allowed values.
    pub allowed: Allowed,
    /// Its effect, in sentences.
    pub effect: &'static str,
    /// When a change takes effect.
    pub applies: Applies,
    pub(super) set: fn(&mut Settings, usize, &str) -> Result<(), Refused>,
    pub(super) show: fn(&Settings, usize, &mut fmt::Formatter<'_>) -> fmt::Result,
}

/// When a change of a key takes effect.
///
/// Variants are appended, never reordered: their numbers go over a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Applies {
    /// With the commit.
    Live,
    /// As [`Self::Live`], but to be confirmed, since it may cut the operator or the farm off.
    Provisional,
    /// At the next start.
    Restart,
    /// Only from the file, the environment or a flag: it is needed before anything else can be
    /// read.
    File,
}

/// One key; for a pool's key also the pool's index.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    field: &'static Field,
    pool: u8,
}

/// The allowed values of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// A whole number.
    Integer {
        /// The lowest.
        min: u64,
        /// The highest.
        max: u64,
    },
    /// A whole number, or `auto` for the machine's choice.
    IntegerOrAuto {
        /// The lowest.
        min: u64,
        /// The highest.
        max: u64,
    },
    /// A number.
    Number {
        /// The lowest.
        min: f64,
        /// The highest.
        max: f64,
    },
    /// `true` or `false`.
    Switch,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A text.
    Bytes {
        /// The least bytes.
        min: usize,
        /// The most bytes.
        max: usize,
    },
    /// A text of a given form.
    Form(&'static str),
    /// An address of a pool.
    Url,
    /// A list of texts of a given form.
    List {
        /// The fewest entries.
        min: usize,
        /// The most entries.
        max: usize,
        /// The form of each entry.
        form: &'static str,
    },
    /// The error in a pool's address.
    UrlPart(UrlError),
    /// A condition that involves another key.
    Relation(&'static str),
}

/// A key in the page's words, followed by the key: `Pool 1, URL (pool.1.url)`.
#[derive(Clone, Copy, Debug)]
pub struct Title(Key);

/// The value received.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// No value, although one is needed.
    Nothing,
    /// A text, cut if it is long.
    Text(String<GOT_BYTES_MAX>),
    /// A number.
    Number(f64),
    /// A socket address.
    Address(SocketAddr),
    /// A number of bytes.
    Bytes(usize),
    /// A number of entries.
    Count(usize),
    /// A value that may hold a secret.
    Hidden,
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The key.
    pub key: Key,
    /// The value received.
    pub got: Got,
    /// The values allowed.
    pub allowed: Allowed,
}

/// Bytes of a value that a message quotes.
const GOT_BYTES_MAX: usize = 48;

/// A refused value, and the values allowed if the field does not state them all.
pub(super) struct Refused {
    pub(super) got: Option<Got>,
    pub(super) allowed: Option<Allowed>,
}

pub(super) const REFUSED: Refused = Refused { got: None, allowed: None };

/// Shows the value of a key.
pub(super) struct Shown<'a> {
    pub(super) settings: &'a Settings,
    pub(super) key: Key,
}

const SCHEMES: &str = "stratum+ssl://host:port, or stratum+tcp://host:port without TLS";

/// The message for a text with invisible letters, as they arrive by a paste.
const VISIBLE: &str = "visible letters: no control, zero-width or direction \
                       characters; type it again";

/// The entries of a list: the texts between commas, trimmed.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(trim).filter(|part| !part.is_empty())
}

impl Field {
    /// Says whether every pool has this key.
    pub fn is_of_pool(&self) -> bool {
        self.section == "pool"
    }

    /// Returns the role needed to change it.
    pub fn role(&self) -> Role {
        match self.section {
            "pool" | "miners" | "difficulty" | "upstream" | "identity" | "verdict" => {
                Role::Operator
            }
            _ => Role::Admin,
        }
    }

    /// Says whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.name == "password"
    }

    /// Sets the value if it is in range. The leftovers of a paste around it are trimmed; a secret
    /// is taken unchanged, since a blank may be part of it.
    pub(super) fn set(&self, settings: &mut Settings, key: Key, text: &str) -> Result<(), Problem> {
        let text = if self.is_secret() { text } else { trim(text) };
        let result = match self.allowed.refuse(text) {
            None if self.is_partly_hidden(text) => Err(Refused {
                got: self.is_secret().then_some(Got::Hidden),
                allowed: Some(Allowed::Form(VISIBLE)),
            }),
            None => (self.set)(settings, key.pool(), text),
            Some(got) => Err(Refused { got: Some(got), allowed: None }),
        };
        result.map_err(|refused| Problem {
            key,
            got: refused.got.unwrap_or_else(|| Got::text(text)),
            allowed: refused.allowed.unwrap_or(self.allowed),
        })
    }
}

impl Field {
    /// Says whether a value has invisible letters; the entries of a list are trimmed first.
    fn is_partly_hidden(&self, text: &str) -> bool {
        match self.allowed {
            Allowed::List { .. } => parts(text).any(|part| part.chars().any(visible::is_hidden)),
            _ => text.chars().any(visible::is_hidden),
        }
    }
}

impl Allowed {
    /// Returns the value received if a text is out of range; the caller checks its form.
    fn refuse(&self, text: &str) -> Option<Got> {
        let number = || text.parse::<f64>().ok().filter(|number| number.is_finite());
        match *self {
            Self::IntegerOrAuto { .. } if text == AUTO => None,
            Self::Integer { min, max } | Self::IntegerOrAuto { min, max } => {
                match text.parse::<u64>() {
                    Ok(integer) if (min..=max).contains(&integer) => None,
                    _ => Some(number().map_or_else(|| Got::text(text), Got::Number)),
                }
            }
            Self::Number { min, max } => match number() {
                Some(number) if (min..=max).contains(&number) => None,
                Some(number) => Some(Got::Number(number)),
                None => Some(Got::text(text)),
            },
            Self::Bytes { min, .. } if min > 0 && text.is_empty() => Some(Got::Nothing),
            Self::Bytes { min, max } if text.len() < min || text.len() > max => {
                Some(Got::Bytes(text.len()))
            }
            Self::Url if text.is_empty() => Some(Got::Nothing),
            Self::Url if text.len() > limits::URL_BYTES_MAX => Some(Got::Bytes(text.len())),
            Self::List { min, .. } if min > 0 && parts(text).next().is_none() => Some(Got::Nothing),
            _ => None,
        }
    }
}

impl Key {
    /// Returns the key of a path: `miners.max`, `pool.2.url`; `pool.url` belongs to the first pool.
    pub fn parse(path: &str) -> Option<Self> {
        let (section, rest) = path.split_once('.')?;
        match rest.split_once('.') {
            None => Self::named(section, rest, 0),
            Some((number, name)) if section == "pool" => {
                let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
                let pool = number.parse::<usize>().ok()?.checked_sub(1)?;
                if is_number { Self::named(section, name, pool) } else { None }
            }
            Some(_) => None,
        }
    }

    /// Returns the key of a section and a name, for the pool at the index `pool`.
    pub fn named(section: &str, name: &str, pool: usize) -> Option<Self> {
        let field = FIELDS.iter().find(|field| field.section == section && field.name == name)?;
        Self::of(field, pool)
    }

    /// Returns the key of a field, for the pool at the index `pool`.
    pub fn of(field: &'static Field, pool: usize) -> Option<Self> {
        Some(Self { field, pool: u8::try_from(pool).ok()? })
    }

    /// Returns all keys of settings with `pools` pools: those of each pool, then the others.
    pub fn all(pools: usize) -> impl Iterator<Item = Self> {
        let fields = |is_of_pool| FIELDS.iter().filter(move |f| f.is_of_pool() == is_of_pool);
        let of_pools = (0..pools)
            .flat_map(move |pool| fields(true).filter_map(move |field| Self::of(field, pool)));
        of_pools.chain(fields(false).filter_map(|field| Self::of(field, 0)))
    }

    /// Returns the key's title for people.
    pub fn title(self) -> Title {
        Title(self)
    }

    /// Returns the key's field, the same for every pool.
    pub fn field(self) -> &'static Field {
        self.field
    }

    /// Returns the index of the pool; 0 for a key without a pool.
    pub fn pool(self) -> usize {
        usize::from(self.pool)
    }
}

/// Groups of keys that are judged together.
const RELATED: [&[(&str, &str)]; 5] = [
    &[("difficulty", "start"), ("difficulty", "min"), ("difficulty", "max")],
    &[("upstream", "retry_min_secs"), ("upstream", "retry_max_secs")],
    &[("listen", "addresses"), ("status", "address"), ("web", "address")],
    &[("admit", "mode"), ("admit", "names"), ("admit", "addresses")],
    &[("pool", "url"), ("pool", "ca_file"), ("pool", "pins"), ("pool", "trust")],
];

impl Problem {
    /// Says whether this problem may come from an unreadable value of `unread` alone. Then the
    /// message for that key is enough.
    pub fn comes_of(&self, unread: Key) -> bool {
        if unread == self.key {
            return true;
        }
        let is_relation = matches!(self.allowed, Allowed::Relation(_)) && self.got != Got::Nothing;
        let is_of =
            |key: Key, group: &[(&str, &str)]| group.contains(&(key.field.section, key.field.name));
        let are_related = |group: &&[(&str, &str)]| is_of(unread, group) && is_of(self.key, group);
        is_relation && self.key.pool == unread.pool && RELATED.iter().any(are_related)
    }

    /// Returns the probable word, if the value is near one of a few allowed words.
    fn meant(&self) -> Option<&'static str> {
        let Got::Text(text) = &self.got else { return None };
        match self.allowed {
            Allowed::OneOf(words) => nearest(text, words.iter().copied()),
            Allowed::Switch => match text.as_str() {
                "1" | "y" | "Y" => Some("true"),
                "0" | "n" | "N" => Some("false"),
                text => SWITCHES
                    .into_iter()
                    .find(|(word, _)| text.eq_ignore_ascii_case(word))
                    .map(|(_, meant)| meant)
                    .or_else(|| nearest(text, ["true", "false"])),
            },
            Allowed::IntegerOrAuto { .. } => nearest(text, [AUTO]),
            _ => None,
        }
    }
}

/// Common spellings of a switch.
const SWITCHES: [(&str, &str); 6] = [
    ("on", "true"),
    ("yes", "true"),
    ("enabled", "true"),
    ("off", "false"),
    ("no", "false"),
    ("disabled", "false"),
];

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let place = |key: &Self| (key.field.section, key.field.name, key.pool);
        place(self) == place(other)
    }
}

impl Got {
    /// Takes the part of a text that a message quotes.
    pub(super) fn text(text: &str) -> Self {
        if text.is_empty() {
            return Self::Nothing;
        }
        let mut part = String::new();
        for letter in text.chars() {
            if part.push(letter).is_err() {
                break;
            }
        }
        Self::Text(part)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_of_pool() {
            write!(f, "pool.{}.{}", self.pool().saturating_add(1), self.field.name)
        } else {
            write!(f, "{}.{}", self.field.section, self.field.name)
        }
    }
}

/// Writes a word with an initial capital; the abbreviations `url` and `ca` in capitals.
fn capital(word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let length = if matches!(word, "url" | "ca") { word.len() } else { 1 };
    let (first, rest) = word.split_at_checked(length).unwrap_or((word, ""));
    first.chars().try_for_each(|letter| fmt::Write::write_char(f, letter.to_ascii_uppercase()))?;
    f.write_str(rest)
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key) = *self;
        capital(key.field.section, f)?;
        if key.field.is_of_pool() {
            write!(f, " {}", key.pool().saturating_add(1))?;
        }
        f.write_str(", ")?;
        let mut words = key.field.name.trim_end_matches("_secs").split('_');
        capital(words.next().unwrap_or_default(), f)?;
        words.try_for_each(|word| write!(f, " {word}"))?;
        write!(f, " ({key})")
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Text(text) => write!(f, "\"{}\"", Visible(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Count(count) => write!(f, "{count} of them"),
            Self::Hidden => f.write_str("a hidden value"),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { min, max } => write!(f, "{min}..{max}"),
            Self::IntegerOrAuto { min, max } => write!(f, "{min}..{max} or {AUTO:?}"),
            Self::Number { min, max } => write!(f, "{min}..{max}"),
            Self::Switch => f.write_str("true or false"),
            Self::OneOf(words) => {
                let mut separator = "";
                for word in *words {
                    write!(f, "{separator}{word:?}")?;
                    separator = " or ";
                }
                Ok(())
            }
            Self::Bytes { min, max } => write!(f, "{min}..{max} bytes"),
            Self::Form(form) => f.write_str(form),
            Self::Url => f.write_str(SCHEMES),
            Self::List { min, max, form } => write!(f, "{min}..{max} of {form}"),
            Self::UrlPart(error) => write!(f, "{error}"),
            Self::Relation(relation) => f.write_str(relation),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}, allowed {}", self.key.title(), self.got, self.allowed)?;
        match self.meant() {
            Some(word) => write!(f, "; did you mean {word:?}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Problem {}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.key.field.show)(self.settings, self.key.pool(), f)
    }
}
