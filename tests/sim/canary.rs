//! Checks the simulation itself: it finds every planted defect, by the invariant of the defect's
//! name, within a number of seeds.

use loka_stratum::canary::Defect;

use crate::run::{Setup, checked};
use crate::trace::Record;

/// Number of seeds in which a defect must be found; the rarest needs a fault that few seeds have.
const SEEDS_MAX: u64 = 400;

#[test]
fn every_planted_defect_is_found() {
    crate::quietly();
    for defect in Defect::ALL {
        let name = format!("{defect:?}");
        let is_digit = |at: usize| name.as_bytes()[at].is_ascii_digit();
        let invariant = &name[..=(1..).take_while(|at| is_digit(*at)).count()];
        let setup = Setup { defect: Some(defect), ..Setup::new(Record::Hash) };
        let found =
            (0..SEEDS_MAX).find_map(|seed| Some((seed, checked(seed, setup, true).broken?)));
        let Some((seed, broken)) = found else { panic!("{defect:?}: not in {SEEDS_MAX} seeds") };
        println!("{defect:?}: seed {seed}: {}: {}", broken.invariant, broken.detail);
        assert_eq!(broken.invariant, invariant, "{defect:?}: {}", broken.detail);
    }
}
