//! Under whose name shares go to a pool.

/// Under whose name shares go to the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Identity {
    /// The farm's: the pool's user in the settings.
    #[default]
    Single,
    /// Each miner's own worker.
    PerWorker,
}
