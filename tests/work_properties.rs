//! Properties of the arithmetic for every input, not only for recorded ones.
//!
//! The exact rules are checked with natural numbers of any size that only multiply and compare
//! ([`Natural`]): a quotient is checked by multiplication.

use std::collections::BTreeSet;

use loka_stratum::limits::EXTRANONCE2_BYTES_MAX;
use loka_stratum::work::coinbase::CoinbasePrefix;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::{Geometry, Incompatible, MinerId, Space};
use loka_stratum::work::header::{BlockHash, Header};
use loka_stratum::work::merkle;
use loka_stratum::work::sha256d::sha256d;
use loka_stratum::work::target::{NBits, Target};
use loka_stratum::work::version::{Version, VersionMask};
use proptest::collection::vec;
use proptest::prelude::*;

/// A natural number of any size: 32-bit digits, least significant first, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Natural(Vec<u32>);

impl Natural {
    fn new(mut digits: Vec<u32>) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self(digits)
    }

    fn of(value: u64) -> Self {
        Self::new(vec![value as u32, (value >> 32) as u32])
    }

    fn from_le_bytes(bytes: &[u8]) -> Self {
        let words = bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        Self::new(words.collect())
    }

    /// The target of difficulty 1.
    fn one() -> Self {
        Self::of(0xffff).shifted(208)
    }

    fn times(&self, other: &Self) -> Self {
        let mut digits = vec![0_u32; self.0.len() + other.0.len()];
        for (i, left) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (j, right) in other.0.iter().enumerate() {
                let sum = u64::from(digits[i + j]) + u64::from(*left) * u64::from(*right) + carry;
                digits[i + j] = sum as u32;
                carry = sum >> 32;
            }
            digits[i + other.0.len()] = carry as u32;
        }
        Self::new(digits)
    }

    fn plus_one(&self) -> Self {
        let mut digits = self.0.clone();
        digits.push(0);
        for digit in &mut digits {
            let (sum, is_over) = digit.overflowing_add(1);
            *digit = sum;
            if !is_over {
                break;
            }
        }
        Self::new(digits)
    }

    fn shifted(&self, bits: u32) -> Self {
        let mut digits = vec![0; bits as usize / 32];
        digits.extend(&self.0);
        Self(digits).times(&Self::of(1 << (bits % 32)))
    }

    fn is_at_most(&self, other: &Self) -> bool {
        let key = |number: &Self| (number.0.len(), number.0.iter().rev().copied().collect());
        let (left, right): ((usize, Vec<u32>), _) = (key(self), key(other));
        left <= right
    }
}

/// Splits a double into a mantissa and an exponent, by exact multiplications.
fn split(number: f64) -> (u64, i32) {
    let mut exponent = 0;
    let mut mantissa = number;
    while mantissa.fract() != 0.0 {
        mantissa *= 2.0;
        exponent -= 1;
    }
    while mantissa >= 2_f64.powi(53) {
        mantissa /= 2.0;
        exponent += 1;
    }
    (mantissa as u64, exponent)
}

/// Returns `numbers` with the factor `2^exponent` moved to the side where it is an integer.
fn balanced(left: Natural, right: Natural, exponent_left: i32) -> (Natural, Natural) {
    let shift = exponent_left.unsigned_abs();
    if exponent_left >= 0 { (left.shifted(shift), right) } else { (left, right.shifted(shift)) }
}

/// Difficulties of every size with a target.
fn difficulties() -> impl Strategy<Value = f64> {
    let bits = (-32_i32..226, 0..(1_u64 << 52));
    bits.prop_map(|(exponent, stored)| f64::from_bits((((exponent + 1023) as u64) << 52) | stored))
}

/// Hashes of every size; some start with many ones, where a quotient starts with a zero.
fn hashes() -> impl Strategy<Value = BlockHash> {
    (any::<[u8; 32]>(), 0..32_usize, 0..4_usize).prop_map(|(mut bytes, zeros, ones)| {
        let (rest, zeros) = bytes.split_at_mut(32 - zeros);
        zeros.fill(0);
        let ones = rest.len().saturating_sub(ones);
        rest[ones..].fill(0xff);
        bytes[0] |= 1;
        BlockHash(bytes)
    })
}

proptest! {
    #[test]
    fn a_target_is_the_exact_quotient(difficulty in difficulties()) {
        let target = Difficulty::new(difficulty).unwrap().to_target();
        let (mantissa, exponent) = split(difficulty);
        let quotient = Natural::from_le_bytes(&target.to_le_bytes());
        // target * difficulty <= one < (target + 1) * difficulty
        let (low, one) =
            balanced(quotient.times(&Natural::of(mantissa)), Natural::one(), exponent);
        if target != Target::MAX {
            let above = quotient.plus_one().times(&Natural::of(mantissa));
            let (high, one) = balanced(above, Natural::one(), exponent);
            prop_assert!(!high.is_at_most(&one));
        }
        prop_assert!(low.is_at_most(&one));
    }

    #[test]
    fn a_hash_has_the_nearest_difficulty(hash in hashes()) {
        let difficulty = Difficulty::from_hash(hash);
        let number = Natural::from_le_bytes(&hash.0);
        let bits = difficulty.to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let exponent = (bits >> 52) as i32 - 1075;
        // The middles between this double and its neighbours; that below a power of two is nearer.
        let below = if mantissa == 1 << 52 { 4 * mantissa - 1 } else { 4 * mantissa - 2 };
        let (low, one) = balanced(number.times(&Natural::of(below)), Natural::one(), exponent - 2);
        prop_assert!(low.is_at_most(&one));
        let above = number.times(&Natural::of(4 * mantissa + 2));
        let (high, one) = balanced(above, Natural::one(), exponent - 2);
        prop_assert!(one.is_at_most(&high));
        prop_assert!(low != one && high != one, "there are no ties");
    }

    #[test]
    fn a_harder_share_has_a_lower_target(a in difficulties(), b in difficulties()) {
        let (easy, hard) = if a <= b { (a, b) } else { (b, a) };
        let target = |difficulty| Difficulty::new(difficulty).unwrap().to_target();
        prop_assert!(target(hard) <= target(easy));
        prop_assert!(target(hard.next_up()) <= target(hard));
    }

    #[test]
    fn a_hash_that_meets_a_target_has_its_difficulty(
        difficulty in difficulties(),
        hash in hashes(),
    ) {
        // Rounding may make equals of neighbours, but never turns the order around.
        let target = Difficulty::new(difficulty).unwrap().to_target();
        if target.is_met_by(hash) {
            prop_assert!(Difficulty::from_hash(hash) >= difficulty);
        } else {
            prop_assert!(Difficulty::from_hash(hash) <= difficulty);
        }
    }

    #[test]
    fn the_power_of_two_below(bits in 1..f64::INFINITY.to_bits()) {
        let difficulty = f64::from_bits(bits);
        let power = Difficulty::new(difficulty).unwrap().floor_power_of_two().as_f64();
        prop_assert!(power <= difficulty && difficulty < 2.0 * power);
        prop_assert!(is_power_of_two(power));
    }

    #[test]
    fn a_comparison_is_that_of_the_digits(
        a in any::<[u8; 32]>(),
        b in any::<[u8; 32]>(),
        same in 0..=32_usize,
    ) {
        // Neighbours that differ in a low byte only are what a comparison gets wrong.
        let mut b = b;
        b[32 - same..].copy_from_slice(&a[32 - same..]);
        let is_met = a.iter().rev().le(b.iter().rev());
        prop_assert_eq!(Target::from_le_bytes(b).is_met_by(BlockHash(a)), is_met);
        let digits = |bytes| Target::from_le_bytes(bytes).to_string();
        prop_assert_eq!(digits(a) <= digits(b), is_met);
    }

    #[test]
    fn a_short_target_is_its_digits(size in 0..=40_u32, low in any::<u32>(), shift in 0..24_u32) {
        let nbits = (size << 24) | ((low & 0x00ff_ffff) >> shift);
        let digits = format!("{:06x}{}", nbits & 0x007f_ffff, "00".repeat(256));
        let digits = &digits[..2 * size as usize];
        let significant = digits.trim_start_matches('0');
        let is_positive = nbits & 0x0080_0000 == 0 && !significant.is_empty();
        let is_good = is_positive && significant.len() <= 64;
        match Target::from_nbits(NBits(nbits)) {
            Ok(target) => {
                prop_assert!(is_good);
                prop_assert_eq!(target.to_string(), format!("{significant:0>64}"));
            }
            Err(_) => prop_assert!(!is_good),
        }
    }

    #[test]
    fn any_split_of_a_coinbase_gives_its_hash(
        coinbase in vec(any::<u8>(), 0..700),
        cuts in vec(any::<prop::sample::Index>(), 4),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(coinbase.len() + 1)).collect();
        cuts.sort_unstable();
        let prefix = CoinbasePrefix::new(&[
            &coinbase[..cuts[0]],
            &coinbase[cuts[0]..cuts[1]],
            &coinbase[cuts[1]..cuts[2]],
        ]);
        prop_assert_eq!(prefix.len(), cuts[2] as u64);
        let hash = prefix.hash_with(&coinbase[cuts[2]..cuts[3]], &coinbase[cuts[3]..]);
        prop_assert_eq!(hash, sha256d(&coinbase));
    }

    #[test]
    fn a_root_is_the_fold_over_its_branches(
        coinbase in any::<[u8; 32]>(),
        branches in vec(any::<[u8; 32]>(), 0..20),
    ) {
        let fold = branches.iter().fold(coinbase, |left, right| sha256d(&[left, *right].concat()));
        prop_assert_eq!(merkle::root(coinbase, &branches).0, fold);
    }

    #[test]
    fn any_header_goes_there_and_back(bytes in vec(any::<u8>(), 80)) {
        let bytes: [u8; 80] = bytes.try_into().unwrap();
        let header = Header::from_bytes(&bytes);
        prop_assert_eq!(header.to_bytes(), bytes);
        prop_assert_eq!(header.hash().0, sha256d(&bytes));
        prop_assert_eq!(header.hash_from(&header.midstate()), header.hash());
    }

    #[test]
    fn geometry_choice_and_fit_agree(
        capacity in prop_oneof![0..300_usize, 0..70_000_usize],
        n2 in prop::option::of(prop_oneof![0..20_u8, 0..=u8::MAX]),
    ) {
        let size_is_good = n2.is_none_or(|n2| (3..=EXTRANONCE2_BYTES_MAX as u8).contains(&n2));
        match Geometry::choose(capacity, n2) {
            Ok(geometry) => {
                prop_assert!(size_is_good);
                let (p, d) = (geometry.miner_id_bytes(), geometry.roll_bytes());
                prop_assert!((1..=2).contains(&p) && (2..=4).contains(&d));
                prop_assert_eq!(p == 1, capacity <= 128 || n2 == Some(3));
                prop_assert_eq!(geometry.miner_ids(), 1 << (8 * p));
                if let Some(n2) = n2 {
                    prop_assert_eq!(geometry.fits(n2), Ok(n2 - p - d));
                }
                prop_assert_eq!(Geometry::new(p, d), Some(geometry));
            }
            Err(Incompatible { got, need }) => {
                prop_assert!(!size_is_good);
                prop_assert_eq!(Some(got), n2);
                prop_assert!(Geometry::choose(capacity, Some(need)).is_ok());
            }
        }
    }

    #[test]
    fn geometry_fits_exactly_what_has_room(p in 1..=2_u8, d in 2..=8_u8, n2 in 0..=u8::MAX) {
        let geometry = Geometry::new(p, d).unwrap();
        let has_room = n2 >= p + d && usize::from(n2) <= EXTRANONCE2_BYTES_MAX;
        prop_assert_eq!(geometry.fits(n2).is_ok(), has_room);
        let roll = vec![0; d.into()];
        let extranonce2 = Space { geometry, id: MinerId(0), turn: 0 }.extranonce2(n2, &roll);
        prop_assert_eq!(extranonce2.is_ok(), has_room);
    }

    #[test]
    fn no_two_shares_have_one_extranonce2(
        p in 1..=2_u8,
        d in 2..=8_u8,
        pad in 0..=6_u8,
        turn in any::<u32>(),
        shares in vec((any::<u16>(), any::<u64>()), 1..40),
    ) {
        let geometry = Geometry::new(p, d).unwrap();
        let n2 = p + d + pad;
        let mut pairs = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for (id, roll) in shares {
            let id = MinerId(if p == 1 { id & 0xff } else { id });
            let space = Space { geometry, id, turn };
            let roll = &roll.to_be_bytes()[8 - usize::from(d)..];
            let extranonce2 = space.extranonce2(n2, roll).unwrap();
            prop_assert_eq!(extranonce2.len(), usize::from(n2));
            prop_assert_eq!(extranonce2[0], space.extranonce1()[0], "every pad begins as the id");
            let (front, own) = extranonce2.split_at(usize::from(pad));
            let (pad, id) = (space.pad(n2).unwrap(), space.extranonce1());
            prop_assert_eq!(front, pad.as_slice());
            prop_assert_eq!(own, [id.as_slice(), roll].concat());
            pairs.insert((id, roll.to_vec()));
            seen.insert(extranonce2.to_vec());
        }
        prop_assert_eq!(seen.len(), pairs.len());
    }

    #[test]
    fn a_rolled_version_takes_each_bit_from_its_owner(
        version in any::<u32>(),
        mask in any::<u32>(),
        other in any::<u32>(),
        bits in any::<u32>(),
    ) {
        let mask = VersionMask(mask);
        let rolled = Version(version).roll(mask, bits);
        prop_assert_eq!(rolled.0 & mask.0, bits & mask.0);
        prop_assert_eq!(rolled.0 & !mask.0, version & !mask.0);
        prop_assert_eq!(mask.allows(bits), bits | mask.0 == mask.0);
        prop_assert_eq!(rolled.roll(mask, version), Version(version));
        let both = mask.intersect(VersionMask(other));
        prop_assert_eq!(both.allows(bits), mask.allows(bits) && VersionMask(other).allows(bits));
    }
}

/// Returns whether a double is a power of two.
fn is_power_of_two(number: f64) -> bool {
    let bits = number.to_bits();
    let stored = bits & ((1 << 52) - 1);
    if bits >> 52 == 0 { stored.is_power_of_two() } else { stored == 0 }
}
