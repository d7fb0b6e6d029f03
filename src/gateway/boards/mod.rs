//! Boards: profiles, watchdog, LEDs and the reset button.

pub mod board;
pub mod button;
pub mod watch;
