//! Admission of miners: by worker name, by a list with passwords, or by address.
//!
//! This module holds the rules; the gateway applies them ([`Pattern::matches`],
//! [`Range::contains`]). Names are compared byte for byte, as pools compare them.
//!
//! ```
//! use loka_stratum::settings::{Pattern, Range};
//!
//! let pattern: Pattern = "farm.hall-*.s19-*".parse().unwrap();
//! assert!(pattern.matches("farm.hall-2.s19-0417"));
//! assert!(!pattern.matches("farm.hall-2.s21-0001"));
//!
//! let range: Range = "10.20.0.0/16".parse().unwrap();
//! assert!(range.contains("10.20.3.4".parse().unwrap()));
//! ```

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::limits;

/// The admission of miners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// The rule in force.
    pub mode: AdmitMode,
    /// Patterns of worker names, for [`AdmitMode::Name`].
    pub names: Vec<Pattern, { limits::ADMIT_MAX }>,
    /// Ranges of addresses, for [`AdmitMode::Address`].
    pub addresses: Vec<Range, { limits::ADMIT_MAX }>,
}

/// The rule that decides about admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdmitMode {
    /// Every miner is admitted.
    #[default]
    Any,
    /// The worker must match a pattern.
    Name,
    /// The worker must be in the list, with its password.
    List,
    /// The miner must connect from one of the address ranges.
    Address,
}

/// A name in which `*` stands for any text, even an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(String<{ limits::PATTERN_BYTES_MAX }>);

/// A range of IP addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    first: IpAddr,
    bits: u8,
}

impl AdmitMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Any, Self::Name, Self::List, Self::Address];

    /// Returns its word in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Name => "name",
            Self::List => "list",
            Self::Address => "address",
        }
    }
}

impl Pattern {
    /// Says whether a name matches. The time is bounded by the product of both lengths, whatever
    /// the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let mut rest = name.as_bytes();
        let mut parts = self.0.as_bytes().split(|byte| *byte == b'*');
        let Some(after_first) = parts.next().and_then(|part| rest.strip_prefix(part)) else {
            return false;
        };
        rest = after_first;
        let mut last = None;
        for part in parts {
            // A part with another after it may match anywhere; the earliest match leaves the most.
            if let Some(part) = last.replace(part) {
                let Some(after) = after(rest, part) else { return false };
                rest = after;
            }
        }
        match last {
            None => rest.is_empty(),
            Some(part) => rest.ends_with(part),
        }
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the rest after the first occurrence of a part.
fn after<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix(part) {
            return Some(after);
        }
        rest = rest.split_first()?.1;
    }
}

impl Range {
    /// Says whether an address is in the range; an IPv4 address mapped to IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4()
            && (u128_of(address) ^ u128_of(self.first)) & self.mask() == 0
    }

    /// The mask of the common bits, as in [`u128_of`].
    fn mask(&self) -> u128 {
        let behind = width(self.first).saturating_sub(u32::from(self.bits));
        u128::MAX.checked_shl(behind).unwrap_or(0)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { u128::BITS }
}

fn u128_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

impl FromStr for Pattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // A comma would end the text in a list.
        let is_good = |byte: u8| byte > b' ' && byte != 0x7f && byte != b',';
        if text.is_empty() || !text.bytes().all(is_good) {
            return Err(());
        }
        Ok(Self(String::try_from(text).map_err(|_| ())?))
    }
}

impl FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| ())?;
        let is_number = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            Some(bits) => Some(bits).filter(is_number).ok_or(())?.parse().map_err(|_| ())?,
            None => width(first),
        };
        let range = Self { first, bits: u8::try_from(bits).map_err(|_| ())? };
        // 10.0.0.5/8 has a slip in the address or in the bits.
        if bits > width(first)
            || first != first.to_canonical()
            || u128_of(first) & !range.mask() != 0
        {
            return Err(());
        }
        Ok(range)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let parsed: Pattern = pattern.parse().unwrap();
        assert_eq!(parsed.matches(name), expected, "{pattern} and {name:?}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("farm.a", "farm.a", true),
            ("farm.a", "farm.ab", false),
            ("farm.a", "farm", false),
            ("farm.a", "FARM.A", false),
            ("*", "", true),
            ("*", "anything", true),
            ("farm.*", "farm.", true),
            ("farm.*", "farm", false),
            ("*.s19", "hall.s19", true),
            ("*.s19", "hall.s19x", false),
            ("a*b", "ab", true),
            ("a*b", "aXbXb", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("a**b", "axb", true),
            ("*ab*", "aab", true),
            ("ü*", "üx", true),
        ] {
            check(pattern, name, expected);
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_the_product_of_both_lengths() {
        let pattern = "*a".repeat(31) + "*b";
        check(&pattern, &"a".repeat(128), false);
    }

    #[test]
    fn a_range_is_all_that_begin_with_the_same_bits() {
        for (range, address, expected) in [
            ("10.20.0.0/16", "10.20.255.255", true),
            ("10.20.0.0/16", "10.21.0.0", false),
            ("10.20.0.0/16", "::ffff:10.20.0.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.7", false),
        ] {
            let parsed: Range = range.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{range} {address}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.5/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10/8",
            "::/129",
            "::ffff:10.0.0.0/104",
            "fe80::1%eth0/64",
            "10.0.0.0 /8",
        ] {
            assert_eq!(text.parse::<Range>(), Err(()), "{text:?}");
        }
        let alone: Range = "192.0.2.7".parse().unwrap();
        assert_eq!(alone.to_string(), "192.0.2.7/32");
    }

    #[test]
    fn a_range_from_a_store_with_too_many_bits_is_one_address() {
        let range = Range { first: IpAddr::from([10, 0, 0, 1]), bits: 200 };
        assert!(range.contains(IpAddr::from([10, 0, 0, 1])));
        assert!(!range.contains(IpAddr::from([10, 0, 0, 2])));
    }
}
