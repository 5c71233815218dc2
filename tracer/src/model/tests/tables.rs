//! Rows of the shared tables: locks, descriptors, epoll, errors.

use tracer_common::{
    LossReason, Nanos, Pid, State, SyscallNr, Tid,
    hist::bucket_index,
    table::{
        ErrorKey, ErrorRow, Errors, FileKey, FileRow, Files, LockKey, LockRow, Locks, PollRow,
        Polls, Timed, WakeKey, WakeRow, Wakes,
    },
};

use super::{fold, last, probe, row, story, tick};
use crate::{
    model::{LISTED, PartyView, Snapshot},
    record::{FileMeta, Loss, Meta, ProbeStatus, Record, Sample, SyscallNameMeta, ThreadSample},
};

const MS: u64 = 1_000_000;

/// A lock of process 1.
fn lock(address: u64) -> LockKey {
    LockKey {
        address,
        pid: Pid(1),
        ..LockKey::default()
    }
}

fn waits(durations: &[u64]) -> LockRow {
    let mut wait = Timed::EMPTY;
    for &duration in durations {
        wait.count += 1;
        wait.sum += duration;
        wait.max = wait.max.max(duration);
        wait.buckets[bucket_index(duration) as usize] += 1;
    }
    LockRow {
        wait,
        woken: durations.len() as u64,
        ..LockRow::default()
    }
}

fn pair(address: u64, waiter: u32, waker: u32, count: u64, waited: u64) -> Record {
    let key = WakeKey {
        address,
        pid: Pid(1),
        waiter: Tid(waiter),
        waker: Tid(waker),
        ..WakeKey::default()
    };
    row::<Wakes>(&key, &WakeRow { count, waited })
}

fn file(fd: u32) -> FileKey {
    FileKey { pid: Pid(1), fd }
}

fn moved(reads: u64, read_bytes: u64) -> FileRow {
    FileRow {
        reads,
        read_bytes,
        ..FileRow::default()
    }
}

#[test]
fn a_row_that_was_forgotten_and_comes_back_sums_up() {
    let key = lock(0x7000);
    let got = fold([
        row::<Locks>(&key, &waits(&[MS])),
        last::<Locks>(&key, &waits(&[MS, 3 * MS])),
        tick(1),
        row::<Locks>(&key, &waits(&[5 * MS])),
        tick(2),
    ]);
    assert_eq!((got.locks.len(), got.locks_unlisted), (1, 0));
    let lock = &got.locks[0];
    assert_eq!(
        (lock.wait.count, lock.wait.sum, lock.wait.max, lock.woken),
        (3, Nanos(9 * MS), Nanos(5 * MS), 3)
    );
    assert!(lock.wait.p99 > Nanos(4 * MS), "the buckets sum up too");
    assert_eq!((lock.recent_waits, lock.recent_time), (1, Nanos(5 * MS)));
    assert_eq!(got.quality.inconsistent, 0);
}

#[test]
fn a_row_that_is_forgotten_twice_sums_up_and_a_larger_first_count_is_no_step_back() {
    let key = lock(0x7000);
    let got = fold([
        last::<Locks>(&key, &waits(&[MS; 9])),
        last::<Locks>(&key, &waits(&[MS; 2])),
        row::<Locks>(&key, &waits(&[MS; 1])),
        tick(1),
    ]);
    assert_eq!(got.locks[0].wait.count, 12);
    assert_eq!(got.quality.inconsistent, 0);
}

#[test]
fn a_row_that_runs_backwards_is_refused() {
    let key = lock(0x7000);
    let got = fold([
        row::<Locks>(&key, &waits(&[MS; 4])),
        row::<Locks>(&key, &waits(&[MS; 3])),
        tick(1),
    ]);
    assert_eq!(got.locks[0].wait.count, 4);
    assert_eq!(got.quality.inconsistent, 1);
}

#[test]
fn a_window_has_what_was_counted_in_it() {
    let key = lock(0x7000);
    let recent = |got: &Snapshot| (got.locks[0].recent_waits, got.locks[0].recent_time.0 / MS);
    let mut all = vec![row::<Locks>(&key, &waits(&[MS, MS])), tick(1)];
    assert_eq!(recent(&fold(all.clone())), (2, 2), "a new row");
    all.push(tick(2));
    assert_eq!(recent(&fold(all.clone())), (0, 0), "nothing happened");
    all.extend([row::<Locks>(&key, &waits(&[MS, MS, 7 * MS])), tick(3)]);
    assert_eq!(recent(&fold(all.clone())), (1, 7));
    // Forgotten and back within one window.
    all.extend([
        last::<Locks>(&key, &waits(&[MS, MS, 7 * MS, MS])),
        row::<Locks>(&key, &waits(&[2 * MS])),
        tick(4),
    ]);
    assert_eq!(recent(&fold(all)), (2, 3));
}

#[test]
fn a_lock_names_who_waited_and_who_woke() {
    let mut all = story(
        "0ms process p1 app | 0ms thread t11 worker-a in p1 | 0ms thread t12 worker-b in p1
         0ms spawn t13 storm in p1 | 1ms end t13",
    );
    all.extend([
        row::<Locks>(&lock(0x7000), &waits(&[MS; 6])),
        row::<Locks>(&lock(0x8000), &waits(&[MS])),
        pair(0x7000, 11, 12, 2, 9 * MS),
        pair(0x7000, 11, 13, 3, MS),
        pair(0x7000, 12, 11, 1, 4 * MS),
        // Nobody: a time-out.
        pair(0x7000, 12, 0, 5, 2 * MS),
        // Of another lock.
        pair(0x8000, 14, 11, 1, MS),
        tick(1),
    ]);
    let party = |tid, name: &str, count, ms| PartyView {
        tid: Tid(tid),
        name: name.into(),
        count,
        waited: Nanos(ms * MS),
    };
    let got = fold(all);
    assert_eq!(
        got.locks[0].waiters,
        [party(11, "worker-a", 5, 10), party(12, "worker-b", 6, 6)],
        "by time"
    );
    assert_eq!(
        got.locks[0].wakers,
        [
            party(13, "storm", 3, 1),
            party(12, "worker-b", 2, 9),
            party(11, "worker-a", 1, 4)
        ],
        "by count; one that ended keeps its name"
    );
    assert_eq!(got.locks[1].waiters, [party(14, "", 1, 1)], "no name known");
}

#[test]
fn the_threads_that_wait_at_a_lock_now_are_counted() {
    let sample = |tid, state, waiting_on| {
        Record::Sample(Sample::Thread(ThreadSample {
            pid: Pid(1),
            tid: Tid(tid),
            state,
            waiting_on,
            ..ThreadSample::default()
        }))
    };
    let got = fold([
        row::<Locks>(&lock(0x7000), &waits(&[MS])),
        sample(1, State::FUTEX, 0x7000),
        sample(2, State::FUTEX, 0x7000),
        sample(3, State::FUTEX, 0x8000),
        sample(4, State::ON_CPU, 0x7000),
        tick(1),
    ]);
    assert_eq!(got.locks[0].waiting_now, 2);
}

#[test]
fn how_calls_at_a_lock_ended_is_unknown_while_calls_are_not_counted() {
    let mut counts = waits(&[MS]);
    (counts.again, counts.wake_calls) = (3, 4);
    let mut all = vec![row::<Locks>(&lock(0x7000), &counts), tick(1)];
    assert_eq!(fold(all.clone()).locks[0].again, None);
    all.push(probe("sys_exit", ProbeStatus::Off));
    assert_eq!(fold(all.clone()).locks[0].timeouts, None);
    all.push(probe("sys_exit", ProbeStatus::Degraded));
    let got = fold(all);
    assert_eq!(
        (
            got.locks[0].again,
            got.locks[0].timeouts,
            got.locks[0].wake_calls
        ),
        (Some(3), Some(0), Some(4))
    );
}

#[test]
fn rows_beyond_those_listed_are_counted_folded_ones_included() {
    let listed = |records: Vec<Record>| {
        let got = fold(records);
        (got.files.len(), got.files_unlisted)
    };
    let rows = |count: u32| (0..count).map(|fd| last::<Files>(&file(fd), &moved(1, u64::from(fd))));
    let with = |count: u32| rows(count).chain([tick(1)]).collect::<Vec<_>>();
    assert_eq!(listed(with(LISTED as u32)), (LISTED, 0));
    assert_eq!(listed(with(LISTED as u32 + 3)), (LISTED, 3));
    // More than are kept: the lesser half of those that were forgotten is folded.
    assert_eq!(listed(with(20_000)), (LISTED, 20_000 - LISTED as u64));
    let got = fold(with(20_000));
    assert_eq!(got.files[0].fd, 19_999, "the largest stay");
    assert_eq!(got.quality.inconsistent, 0);
}

#[test]
fn a_table_full_of_living_rows_takes_no_more_and_says_so() {
    let all = (0..16_385).map(|fd| row::<Files>(&file(fd), &moved(1, 1)));
    let got = fold(all.chain([tick(1)]));
    assert_eq!(got.quality.inconsistent, 1);
    assert_eq!(got.files_unlisted, 16_384 - LISTED as u64);
}

#[test]
fn descriptors_are_listed_by_bytes_with_what_they_are() {
    let socket = |fd| {
        Record::Meta(Meta::File(FileMeta {
            pid: Pid(1),
            fd,
            kind: "socket".into(),
            name: format!("127.0.0.1:80 -> :{fd}"),
        }))
    };
    let got = fold([
        socket(5),
        row::<Files>(&file(4), &moved(9, 10)),
        row::<Files>(
            &file(5),
            &FileRow {
                writes: 2,
                write_bytes: 4_000,
                connects: 1,
                time: 7,
                time_max: 5,
                ..FileRow::default()
            },
        ),
        tick(1),
        row::<Files>(&file(4), &moved(12, 110)),
        tick(2),
    ]);
    assert_eq!(got.files[0].name, "127.0.0.1:80 -> :5");
    assert_eq!(
        (got.files[0].recent_calls, got.files[0].recent_bytes),
        (0, 0)
    );
    assert_eq!((got.files[1].fd, got.files[1].kind.as_str()), (4, ""));
    assert_eq!(
        (got.files[1].recent_calls, got.files[1].recent_bytes),
        (3, 100)
    );
}

#[test]
fn waits_at_epoll_are_listed_by_how_many_they_were() {
    let polls = |waits, events| PollRow {
        waits,
        events,
        events_max: 3,
        ..PollRow::default()
    };
    let got = fold([
        row::<Polls>(&file(3), &polls(5, 900)),
        last::<Polls>(&file(4), &polls(5, 7)),
        row::<Polls>(&file(4), &polls(6, 1)),
        tick(1),
    ]);
    let said = got
        .polls
        .iter()
        .map(|poll| (poll.fd, poll.waits, poll.events, poll.events_max));
    assert_eq!(said.collect::<Vec<_>>(), [(4, 11, 8, 3), (3, 5, 900, 3)]);
}

#[test]
fn the_errors_of_a_call_are_told_apart_by_number() {
    let error = |nr, errno| ErrorKey {
        nr: SyscallNr(nr),
        errno,
    };
    let mut all = story(
        "0ms process p1 node | 0ms spawn t1 a in p1 | 1ms call t1 read 1ms error | 2ms call t1 write 1ms | 3ms tick",
    );
    let nr = |name: &str| {
        let named = |record: &Record| {
            if let Record::Meta(Meta::SyscallName(SyscallNameMeta { nr, name: known })) = record
                && known == name
            {
                Some(nr.0)
            } else {
                None
            }
        };
        all.iter().find_map(named).unwrap()
    };
    let (read, write) = (nr("read"), nr("write"));
    let errnos = |all: &[Record], name: &str| {
        let got = fold(all.to_vec());
        let call = got.syscalls.iter().find(|call| call.name == name).unwrap();
        call.errnos.clone()
    };
    assert_eq!(errnos(&all, "read"), [], "nobody told them apart");
    all.push(probe("call_errors", ProbeStatus::Attached));
    assert_eq!(
        errnos(&all, "read"),
        [(11, 1)],
        "EAGAIN is what the others leave"
    );
    all.extend([
        row::<Errors>(&error(read, 4), &ErrorRow { count: 2 }),
        last::<Errors>(&error(read, 32), &ErrorRow { count: 3 }),
        row::<Errors>(&error(read, 32), &ErrorRow { count: 4 }),
        row::<Errors>(&error(write + 1, 5), &ErrorRow { count: 9 }),
        tick(1),
    ]);
    assert_eq!(
        errnos(&all, "read"),
        [(32, 7), (4, 2)],
        "most frequent first"
    );
    assert_eq!(errnos(&all, "write"), []);
    all.push(Record::Loss(Loss {
        reason: LossReason::ERROR_TABLE_FULL,
        count: 1,
    }));
    assert_eq!(errnos(&all, "read"), [], "what was lost is not EAGAIN");
}
