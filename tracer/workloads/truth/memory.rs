//! Address space taken and given back, and pages touched, by the main thread.

use std::fs;
use std::hint::black_box;

use rustix::io::Errno;
use serde_json::json;

use crate::Answer;
use crate::clock::now_ns;
use crate::mapping::{self, PAGE, Region};
use crate::numbers::{at_least_one, hex, number, numbers};
use crate::threads::stat_fields;
use crate::verbs::Session;

/// A size that the kernel does not round, so that all agree on it.
fn whole_pages(bytes: u32) -> Result<usize, String> {
    let bytes = bytes as usize;
    if bytes == 0 || !bytes.is_multiple_of(PAGE) {
        return Err(format!("BYTES must be a multiple of {PAGE}, and not 0"));
    }
    Ok(bytes)
}

fn map(bytes: usize) -> Result<Region, String> {
    Region::map(bytes).map_err(|why| format!("map {bytes} bytes: {why}"))
}

fn unmapping(why: Errno) -> String {
    format!("unmap: {why}")
}

pub(crate) fn page_faults(session: &mut Session, argument: &str) -> Answer {
    // glibc raises its mmap threshold each time a mapped block is freed, up to 32 MiB; a larger block is always a fresh
    // mapping. The pages past N are never touched.
    const ALWAYS_MAPPED: usize = 33 << 20;
    let pages = number(argument)?;
    // One fault must be one page also where huge pages are `always`.
    rustix::thread::disable_transparent_huge_pages(true)
        .map_err(|why| format!("switch huge pages off: {why}"))?;

    let bytes = pages as usize * PAGE;
    let mut memory: Vec<u8> = Vec::new();
    // The first reading brings in whatever reading needs.
    faults_by_proc();
    let before = faults_by_proc();
    let start_ns = now_ns();
    memory
        .try_reserve_exact(bytes.max(ALWAYS_MAPPED))
        .map_err(|why| format!("map {bytes} bytes: {why}"))?;
    for page in memory.spare_capacity_mut()[..bytes].chunks_exact_mut(PAGE) {
        page[0].write(1);
    }
    black_box(&mut memory);
    let end_ns = now_ns();
    let faults = faults_by_proc().saturating_sub(before);
    drop(memory);
    Ok(json!({
        "did": "page-faults",
        "count": pages,
        "minor_faults": faults,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

/// Minor faults of the calling thread so far; zero where `/proc` is missing.
fn faults_by_proc() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // Field 10 of the file, and so the eighth after the name.
    let field = stat_fields(&stat).and_then(|mut fields| fields.nth(7));
    field.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) fn mmap(session: &mut Session, argument: &str) -> Answer {
    let [count, bytes] = numbers(argument, "N BYTES")?;
    at_least_one("N", count)?;
    let bytes = whole_pages(bytes)?;
    if !session.regions.is_empty() {
        return Err("mappings are kept; munmap-rest first".to_owned());
    }
    // All room is made before the first mapping, so that the allocator maps nothing meanwhile.
    let mut all = Vec::with_capacity(count as usize);
    let mut kept = Vec::with_capacity(count.div_ceil(2) as usize);
    let start_ns = now_ns();
    for _ in 0..count {
        all.push(map(bytes)?);
    }
    let mapped_ns = now_ns();
    for (index, region) in all.drain(..).enumerate() {
        if index % 2 == 0 {
            kept.push(region);
        } else {
            region.unmap().map_err(unmapping)?;
        }
    }
    let end_ns = now_ns();
    let unmapped = count as usize - kept.len();
    let answer = json!({
        "did": "mmap",
        "mmaps": count,
        "mapped_bytes": count as usize * bytes,
        "munmaps": unmapped,
        "unmapped_bytes": unmapped * bytes,
        "kept": kept.len(),
        "kept_bytes": kept.len() * bytes,
        "addresses": kept.iter().map(|region| hex(region.address())).collect::<Vec<_>>(),
        "tid": session.main_tid,
        "start_ns": start_ns,
        "mapped_ns": mapped_ns,
        "end_ns": end_ns,
    });
    session.regions = kept;
    Ok(answer)
}

pub(crate) fn munmap_rest(session: &mut Session, _: &str) -> Answer {
    if session.regions.is_empty() {
        return Err("nothing is mapped".to_owned());
    }
    let count = session.regions.len();
    let bytes: usize = session.regions.iter().map(Region::bytes).sum();
    let start_ns = now_ns();
    for region in session.regions.drain(..) {
        region.unmap().map_err(unmapping)?;
    }
    let end_ns = now_ns();
    Ok(json!({
        "did": "munmap-rest",
        "munmaps": count,
        "unmapped_bytes": bytes,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn brk(session: &mut Session, argument: &str) -> Answer {
    let [bytes] = numbers(argument, "BYTES")?;
    let bytes = whole_pages(bytes)?;
    // One that ended meanwhile would use the allocator.
    if session.holder.is_some() || session.crowd.is_some() {
        return Err("other threads are alive; join or crowd-end first".to_owned());
    }
    let start_ns = now_ns();
    let (end, grown, shrunk) = mapping::heap_there_and_back(bytes);
    let end_ns = now_ns();
    if grown != bytes {
        return Err(format!("the heap grew by {grown} bytes, not {bytes}"));
    }
    Ok(json!({
        "did": "brk",
        // One that asks, one that grows, one that shrinks.
        "calls": 3,
        "address": hex(end),
        "grown_bytes": grown,
        "shrunk_bytes": shrunk,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn madvise(session: &mut Session, argument: &str) -> Answer {
    let [count, bytes] = numbers(argument, "N BYTES")?;
    let bytes = whole_pages(bytes)?;
    let mut region = map(bytes)?;
    region
        .never_huge()
        .map_err(|why| format!("forbid huge pages: {why}"))?;
    mapping::minor_faults()?;
    let before = mapping::minor_faults()?;
    let start_ns = now_ns();
    for _ in 0..count {
        region.touch();
        region
            .not_needed()
            .map_err(|why| format!("give pages back: {why}"))?;
    }
    let end_ns = now_ns();
    let faults = mapping::minor_faults()? - before;
    let address = hex(region.address());
    region.unmap().map_err(unmapping)?;
    Ok(json!({
        "did": "madvise",
        "advice": "MADV_DONTNEED",
        "madvises": count,
        "advised_bytes": u64::from(count) * bytes as u64,
        "pages": u64::from(count) * (bytes / PAGE) as u64,
        "minor_faults": faults,
        "address": address,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn mremap(session: &mut Session, argument: &str) -> Answer {
    let [count, bytes] = numbers(argument, "N BYTES")?;
    let bytes = whole_pages(bytes)?;
    let mut moved = 0_u32;
    let start_ns = now_ns();
    for _ in 0..count {
        let mut region = map(bytes)?;
        moved += u32::from(
            region
                .resize(2 * bytes)
                .map_err(|why| format!("remap: {why}"))?,
        );
        region.unmap().map_err(unmapping)?;
    }
    let end_ns = now_ns();
    let total = u64::from(count) * bytes as u64;
    Ok(json!({
        "did": "mremap",
        "mmaps": count,
        "mapped_bytes": total,
        "mremaps": count,
        "grown_bytes": total,
        "moved": moved,
        "munmaps": count,
        "unmapped_bytes": 2 * total,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn touch(session: &mut Session, argument: &str) -> Answer {
    let pages = number(argument)?;
    at_least_one("N", pages)?;
    let mut region = map(pages as usize * PAGE)?;
    region
        .never_huge()
        .map_err(|why| format!("forbid huge pages: {why}"))?;
    // The first reading brings in whatever reading needs.
    mapping::minor_faults()?;
    let before = mapping::minor_faults()?;
    let start_ns = now_ns();
    region.touch();
    let end_ns = now_ns();
    let after = mapping::minor_faults()?;
    let address = hex(region.address());
    region.unmap().map_err(unmapping)?;
    Ok(json!({
        "did": "touch",
        "pages": pages,
        "bytes": u64::from(pages) * PAGE as u64,
        "address": address,
        "minor_faults": after - before,
        "minor_faults_before": before,
        "minor_faults_after": after,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}
