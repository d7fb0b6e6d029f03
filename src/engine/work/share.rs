//! The share check: from a submit's fields to a verdict, bit-exactly.
//!
//! The checks run in the order of `rejects.json`: field shapes, version bits, ntime. Then the
//! header is built and hashed once, and the hash decides duplicate, difficulty, pool, block. An
//! [`AcceptedShare`] can be made only here, and only it can be forwarded (M4).
//!
//! Duplicates are equal headers, from any sender and in any spelling; [`crate::seen`] knows the
//! accepted ones.

use crate::ledger::Reject;
use crate::limits::{EXTRANONCE2_BYTES_MAX, NTIME_AHEAD_SECS_MAX, ROLL_BYTES_MAX};
use crate::wire::client::Submit;
use crate::wire::hex;
use crate::work::extranonce::Space;
use crate::work::header::{BlockHash, Header, NTime, Nonce};
use crate::work::job::Job;
use crate::work::merkle;
use crate::work::target::Target;
use crate::work::version::{Version, VersionMask};

/// A miner's solution: the fields of a submit as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    extranonce2: [u8; EXTRANONCE2_BYTES_MAX],
    extranonce2_len: u8,
    /// The time in the header.
    pub ntime: NTime,
    /// The nonce in the header.
    pub nonce: Nonce,
    /// The rolled version bits; `None` if the submit had no sixth parameter.
    pub version_bits: Option<u32>,
}

impl Share {
    /// Reads the hex fields of a submit of the miner that has `space`, for a job of a pool whose
    /// extranonce2 has `n2` bytes.
    ///
    /// # Errors
    ///
    /// [`Reject::Malformed`] if a field is not strict hex of its exact length.
    pub fn decode(submit: &Submit<'_>, space: Space, n2: u8) -> Result<Self, Reject> {
        let field = |text: &[u8]| hex::u32_be(text).map_err(|_| Reject::Malformed);
        let ntime = NTime(field(submit.ntime.as_bytes())?);
        let nonce = Nonce(field(submit.nonce.as_bytes())?);
        let version_bits = match submit.version_bits {
            Some(bits) => Some(field(bits.as_bytes())?),
            None => None,
        };
        let mut roll = [0; ROLL_BYTES_MAX as usize];
        let roll =
            hex::decode(submit.extranonce2.as_bytes(), &mut roll).map_err(|_| Reject::Malformed)?;
        let whole = space.extranonce2(n2, roll).map_err(|_| Reject::Malformed)?;
        let mut extranonce2 = [0; EXTRANONCE2_BYTES_MAX];
        let place = extranonce2.get_mut(..whole.len()).ok_or(Reject::Malformed)?;
        place.copy_from_slice(&whole);
        let extranonce2_len = u8::try_from(whole.len()).map_err(|_| Reject::Malformed)?;
        Ok(Self { extranonce2, extranonce2_len, ntime, nonce, version_bits })
    }

    /// Returns the whole extranonce2, as the pool is told it.
    pub fn extranonce2(&self) -> &[u8] {
        self.extranonce2.get(..usize::from(self.extranonce2_len)).unwrap_or(&[])
    }

    /// Builds the header that the miner hashed.
    ///
    /// # Errors
    ///
    /// [`Reject::VersionBits`] for bits outside `mask`, [`Reject::NTime`] for a time below the
    /// job's or more than [`NTIME_AHEAD_SECS_MAX`] above it.
    pub fn header(&self, job: &Job, coinb2: &[u8], mask: VersionMask) -> Result<Header, Reject> {
        let bits = self.version_bits.unwrap_or(0);
        if !mask.allows(bits) {
            return Err(Reject::VersionBits);
        }
        match self.ntime.0.checked_sub(job.ntime.0) {
            Some(ahead) if ahead <= NTIME_AHEAD_SECS_MAX => {}
            _ => return Err(Reject::NTime),
        }
        // Bits that were not sent are the job's own; sent ones replace the mask's (BIP-0310).
        let version = match self.version_bits {
            Some(bits) => job.version.roll(mask, bits),
            None => job.version,
        };
        let coinbase = job.prefix.hash_with(self.extranonce2(), coinb2);
        Ok(Header {
            version,
            prev_hash: job.prev_hash,
            merkle_root: merkle::root(coinbase, &job.branches),
            ntime: self.ntime,
            nbits: job.nbits,
            nonce: self.nonce,
        })
    }

    /// Judges the share against `target`, the one of the difficulty that the job was sent with;
    /// `is_known` says whether a hash was accepted before.
    ///
    /// # Errors
    ///
    /// The [`Reject`] that the first failing check gives.
    pub fn judge(
        &self,
        job: &Job,
        coinb2: &[u8],
        mask: VersionMask,
        target: &Target,
        is_known: impl Fn(&BlockHash) -> bool,
    ) -> Result<AcceptedShare, Reject> {
        let header = self.header(job, coinb2, mask)?;
        let hash = header.hash();
        if is_known(&hash) {
            return Err(Reject::Duplicate);
        }
        let is_block = job.network_target.is_met_by(hash);
        let reaches_pool = is_block || job.target.is_met_by(hash);
        if !reaches_pool && !target.is_met_by(hash) {
            return Err(Reject::LowDifficulty);
        }
        Ok(AcceptedShare {
            extranonce2: self.extranonce2,
            extranonce2_len: self.extranonce2_len,
            ntime: self.ntime,
            nonce: self.nonce,
            hash,
            version: header.version,
            reaches_pool,
            is_block,
        })
    }
}

/// A share that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedShare {
    extranonce2: [u8; EXTRANONCE2_BYTES_MAX],
    extranonce2_len: u8,
    ntime: NTime,
    nonce: Nonce,
    hash: BlockHash,
    version: Version,
    reaches_pool: bool,
    is_block: bool,
}

impl AcceptedShare {
    /// Returns the whole extranonce2, as the pool is told it.
    pub fn extranonce2(&self) -> &[u8] {
        self.extranonce2.get(..usize::from(self.extranonce2_len)).unwrap_or(&[])
    }

    /// Returns the time in the header.
    pub fn ntime(&self) -> NTime {
        self.ntime
    }

    /// Returns the nonce in the header.
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Returns the hash of the header.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// Returns the version bits for the pool; `None` if it allows none to be rolled. They cover its
    /// whole mask, even if the miner rolls fewer bits, since the pool takes all of them from here.
    ///
    /// `mask` is the pool's present mask. If it excludes bits that the miner rolled, the job's own
    /// mask is used with these bits added. A pool that keeps a job's mask accepts that, and other
    /// pools would accept no bits at all.
    pub fn pool_bits(&self, job: &Job, mask: VersionMask) -> Option<u32> {
        let rolled = self.version.0 ^ job.version.0;
        let mask = if mask.allows(rolled) { mask.0 } else { job.mask.0 | rolled };
        (mask != 0).then_some(self.version.0 & mask)
    }

    /// Says whether a pool that allows `mask` now, or allowed the job's own, takes what was rolled.
    pub fn is_allowed(&self, job: &Job, mask: VersionMask) -> bool {
        let rolled = self.version.0 ^ job.version.0;
        mask.allows(rolled) || job.mask.allows(rolled)
    }

    /// Says whether the hash also reaches the target of the pool.
    pub fn reaches_pool(&self) -> bool {
        self.reaches_pool
    }

    /// Says whether the hash reaches the target of the network.
    pub fn is_block(&self) -> bool {
        self.is_block
    }
}
