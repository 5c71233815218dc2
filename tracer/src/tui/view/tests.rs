//! Looks at the screens.

use std::sync::Arc;

use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

use super::{
    cpu, draw, help, io, locks, long_iterations, long_polls, loop_delay, loops, memory, now, polls,
    stack, syscalls, task, task_columns, threads, waits, workers,
};
use crate::{
    model::Snapshot,
    record::ProbeStatus,
    tui::{
        app::{App, Msg},
        demo,
        feed::{Options, Transport},
        input::Key,
    },
};
use tracer_common::Nanos;

fn live(snapshot: Snapshot) -> App {
    let mut app = App::new(
        Options {
            color: false,
            follow: true,
            title: "live".to_owned(),
        },
        None,
    );
    app.update(Msg::Snapshot(Arc::new(snapshot)));
    app
}

fn replay(transport: Transport) -> App {
    let options = Options {
        color: false,
        follow: true,
        title: "replay api.trace".to_owned(),
    };
    let mut app = App::new(options, Some(transport));
    app.update(Msg::Snapshot(Arc::new(demo::healthy())));
    app
}

fn press(app: &mut App, keys: &str) {
    for c in keys.chars() {
        let key = match c {
            '\n' => Key::Enter,
            c => Key::Char(c),
        };
        app.update(Msg::Key(key));
    }
}

fn drawn(app: &mut App, columns: u16, rows: u16) -> Buffer {
    app.update(Msg::Resize { columns, rows });
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    terminal.backend().buffer().clone()
}

fn screen(app: &mut App, columns: u16, rows: u16) -> String {
    let buffer = drawn(app, columns, rows);
    let row = |y| {
        (0..columns)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..rows).map(|y| row(y) + "\n").collect()
}

macro_rules! assert_screen {
    ($name:expr, $app:expr, $columns:expr, $rows:expr) => {
        insta::assert_snapshot!($name, screen(&mut $app, $columns, $rows))
    };
}

mod loops_view;
mod tasks;

#[test]
fn overview() {
    assert_screen!("overview_140x45", live(demo::healthy()), 140, 45);
    assert_screen!("overview_80x24", live(demo::healthy()), 80, 24);
    assert_screen!("overview_40x12", live(demo::healthy()), 40, 12);
}

#[test]
fn overview_in_trouble() {
    assert_screen!("trouble_140x45", live(demo::troubled()), 140, 45);
    assert_screen!("trouble_80x24", live(demo::troubled()), 80, 24);
    assert_screen!("trouble_40x12", live(demo::troubled()), 40, 12);
}

#[test]
fn what_is_wrong() {
    let mut app = live(demo::node());
    assert_screen!("overview_findings_120x30", app, 120, 30);
    assert_screen!("overview_findings_40x12", app, 40, 12);
    press(&mut app, "8");
    assert_screen!("findings_120x30", app, 120, 30);
    press(&mut app, "jj");
    assert_screen!("findings_second_80x24", app, 80, 24);
    assert_screen!("findings_second_40x12", app, 40, 12);
}

#[test]
fn threads_view() {
    let mut app = live(demo::troubled());
    press(&mut app, "3jjj");
    assert_screen!("threads_140x45", app, 140, 45);
    assert_screen!("threads_80x24", app, 80, 24);
    assert_screen!("threads_40x12", app, 40, 12);
}

#[test]
fn syscalls_view() {
    let mut app = live(demo::healthy());
    press(&mut app, "5jj");
    assert_screen!("syscalls_140x45", app, 140, 45);
    assert_screen!("syscalls_80x24", app, 80, 24);
    assert_screen!("syscalls_40x12", app, 40, 12);
}

#[test]
fn locks_view() {
    let mut app = live(demo::healthy());
    press(&mut app, "4");
    assert_screen!("locks_80x24", app, 80, 24);
    press(&mut app, "j");
    assert_screen!("locks_140x45", app, 140, 45);
    assert_screen!("locks_selected_80x24", app, 80, 24);
    assert_screen!("locks_40x12", app, 40, 12);
    let mut app = live(demo::troubled());
    press(&mut app, "4jj");
    assert_screen!("locks_trouble_80x24", app, 80, 24);
}

#[test]
fn io_view() {
    let mut app = live(demo::healthy());
    press(&mut app, "6");
    assert_screen!("io_80x24", app, 80, 24);
    press(&mut app, "jj");
    assert_screen!("io_140x45", app, 140, 45);
    assert_screen!("io_selected_80x24", app, 80, 24);
    assert_screen!("io_40x12", app, 40, 12);
    let mut app = live(demo::troubled());
    press(&mut app, "6");
    assert_screen!("io_trouble_80x24", app, 80, 24);
}

#[test]
fn memory_view() {
    let mut app = live(demo::healthy());
    press(&mut app, "7");
    assert_screen!("memory_80x24", app, 80, 24);
    press(&mut app, "j");
    assert_screen!("memory_140x45", app, 140, 45);
    assert_screen!("memory_selected_80x24", app, 80, 24);
    assert_screen!("memory_40x12", app, 40, 12);
}

#[test]
fn cpu_view() {
    let mut app = live(demo::healthy());
    press(&mut app, "9");
    assert_screen!("cpu_80x24", app, 80, 24);
    press(&mut app, "jjjj");
    assert_screen!("cpu_140x45", app, 140, 45);
    assert_screen!("cpu_selected_80x24", app, 80, 24);
    assert_screen!("cpu_40x12", app, 40, 12);
}

#[test]
fn a_group_that_is_off_is_said_to_be() {
    let mut light = demo::healthy();
    (light.locks, light.long_waits) = (vec![], vec![]);
    (light.files, light.polls, light.files_unlisted) = (vec![], vec![], 0);
    (light.memory.calls, light.memory.by_stack) = (None, vec![]);
    (light.cpu.samples, light.cpu.by_stack) = (0, vec![]);
    let mut app = live(light.clone());
    for (key, text) in [
        ("4", "no lock was contended"),
        ("6", "Nothing has been read, written, sent or received"),
        ("7", "Nobody has asked the kernel for much memory"),
        ("9", "No thread has been met running yet"),
    ] {
        press(&mut app, key);
        let screen = screen(&mut app, 80, 24);
        assert!(screen.contains(text), "{screen}");
    }
    for (probe, group) in [
        ("futex_waits", "lock"),
        ("file_calls", "io"),
        ("memory_calls", "memory"),
        ("cpu_sample", "sample"),
    ] {
        let mut probes = light.quality.probes.iter_mut();
        let known = probes.find(|known| known.name == probe).unwrap();
        (known.status, known.group) = (ProbeStatus::Off, group.to_owned());
        known.why = "not asked for".to_owned();
    }
    let mut app = live(light.clone());
    for (key, probe, group) in [
        ("4", "futex_waits", "lock"),
        ("6", "file_calls", "io"),
        ("7", "memory_calls", "memory"),
        ("9", "cpu_sample", "sample"),
    ] {
        press(&mut app, key);
        let screen = screen(&mut app, 140, 24);
        let off = format!("the probe {probe} is off (not asked for). `--with {group}`");
        assert!(screen.contains(&off), "{screen}");
    }
    press(&mut app, "4");
    assert_screen!("locks_off_80x24", app, 80, 24);
    press(&mut app, "7");
    assert_screen!("memory_off_80x24", app, 80, 24);
    press(&mut app, "9");
    assert_screen!("cpu_off_80x24", app, 80, 24);
    light
        .quality
        .probes
        .retain(|known| known.name == "sched_switch");
    let mut app = live(light);
    press(&mut app, "4");
    let screen = screen(&mut app, 80, 24);
    assert!(screen.contains("this session has no probe"), "{screen}");
}

#[test]
fn what_is_switched_off_for_now_is_not_0() {
    let mut off = demo::troubled();
    for probe in &mut off.quality.probes {
        if ["sys_exit", "file_calls", "memory_calls", "futex_waits"].contains(&probe.name.as_str())
        {
            probe.status = ProbeStatus::Degraded;
            probe.why =
                "off 25 % of the time since it was first switched off, to keep --max-overhead 5%"
                    .to_owned();
        }
    }
    for call in &mut off.syscalls {
        (call.recent_count, call.recent_time) = (0, Nanos(0));
    }
    for file in &mut off.files {
        (file.recent_calls, file.recent_bytes) = (0, 0);
    }
    for point in off.history.iter_mut().rev().take(5) {
        point.syscalls = 0;
    }
    let mut app = live(off);
    assert_screen!("off_for_now_80x24", app, 80, 24);
    press(&mut app, "6");
    let screen = screen(&mut app, 80, 24);
    assert!(!screen.contains("0 B/s"), "{screen}");
}

#[test]
fn the_help_says_why_a_probe_is_degraded() {
    let mut app = live(demo::troubled());
    assert!(screen(&mut app, 140, 45).contains("degraded 1"));
    press(&mut app, "?");
    let screen = screen(&mut app, 140, 45);
    for text in [
        "file_calls",
        "degraded: off 41 %",
        "refused: the kernel has",
    ] {
        assert!(screen.contains(text), "{screen}");
    }
}

#[test]
fn the_end_of_the_target() {
    let mut app = live(demo::exited());
    app.update(Msg::SessionEnded);
    assert_screen!("exited_80x24", app, 80, 24);
    press(&mut app, "3w");
    assert_screen!("exited_threads_80x24", app, 80, 24);
}

#[test]
fn a_replay() {
    let second = |s: u64| Nanos(s * 1_000_000_000);
    let running = Transport {
        position: second(72),
        duration: second(192),
        speed: 4.0,
        paused: false,
        ended: false,
    };
    assert_screen!("replay_140x45", replay(running), 140, 45);
    assert_screen!("replay_80x24", replay(running), 80, 24);
    assert_screen!(
        "replay_40x12",
        replay(Transport {
            paused: true,
            ..running
        }),
        40,
        12
    );
    let ended = Transport {
        position: second(192),
        ended: true,
        ..running
    };
    assert_screen!("replay_ended_80x24", replay(ended), 80, 24);
}

#[test]
fn help_popup() {
    let mut app = live(demo::healthy());
    press(&mut app, "?");
    assert_screen!("help_140x45", app, 140, 45);
    assert_screen!("help_80x24", app, 80, 24);
    app.update(Msg::Key(Key::PageDown));
    assert_screen!("help_80x24_below", app, 80, 24);
}

#[test]
fn the_help_begins_with_what_is_on_the_screen() {
    for (key, heading) in [
        ("2", "Tasks"),
        ("3", "Threads"),
        ("4", "Locks"),
        ("5", "System calls"),
        ("6", "I/O: descriptors"),
        ("7", "Memory"),
        ("9", "CPU"),
        ("l", "Event loops"),
    ] {
        let mut app = live(demo::healthy());
        press(&mut app, key);
        press(&mut app, "?");
        let screen = screen(&mut app, 80, 24);
        let first = screen.lines().nth(1).unwrap();
        assert_eq!(first.trim_matches(['│', ' ']), heading);
    }
    let mut app = live(demo::troubled());
    press(&mut app, "4?");
    assert_screen!("help_locks_trouble_140x45", app, 140, 45);
}

#[test]
fn states_that_explain_themselves() {
    let options = Options {
        color: false,
        follow: true,
        title: "live".to_owned(),
    };
    assert_screen!("attaching_80x24", App::new(options, None), 80, 24);
    let mut nobody = demo::healthy();
    nobody.threads.clear();
    nobody.syscalls.clear();
    nobody.history.clear();
    assert_screen!("no_threads_80x24", live(nobody), 80, 24);
    let mut filtered = live(demo::healthy());
    press(&mut filtered, "/zzz");
    assert_screen!("filter_matches_nothing_80x24", filtered, 80, 24);
}

#[test]
fn system_calls_that_are_not_counted_are_not_0() {
    let mut light = demo::healthy();
    light.syscalls.clear();
    for point in &mut light.history {
        point.syscalls = 0;
    }
    for probe in &mut light.quality.probes {
        if probe.name == "sys_exit" {
            probe.status = ProbeStatus::Off;
            probe.why = "not asked for".to_owned();
        }
    }
    let screen = screen(&mut live(light), 140, 45);
    let gauge = screen
        .lines()
        .find_map(|line| line.split_once("│ syscalls "));
    let gauge = gauge.unwrap().1.trim_end_matches('│').trim();
    assert_eq!(gauge, "–", "{screen}");
    assert!(
        screen.contains("not counted: the probe sys_exit is off (not asked for)."),
        "{screen}"
    );
}

#[test]
fn a_replay_that_is_paused_at_its_start_says_where_it_is() {
    let transport = Transport {
        duration: Nanos(192_000_000_000),
        speed: 1.0,
        paused: true,
        ..Transport::default()
    };
    let mut app = replay(transport);
    app.update(Msg::Snapshot(Arc::default()));
    let screen = screen(&mut app, 80, 24);
    for text in [
        "tracer  ‖ paused",
        "Before the first window",
        "‖ 1×      0s",
    ] {
        assert!(screen.contains(text), "{screen}");
    }
}

#[test]
fn a_frozen_view_says_for_how_long() {
    let mut app = live(demo::healthy());
    press(&mut app, " ");
    let mut later = demo::healthy();
    later.now = later.now.plus(Nanos(12_000_000_000));
    app.update(Msg::Snapshot(Arc::new(later)));
    let screen = screen(&mut app, 80, 24);
    assert!(
        screen.lines().next().unwrap().contains("‖ paused for 12s"),
        "{screen}"
    );
}

/// A session whose numbers and texts are as bad as they can be.
fn hostile() -> Snapshot {
    let mut snapshot = demo::troubled();
    for thread in &mut snapshot.threads {
        thread.name = "日本語\u{202e}\x1b[2J👩‍👩‍👧".repeat(4);
        thread.recent.in_state = [u64::MAX; 16];
    }
    for call in &mut snapshot.syscalls {
        (call.count, call.recent_count, call.recent_time) = (u64::MAX, u64::MAX, Nanos(u64::MAX));
    }
    for lock in &mut snapshot.locks {
        (lock.recent_waits, lock.recent_time) = (u64::MAX, Nanos(u64::MAX));
        (lock.wait.count, lock.wait.sum, lock.address) = (u64::MAX, Nanos(u64::MAX), u64::MAX);
        for party in lock.waiters.iter_mut().chain(&mut lock.wakers) {
            party.name = "日本語\u{202e}\x1b[2J".repeat(4);
        }
    }
    for file in &mut snapshot.files {
        file.name = "日本語\u{202e}\x1b[2J".repeat(40);
        (file.reads, file.writes, file.recent_bytes) = (u64::MAX, u64::MAX, u64::MAX);
        (file.read_bytes, file.write_bytes) = (u64::MAX, u64::MAX);
    }
    for poll in &mut snapshot.polls {
        (poll.waits, poll.events) = (0, u64::MAX);
    }
    snapshot.tasks = demo::tokio().tasks;
    for view in &mut snapshot.tasks.types {
        (view.name, view.raw_name) = ("日本語\u{202e}\x1b[2J".repeat(9), "界".repeat(400));
        (view.recent_polls, view.recent_busy) = (u64::MAX, Nanos(u64::MAX));
        (view.polls, view.busy.sum) = (u64::MAX, Nanos(u64::MAX));
        view.off = [Nanos(u64::MAX); 5];
    }
    for poller in &mut snapshot.tasks.pollers {
        (poller.recent_polls, poller.recent_busy) = (u64::MAX, Nanos(u64::MAX));
        (poller.busy, poller.blocking_busy) = (Nanos(u64::MAX), Nanos(u64::MAX));
    }
    for poll in &mut snapshot.tasks.long_polls {
        (poll.since, poll.busy) = (Nanos(u64::MAX), Nanos(u64::MAX));
    }
    snapshot.tasks.recent_on = Nanos(1);
    for row in &mut snapshot.cpu.by_stack {
        row.samples = u64::MAX;
    }
    snapshot.cpu.quota_millicpus = Some(u32::MAX);
    snapshot.memory.rss_slope = Some(f64::INFINITY);
    snapshot.memory.pressure_some = Some(f64::NAN);
    for level in &mut snapshot.in_flight {
        (level.now, level.mean) = (u64::MAX, f64::NAN);
    }
    snapshot.history.truncate(1);
    snapshot.history[0].length = Nanos(0);
    snapshot.window = Nanos(0);
    snapshot.memory.minor_faults = Some(u64::MAX);
    snapshot
}

#[test]
fn every_size_is_drawn() {
    let transport = Transport {
        position: Nanos(1),
        duration: Nanos(0),
        speed: 1.0,
        paused: false,
        ended: false,
    };
    let mut every = live(hostile());
    let mut some = [
        live(demo::troubled()),
        live(demo::looping()),
        live(demo::node()),
        live(demo::exited()),
        live(Snapshot::default()),
        replay(transport),
    ];
    let sizes = || (0..=60).flat_map(|columns| (0..=30).map(move |rows| (columns, rows)));
    for keys in [
        "1j", "2j", "2j\n", "3j", "4j", "5j", "6j", "7j", "9j", "lj", "?", "q/x",
    ] {
        press(&mut every, keys);
        for (columns, rows) in sizes() {
            drawn(&mut every, columns, rows);
        }
        for app in &mut some {
            press(app, keys);
            for (columns, rows) in sizes().step_by(41) {
                drawn(app, columns, rows);
            }
            for columns in [80, 119, 120, 140, 400] {
                drawn(app, columns, 50);
            }
        }
    }
}

#[test]
fn what_the_target_calls_itself_cannot_drive_the_terminal() {
    let mut snapshot = demo::troubled();
    for process in &mut snapshot.processes {
        process.comm = "\x1b]0;evil\x07".to_owned();
        process.cmdline = "node \x1b[2Ja \u{9b}31m \u{202e}gpj".to_owned();
    }
    for thread in &mut snapshot.threads {
        thread.name = "\x1b[31m\rred".to_owned();
    }
    for call in &mut snapshot.syscalls {
        call.name = "a\x08b".to_owned();
    }
    for probe in &mut snapshot.quality.probes {
        probe.why = "\x1b[2J".to_owned();
    }
    for lock in &mut snapshot.locks {
        for party in lock.waiters.iter_mut().chain(&mut lock.wakers) {
            party.name = "\x1b[31m".to_owned();
        }
    }
    for wait in &mut snapshot.long_waits {
        wait.thread = "\x1b[31m".to_owned();
    }
    for file in &mut snapshot.files {
        (file.kind, file.name) = ("so\x1bcket".to_owned(), "/\u{202e}\x1b[2J".to_owned());
    }
    let evil = crate::record::SymbolMeta {
        module: "/\x1b[2J".to_owned(),
        frames: vec![crate::record::FrameMeta {
            function: "a\x1b[2Jb".to_owned(),
            file: "\x1b[2J".to_owned(),
            line: 1,
        }],
        ..Default::default()
    };
    let evil = vec![Arc::new(evil)];
    for row in &mut snapshot.cpu.by_stack {
        (row.stack, row.kernel_stack) = (evil.clone(), evil.clone());
    }
    for row in &mut snapshot.memory.by_stack {
        row.stack = evil.clone();
    }
    for lock in &mut snapshot.locks {
        (lock.stack, lock.waker_stack) = (evil.clone(), evil.clone());
    }
    snapshot.tasks = demo::tokio().tasks;
    for runtime in &mut snapshot.tasks.runtimes {
        runtime.notes.push("\x1b[2J".to_owned());
    }
    for view in &mut snapshot.tasks.types {
        (view.name, view.file) = ("a\x1b[2Jb".to_owned(), "\x1b[2J".to_owned());
        (view.raw_name, view.wakers) = ("\u{202e}".to_owned(), vec![("\x1b".to_owned(), 1)]);
        for found in &mut view.stacks {
            found.stack = evil.clone();
        }
    }
    for poll in &mut snapshot.tasks.long_polls {
        (poll.name, poll.source) = ("a\x1b[2Jb".to_owned(), "\x1b[2J:3".to_owned());
        poll.stack = evil.clone();
    }
    for poller in &mut snapshot.tasks.pollers {
        poller.name = "\x1b[31m".to_owned();
    }
    snapshot.session.profile = "\x1b[1m".to_owned();
    let mut app = live(snapshot);
    app.options.title = "\x1b[7m".to_owned();
    for keys in [
        "1j",
        "2j",
        "2j\n",
        "3j",
        "4j",
        "5j",
        "6j",
        "7j",
        "9j",
        "/\u{202e}",
    ] {
        press(&mut app, keys);
        for (columns, rows) in [(40, 12), (80, 24), (140, 45)] {
            let screen = screen(&mut app, columns, rows);
            let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!screen.contains(bad), "{screen:?}");
        }
    }
}

#[test]
fn without_colours_no_colour_is_used() {
    let mut terminal = Terminal::new(TestBackend::new(140, 45)).unwrap();
    let mut app = live(demo::troubled());
    for color in [false, true] {
        app.options.color = color;
        terminal.draw(|frame| draw(frame, &app)).unwrap();
        let buffer = terminal.backend().buffer();
        let colored = buffer
            .content()
            .iter()
            .any(|cell| cell.fg != ratatui::style::Color::Reset);
        assert_eq!(colored, color);
    }
}

#[test]
fn every_number_is_explained_by_the_help() {
    let mut app = live(demo::healthy());
    press(&mut app, "?");
    let text = screen(&mut app, 80, 400);
    assert_eq!(help::overflow(&app, 80, 400), 0);
    let labels = now::meanings()
        .chain(task_columns::MEANINGS)
        .chain(long_polls::MEANINGS)
        .chain(workers::MEANINGS)
        .chain(loops::MEANINGS)
        .chain(loop_delay::MEANINGS)
        .chain(long_iterations::MEANINGS)
        .chain(task::MEANINGS)
        .chain(threads::MEANINGS)
        .chain(locks::MEANINGS)
        .chain(waits::MEANINGS)
        .chain([stack::MEANING])
        .chain(syscalls::MEANINGS)
        .chain(io::MEANINGS)
        .chain(polls::MEANINGS)
        .chain(memory::FACTS)
        .chain(memory::CALLS_MEANINGS)
        .chain(memory::STACKS_MEANINGS)
        .chain(cpu::FACTS)
        .chain(cpu::FUNCTION_MEANINGS)
        .chain(cpu::STACKS_MEANINGS);
    for (label, meaning) in labels {
        let first = meaning.split(' ').take(3).collect::<Vec<_>>().join(" ");
        assert!(
            text.lines()
                .any(|line| line.contains(label) && line.contains(&first)),
            "{label}: {meaning}"
        );
    }
}
