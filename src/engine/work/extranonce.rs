//! How the gateway divides a pool's extranonce2 among its miners.
//!
//! A pool gives one connection a search space of `n2` bytes. The gateway takes `P` of them to
//! number its miners and leaves `D` to each miner to roll. The rest is the pad, which the miner
//! sees as the end of `coinb1`:
//!
//! ```text
//! coinb1 ‖ E1 ‖ pad (n2 - P - D) │ miner id (P) │ roll (D) │ coinb2
//!          ▲    └──────── the pool's extranonce2 ────────┘
//!          the pool's extranonce1       ▲          ▲
//!               the miner's extranonce1 ┘          └ the miner's extranonce2
//! ```
//!
//! So a miner's extranonce1 never changes when the pool, its E1 or its `n2` does. Miners that
//! joined at different times may have different `P` and `D` on one link. A [`Space`] is a miner's
//! part of every pool. **It does not** hand out ids: [`crate::table::IdPool`] ensures that live
//! miners' ids differ, and that an id's first byte belongs to one geometry at a time.
//!
//! The pad begins with the first byte of the miner id and ends with the *turn*: how often the ids
//! had wrapped when this one was given out. So the first byte of an extranonce2 is the id's, with
//! any pad or none. An id that is given out again gets another part of the space.
//!
//! **Invariants.** A [`Geometry`] has `1 <= P <= 2` and `2 <= D <= 8`. Two spaces of one geometry
//! with different ids never give the same extranonce2. Nor do two of different geometries whose ids
//! begin with different bytes.
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::extranonce::{Geometry, Incompatible, MinerId, Space};
//!
//! let geometry = Geometry::choose(1000, Some(8))?;
//! assert_eq!((geometry.miner_id_bytes(), geometry.roll_bytes()), (2, 4));
//! assert_eq!(geometry.fits(8), Ok(2), "two bytes are over");
//! assert_eq!(geometry.fits(4), Err(Incompatible { got: 4, need: 6 }));
//!
//! let space = Space { geometry, id: MinerId(0x0102), turn: 3 };
//! assert_eq!(space.extranonce1(), [1, 2]);
//! assert_eq!(space.pad(8)?, [1, 3]);
//! let roll = [0xa, 0xb, 0xc, 0xd];
//! let extranonce2 = space.extranonce2(8, &roll).unwrap();
//! assert_eq!(extranonce2, [1, 3, 1, 2, 0xa, 0xb, 0xc, 0xd]);
//! # Ok::<(), Incompatible>(())
//! ```

use core::fmt;

use heapless::Vec;

use crate::limits::{
    EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX, EXTRANONCE2_BYTES_MIN, MINER_ID_BYTES_MAX,
    ROLL_BYTES_MAX, ROLL_BYTES_MIN, ROLL_BYTES_PREFERRED, ROLL_BYTES_SHORT, SMALL_TABLE_MINERS_MAX,
};

/// The extranonce1 that a pool gave a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extranonce1(Vec<u8, EXTRANONCE1_BYTES_MAX>);

/// The number of a miner, its share of the pool's search space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MinerId(pub u16);

/// Bytes of an extranonce2 for the miner id, and bytes for each miner's roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    miner_id_bytes: u8,
    roll_bytes: u8,
}

/// The part of every pool's extranonce2 that one miner has to itself, for as long as it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Space {
    /// How many bytes number the miner and how many it rolls.
    pub geometry: Geometry,
    /// Its number.
    pub id: MinerId,
    /// The number of wraps of the ids when it got this one.
    pub turn: u32,
}

/// A pool's extranonce1 is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Extranonce1TooLong {
    /// Its length in bytes.
    pub got: usize,
    /// The longest that is accepted, in bytes.
    pub limit: usize,
}

/// A pool's extranonce2 has an unusable size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Incompatible {
    /// The pool's size in bytes.
    pub got: u8,
    /// The nearest usable size in bytes: above `got` if the pool gives too little, below `got` if
    /// it gives too much.
    pub need: u8,
}

/// Why a miner's bytes do not fit a pool's extranonce2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Extranonce2Error {
    /// The geometry does not fit the pool's size.
    Incompatible(Incompatible),
    /// The miner's roll has a wrong length.
    Roll {
        /// Bytes that the miner sent.
        got: usize,
        /// Bytes that it was told to roll.
        need: u8,
    },
    /// The miner's number needs more bytes than the geometry has for it.
    MinerId {
        /// The number.
        got: u16,
        /// The highest number there is.
        limit: u16,
    },
}

impl Extranonce1 {
    /// Takes a pool's extranonce1; some pools give an empty one.
    ///
    /// # Errors
    ///
    /// [`Extranonce1TooLong`] above [`EXTRANONCE1_BYTES_MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self, Extranonce1TooLong> {
        Vec::from_slice(bytes)
            .map(Self)
            .map_err(|_| Extranonce1TooLong { got: bytes.len(), limit: EXTRANONCE1_BYTES_MAX })
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Geometry {
    /// The smallest geometry, which fits every usable pool.
    pub const ANY: Self = Self { miner_id_bytes: 1, roll_bytes: ROLL_BYTES_MIN };

    /// Takes a geometry chosen earlier, or `None` if it is invalid.
    #[must_use]
    pub fn new(miner_id_bytes: u8, roll_bytes: u8) -> Option<Self> {
        let is_geometry = (1..=MINER_ID_BYTES_MAX).contains(&miner_id_bytes)
            && (ROLL_BYTES_MIN..=ROLL_BYTES_MAX).contains(&roll_bytes);
        is_geometry.then_some(Self { miner_id_bytes, roll_bytes })
    }

    /// Chooses a geometry for a table of `capacity` miners and pools whose smallest extranonce2
    /// has `n2` bytes; `None` if no pool has answered yet.
    ///
    /// | capacity | n2 | P | D |
    /// | --- | --- | --- | --- |
    /// | any | 3 | 1 | 2 |
    /// | up to 128 | 4, 5, 6 and more, unknown | 1 | 2, 3, 4, 2 |
    /// | above 128 | 4, 5, 6 and more, unknown | 2 | 2, 3, 4, 2 |
    ///
    /// If a table has more miners than `P` bytes have ids, the table refuses the rest or opens
    /// further links: see [`miner_ids`](Self::miner_ids).
    ///
    /// # Errors
    ///
    /// [`Incompatible`] if `n2` is below 3 or above
    /// [`EXTRANONCE2_BYTES_MAX`].
    pub fn choose(capacity: usize, n2: Option<u8>) -> Result<Self, Incompatible> {
        let is_small = capacity <= SMALL_TABLE_MINERS_MAX;
        let miner_id_bytes =
            if is_small || n2 == Some(EXTRANONCE2_BYTES_MIN) { 1 } else { MINER_ID_BYTES_MAX };
        let roll_bytes = match n2 {
            None => ROLL_BYTES_SHORT,
            Some(n2) => {
                n2.saturating_sub(MINER_ID_BYTES_MAX).clamp(ROLL_BYTES_SHORT, ROLL_BYTES_PREFERRED)
            }
        };
        let geometry = Self { miner_id_bytes, roll_bytes };
        match n2 {
            Some(got) if got < EXTRANONCE2_BYTES_MIN => {
                Err(Incompatible { got, need: EXTRANONCE2_BYTES_MIN })
            }
            Some(n2) => geometry.fits(n2).map(|_| geometry),
            None => Ok(geometry),
        }
    }

    /// Returns how many bytes number a miner, `P`.
    #[must_use]
    pub const fn miner_id_bytes(self) -> u8 {
        self.miner_id_bytes
    }

    /// Returns how many bytes a miner rolls, `D`: its `extranonce2_size`.
    #[must_use]
    pub const fn roll_bytes(self) -> u8 {
        self.roll_bytes
    }

    /// Returns the number of miner ids.
    #[must_use]
    pub const fn miner_ids(self) -> u32 {
        1_u32.wrapping_shl(u8::BITS.wrapping_mul(self.miner_id_bytes as u32))
    }

    /// Returns the length of the pad for a pool's extranonce2 of `n2` bytes.
    ///
    /// # Errors
    ///
    /// [`Incompatible`] if `n2` is too small, or above [`EXTRANONCE2_BYTES_MAX`].
    pub fn fits(self, n2: u8) -> Result<u8, Incompatible> {
        let need = self.miner_id_bytes.saturating_add(self.roll_bytes);
        if usize::from(n2) > EXTRANONCE2_BYTES_MAX {
            return Err(Incompatible { got: n2, need: EXTRANONCE2_BYTES_MAX as u8 });
        }
        n2.checked_sub(need).ok_or(Incompatible { got: n2, need })
    }

    /// Returns how many bytes a pool's extranonce2 must have, `P + D`.
    #[must_use]
    pub const fn need(self) -> u8 {
        self.miner_id_bytes.saturating_add(self.roll_bytes)
    }
}

impl Space {
    /// Returns the miner's extranonce1.
    ///
    /// For an id that the geometry does not have, these are the low bytes.
    #[must_use]
    pub fn extranonce1(self) -> Vec<u8, { MINER_ID_BYTES_MAX as usize }> {
        let [high, low] = self.id.0.to_be_bytes();
        let bytes = match self.geometry.miner_id_bytes {
            1 => Vec::from_slice(&[low]),
            _ => Vec::from_slice(&[high, low]),
        };
        bytes.unwrap_or_default()
    }

    /// Returns the pad between the extranonce1 of a pool and the miner's, for an extranonce2 of
    /// `n2` bytes. It holds the first byte of the id, and the turn in the remaining bytes.
    ///
    /// # Errors
    ///
    /// [`Incompatible`] if the geometry does not fit `n2`.
    pub fn pad(self, n2: u8) -> Result<Vec<u8, EXTRANONCE2_BYTES_MAX>, Incompatible> {
        let len = usize::from(self.geometry.fits(n2)?);
        let turn = self.turn.to_be_bytes();
        let first = self.extranonce1().first().copied();
        let room = len.saturating_sub(1);
        let zeros = core::iter::repeat_n(0, room.saturating_sub(turn.len()));
        let skipped = turn.len().saturating_sub(room);
        let rest = zeros.chain(turn.into_iter().skip(skipped));
        // At most `n2`, which `fits` held against the Vec's length.
        Ok(first.into_iter().chain(rest).take(len).collect())
    }

    /// Says whether a pad has room for the turn, so that a reused id gets a new space.
    #[must_use]
    pub fn shows_turn(self, n2: u8) -> bool {
        self.geometry.fits(n2).is_ok_and(|pad| pad > 1)
    }

    /// Returns the extranonce2 that the pool gets for a share with `roll`.
    ///
    /// # Errors
    ///
    /// [`Extranonce2Error`] if the geometry does not fit `n2`, `roll` does not have `D` bytes, or
    /// the id needs more than `P`.
    pub fn extranonce2(
        self,
        n2: u8,
        roll: &[u8],
    ) -> Result<Vec<u8, EXTRANONCE2_BYTES_MAX>, Extranonce2Error> {
        let mut whole = self.pad(n2).map_err(Extranonce2Error::Incompatible)?;
        if roll.len() != usize::from(self.geometry.roll_bytes) {
            let need = self.geometry.roll_bytes;
            return Err(Extranonce2Error::Roll { got: roll.len(), need });
        }
        let limit = u16::try_from(self.geometry.miner_ids().saturating_sub(1)).unwrap_or(u16::MAX);
        if self.id.0 > limit {
            return Err(Extranonce2Error::MinerId { got: self.id.0, limit });
        }
        // There is room: pad, id and roll together have `n2` bytes.
        let _ = whole.extend_from_slice(&self.extranonce1());
        let _ = whole.extend_from_slice(roll);
        Ok(whole)
    }
}

impl fmt::Display for Extranonce1TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { got, limit } = self;
        write!(f, "the pool's extranonce1 has {got} bytes, allowed {limit}")
    }
}

impl core::error::Error for Extranonce1TooLong {}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { got, need } = self;
        let bound = if got < need { "at least" } else { "at most" };
        write!(f, "the pool's extranonce2 has {got} bytes, {bound} {need} are needed")
    }
}

impl core::error::Error for Incompatible {}

impl fmt::Display for Extranonce2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incompatible(incompatible) => incompatible.fmt(f),
            Self::Roll { got, need } => {
                write!(f, "extranonce2 has {got} bytes, need {need}")
            }
            Self::MinerId { got, limit } => write!(f, "miner id {got} is above {limit}"),
        }
    }
}

impl core::error::Error for Extranonce2Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_choice(capacity: usize, n2: Option<u8>, miner_id_bytes: u8, roll_bytes: u8) {
        let geometry = Geometry::choose(capacity, n2);
        assert_eq!(geometry, Ok(Geometry { miner_id_bytes, roll_bytes }));
    }

    #[test]
    fn small_tables_number_their_miners_by_one_byte() {
        check_choice(1, Some(8), 1, 4);
        check_choice(128, Some(8), 1, 4);
        check_choice(129, Some(8), 2, 4);
        check_choice(128, None, 1, 2);
        check_choice(10_000, None, 2, 2);
    }

    #[test]
    fn short_extranonces_shorten_the_roll() {
        check_choice(1000, Some(3), 1, 2);
        check_choice(1000, Some(4), 2, 2);
        check_choice(1000, Some(5), 2, 3);
        check_choice(1000, Some(6), 2, 4);
        check_choice(100, Some(3), 1, 2);
        check_choice(100, Some(4), 1, 2);
        check_choice(100, Some(5), 1, 3);
        check_choice(100, Some(6), 1, 4);
        check_choice(1000, Some(16), 2, 4);
    }

    #[test]
    fn sizes_that_cannot_be_divided_are_refused() {
        assert_eq!(Geometry::choose(1, Some(2)), Err(Incompatible { got: 2, need: 3 }));
        assert_eq!(Geometry::choose(1, Some(0)), Err(Incompatible { got: 0, need: 3 }));
        assert_eq!(Geometry::choose(1, Some(17)), Err(Incompatible { got: 17, need: 16 }));
        assert_eq!(Geometry::new(0, 4), None);
        assert_eq!(Geometry::new(3, 4), None);
        assert_eq!(Geometry::new(2, 1), None);
        assert_eq!(Geometry::new(2, 9), None);
    }

    #[test]
    fn every_choice_fits_what_it_was_chosen_for() {
        for capacity in [1, 128, 129, 65_536] {
            for n2 in EXTRANONCE2_BYTES_MIN..=EXTRANONCE2_BYTES_MAX as u8 {
                let geometry = Geometry::choose(capacity, Some(n2)).unwrap();
                let pad = geometry.fits(n2).unwrap();
                assert_eq!(pad + geometry.miner_id_bytes() + geometry.roll_bytes(), n2);
                let chosen = Geometry::new(geometry.miner_id_bytes(), geometry.roll_bytes());
                assert_eq!(chosen, Some(geometry));
            }
        }
    }

    fn space(miner_id_bytes: u8, roll_bytes: u8, id: u16, turn: u32) -> Space {
        let geometry = Geometry::new(miner_id_bytes, roll_bytes).unwrap();
        Space { geometry, id: MinerId(id), turn }
    }

    #[test]
    fn bytes_that_do_not_belong_are_refused() {
        let got = space(1, 2, 256, 0).extranonce2(4, &[0; 2]);
        assert_eq!(got, Err(Extranonce2Error::MinerId { got: 256, limit: 255 }));
        let got = space(1, 2, 255, 0).extranonce2(4, &[0; 3]);
        assert_eq!(got, Err(Extranonce2Error::Roll { got: 3, need: 2 }));
        let got = space(1, 2, 255, 0).extranonce2(2, &[0; 2]);
        let incompatible = Incompatible { got: 2, need: 3 };
        assert_eq!(got, Err(Extranonce2Error::Incompatible(incompatible)));
    }

    #[test]
    fn f88_the_pad_is_the_first_byte_of_the_id_and_the_turn() {
        let pad = |n2, turn| space(2, 4, 0x0a0b, turn).pad(n2).unwrap();
        assert!(pad(6, 7).is_empty());
        assert_eq!(pad(7, 7), [0x0a]);
        assert_eq!(pad(8, 0x0107), [0x0a, 7]);
        assert_eq!(pad(9, 0x0107), [0x0a, 1, 7]);
        assert_eq!(pad(13, 0x0102_0304), [0x0a, 0, 0, 1, 2, 3, 4]);
        assert_eq!(space(1, 2, 0xc0, 9).pad(5).unwrap(), [0xc0, 9]);
    }

    #[test]
    fn the_longest_extranonce2_holds_everything() {
        let whole = space(2, 8, 0xfffe, 1).extranonce2(16, &[9; 8]).unwrap();
        assert_eq!(whole, [0xff, 0, 0, 0, 0, 1, 0xff, 0xfe, 9, 9, 9, 9, 9, 9, 9, 9]);
    }

    #[test]
    fn extranonce1_of_a_pool_is_bounded() {
        assert_eq!(Extranonce1::new(&[]).unwrap().as_bytes(), b"");
        assert_eq!(Extranonce1::new(&[7; 32]).unwrap().as_bytes(), [7; 32]);
        assert_eq!(Extranonce1::new(&[7; 33]), Err(Extranonce1TooLong { got: 33, limit: 32 }));
    }
}
