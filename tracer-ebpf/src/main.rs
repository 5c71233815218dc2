//! The kernel side: maps, licence, panic handler. No logic; see `probe` for the programs.

#![no_std]
#![no_main]
// The target's only atomic operations are instructions of its own (see `shared`).
#![feature(asm_experimental_arch)]

mod count;
mod emit;
mod filter;
mod function;
mod javascript;
mod probe;
mod setting;
mod shared;
mod stack;
mod task;

/// A reachable panic does not end, so the verifier refuses the program: nothing that can panic ever loads.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Helpers that read kernel memory are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
