//! A share's difficulty, and its exact conversion to a target and from a hash.
//!
//! Difficulty 1 is the target `0xffff * 2^208` (what cgminer, ckpool, ESP-Miner and most pools
//! mean by it; a few others divide `2^224 - 1`, which is 1.5e-5 more). A difficulty `D` is the
//! IEEE-754 double that the JSON number reads as, and
//!
//! ```text
//! target = floor(0xffff * 2^208 / D), at most 2^256 - 1
//! ```
//!
//! over the exact rational value of that double. Pool and gateway must agree to the last bit about
//! the highest valid hash, so the division is one of integers: the double's mantissa is a 53-bit
//! integer and its exponent a shift. The way back, from a hash to its difficulty, is rounded once,
//! to the nearest double.
//!
//! **It does not** choose difficulties; it only gives the power of two below one, for ASICs.
//! **Invariant:** a [`Difficulty`] is finite and above zero.
//!
//! Sources: the target rule and its 140 worked examples in `tests/vectors`; IEEE 754-2008.
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::difficulty::{Difficulty, DifficultyError};
//! use loka_stratum::work::header::BlockHash;
//!
//! let difficulty = Difficulty::new(931.1)?;
//! let target = difficulty.to_target();
//! assert_eq!(
//!     target.to_string(),
//!     "000000000046626e084da4e1bd645727b0c85df04c6298ceeb87e70f59fbc5f6"
//! );
//! assert_eq!(Difficulty::from_hash(BlockHash(target.to_le_bytes())), 931.1);
//! assert_eq!(difficulty.floor_power_of_two().as_f64(), 512.0);
//!
//! assert_eq!(Difficulty::new(0.0), Err(DifficultyError::NotPositive));
//! # Ok::<(), DifficultyError>(())
//! ```

use core::cmp::Ordering;
use core::fmt;

use super::header::BlockHash;
use super::target::{LIMBS, Target, limbs, placed};

/// The target of difficulty 1 is this, shifted left by [`ONE_SHIFT`].
const ONE_MANTISSA: u64 = 0xffff;

/// See [`ONE_MANTISSA`].
const ONE_SHIFT: u32 = 208;

/// Bits of the target of difficulty 1.
const ONE_BITS: i32 = 224;

/// Bits of a double's mantissa that are stored; one more is implied.
const MANTISSA_STORED_BITS: u32 = 52;

/// The implied bit of a double's mantissa.
const MANTISSA_IMPLIED: u64 = 1 << MANTISSA_STORED_BITS;

/// A double's exponent is stored with this added.
const EXPONENT_BIAS: i32 = 1023;

/// The exponent of a subnormal double's lowest bit.
const EXPONENT_MIN: i32 = -1074;

/// The largest shift that leaves the dividend of a target within five limbs.
const DIVIDEND_SHIFT_MAX: u32 = (LIMBS as u32 + 1) * u64::BITS - 16;

/// Bits of a quotient that are worked out before it is rounded to 53: one may be a leading zero,
/// one is for the rounding.
const QUOTIENT_BITS: u32 = 55;

/// Bits of that quotient behind its binary point.
const QUOTIENT_POINT: i32 = QUOTIENT_BITS as i32 - 1;

/// The difficulty of a share: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Difficulty(f64);

/// Why a number is not a difficulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DifficultyError {
    /// It is infinite or not a number.
    NotFinite,
    /// It is zero or below.
    NotPositive,
}

impl Difficulty {
    /// Difficulty 1.
    pub const ONE: Self = Self(1.0);

    /// Takes a finite number above zero.
    ///
    /// # Errors
    ///
    /// [`DifficultyError`] for every other number.
    pub const fn new(difficulty: f64) -> Result<Self, DifficultyError> {
        if !difficulty.is_finite() {
            Err(DifficultyError::NotFinite)
        } else if difficulty > 0.0 {
            Ok(Self(difficulty))
        } else {
            Err(DifficultyError::NotPositive)
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        self.0
    }

    /// Returns the highest hash that has this difficulty.
    ///
    /// It is [`Target::MAX`] if every hash has it (below about 2.4e-10), and zero if no hash but
    /// zero has it (above about 1.8e67).
    #[must_use]
    pub fn to_target(self) -> Target {
        let (mantissa, exponent) = parts(self.0);
        // 0xffff * 2^208 / (mantissa * 2^exponent) = 0xffff * 2^shift / mantissa
        let shift = (ONE_SHIFT as i32).saturating_sub(exponent);
        let Ok(shift) = u32::try_from(shift) else {
            // The difficulty is 2^261 at least, above the whole dividend.
            return Target::from_limbs([0; LIMBS]);
        };
        // A dividend of more than five limbs is above 2^320; no mantissa of 53 bits divides that
        // down to 256.
        if shift > DIVIDEND_SHIFT_MAX {
            return Target::MAX;
        }
        let mut quotient: [u64; LIMBS + 1] = placed(ONE_MANTISSA, shift);
        divide(&mut quotient, mantissa);
        let [low @ .., over] = quotient;
        if over == 0 { Target::from_limbs(low) } else { Target::MAX }
    }

    /// Returns the greatest power of two that is not above this difficulty; a fraction below 1.
    #[must_use]
    pub fn floor_power_of_two(self) -> Self {
        let bits = self.0.to_bits();
        let stored = bits & (MANTISSA_IMPLIED.wrapping_sub(1));
        let exponent = bits & !(MANTISSA_IMPLIED.wrapping_sub(1));
        if exponent == 0 {
            // Subnormal: the mantissa's highest bit is the power.
            return Self(f64::from_bits(1_u64.wrapping_shl(stored.checked_ilog2().unwrap_or(0))));
        }
        Self(f64::from_bits(exponent))
    }

    /// Returns the difficulty of `hash`: the double nearest to `0xffff * 2^208 / hash`.
    ///
    /// A hash of zero gives infinity, so the result is not a [`Difficulty`].
    #[must_use]
    pub fn from_hash(hash: BlockHash) -> f64 {
        nearest_ratio(limbs(&hash.0))
    }

    /// Returns the difficulty of the highest hash that meets `target`, or `None` if the
    /// target is zero.
    #[must_use]
    pub fn from_target(target: Target) -> Option<Self> {
        Self::new(nearest_ratio(target.limbs())).ok()
    }
}

impl Eq for Difficulty {}

impl Ord for Difficulty {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Difficulty {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<f64> for Difficulty {
    type Error = DifficultyError;

    fn try_from(difficulty: f64) -> Result<Self, DifficultyError> {
        Self::new(difficulty)
    }
}

impl fmt::Display for Difficulty {
    /// Writes the shortest text that reads as this double; a whole number without a point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for DifficultyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "difficulty is not a finite number",
            Self::NotPositive => "difficulty is not above zero",
        })
    }
}

impl core::error::Error for DifficultyError {}

/// Splits a finite double above zero into `mantissa * 2^exponent`, the mantissa below 2^53.
fn parts(number: f64) -> (u64, i32) {
    let bits = number.to_bits();
    let stored = bits & MANTISSA_IMPLIED.wrapping_sub(1);
    let exponent = (bits >> MANTISSA_STORED_BITS) as i32; // 11 bits, the sign is clear
    match exponent.checked_sub(1) {
        Some(above) if above >= 0 => {
            (stored | MANTISSA_IMPLIED, EXPONENT_MIN.saturating_add(above))
        }
        _ => (stored, EXPONENT_MIN),
    }
}

/// Divides a number, least significant limb first, by a `divisor` below 2^63; the remainder is
/// dropped.
fn divide(number: &mut [u64], divisor: u64) {
    let divisor = u128::from(divisor.max(1));
    let mut rest = 0_u128;
    for limb in number.iter_mut().rev() {
        let part = (rest << u64::BITS) | u128::from(*limb);
        // The rest is below the divisor, so the quotient fits a limb.
        *limb = part.checked_div(divisor).unwrap_or(0) as u64;
        rest = part.checked_rem(divisor).unwrap_or(0);
    }
}

/// Returns the double nearest to `0xffff * 2^208 / number`, infinity for zero.
///
/// Both numbers are first shifted until bit 255 is their highest. The dividend starts one bit
/// below, since each step begins by doubling it. The quotient then lies between 1/2 and 2 and is
/// computed bit by bit.
fn nearest_ratio(number: [u64; LIMBS]) -> f64 {
    let Some(zeros) = leading_zeros(number) else { return f64::INFINITY };
    let divisor = shifted_left(number, zeros);
    let mut rest: [u64; LIMBS] = placed(ONE_MANTISSA, ONE_SHIFT.wrapping_add(31));
    let mut quotient = 0_u64;
    for _ in 0..QUOTIENT_BITS {
        let (double, carry) = doubled(rest);
        let (less, borrow) = subtract(double, divisor);
        let fits = carry || !borrow;
        quotient = (quotient << 1) | u64::from(fits);
        rest = if fits { less } else { double };
    }
    // quotient * 2^scale = 0xffff * 2^208 / number, but for the bits not worked out
    let number_bits = 256_i32.wrapping_sub(zeros as i32);
    let scale = ONE_BITS.wrapping_sub(number_bits).wrapping_sub(QUOTIENT_POINT);
    rounded(quotient, scale)
}

/// Returns the double nearest to `quotient * 2^scale`, or to a little more, of which the quotient
/// is the beginning.
///
/// The quotient has 54 or 55 bits and the result is a normal double. There are no ties: a
/// quotient that ends divides `0xffff * 2^208`, so it has 16 significant bits at most. One that
/// looks like a tie here therefore goes on, and rounds up.
fn rounded(quotient: u64, scale: i32) -> f64 {
    let bits = u64::BITS.wrapping_sub(quotient.leading_zeros());
    let dropped = bits.saturating_sub(MANTISSA_STORED_BITS + 1);
    let kept = quotient.wrapping_shr(dropped);
    let half = 1_u64.wrapping_shl(dropped) >> 1;
    let round_up = quotient & half != 0;
    let exponent = scale.wrapping_add(bits as i32).wrapping_add(EXPONENT_BIAS - 1) as u64;
    // The implied bit is not stored; a mantissa that rounds up to 2^53 carries into the exponent.
    let stored = kept.wrapping_sub(MANTISSA_IMPLIED).wrapping_add(u64::from(round_up));
    f64::from_bits((exponent << MANTISSA_STORED_BITS).wrapping_add(stored))
}

/// Returns how many zero bits a number of 256 bits starts with, or `None` if it is zero.
fn leading_zeros(number: [u64; LIMBS]) -> Option<u32> {
    let whole = number.iter().rev().take_while(|limb| **limb == 0).count() as u32;
    let first = number.iter().rev().find(|limb| **limb != 0)?;
    Some(whole.wrapping_mul(u64::BITS).wrapping_add(first.leading_zeros()))
}

/// Returns `number * 2^shift`, where `shift` is below 256 and no set bit leaves the number.
fn shifted_left(number: [u64; LIMBS], shift: u32) -> [u64; LIMBS] {
    let mut low = shift;
    number.iter().fold([0; LIMBS], |mut sum, limb| {
        let placed: [u64; LIMBS] = placed(*limb, low);
        sum.iter_mut().zip(placed).for_each(|(to, from)| *to |= from);
        low = low.wrapping_add(u64::BITS);
        sum
    })
}

/// Returns `left - right` and whether that went below zero.
fn subtract(left: [u64; LIMBS], right: [u64; LIMBS]) -> ([u64; LIMBS], bool) {
    let mut borrow = false;
    let mut difference = left;
    for (limb, right) in difference.iter_mut().zip(right) {
        let (less, below) = limb.overflowing_sub(right);
        let (less, below_too) = less.overflowing_sub(u64::from(borrow));
        *limb = less;
        borrow = below || below_too;
    }
    (difference, borrow)
}

/// Returns `2 * number` and the bit that left it.
fn doubled(number: [u64; LIMBS]) -> ([u64; LIMBS], bool) {
    let mut carry = 0;
    let mut double = number;
    for limb in &mut double {
        let next = *limb >> (u64::BITS - 1);
        *limb = (*limb << 1) | carry;
        carry = next;
    }
    (double, carry == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn target_of(difficulty: f64) -> std::string::String {
        Difficulty::new(difficulty).unwrap().to_target().to_string()
    }

    fn power_below(difficulty: f64) -> f64 {
        Difficulty::new(difficulty).unwrap().floor_power_of_two().as_f64()
    }

    #[test]
    fn what_is_no_difficulty_is_refused() {
        for number in [0.0, -0.0, -1.0, f64::MIN] {
            assert_eq!(Difficulty::new(number), Err(DifficultyError::NotPositive));
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Difficulty::new(number), Err(DifficultyError::NotFinite));
        }
    }

    #[test]
    fn targets_at_the_ends_of_the_doubles() {
        assert_eq!(target_of(f64::MAX), "0".repeat(64));
        assert_eq!(target_of(f64::MIN_POSITIVE), "f".repeat(64));
        assert_eq!(target_of(f64::from_bits(1)), "f".repeat(64));
    }

    #[test]
    fn the_last_difficulty_with_a_target_and_the_first_without() {
        let last = 65535.0 * 2_f64.powi(208);
        assert!(target_of(last).ends_with("01"));
        assert_eq!(target_of(last * (1.0 + f64::EPSILON)), "0".repeat(64));
    }

    #[test]
    fn the_clamp_begins_where_the_target_would_need_257_bits() {
        let first_clamped = 65535.0 / 2_f64.powi(48);
        assert_eq!(target_of(first_clamped), "f".repeat(64));
        assert_ne!(target_of(first_clamped * (1.0 + f64::EPSILON)), "f".repeat(64));
    }

    #[test]
    fn powers_of_two_are_their_own_floor() {
        for exponent in -1022..1024 {
            let power = 2_f64.powi(exponent);
            assert_eq!(power_below(power), power);
            assert_eq!(power_below(power * 1.999), power);
        }
        assert_eq!(power_below(f64::from_bits(0b1011)), f64::from_bits(0b1000));
    }

    #[test]
    fn a_hash_of_zero_is_infinitely_hard() {
        assert_eq!(Difficulty::from_hash(BlockHash([0; 32])), f64::INFINITY);
        assert_eq!(Difficulty::from_target(Target::from_le_bytes([0; 32])), None);
    }

    #[test]
    fn ratios_of_powers_of_two_are_exact() {
        for bit in 0..256_u32 {
            let hash = Target::from_limbs(placed(1, bit));
            let want = 65535.0 * 2_f64.powi(208 - bit as i32);
            assert_eq!(Difficulty::from_hash(BlockHash(hash.to_le_bytes())), want);
        }
    }

    #[test]
    fn ratios_below_a_power_of_two_keep_53_bits() {
        // Their first 16 bits are ones, the only hashes whose quotient starts with a zero.
        assert_eq!(
            Difficulty::from_target(Target::MAX).unwrap().as_f64(),
            65535.0 / 2_f64.powi(48)
        );
        let hash = Target::from_limbs([0, 0, 0, 0xffff_8000_0000_0000]);
        let ratio = Difficulty::from_hash(BlockHash(hash.to_le_bytes()));
        assert_eq!(ratio, 65535.0 / 65535.5 / 2_f64.powi(32));
    }

    #[test]
    fn a_borrow_goes_through_equal_limbs() {
        assert_eq!(
            subtract([0, 5, 0, 1], [1, 5, 0, 0]),
            ([u64::MAX, u64::MAX, u64::MAX, 0], false)
        );
        assert_eq!(subtract([0, 5, 0, 1], [1, 5, 0, 1]), ([u64::MAX; 4], true));
        assert_eq!(subtract([7; 4], [7; 4]), ([0; 4], false));
    }

    #[test]
    fn rounding_looks_at_the_first_bit_that_is_dropped() {
        let low = 1 << 54;
        assert_eq!(rounded(low | 0b001, 0), 2_f64.powi(54));
        assert_eq!(rounded(low | 0b010, 0), 2_f64.powi(54) + 4.0);
        assert_eq!(rounded(low | 0b101, 0), 2_f64.powi(54) + 4.0);
        assert_eq!(rounded((1 << 55) - 1, 0), 2_f64.powi(55), "carries into the exponent");
    }
}
