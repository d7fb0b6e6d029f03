//! Rules of the event loop's thread, enforced in debug builds.
//!
//! All miners wait while one step of a task runs. So no step may wait for a disk or compute for
//! long. In builds with debug assertions, as in tests, a process that breaks a rule names the place
//! and aborts:
//!
//! - a file access while the loop turns ([`must_not_turn`]), however fast the disk is;
//! - a step that used more than [`STEP_MAX`] of processor time, by the scheduler's count for this
//!   thread. Time of other processes is not in that count, so a busy machine fails no test.
//!
//! A release contains none of these checks.

use std::future::Future;
use std::io;

use tokio::task::JoinHandle;

/// Starts a task on the event loop; `name` labels it in the report of a slow step.
pub fn spawn<T: 'static>(
    name: &'static str,
    task: impl Future<Output = T> + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_local(steps(name, task))
}

/// Runs work that may block or takes long beside the event loop, such as reading an operator's
/// file. State files have their own thread ([`crate::gateway::base::disk::thread`]).
///
/// # Errors
///
/// No thread can be started.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

#[cfg(not(debug_assertions))]
pub use plain::{must_not_turn, steps, turns};

#[cfg(debug_assertions)]
pub use watched::{must_not_turn, steps, turns};

#[cfg(not(debug_assertions))]
mod plain {
    use std::future::Future;

    /// Marks this thread as the event loop's.
    pub fn turns() {}

    /// Marks work that may block.
    pub fn must_not_turn(_: &str) {}

    /// Returns the future unchanged.
    pub fn steps<T>(_: &'static str, task: impl Future<Output = T>) -> impl Future<Output = T> {
        task
    }
}

#[cfg(debug_assertions)]
mod watched {
    use std::cell::Cell;
    use std::fs::File;
    use std::future::{Future, poll_fn};
    use std::os::unix::fs::FileExt;
    use std::pin::pin;
    use std::time::Duration;

    /// Most processor time of a step.
    const STEP_MAX: Duration = Duration::from_millis(20);

    /// The scheduler's count is at most one tick old.
    const TICK_MAX: Duration = Duration::from_millis(10);

    /// The thread's processor time in nanoseconds, then fields not needed here.
    const COUNT_FILE: &str = "/proc/thread-self/schedstat";

    /// The first line holds the time stolen by the hypervisor.
    const MACHINE_FILE: &str = "/proc/stat";

    thread_local! {
        static TURNS: Cell<bool> = const { Cell::new(false) };
        static COUNT: Option<File> = File::open(COUNT_FILE).ok();
        static STOLEN: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Marks this thread as the event loop's.
    pub fn turns() {
        TURNS.set(true);
        STOLEN.set(stolen());
    }

    /// Marks work that may block; aborts if the loop runs on this thread.
    pub fn must_not_turn(what: &str) {
        if TURNS.get() {
            fail(format_args!("{what} on the event loop: everybody would wait for it"));
        }
    }

    /// Measures each step of a task.
    pub async fn steps<T>(name: &'static str, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        poll_fn(|context| {
            let before = spent();
            let result = task.as_mut().poll(context);
            if TURNS.get()
                && let (Some(before), Some(after)) = (before, spent())
            {
                judge(name, after.saturating_sub(before));
            }
            result
        })
        .await
    }

    fn judge(name: &str, took: Duration) {
        if took <= STEP_MAX + TICK_MAX {
            return;
        }
        // Some kernels count stolen time as ours, so a step with stolen time is not judged.
        let now = stolen();
        if STOLEN.replace(now) == now {
            fail(format_args!("a step of {name} took {took:?} of the processor"));
        }
    }

    fn fail(text: std::fmt::Arguments<'_>) -> ! {
        let trace = std::backtrace::Backtrace::force_capture();
        eprintln!("BUG: {text}\n{trace}");
        std::process::abort()
    }

    /// Returns the processor time used by this thread.
    fn spent() -> Option<Duration> {
        let mut text = [0; 64];
        let count = COUNT.with(|file| file.as_ref()?.read_at(&mut text, 0).ok())?;
        let nanos = text.get(..count)?.split(|byte| *byte == b' ').next()?;
        std::str::from_utf8(nanos).ok()?.parse().ok().map(Duration::from_nanos)
    }

    /// Returns the time stolen from this machine, in ticks.
    fn stolen() -> Option<u64> {
        const FIELD: usize = 8;
        let text = std::fs::read_to_string(MACHINE_FILE).ok()?;
        text.lines().next()?.split_whitespace().nth(FIELD)?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn f96_the_scheduler_counts_what_a_step_takes_and_not_what_it_waits() {
            let before = spent().expect("the kernel counts, and the other tests are watched");
            std::thread::yield_now();
            let mut sum = 0_u64;
            while spent().unwrap() < before + STEP_MAX + TICK_MAX {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            assert!(spent().unwrap() - before > STEP_MAX);
        }
    }
}
