//! The tasks of the hand-made tokio service: one type hashes passwords where it should not.

use tracer_common::{Nanos, Pid, Tid};

use super::{
    RAN, SECOND,
    resources::{MS, PID, US, stack},
};
use crate::{
    model::{
        AliveView, Distribution, LevelView, LongPollView, PollerView, StackView, TaskStackView,
        TaskState, TaskTypeView, TaskView, TasksView,
    },
    record::{RuntimeMeta, TaskKind, WaitGroup, WaitsMeta},
};

const APP: &str = "/srv/orders";
const NOW: u64 = (1_000 + RAN) * SECOND;

/// Where the password is hashed.
fn hashing() -> StackView {
    stack(&[
        (APP, "argon2::memory::fill_block"),
        (APP, "argon2::Argon2::hash_password_into"),
        (APP, "orders::auth::verify"),
        (APP, "orders::login::{{closure}}"),
    ])
}

/// Where a lock of the standard library is waited for.
fn locking() -> StackView {
    stack(&[
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "syscall"),
        (APP, "std::sys::sync::mutex::futex::Mutex::lock_contended"),
        (APP, "orders::cache::Cache<K,V>::insert"),
        (APP, "orders::orders::list::{{closure}}"),
    ])
}

pub(super) fn tasks() -> TasksView {
    TasksView {
        runtimes: vec![RuntimeMeta {
            pid: PID,
            kind: "tokio".to_owned(),
            version: "1.44.2".to_owned(),
            module: APP.to_owned(),
            files: 2,
            notes: vec![],
        }],
        types: types(),
        types_unlisted: 0,
        alive: alive(),
        alive_unlisted: 4_213,
        pollers: pollers(),
        long_polls: long_polls(),
        watched: Some(1.0),
        wakes_watched: Some(1.0),
        watch_span: Nanos(RAN * SECOND),
        recent_on: Nanos(SECOND),
        followed: true,
    }
}

/// No runtime with tasks: a Node service.
pub(super) fn none() -> TasksView {
    TasksView {
        runtimes: vec![RuntimeMeta {
            pid: PID,
            kind: "native".to_owned(),
            files: 7,
            ..RuntimeMeta::default()
        }],
        ..TasksView::default()
    }
}

pub(super) fn in_flight() -> [LevelView; 2] {
    let level = |what, now, mean, max| LevelView {
        what,
        kind: None,
        now,
        mean,
        max,
    };
    [
        level("tasks", 4_217, 3_988.0, 5_120),
        level("pool", 6, 3.4, 31),
    ]
}

struct Type<'a> {
    name: &'a str,
    at: (&'a str, u32),
    kind: TaskKind,
    /// Running, queued, idle, complete.
    alive: [u64; 4],
    /// Polls in a second, and how long they took.
    polls: u64,
    busy: u64,
    quantiles: [u64; 3],
    scheduled: [u64; 3],
    long: u64,
    /// Thousandths of the time in polls: ready, futex, I/O, fault, other.
    off: [u64; 5],
}

fn types() -> Vec<TaskTypeView> {
    let list = [
        Type {
            name: "login",
            at: ("src/login.rs", 31),
            kind: TaskKind::Async,
            alive: [1, 3, 8, 0],
            polls: 41,
            busy: 610 * MS,
            quantiles: [14 * MS, 92 * MS, 131 * MS],
            scheduled: [210 * US, 88 * MS, 127 * MS],
            long: 5_120,
            off: [31, 0, 0, 2, 0],
        },
        Type {
            name: "[blocking] resize",
            at: ("src/images.rs", 88),
            kind: TaskKind::Blocking,
            alive: [4, 2, 0, 0],
            polls: 24,
            busy: 480 * MS,
            quantiles: [19 * MS, 41 * MS, 77 * MS],
            scheduled: [0; 3],
            long: 0,
            off: [60, 0, 110, 10, 0],
        },
        Type {
            name: "list_orders",
            at: ("src/orders.rs", 112),
            kind: TaskKind::Async,
            alive: [0, 14, 186, 1],
            polls: 4_810,
            busy: 190 * MS,
            quantiles: [21 * US, 310 * US, 48 * MS],
            scheduled: [18 * US, 91 * MS, 130 * MS],
            long: 38,
            off: [20, 410, 8, 1, 0],
        },
        Type {
            name: "serve_connection",
            at: (
                "/home/me/.cargo/registry/src/index-6f17d22bba15001f/hyper-util-0.1.10/src/server/conn.rs",
                241,
            ),
            kind: TaskKind::Async,
            alive: [0, 9, 3_981, 0],
            polls: 9_120,
            busy: 84 * MS,
            quantiles: [7 * US, 41 * US, 2_100 * US],
            scheduled: [16 * US, 90 * MS, 131 * MS],
            long: 0,
            off: [12, 0, 30, 0, 0],
        },
        Type {
            name: "flush_metrics",
            at: ("src/metrics.rs", 19),
            kind: TaskKind::Async,
            alive: [0, 0, 1, 0],
            polls: 1,
            busy: 400 * US,
            quantiles: [380 * US, 900 * US, 1_400 * US],
            scheduled: [11 * US, 80 * MS, 90 * MS],
            long: 0,
            off: [0; 5],
        },
        Type {
            name: "type #7",
            at: ("", 0),
            kind: TaskKind::Async,
            alive: [0, 0, 12, 0],
            polls: 0,
            busy: 0,
            quantiles: [4 * US, 9 * US, 31 * US],
            scheduled: [12 * US, 60 * US, 75 * MS],
            long: 0,
            off: [0; 5],
        },
    ];
    (1..).zip(list).map(|(at, of)| view(at, of)).collect()
}

fn times(count: u64, sum: u64, [p50, p99, max]: [u64; 3]) -> Distribution {
    Distribution {
        count,
        sum: Nanos(sum),
        p50: Nanos(p50),
        p99: Nanos(p99),
        max: Nanos(max),
    }
}

fn view(at: u64, of: Type<'_>) -> TaskTypeView {
    let [running, queued, idle, complete] = of.alive;
    let polls = (of.polls * RAN).max(12);
    let busy = (of.busy * RAN).max(12 * 4 * US);
    let is_async = of.kind == TaskKind::Async;
    let scheduled = if is_async { polls } else { 0 };
    let stacks = match of.name {
        "login" => vec![(hashing(), busy / 10 * 9)],
        "list_orders" => vec![(locking(), busy / 5 * 2)],
        _ => vec![],
    };
    let wakers: Vec<(String, u64)> = if is_async {
        vec![
            (String::new(), polls / 4 * 3),
            ("serve_connection".to_owned(), polls / 5),
        ]
    } else {
        vec![]
    };
    TaskTypeView {
        pid: PID,
        vtable: 0x5581_0000 + at * 0x80,
        name: of.name.to_owned(),
        raw_name: if of.at.0.is_empty() {
            String::new()
        } else {
            format!(
                "orders::{}::{{{{closure}}}}",
                of.name.trim_start_matches("[blocking] ")
            )
        },
        file: of.at.0.to_owned(),
        line: of.at.1,
        kind: of.kind,
        alive: Some(AliveView {
            running,
            queued,
            idle,
            complete,
        }),
        spawned: Some(polls / 3 + 1),
        completed: polls / 3,
        cancelled: polls / 90,
        polls,
        recent_polls: of.polls,
        recent_busy: Nanos(of.busy),
        going_on: Nanos(0),
        recently_going_on: Nanos(0),
        recent_samples: of.busy / (10 * MS),
        recent_off: of
            .off
            .map(|thousandths| Nanos(of.busy / 1_000 * thousandths)),
        recent_cpu: Nanos(of.busy / 1_000 * (1_000 - of.off.iter().sum::<u64>())),
        busy: times(polls, busy, of.quantiles),
        scheduled: times(scheduled, scheduled * of.scheduled[0] * 3, of.scheduled),
        idle: times(
            scheduled / 2,
            scheduled * 40 * MS,
            [31 * MS, 900 * MS, 30 * SECOND],
        ),
        lifetime: times(
            polls / 3,
            polls * 60 * MS,
            [90 * MS, 4 * SECOND, 90 * SECOND],
        ),
        rescheduled: polls / 9,
        queued: scheduled,
        wakes: Some(if is_async { polls + polls / 20 } else { 0 }),
        redundant_wakes: Some(polls / 20),
        self_wakes: Some(polls / 9),
        long_polls: of.long,
        off: of.off.map(|part| Nanos(busy / 1_000 * part)),
        samples: busy / (10 * MS),
        sampled_cpu: Nanos(busy),
        stacks: stacks
            .into_iter()
            .map(|(stack, time)| TaskStackView {
                stack,
                time: Nanos(time),
            })
            .collect(),
        wakers,
        waits: (of.name == "list_orders").then(waits),
    }
}

fn waits() -> WaitsMeta {
    let group = |tasks, ids: &[u64], lines: &[&str]| WaitGroup {
        tasks,
        ids: ids.to_vec(),
        lines: lines.iter().map(|&line| line.to_owned()).collect(),
    };
    WaitsMeta {
        at: Nanos(NOW - 400 * MS),
        pid: PID,
        tasks: 31,
        groups: vec![
            group(
                29,
                &[811, 812, 815],
                &[
                    "orders::list_orders (src/orders.rs:118)",
                    "  orders::store::query (src/store.rs:64), holds permits of Semaphore 0x7f2c1c0 in `_permit`",
                    "    waits for fd 14 (tcp 127.0.0.1:41200 → 127.0.0.1:5432)",
                ],
            ),
            group(
                2,
                &[840, 844],
                &[
                    "orders::list_orders (src/orders.rs:121)",
                    "  waits for Mutex 0x7f2c2a0, held by task 811 list_orders (src/orders.rs:118)",
                ],
            ),
        ],
        ..WaitsMeta::default()
    }
}

fn alive() -> Vec<TaskView> {
    let task = |id, (name, source, at): (&str, &str, u64), state, age: u64| TaskView {
        pid: PID,
        id,
        vtable: 0x5581_0000 + at * 0x80,
        name: name.to_owned(),
        source: source.to_owned(),
        state,
        owner: 1,
        first: Nanos(NOW - age),
        ..TaskView::default()
    };
    let login = ("login", "src/login.rs:31", 1);
    let list = ("list_orders", "src/orders.rs:112", 3);
    vec![
        TaskView {
            tid: Tid(4184),
            poll: Nanos(NOW - 710 * MS),
            stack: hashing(),
            ..task(88_214, login, TaskState::Running, 740 * MS)
        },
        task(88_219, login, TaskState::Queued, 110 * MS),
        task(88_220, list, TaskState::Queued, 104 * MS),
        task(71_002, list, TaskState::Idle, 31 * SECOND),
    ]
}

fn pollers() -> Vec<PollerView> {
    let poller = |tid,
                  [polls, busy]: [u64; 2],
                  [runs, running]: [u64; 2],
                  [parks, moved]: [u64; 2]| PollerView {
        pid: PID,
        tid: Tid(tid),
        name: "tokio-runtime-w".to_owned(),
        polls: polls * RAN,
        busy: Nanos(busy * RAN),
        blocking: runs * RAN,
        blocking_busy: Nanos(running * RAN),
        recent_polls: polls + runs,
        recent_busy: Nanos(busy + running),
        parks: parks * RAN,
        moved: Some(moved * RAN),
        recent_parks: parks,
    };
    vec![
        poller(4184, [2_100, 412 * MS], [0, 0], [310, 84]),
        poller(4190, [0, 0], [13, 260 * MS], [13, 0]),
        poller(4183, [6_400, 241 * MS], [0, 0], [1_840, 417]),
        poller(4191, [0, 0], [11, 220 * MS], [11, 0]),
        poller(4185, [3_900, 160 * MS], [0, 0], [1_206, 233]),
        poller(4186, [1_573, 71 * MS], [0, 0], [702, 95]),
    ]
}

fn long_polls() -> Vec<LongPollView> {
    let poll =
        |ago: u64, tid, (name, source): (&str, &str), task, busy: u64, off: [u64; 5], stack| {
            LongPollView {
                since: Nanos(NOW - ago - busy),
                busy: Nanos(busy),
                tid: Tid(tid),
                pid: Pid(4182),
                name: name.to_owned(),
                source: source.to_owned(),
                task,
                off: off.map(Nanos),
                stack,
            }
        };
    let login = ("login", "src/login.rs:31");
    let list = ("list_orders", "src/orders.rs:112");
    vec![
        poll(
            210 * MS,
            4184,
            login,
            88_201,
            92 * MS,
            [3 * MS, 0, 0, 0, 0],
            hashing(),
        ),
        poll(
            400 * MS,
            4183,
            list,
            88_190,
            48 * MS,
            [0, 44 * MS, 0, 0, 0],
            locking(),
        ),
        poll(900 * MS, 4185, login, 88_177, 88 * MS, [0; 5], hashing()),
        poll(
            1_400 * MS,
            4184,
            login,
            88_151,
            131 * MS,
            [41 * MS, 0, 0, 0, 0],
            hashing(),
        ),
        poll(
            2 * SECOND,
            4999,
            list,
            0,
            12 * MS,
            [0, 0, 11 * MS, 0, 0],
            vec![],
        ),
    ]
}
