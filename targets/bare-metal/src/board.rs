//! A board without an operating system: its entry point, and semihosting, by which a debugger or an
//! emulator prints its output and ends it.

use core::arch::{asm, global_asm};
use core::fmt;

/// Operations of semihosting (Arm, "Semihosting for AArch32 and AArch64", 2.0).
const SYS_WRITE0: usize = 0x04;
const SYS_EXIT_EXTENDED: usize = 0x20;

/// `ADP_Stopped_ApplicationExit`: the program ended by itself.
const APPLICATION_EXIT: usize = 0x2_0026;

/// The debugger's or emulator's console.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // It reads up to a zero.
        for part in text.as_bytes().chunks(63) {
            let mut bytes = [0_u8; 64];
            for (to, from) in bytes.iter_mut().zip(part) {
                *to = *from;
            }
            semihosting(SYS_WRITE0, bytes.as_ptr() as usize);
        }
        Ok(())
    }
}

/// Ends the program; without a debugger it loops forever.
pub fn end(code: i32) -> ! {
    let block = [APPLICATION_EXIT, code as usize];
    semihosting(SYS_EXIT_EXTENDED, block.as_ptr() as usize);
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(target_arch = "arm")]
fn semihosting(operation: usize, argument: usize) {
    // SAFETY: reads the memory at `argument`, and changes only the result's register.
    unsafe { asm!("bkpt 0xab", inout("r0") operation => _, in("r1") argument) }
}

#[cfg(target_arch = "aarch64")]
fn semihosting(operation: usize, argument: usize) {
    // SAFETY: reads the memory at `argument`, and changes only the result's register.
    unsafe { asm!("hlt #0xf000", inout("x0") operation => _, in("x1") argument) }
}

// A Cortex-M reads its stack pointer and this address from the vector table. The floating-point
// unit is off until enabled. Initialised data is copied from flash; other memory is cleared.
#[cfg(target_arch = "arm")]
global_asm!(
    ".section .vectors, \"a\"",
    ".word __stack_top",
    ".word _start",
    ".rept 14",
    ".word _start",
    ".endr",
    ".section .text._start, \"ax\"",
    ".global _start",
    ".thumb_func",
    "_start:",
    "ldr r0, =0xe000ed88",
    "ldr r1, [r0]",
    "orr r1, r1, #0xf00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "ldr r0, =__data_start",
    "ldr r1, =__data_end",
    "ldr r2, =__data_load",
    "1: cmp r0, r1",
    "bhs 2f",
    "ldr r3, [r2], #4",
    "str r3, [r0], #4",
    "b 1b",
    "2: ldr r0, =__bss_start",
    "ldr r1, =__bss_end",
    "movs r3, #0",
    "3: cmp r0, r1",
    "bhs 4f",
    "str r3, [r0], #4",
    "b 3b",
    "4: bl begin",
    "b .",
);

// The same for a 64-bit board at exception level 1, with everything in memory.
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".section .text._start, \"ax\"",
    ".global _start",
    "_start:",
    "mov x0, #(3 << 20)",
    "msr cpacr_el1, x0",
    "isb",
    "ldr x0, =__stack_top",
    "mov sp, x0",
    "ldr x0, =__bss_start",
    "ldr x1, =__bss_end",
    "1: cmp x0, x1",
    "b.hs 2f",
    "str xzr, [x0], #8",
    "b 1b",
    "2: bl begin",
    "b .",
);

// SAFETY: no other function of this name is linked.
#[unsafe(no_mangle)]
extern "C" fn begin() -> ! {
    end(crate::run())
}
