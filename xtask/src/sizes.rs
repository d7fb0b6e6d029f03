//! The size of a binary by section, and by crate.
//!
//! `readelf` reads both from the unstripped binary. A function counts for the crate that defines
//! it, even if another crate instantiates it. Bytes without a symbol, such as most constant texts,
//! count only for their section.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{apt, process};

/// Number of crates and sections listed by name; the rest is one line.
const LISTED: usize = 20;

/// The name for symbols of no Rust crate.
const NOT_RUST: &str = "C and assembly";

/// Prints both lists.
///
/// # Errors
///
/// The reason why the binary cannot be read.
pub fn print(binary: &Path) -> Result<(), String> {
    list("section", sections(&read(binary, "--sections")?));
    list("crate", crates(&read(binary, "--symbols")?));
    Ok(())
}

/// Adds up some of a binary's sections; a missing section counts as 0.
///
/// # Errors
///
/// As for [`print()`].
pub fn of_sections(binary: &Path, names: &[&str]) -> Result<u64, String> {
    let sizes = sections(&read(binary, "--sections")?);
    Ok(names.iter().filter_map(|name| sizes.get(*name)).sum())
}

/// Adds up the code and constants of some crates, by their symbols.
///
/// # Errors
///
/// As for [`print()`].
pub fn of_crates(binary: &Path, names: &[&str]) -> Result<u64, String> {
    let sizes = crates(&read(binary, "--symbols")?);
    Ok(names.iter().filter_map(|name| sizes.get(*name)).sum())
}

fn read(binary: &Path, what: &str) -> Result<String, String> {
    apt::provide("readelf", "binutils")?;
    process::output(process::command("readelf").args([what, "-W"]).arg(binary))
}

fn list(title: &str, sizes: BTreeMap<String, u64>) {
    let mut sizes: Vec<(String, u64)> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    println!("{:>10}  by {title}", "bytes");
    for (name, bytes) in sizes.iter().take(LISTED) {
        println!("{bytes:>10}  {name}");
    }
    if let Some(rest) = sizes.get(LISTED..).filter(|rest| !rest.is_empty()) {
        let bytes: u64 = rest.iter().map(|(_, bytes)| bytes).sum();
        println!("{bytes:>10}  {} others", rest.len());
    }
}

/// The sections that are loaded into memory, from the output of `readelf --sections`.
fn sections(text: &str) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for line in text.lines() {
        let Some((_, line)) = line.split_once(']') else { continue };
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, _, _, _, size, _, flags, ..] = words.as_slice() else { continue };
        if let (true, Ok(bytes)) = (flags.contains('A'), u64::from_str_radix(size, 16)) {
            sizes.insert((*name).to_owned(), bytes);
        }
    }
    sizes
}

/// The crates, from the output of `readelf --symbols`.
fn crates(text: &str) -> BTreeMap<String, u64> {
    // Several names may have one address.
    let mut places = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, address, size, kind, _, _, _, name, ..] = words.as_slice() else { continue };
        if let (true, Ok(bytes)) = (["FUNC", "OBJECT"].contains(kind), size.parse::<u64>()) {
            places.insert(*address, (bytes, *name));
        }
    }
    let mut sizes = BTreeMap::new();
    for (bytes, name) in places.into_values() {
        let owner = v0(name).or_else(|| legacy(name)).or_else(|| of_ring(name));
        *sizes.entry(owner.unwrap_or(NOT_RUST).to_owned()).or_insert(0) += bytes;
    }
    sizes
}

/// The first crate in a name of the form that RFC 2603 defines: `_RNvNtCs1234_7mycrate3foo3bar`.
fn v0(symbol: &str) -> Option<&str> {
    let mut rest = symbol.strip_prefix("_R")?;
    loop {
        let kind = rest.chars().next()?;
        rest = rest.get(1..)?;
        match kind {
            'C' => return counted(without_number(rest)),
            // A namespace letter follows.
            'N' => rest = rest.get(1..)?,
            'M' | 'X' => rest = without_number(rest),
            _ => {}
        }
    }
}

/// Removes the disambiguator of equal names.
fn without_number(rest: &str) -> &str {
    match rest.strip_prefix('s').and_then(|number| number.split_once('_')) {
        Some((number, after)) if number.bytes().all(|b| b.is_ascii_alphanumeric()) => after,
        _ => rest,
    }
}

/// The first crate in a name of the older form: `_ZN7mycrate3foo3bar17h0123456789abcdefE`.
fn legacy(symbol: &str) -> Option<&str> {
    let first = counted(symbol.strip_prefix("_ZN")?)?;
    // `<mycrate::Type as other::Trait>` is written `_$LT$mycrate..Type$u20$as$u20$...`.
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut parts = first.split('$').flat_map(|part| part.split(".."));
    parts.find(|part| {
        let is_escape = matches!(*part, "" | "_" | "LT" | "GT" | "RF" | "BP" | "C" | "LP" | "RP");
        !is_escape && !part.starts_with("u2") && part.chars().all(is_word)
    })
}

/// Reads a text with its decimal length before it.
fn counted(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (length, rest) = text.split_at_checked(digits)?;
    let rest = rest.strip_prefix('_').filter(|_| !text.starts_with("_")).unwrap_or(rest);
    rest.get(..length.parse().ok()?)
}

/// Ring's C and assembly symbols begin with its name.
fn of_ring(symbol: &str) -> Option<&str> {
    symbol.starts_with("ring_core_").then_some("ring")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_crate() {
        for (name, owner) in [
            ("_RNvNtNtCsfJNUNhNTvUi_12loka_stratum7gateway7dialers", "loka_stratum"),
            ("_RNCNvNtNtCsfJNUNhNTvUi_12loka_stratum7gateway4link3run0B7_", "loka_stratum"),
            ("_RNvMsC1_NtNtCseqwCIozmyHl_12clap_builder6parser6parserNtB4_6Parser", "clap_builder"),
            ("_RNvNtCsfxY0ArL5F02_4sha26sha25611compress256", "sha2"),
            ("_RNvXs_NtNtCs2IMA6nHl5KV_4core6future6futureINtNtB8_3pin3PinE4poll", "core"),
        ] {
            assert_eq!(v0(name), Some(owner), "{name}");
        }
        for (name, owner) in [
            ("_ZN12loka_stratum7gateway5start17h0123456789abcdefE", "loka_stratum"),
            ("_ZN58_$LT$rustls..msgs..Payload$u20$as$u20$core..fmt..Debug$GT$3fmt17h0E", "rustls"),
            ("_ZN4core3ptr13drop_in_place17h0123456789abcdefE", "core"),
        ] {
            assert_eq!(legacy(name), Some(owner), "{name}");
        }
        for name in ["main", "memcpy", "_R", "_RN", "_ZN", "_ZN99x"] {
            assert_eq!(v0(name).or_else(|| legacy(name)), None, "{name}");
        }
    }

    #[test]
    fn a_place_counts_once_whatever_it_is_called() {
        let text = "\
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     1: 0000000000001040    90 FUNC    LOCAL  DEFAULT    2 _RNvCs1_4core4main
     2: 0000000000001040    90 FUNC    LOCAL  DEFAULT    2 _RNvCs1_4core5other
     3: 0000000000001100    10 OBJECT  GLOBAL HIDDEN     4 ring_core_0_17_14__p256
     4: 0000000000001200     7 FUNC    LOCAL  HIDDEN    14 memcpy
     5: 0000000000000000     0 SECTION LOCAL  DEFAULT    1
";
        let expected = [(NOT_RUST, 7), ("core", 90), ("ring", 10)];
        let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes));
        assert_eq!(crates(text), BTreeMap::from(expected));
    }

    #[test]
    fn only_what_is_loaded_is_a_section() {
        let text = "\
  [Nr] Name              Type            Address          Off    Size   ES Flg Lk Inf Al
  [ 0]                   NULL            0000000000000000 000000 000000 00      0   0  0
  [ 2] .text             PROGBITS        00000000004001c0 0001c0 137064 00  AX  0   0 64
  [14] .comment          PROGBITS        0000000000000000 1e0290 000088 01  MS  0   0  1
";
        assert_eq!(sections(text), BTreeMap::from([(".text".to_owned(), 0x13_7064)]));
    }
}
