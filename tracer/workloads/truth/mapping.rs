//! Memory straight from the kernel: the only unsafe code of this program.
//!
//! A region is unmapped when it is dropped, and nothing outside this file ever has a pointer into one.

use std::ffi::c_void;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap, munmap,
};
use syscalls::{Sysno, syscall};

pub(crate) const PAGE: usize = 4096;

/// Whole pages of anonymous memory, readable and writable.
pub(crate) struct Region {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Region {
    /// `bytes` are whole pages, and not none.
    pub(crate) fn map(bytes: usize) -> Result<Self, Errno> {
        Self::map_with(bytes, MapFlags::PRIVATE)
    }

    fn map_with(bytes: usize, flags: MapFlags) -> Result<Self, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so the kernel chooses one where nothing is.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, flags) }?;
        let start = NonNull::new(start).ok_or(Errno::FAULT)?;
        Ok(Self { start, bytes })
    }

    pub(crate) fn address(&self) -> usize {
        self.start.addr().get()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// One write to each page.
    pub(crate) fn touch(&mut self) {
        for offset in (0..self.bytes).step_by(PAGE) {
            // SAFETY: the offset is within the region.
            let place = unsafe { self.start.cast::<u8>().add(offset) };
            // SAFETY: the page is mapped and writable until the region is dropped, and only this borrow has access.
            unsafe { place.write_volatile(1) };
        }
    }

    pub(crate) fn never_huge(&mut self) -> Result<(), Errno> {
        self.advise(Advice::LinuxNoHugepage)
    }

    /// Gives the pages back; they read as zero again.
    pub(crate) fn not_needed(&mut self) -> Result<(), Errno> {
        self.advise(Advice::LinuxDontNeed)
    }

    fn advise(&mut self, advice: Advice) -> Result<(), Errno> {
        // SAFETY: the range is this region, and nothing refers to what is in it.
        unsafe { madvise(self.start.as_ptr(), self.bytes, advice) }
    }

    /// Changes the size, perhaps at another address. True where it was moved.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<bool, Errno> {
        let (start, old) = (self.start.as_ptr(), self.bytes);
        // SAFETY: the range is this region, nothing refers to what is in it, and it is known by the new address from here.
        let moved = unsafe { mremap(start, old, bytes, MremapFlags::MAYMOVE) }?;
        self.start = NonNull::new(moved).ok_or(Errno::FAULT)?;
        self.bytes = bytes;
        Ok(moved != start)
    }

    /// What dropping does, for those who count it.
    pub(crate) fn unmap(self) -> Result<(), Errno> {
        ManuallyDrop::new(self).release()
    }

    /// At most once, and nothing else afterwards.
    fn release(&mut self) -> Result<(), Errno> {
        // SAFETY: the range was mapped by this region, and nothing refers to it.
        unsafe { munmap(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // It can only fail where a hole in a mapping needs one entry more than there may be; the memory then stays.
        let _kept = self.release();
    }
}

/// A word in memory that could be shared with another process.
pub(crate) struct SharedWord(Region);

impl SharedWord {
    pub(crate) fn new() -> Result<Self, Errno> {
        Region::map_with(PAGE, MapFlags::SHARED).map(Self)
    }
}

impl Deref for SharedWord {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        // SAFETY: the start of a page is aligned, zeroes are a valid word, and the page is mapped as long as the borrow.
        unsafe { self.0.start.cast::<AtomicU32>().as_ref() }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is unmapped once.
unsafe impl Send for SharedWord {}

// SAFETY: all that can be reached through a shared one is an atomic.
unsafe impl Sync for SharedWord {}

/// Grows the heap and shrinks it back. Returns its end before, and how far it was grown and shrunk.
///
/// For when this is the only thread: an allocation of another between the two would be cut off.
pub(crate) fn heap_there_and_back(bytes: usize) -> (usize, usize, usize) {
    let end = move_heap_end(0);
    let grown = move_heap_end(end.saturating_add(bytes));
    let back = move_heap_end(end);
    (end, grown - end, grown - back)
}

/// The end of the heap after the call: where it was, if the kernel would not move it.
fn move_heap_end(to: usize) -> usize {
    // SAFETY: it is never moved below where the allocator left it, and the only thread does not allocate in between.
    let end = unsafe { syscall!(Sysno::brk, to) };
    // brk has no errors.
    end.unwrap_or(0)
}

/// Minor faults of the calling thread so far.
pub(crate) fn minor_faults() -> Result<u64, String> {
    const RUSAGE_THREAD: usize = 1;
    /// `struct rusage`: two times and fourteen counters, of which the fifth is `ru_minflt`.
    #[derive(Default)]
    #[repr(C)]
    struct Usage {
        times: [i64; 4],
        counters: [i64; 14],
    }
    const { assert!(mem::size_of::<Usage>() == 144) };
    let mut usage = Usage::default();
    let place = &raw mut usage;
    // SAFETY: the kernel writes a `struct rusage` of 144 bytes to the place, which has the room.
    let read = unsafe { syscall!(Sysno::getrusage, RUSAGE_THREAD, place) };
    read.map_err(|why| format!("read the resource usage: {why}"))?;
    // A count, and never negative.
    Ok(usage.counters[4] as u64)
}
