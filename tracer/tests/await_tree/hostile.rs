//! Nonsense in memory and in debug information: no tree, or any tree, but never a panic and never without end.

use std::{fs, path::Path};

use tracer::runtime::{
    memory::Memory,
    tokio::tree::{TaskAt, Trees},
};

use super::fixture::{LAYOUT, program};

const HEADER: u64 = 0x7f00_0000_0000;

/// A number that depends on nothing but its arguments.
fn mix(seed: u64, place: u64) -> u64 {
    let mut word =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^= word >> 31;
    word = word.wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 29)
}

/// Memory that is readable everywhere, full of small numbers, of pointers to more of it, and of anything.
struct Nonsense(u64);

impl Memory for Nonsense {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        for (place, byte) in (address..).zip(buffer) {
            let word = place / 8 * 8;
            let chance = mix(self.0, word);
            let value = match chance % 8 {
                _ if word == HEADER => 0,
                0..=2 => 0,
                3 => 0x0303_0303_0303_0303,
                4 => chance / 8 % 8,
                5 => HEADER + chance / 8 % 0x4000 / 8 * 8,
                6 => self.0.wrapping_mul(64) + chance / 8 % 0x10_0000,
                _ => chance,
            };
            *byte = value.to_le_bytes()[usize::try_from(place % 8).unwrap()];
        }
        true
    }
}

fn read_nonsense(trees: &mut Trees, seeds: u64) -> u32 {
    let polls: Vec<u64> = trees.polls().collect();
    let mut read = 0;
    for seed in 0..seeds {
        for &poll in &polls {
            let task = TaskAt {
                header: HEADER,
                poll,
                layout: LAYOUT,
            };
            read += u32::from(
                trees
                    .tree(&Nonsense(seed), seed.wrapping_mul(64), task)
                    .is_ok(),
            );
        }
    }
    read
}

#[test]
fn any_memory_is_read_without_harm() {
    let mut trees = Trees::open(&program("optimized")).unwrap();
    let read = read_nonsense(&mut trees, 30);
    println!("{read} trees of nonsense");
    assert!(read > 100);
}

#[test]
fn damaged_debug_information_is_read_without_harm() {
    let program = fs::read(program("optimized")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged");
    let mut opened = 0;
    let mut check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        if let Ok(mut trees) = Trees::open(&path) {
            opened += 1;
            read_nonsense(&mut trees, 2);
        }
    };
    for part in 1..8 {
        check(&program[..program.len() * part / 8]);
    }
    let name = |name: &[u8]| program.windows(name.len()).any(|window| window == name);
    assert!(name(b".debug_info\0"));
    for seed in 0..12u64 {
        let mut damaged = program.clone();
        // A byte in so many, behind the code: that is where the debug information is.
        let every = 1 << (10 + seed);
        let from = damaged.len() as u64 / 16;
        for place in (from..damaged.len() as u64).step_by(1 << (10 + seed)) {
            let place = place + mix(seed, place) % every;
            if let Some(byte) = usize::try_from(place)
                .ok()
                .and_then(|place| damaged.get_mut(place))
            {
                *byte = mix(seed, place).to_le_bytes()[0];
            }
        }
        check(&damaged);
    }
    println!("{opened} damaged programs opened");
    assert!(opened > 0);
    assert!(Trees::open(Path::new("/proc/self/stat")).is_err());
}
