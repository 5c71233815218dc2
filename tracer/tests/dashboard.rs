//! The dashboard in a real terminal: it starts, explains itself, follows a resize, and leaves the terminal as it was,
//! however it ends.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

mod common;

use std::{
    io::{Read, Write},
    num::NonZeroU16,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use common::{Workload, kernel_test};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

const PATIENCE: Duration = Duration::from_secs(20);

/// A program in a terminal, and what the terminal shows.
struct Screen {
    master: Option<Box<dyn MasterPty + Send>>,
    keyboard: Option<Box<dyn Write + Send>>,
    output: Receiver<Vec<u8>>,
    terminal: vt100::Parser,
    child: Box<dyn Child + Send + Sync>,
}

impl Screen {
    fn start(arguments: &[&str], rows: u16, columns: u16) -> Self {
        let size = PtySize {
            rows,
            cols: columns,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tracer"));
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env("TRACER_CACHE_DIR", "");
        command.cwd(env!("CARGO_TARGET_TMPDIR"));
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                if send.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let size = |value| NonZeroU16::new(value).unwrap();
        let terminal = vt100::Parser::new(size(rows), size(columns), 0);
        Self {
            master: Some(pair.master),
            keyboard: Some(keyboard),
            output,
            terminal,
            child,
        }
    }

    fn shown(&self) -> String {
        self.terminal.screen().contents()
    }

    /// Feeds the terminal until the screen fulfils `condition`.
    fn wait(&mut self, what: &str, condition: impl Fn(&vt100::Screen) -> bool) {
        #[expect(clippy::disallowed_methods, reason = "a deadline is wall time")]
        let begun = Instant::now();
        while !condition(self.terminal.screen()) {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited for {what}:\n{}",
                self.shown()
            );
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.terminal.process(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    assert!(
                        condition(self.terminal.screen()),
                        "ended before {what}:\n{}",
                        self.shown()
                    );
                    return;
                }
            }
        }
    }

    fn wait_for(&mut self, text: &str) {
        self.wait(&format!("`{text}`"), |screen| {
            screen.contents().contains(text)
        });
    }

    fn press(&mut self, keys: &str) {
        self.keyboard
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let size = PtySize {
            rows,
            cols: columns,
            pixel_width: 0,
            pixel_height: 0,
        };
        self.master.as_ref().unwrap().resize(size).unwrap();
        let size = |value| NonZeroU16::new(value).unwrap();
        self.terminal
            .screen_mut()
            .set_size(size(rows), size(columns));
    }

    fn signal(&self, name: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end, and asserts that the terminal is as it was before.
    fn assert_restored(&mut self, how: &str) {
        self.wait("the ordinary screen", |screen| !screen.alternate_screen());
        #[expect(clippy::disallowed_methods, reason = "a deadline is wall time")]
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end after {how}");
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(50)) {
                self.terminal.process(&bytes);
            }
        }
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(50)) {
            self.terminal.process(&bytes);
        }
        let screen = self.terminal.screen();
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "after {how}"
        );
        assert_eq!(
            screen.mouse_protocol_mode(),
            vt100::MouseProtocolMode::None,
            "after {how}"
        );
        assert!(
            !screen.contents().contains("panicked"),
            "{}",
            screen.contents()
        );
    }
}

#[test]
fn it_starts_explains_itself_follows_a_resize_and_quits() {
    let Some(_kernel) = kernel_test("it_starts_explains_itself_follows_a_resize_and_quits") else {
        return;
    };
    let service = Workload::node(&["service.mjs"]);
    let pid = service.pid().0.to_string();
    let mut screen = Screen::start(&["-p", &pid], 40, 140);
    screen.wait_for("Where the time goes");
    screen.wait_for(&format!("pid {pid}"));
    screen.wait_for("epoll_pwait");
    assert!(screen.terminal.screen().alternate_screen());

    screen.press("?");
    screen.wait_for("Help");
    screen.press("\x1b");
    screen.wait("the help to go", |screen| {
        !screen.contents().contains("Help")
    });

    for (key, title) in [
        ("3", "runq max"),
        ("4", "who waits"),
        ("5", "what it does"),
        ("6", "Waiting for events"),
        ("7", "Who asks for memory"),
        ("9", "CPUs"),
    ] {
        screen.press(key);
        screen.wait_for(title);
    }
    screen.press("1");
    screen.press(" ");
    screen.wait_for("‖");
    screen.press(" ");
    screen.wait_for("● live");

    screen.resize(12, 40);
    screen.wait("the narrow screen", |screen| {
        let shown = screen.contents();
        shown.contains("pid") && shown.contains("node") && !shown.contains("syscalls")
    });
    screen.press("q");
    screen.assert_restored("q");
    assert!(screen.child.wait().unwrap().success());
}

#[test]
fn the_terminal_is_restored_after_every_signal() {
    let Some(_kernel) = kernel_test("the_terminal_is_restored_after_every_signal") else {
        return;
    };
    let truth = Workload::truth();
    let pid = truth.pid().0.to_string();
    for signal in ["INT", "TERM", "HUP"] {
        let mut screen = Screen::start(&["-p", &pid], 24, 80);
        screen.wait_for("Where the time goes");
        screen.signal(signal);
        screen.assert_restored(signal);
    }
    // Ctrl-C is a key there, not a signal.
    let mut screen = Screen::start(&["-p", &pid], 24, 80);
    screen.wait_for("Where the time goes");
    screen.press("\x03");
    screen.assert_restored("Ctrl-C");
}

#[test]
fn a_terminal_that_hangs_up_ends_it() {
    let Some(_kernel) = kernel_test("a_terminal_that_hangs_up_ends_it") else {
        return;
    };
    let truth = Workload::truth();
    let mut screen = Screen::start(&["-p", &truth.pid().0.to_string()], 24, 80);
    screen.wait_for("Where the time goes");
    screen.keyboard = None;
    screen.master = None;
    // The reader thread holds the last copy of the terminal until it is told to stop.
    let (_send, nothing) = channel();
    screen.output = nothing;
    let ended = common::wait_until(PATIENCE, || matches!(screen.child.try_wait(), Ok(Some(_))));
    assert!(ended, "it goes on without a terminal");
}

#[test]
fn a_target_that_ends_is_shown_and_the_screen_stays() {
    let Some(_kernel) = kernel_test("a_target_that_ends_is_shown_and_the_screen_stays") else {
        return;
    };
    let truth = Workload::truth();
    let mut screen = Screen::start(&["-p", &truth.pid().0.to_string()], 30, 120);
    screen.wait_for("Where the time goes");
    truth.end();
    screen.wait_for("target exited");
    screen.press("q");
    screen.assert_restored("the target's end");
}

#[test]
fn a_program_is_started_and_its_output_kept_off_the_screen() {
    let Some(_kernel) = kernel_test("a_program_is_started_and_its_output_kept_off_the_screen")
    else {
        return;
    };
    let script = "console.log('not on the screen'); setInterval(() => {}, 1000); setTimeout(() => process.exit(), 3000)";
    let mut screen = Screen::start(&["--", "node", "-e", script], 30, 120);
    screen.wait_for("Where the time goes");
    assert!(!screen.shown().contains("not on the screen"));
    screen.wait_for("target exited");
    screen.press("q");
    screen.assert_restored("q");
    screen.wait_for("what it printed is in");
}

#[test]
fn a_replay_shows_the_recording_and_can_be_moved_in() {
    let Some(_kernel) = kernel_test("a_replay_shows_the_recording_and_can_be_moved_in") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.mcap").display().to_string();
    let service = Workload::node(&["service.mjs"]);
    let pid = service.pid().0.to_string();
    let recorded = std::process::Command::new(env!("CARGO_BIN_EXE_tracer"))
        .env("TRACER_CACHE_DIR", "")
        .args([
            "record", "-q", "-p", &pid, "-d", "2s", "-i", "100ms", "-o", &file,
        ])
        .status()
        .unwrap();
    assert!(recorded.success());
    drop(service);
    let mut screen = Screen::start(&["replay", &file], 40, 140);
    screen.wait_for("Where the time goes");
    screen.wait_for("epoll_pwait");
    screen.press(" ");
    screen.wait_for("‖");
    screen.press("\x1b[F");
    screen.wait_for("at its end");
    screen.press("\x1b[H");
    screen.press("q");
    screen.assert_restored("q");
    assert!(screen.child.wait().unwrap().success());
}
