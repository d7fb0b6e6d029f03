//! The event loop's thread: what may not happen on it, and who finds out.
//!
//! All miners wait while one step of one task runs. So no step may wait for a disk, and none may
//! compute for long. In builds with debug assertions, which are those that tests run, a process
//! that breaks this says where and aborts:
//!
//! - a file that is touched while the loop turns ([`must_not_turn`]), whatever the disk is like;
//! - a step that took more than [`STEP_MAX`] of the processor, by the scheduler's own count for
//!   this thread. Time in which others had the processor is not in that count, so a busy machine
//!   fails no test.
//!
//! Nothing of it is in a release.

use std::future::Future;
use std::io;

use tokio::task::JoinHandle;

/// Starts a task on the event loop; `name` is what a step that takes too long is called by.
pub fn spawn<T: 'static>(
    name: &'static str,
    task: impl Future<Output = T> + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_local(steps(name, task))
}

/// Does beside the event loop what may block, such as reading a file of an operator's, or takes
/// long. Files of the state have a thread of their own ([`super::disk::thread`]).
///
/// # Errors
///
/// There is no thread for it.
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

    /// Says that the loop turns on this thread from now on.
    pub fn turns() {}

    /// Says that what follows may block.
    pub fn must_not_turn(_: &str) {}

    /// Returns a future as it is.
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

    /// Most time of the processor that a step may take.
    const STEP_MAX: Duration = Duration::from_millis(20);

    /// The scheduler's count is as old as its last tick, at the most.
    const TICK_MAX: Duration = Duration::from_millis(10);

    /// Time of the processor, in nanoseconds, then what does not matter here.
    const COUNT_FILE: &str = "/proc/thread-self/schedstat";

    /// What the hypervisor took from this machine stands in the first line.
    const MACHINE_FILE: &str = "/proc/stat";

    thread_local! {
        static TURNS: Cell<bool> = const { Cell::new(false) };
        static COUNT: Option<File> = File::open(COUNT_FILE).ok();
        static STOLEN: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Says that the loop turns on this thread from now on.
    pub fn turns() {
        TURNS.set(true);
        STOLEN.set(stolen());
    }

    /// Says that what follows may block; ends the process where the loop would wait for it.
    pub fn must_not_turn(what: &str) {
        if TURNS.get() {
            fail(format_args!("{what} on the event loop: everybody would wait for it"));
        }
    }

    /// Looks how long each step of a task takes.
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
        // Where others on the same hardware took time meanwhile, some kernels count it as ours.
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

    /// Returns the time of the processor that this thread had.
    fn spent() -> Option<Duration> {
        let mut text = [0; 64];
        let count = COUNT.with(|file| file.as_ref()?.read_at(&mut text, 0).ok())?;
        let nanos = text.get(..count)?.split(|byte| *byte == b' ').next()?;
        std::str::from_utf8(nanos).ok()?.parse().ok().map(Duration::from_nanos)
    }

    /// Returns what others had of this machine's processors, in ticks.
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
