//! Targets: a number of 256 bits that a hash must not exceed, and its short form in the header.
//!
//! A hash meets a target if it is **not above** it; equal counts. **It does not** turn difficulties
//! into targets: see [`Difficulty::to_target`].
//!
//! The short form (`nbits`) is a floating-point number of its own: the first byte counts the
//! target's bytes, the other three are the most significant ones. Its sign bit must be clear and
//! its value must not be zero or need more than 256 bits; Bitcoin's node refuses the same
//! (`arith_uint256::SetCompact`, `CheckProofOfWork`).
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::header::BlockHash;
//! use loka_stratum::work::target::{NBits, NBitsError, Target};
//!
//! let target = Target::from_nbits(NBits(0x1b04_04cb))?;
//! assert_eq!(
//!     target.to_string(),
//!     "00000000000404cb000000000000000000000000000000000000000000000000"
//! );
//! assert!(target.is_met_by(BlockHash(target.to_le_bytes())), "equal counts");
//! assert!(!target.is_met_by(BlockHash([0xff; 32])));
//!
//! let nbits = 0x1d00_0000;
//! assert_eq!(Target::from_nbits(NBits(nbits)), Err(NBitsError::Zero { nbits }));
//! # Ok::<(), NBitsError>(())
//! ```
//!
//! [`Difficulty::to_target`]: super::difficulty::Difficulty::to_target

use core::cmp::Ordering;
use core::fmt;

use super::difficulty::Difficulty;
use super::header::BlockHash;
use super::sha256d::DIGEST_BYTES;

/// 64-bit limbs of a 256-bit number.
pub(super) const LIMBS: usize = 4;

/// Bits of a target.
const TARGET_BITS: u32 = 256;

/// The bit of the short form that would make a target negative.
const NBITS_SIGN: u32 = 0x0080_0000;

/// The bits of the short form that hold the most significant bytes.
const NBITS_MANTISSA: u32 = 0x007f_ffff;

/// Bytes of the short form's mantissa.
const NBITS_MANTISSA_BYTES: u32 = 3;

/// The network's target in the header's short form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NBits(pub u32);

/// The highest hash that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Target {
    /// Least significant first.
    limbs: [u64; LIMBS],
}

/// Why an `nbits` is not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NBitsError {
    /// The sign bit is set.
    Negative {
        /// The `nbits` given.
        nbits: u32,
    },
    /// The target needs more than 256 bits.
    Overflow {
        /// The `nbits` given.
        nbits: u32,
    },
    /// The target is zero.
    Zero {
        /// The `nbits` given.
        nbits: u32,
    },
}

/// Why a text is not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TargetHexError {
    /// The text does not have 64 digits.
    Length {
        /// Bytes of the text.
        got: usize,
    },
    /// A byte is not a hex digit.
    Digit {
        /// The byte's position, from 0.
        at: usize,
    },
}

impl Target {
    /// The target that every hash meets.
    pub const MAX: Self = Self { limbs: [u64::MAX; LIMBS] };

    /// Expands a header's short form.
    ///
    /// # Errors
    ///
    /// [`NBitsError`] if the short form is negative, zero or above 256 bits.
    pub fn from_nbits(nbits: NBits) -> Result<Self, NBitsError> {
        let NBits(nbits) = nbits;
        let [size, ..] = nbits.to_be_bytes();
        let mantissa = u64::from(nbits & NBITS_MANTISSA);
        // A size below the mantissa's own drops the mantissa's low bytes.
        let missing = NBITS_MANTISSA_BYTES.saturating_sub(u32::from(size));
        let value = mantissa.wrapping_shr(missing.wrapping_mul(8));
        let shift = u32::from(size).saturating_sub(NBITS_MANTISSA_BYTES).wrapping_mul(8);
        if nbits & NBITS_SIGN != 0 {
            return Err(NBitsError::Negative { nbits });
        }
        if value == 0 {
            return Err(NBitsError::Zero { nbits });
        }
        let bits = shift.saturating_add(u64::BITS.saturating_sub(value.leading_zeros()));
        if bits > TARGET_BITS {
            return Err(NBitsError::Overflow { nbits });
        }
        Ok(Self { limbs: placed(value, shift) })
    }

    /// Returns the highest hash that has the `difficulty`; the same as
    /// [`Difficulty::to_target`].
    #[must_use]
    pub fn from_difficulty(difficulty: Difficulty) -> Self {
        difficulty.to_target()
    }

    /// Reads 64 hex digits, most significant first, as `mining.suggest_target` has them.
    ///
    /// # Errors
    ///
    /// [`TargetHexError`] if there are not exactly 64 of them.
    pub fn from_be_hex(hex: &[u8]) -> Result<Self, TargetHexError> {
        let (pairs, odd) = hex.as_chunks::<2>();
        if pairs.len() != DIGEST_BYTES || !odd.is_empty() {
            return Err(TargetHexError::Length { got: hex.len() });
        }
        if let Some(at) = hex.iter().position(|digit| !digit.is_ascii_hexdigit()) {
            return Err(TargetHexError::Digit { at });
        }
        let mut bytes = [0; DIGEST_BYTES];
        for (to, [high, low]) in bytes.iter_mut().rev().zip(pairs) {
            *to = (digit_value(*high) << 4) | digit_value(*low);
        }
        Ok(Self::from_le_bytes(bytes))
    }

    /// Reads 32 bytes, least significant first, the order of a [`BlockHash`].
    #[must_use]
    pub fn from_le_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self { limbs: limbs(&bytes) }
    }

    /// Returns the 32 bytes, least significant first.
    #[must_use]
    pub fn to_le_bytes(self) -> [u8; DIGEST_BYTES] {
        let mut bytes = [0; DIGEST_BYTES];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        for (to, limb) in chunks.iter_mut().zip(self.limbs) {
            *to = limb.to_le_bytes();
        }
        bytes
    }

    /// Tells whether `hash` is not above this target.
    #[must_use]
    pub fn is_met_by(&self, hash: BlockHash) -> bool {
        Self::from_le_bytes(hash.0) <= *self
    }

    pub(super) const fn from_limbs(limbs: [u64; LIMBS]) -> Self {
        Self { limbs }
    }

    pub(super) const fn limbs(self) -> [u64; LIMBS] {
        self.limbs
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Self) -> Ordering {
        self.limbs.iter().rev().cmp(other.limbs.iter().rev())
    }
}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Target {
    /// Writes 64 digits, most significant first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limbs.iter().rev().try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

impl fmt::Display for NBitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative { nbits } => write!(f, "nbits {nbits:08x} is negative"),
            Self::Overflow { nbits } => write!(f, "nbits {nbits:08x} needs more than 256 bits"),
            Self::Zero { nbits } => write!(f, "nbits {nbits:08x} is a target of zero"),
        }
    }
}

impl core::error::Error for NBitsError {}

impl fmt::Display for TargetHexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { got } => write!(f, "target has {got} digits, not 64"),
            Self::Digit { at } => write!(f, "target's digit {at} is not hexadecimal"),
        }
    }
}

impl core::error::Error for TargetHexError {}

/// Returns `value` shifted left by `shift` bits in a number of `N` limbs, least significant
/// first. Bits that leave the number are lost.
pub(super) fn placed<const N: usize>(value: u64, shift: u32) -> [u64; N] {
    let mut low = 0_u32; // the lowest bit of the limb
    core::array::from_fn(|_| {
        let limb = match low.checked_sub(shift) {
            Some(right) => value.checked_shr(right),
            None => value.checked_shl(shift.wrapping_sub(low)),
        };
        low = low.wrapping_add(u64::BITS);
        limb.unwrap_or(0)
    })
}

/// Reads a number of 256 bits, least significant byte first.
pub(super) fn limbs(bytes: &[u8; DIGEST_BYTES]) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    let (chunks, _) = bytes.as_chunks::<8>();
    for (to, chunk) in limbs.iter_mut().zip(chunks) {
        *to = u64::from_le_bytes(*chunk);
    }
    limbs
}

/// Returns the value of a hex digit that was checked to be one.
fn digit_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn order_is_that_of_the_numbers() {
        let small = Target::from_limbs([u64::MAX, u64::MAX, 0, 0]);
        let large = Target::from_limbs([0, 0, 1, 0]);
        assert!(small < large && large < Target::MAX);
    }

    #[test]
    fn hex_goes_there_and_back_in_either_case() {
        let hex = "00000000FFFF0000000000000000000000000000000000000000A11Ba9B99f9F";
        let target = Target::from_be_hex(hex.as_bytes()).unwrap();
        assert_eq!(target.to_string(), hex.to_lowercase());
        assert_eq!(Target::from_le_bytes(target.to_le_bytes()), target);
    }

    #[test]
    fn other_text_is_no_target() {
        let digits = "0".repeat(64);
        assert_eq!(Target::from_be_hex(b""), Err(TargetHexError::Length { got: 0 }));
        let long = format!("{digits}0");
        assert_eq!(Target::from_be_hex(long.as_bytes()), Err(TargetHexError::Length { got: 65 }));
        let wrong = format!("{}g", &digits[1..]);
        assert_eq!(Target::from_be_hex(wrong.as_bytes()), Err(TargetHexError::Digit { at: 63 }));
    }

    #[test]
    fn nbits_reach_the_last_bit_and_no_further() {
        let max = Target::from_nbits(NBits(0x2100_ffff)).unwrap();
        assert_eq!(max, Target::from_limbs([0, 0, 0, 0xffff << 48]));
        let nbits = 0x2101_0000;
        assert_eq!(Target::from_nbits(NBits(nbits)), Err(NBitsError::Overflow { nbits }));
        let low = Target::from_nbits(NBits(0x2200_00ff)).unwrap();
        assert_eq!(low, Target::from_limbs([0, 0, 0, 0xff << 56]));
    }
}
