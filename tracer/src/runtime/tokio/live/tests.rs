//! On memory made by hand.

use super::*;
use crate::runtime::{
    probe::ProbePoint,
    tokio::{Layout, TaskType},
};

const BASE: u64 = 0x7f00_0000_0000;
const BIAS: u64 = 0x5555_0000_0000;
const FOREVER: Nanos = Nanos(u64::MAX);

struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let start = address.checked_sub(BASE).map(|start| start as usize);
        let bytes = start.and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        bytes.is_some_and(|bytes| {
            buffer.copy_from_slice(bytes);
            true
        })
    }
}

impl Bytes {
    fn put(&mut self, at: u64, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            let at = at as usize + 8 * index;
            self.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    }

    /// A task of the type with this table: state, owner, id.
    fn task(&mut self, at: u64, table: u64, [state, owner, id]: [u64; 3]) {
        let scheduler = BASE + 0x40;
        self.put(at, &[state, 0, BIAS + table, owner, scheduler, id]);
    }
}

fn tokio() -> Tokio {
    let task_type = |vtable, kind| TaskType {
        vtable,
        poll: 0x100,
        name: String::new(),
        raw_name: String::new(),
        source: None,
        kind,
        id: Some(40),
        trailer: Some(128),
        poll_probe: ProbePoint {
            file_offset: 0x100,
            is_emulated: true,
        },
    };
    Tokio {
        version: None,
        layout: Layout {
            vtable: 16,
            owner: 24,
        },
        types: vec![
            task_type(0x1000, Kind::Async),
            task_type(0x1050, Kind::Blocking),
        ],
        wakes: Vec::new(),
        spawns: Vec::new(),
        current_task: Vec::new(),
        notes: Vec::new(),
    }
}

fn scan(memory: &Bytes, stacks: Vec<Range<u64>>) -> Found {
    let tokio = tokio();
    let region = BASE..BASE + memory.0.len() as u64;
    let mut scan = Scan::new(&[(&tokio, BIAS)], vec![region], stacks);
    assert!(scan.advance(memory, FOREVER));
    scan.found()
}

fn ids(tasks: &[Task]) -> Vec<u64> {
    tasks.iter().filter_map(|task| task.id).collect()
}

#[test]
fn the_live_are_told_from_the_ended_and_from_their_own_copies() {
    let mut memory = Bytes(vec![0; 3 << 20]);
    memory.task(0x1000, 0x1000, [64 * 2 + 8, 1, 7]); // idle, with a handle
    memory.task(0x1080, 0x1000, [1 | 64, 1, 8]); // polled now
    memory.task(0x1100, 0x1000, [2 | 64, 1, 9]); // complete, kept for its handle
    memory.task(0x1180, 0x1000, [0, 1, 10]); // freed: nobody refers to it
    memory.task(0x1200, 0x1000, [BASE + 0x1180, 1, 11]); // freed, its state used for a link
    memory.task(0x1280, 0x1000, [64 * 3 + 12, 0, 12]); // never owned: a copy of what is being made
    memory.task(0x1310, 0x1050, [64 * 3 + 4, 0, 13]); // waits for a blocking thread, or its copy on a stack
    memory.task(0x20_0000, 0x1050, [1 | 64, 0, 13]); // itself, it runs
    memory.task(0x20_1000, 0x1050, [64 * 3 + 4, 0, 14]); // waits, in the heap
    memory.task(0x20_2000, 0x1000, [64 * 2, 1, 7]); // an old one at another place with a known id
    let stack = BASE + 0x1300..BASE + 0x1400;
    let found = scan(&memory, vec![stack]);
    assert_eq!(ids(&found.tasks), [7, 8, 13, 14]);
    assert_eq!(ids(&found.ended), [9, 10, 11, 12]);
    assert!(found.tasks[2].state.is_running());
    assert_eq!(found.read, 3 << 20);
    assert_eq!(found.torn, 0);
    assert_eq!(
        (found.tasks[0].header, found.tasks[0].kind),
        (BASE + 0x1000, Kind::Async)
    );
}

#[test]
fn a_table_that_is_only_mentioned_is_no_task() {
    let mut memory = Bytes(vec![0; 1 << 16]);
    memory.put(0x100, &[BIAS + 0x1000; 32]);
    memory.put(0x800, &[BIAS + 0x1001, BIAS + 0x1008]);
    memory.put(0xfff8, &[BIAS + 0x1000]);
    assert_eq!(scan(&memory, Vec::new()).tasks, []);
}

#[test]
fn a_scan_in_parts_finds_the_same() {
    let mut memory = Bytes(vec![0; 9 << 20]);
    for index in 0..9 {
        let at = (index << 20) + 0x8_0000;
        memory.task(at, 0x1000, [64, 1, index + 1]);
    }
    let tokio = tokio();
    let region = BASE..BASE + memory.0.len() as u64;
    let mut parts = Scan::new(&[(&tokio, BIAS)], vec![region], Vec::new());
    let mut steps = 0;
    while !parts.advance(&memory, Nanos(0)) {
        steps += 1;
    }
    assert_eq!(steps, 8);
    assert_eq!(parts.found(), scan(&memory, Vec::new()));
    assert_eq!(parts.found().tasks.len(), 9);
}

#[test]
fn what_was_unmapped_meanwhile_hides_only_itself() {
    let mut memory = Bytes(vec![0; 1 << 16]);
    memory.task(0x1000, 0x1000, [64, 1, 1]);
    let tokio = tokio();
    let beyond = BASE..BASE + (1 << 20);
    let mut scan = Scan::new(&[(&tokio, BIAS)], vec![beyond], Vec::new());
    assert!(scan.advance(&memory, FOREVER));
    assert_eq!(ids(&scan.found().tasks), [1]);
}
