//! A header's version and the bits of it that a miner may roll (BIP-0310, BIP-0320).
//!
//! A pool grants a mask. A share carries the miner's choice of the bits within it, and the header
//! is hashed with those bits over the job's version. **It does not** negotiate: the session handles
//! requests and grants.
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::version::{Version, VersionMask};
//!
//! let mask = VersionMask::BIP_0320.intersect(VersionMask(0x5fff_e000));
//! assert_eq!(mask, VersionMask(0x1fff_e000));
//! assert!(mask.allows(0x00b4_4000) && !mask.allows(0x0000_1000));
//! assert_eq!(Version(0x2000_0000).roll(mask, 0x00b4_4000), Version(0x20b4_4000));
//! ```

/// A block header's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version(pub u32);

/// The bits of a version that a miner may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VersionMask(pub u32);

impl Version {
    /// Returns the version that a share's `bits` give: the job's outside of `mask`, the miner's
    /// within it.
    ///
    /// Bits outside of the mask are dropped; whether they are an error is
    /// [`VersionMask::allows`].
    #[must_use]
    pub const fn roll(self, mask: VersionMask, bits: u32) -> Self {
        Self((self.0 & !mask.0) | (bits & mask.0))
    }
}

impl VersionMask {
    /// Every bit: the request of a miner that states no mask.
    pub const ALL: Self = Self(0xffff_ffff);

    /// No bit: version rolling was not granted.
    pub const NONE: Self = Self(0);

    /// The 16 bits that BIP-0320 sets aside.
    pub const BIP_0320: Self = Self(0x1fff_e000);

    /// Returns the bits that both masks have.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Tells whether a share's `bits` stay within the mask.
    pub const fn allows(self, bits: u32) -> bool {
        bits & !self.0 == 0
    }

    /// Returns the number of bits that may be rolled, to compare with `min-bit-count`.
    pub const fn bit_count(self) -> u32 {
        self.0.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mask_leaves_the_version_alone() {
        assert_eq!(Version(0x2000_0004).roll(VersionMask::NONE, u32::MAX), Version(0x2000_0004));
        assert!(VersionMask::NONE.allows(0));
        assert!(!VersionMask::NONE.allows(1));
    }

    #[test]
    fn rolling_clears_bits_as_well_as_it_sets_them() {
        let job = Version(0x3fff_e004);
        assert_eq!(job.roll(VersionMask::BIP_0320, 0), Version(0x2000_0004));
        assert_eq!(job.roll(VersionMask::ALL, 0), Version(0));
    }

    #[test]
    fn the_mask_of_bip_0320_has_16_bits() {
        assert_eq!(VersionMask::BIP_0320.bit_count(), 16);
        assert_eq!(VersionMask::ALL.bit_count(), 32);
    }
}
