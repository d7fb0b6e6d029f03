//! Zero heap allocations in the engine once it runs: per submit, per notify, per fan-out (B2).

mod farm;

use farm::{Farm, HOPELESS, TRIVIAL, notified, notify};
use loka_stratum::limits::OUTPUT_BYTES_MIN;
use loka_stratum::wire::writer::Writer;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

#[test]
fn a_submit_allocates_nothing() {
    for difficulty in [HOPELESS, TRIVIAL] {
        let (mut farm, _) = Farm::live("c0ffee01", 8, difficulty);
        let (miner, heard) = farm.miner("farm.s19");
        let job = notified(&heard);
        let lines: Vec<_> = (0..200)
            .map(|nonce| {
                let params =
                    json!(["farm.s19", job[0], "00000001", job[7], format!("{nonce:08x}")]);
                json!({"id": 4, "method": "mining.submit", "params": params}).to_string() + "\n"
            })
            .collect();
        let mut buffer = vec![0; OUTPUT_BYTES_MIN];
        let allocations = allocations_of(|| {
            for line in &lines {
                let mut out = Writer::new(&mut buffer);
                let mut input = line.as_bytes();
                farm.proxy.handle_input(miner, &mut input, &mut out, farm.now).unwrap();
                farm.proxy.poll_output(miner, &mut out, farm.now).unwrap();
                assert!(out.as_slice().ends_with(b"\"result\":true,\"error\":null}\n"));
            }
        });
        assert_eq!(allocations, 0);
        assert_eq!(farm.proxy.ledger().accepted(), 200);
    }
}

#[test]
fn a_notify_and_its_fan_out_allocate_nothing() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, HOPELESS);
    let miners: Vec<_> = (0..30).map(|n| farm.miner(&format!("farm.{n}")).0).collect();
    let jobs: Vec<_> = (0..50).map(|n| notify(&format!("job-{n}"), n, n % 5 == 0) + "\n").collect();
    let mut buffer = vec![0; OUTPUT_BYTES_MIN];
    let mut told = 0;
    let allocations = allocations_of(|| {
        for job in &jobs {
            farm.proxy.handle_link_input(link, job.as_bytes(), farm.now).unwrap();
            assert!(farm.proxy.poll_fan_out());
            let mut cursor = 0;
            while let Some(miner) = farm.proxy.poll_wanting(&mut cursor) {
                let mut out = Writer::new(&mut buffer);
                told += usize::from(farm.proxy.poll_output(miner, &mut out, farm.now).unwrap());
            }
        }
    });
    assert_eq!((allocations, told), (0, jobs.len() * miners.len()));
}
