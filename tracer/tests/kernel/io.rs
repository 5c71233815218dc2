//! Descriptors, epoll, sockets: calls, bytes and errors exactly.

use std::time::Duration;

use serde_json::Value;
use tracer::{
    bpf,
    model::{FileView, Snapshot},
};
use tracer_common::{LossReason, table::Files};

use crate::common::{ByHand, Workload, fold, kernel_test, lost, number, rows, wait_until};

fn file<'a>(snapshot: &'a Snapshot, fd: &Value) -> &'a FileView {
    let fd = u32::try_from(fd.as_u64().unwrap()).unwrap();
    snapshot
        .files
        .iter()
        .find(|file| file.fd == fd)
        .unwrap_or_else(|| panic!("nothing went through {fd}"))
}

#[test]
fn bytes_are_counted_by_descriptor() {
    let Some(_kernel) = kernel_test("bytes_are_counted_by_descriptor") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let pipe = truth.ask("pipe-io 300 1000");
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("truth");
    let disk = truth.ask(&format!("file-io 70 4096 {}", path.display()));
    let snapshot = session.finish();
    let (read, write) = (
        file(&snapshot, &pipe["read_fd"]),
        file(&snapshot, &pipe["write_fd"]),
    );
    assert_eq!((write.writes, write.write_bytes), (300, 300_000));
    assert_eq!((write.reads, write.errors), (0, 0));
    if pipe["read_fd"] == disk["fd"] {
        // The number was closed and given to the file: a row is about all that had it.
        assert!(read.reads > 300 && read.closes > 0);
    } else {
        assert_eq!((read.reads, read.read_bytes), (300, 300_000));
        let disk_file = file(&snapshot, &disk["fd"]);
        assert_eq!(disk_file.read_bytes, number(&disk, "read_bytes"));
        assert_eq!(disk_file.write_bytes, number(&disk, "written_bytes"));
    }
    let both: u64 = snapshot.files.iter().map(|file| file.write_bytes).sum();
    let answers = 300_000 + number(&disk, "written_bytes");
    // Its answers went through stdout, which was open before.
    assert!(
        (answers..answers + 4_000).contains(&both),
        "{both} against {answers}"
    );
}

#[test]
fn refused_connections_are_counted_with_their_errno() {
    const ECONNREFUSED: u32 = 111;
    let Some(_kernel) = kernel_test("refused_connections_are_counted_with_their_errno") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let closed = truth.ask("connect-closed 33");
    let open = truth.ask("connect-open 21 1500");
    let snapshot = session.finish();
    let connect = snapshot
        .syscalls
        .iter()
        .find(|call| call.name == "connect")
        .unwrap();
    assert_eq!(number(&closed, "refused"), 33);
    assert_eq!(connect.errnos, [(ECONNREFUSED, 33)]);
    assert_eq!((connect.count, connect.errors), (33 + 21, 33));
    let connects: u64 = snapshot.files.iter().map(|file| file.connects).sum();
    assert_eq!(connects, 33 + 2 * number(&open, "accepts"));
    let sent = number(&open, "client_sent_bytes") + number(&open, "server_sent_bytes");
    let sockets: u64 = snapshot
        .files
        .iter()
        .filter(|file| file.connects > 0 || file.reads > 0)
        .map(|file| file.write_bytes)
        .sum();
    assert_eq!(sockets, sent);
}

#[test]
fn events_per_wait_and_the_way_back_are_measured() {
    let Some(_kernel) = kernel_test("events_per_wait_and_the_way_back_are_measured") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let ready = truth.ask("epoll-ready 7 120");
    let snapshot = session.finish();
    let poll = snapshot
        .polls
        .iter()
        .find(|poll| poll.waits == 120)
        .unwrap();
    assert_eq!(poll.events, number(&ready, "events"));
    assert_eq!((poll.events_max, poll.empty), (7, 0));
    assert_eq!(poll.latency.count, 0, "it never slept");

    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let blocked = truth.ask("epoll-block 30 2");
    let snapshot = session.finish();
    let poll = snapshot.polls.iter().find(|poll| poll.waits == 30).unwrap();
    assert_eq!((poll.events, poll.latency.count), (30, 30));
    let (ours, theirs) = (poll.latency.sum.0, number(&blocked, "latency_ns"));
    // Theirs begins before the write, ours when the write wakes.
    assert!(ours <= theirs && ours > 0, "{ours} against {theirs}");

    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let empty = truth.ask("epoll-timeout 12 2");
    let snapshot = session.finish();
    let poll = snapshot.polls.iter().find(|poll| poll.waits == 12).unwrap();
    assert_eq!((poll.empty, poll.events), (number(&empty, "timeouts"), 0));
}

#[test]
fn open_connections_are_in_flight() {
    let Some(_kernel) = kernel_test("open_connections_are_in_flight") else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), bpf::Options::default());
    let open = truth.ask("sockets-open 40");
    session.tick();
    let at_most = fold(&session.records);
    assert_eq!(at_most.in_flight[0].now, number(&open, "sockets"));
    truth.ask("sockets-close");
    // Looking has a price, so it is looked again only after a while.
    let gone = wait_until(Duration::from_secs(10), || {
        session.tick();
        fold(&session.records).in_flight[0].now == 0
    });
    let sockets = session.finish().in_flight.swap_remove(0);
    assert!(gone, "{sockets:?}");
    assert_eq!((sockets.what, sockets.max), ("sockets", 80));
}

#[test]
fn descriptors_are_said_to_be_what_they_are() {
    let Some(_kernel) = kernel_test("descriptors_are_said_to_be_what_they_are") else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), bpf::Options::default());
    let fds = truth.ask("fds 3");
    session.tick();
    let snapshot = fold(&session.records);
    let first = file(&snapshot, &fds["first_fd"]);
    assert_eq!(
        (first.kind.as_str(), first.reads, first.read_bytes),
        ("eventfd", 1, 8)
    );
    let stdout = file(&snapshot, &1.into());
    assert_eq!(stdout.kind, "pipe");
}

#[test]
fn five_thousand_descriptors_are_counted_or_said_to_be_lost() {
    let Some(_kernel) = kernel_test("five_thousand_descriptors_are_counted_or_said_to_be_lost")
    else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), bpf::Options::default());
    let fds = truth.ask("fds 5000");
    session.tick();
    let records = session.records();
    let snapshot = fold(&records);
    let counted: u64 = rows::<Files>(&records)
        .iter()
        .filter(|(key, _)| u64::from(key.fd) >= number(&fds, "first_fd"))
        .map(|(_, row)| row.reads)
        .sum();
    let lost = lost(&snapshot, LossReason::FILE_TABLE_FULL);
    assert_eq!((counted, lost), (number(&fds, "reads"), 0));
    assert!(snapshot.files_unlisted >= 4_800);
}
