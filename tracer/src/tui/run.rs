//! Drives the dashboard: waits for keys, snapshots, the terminal's size and signals, and draws when something
//! changed, at most 20 times a second. At rest it does nothing.

use std::io;

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Duration, Instant, sleep_until},
};

use super::{
    app::{App, Msg},
    feed::{Exit, Feed, Options, Transport},
    keys::Decoder,
    terminal::Screen,
};

/// Least time between two frames.
const FRAME: Duration = Duration::from_millis(50);

/// How long after an Escape the rest of a sequence may arrive; as long as a slow connection tears one apart.
const SEQUENCE: Duration = Duration::from_millis(50);

/// Shows the dashboard until the reader quits, a signal asks to end, or the terminal is gone.
///
/// The terminal is restored when this returns, when its future is dropped, and before a panic anywhere in the
/// process is reported; such a panic ends the dashboard with an error. SIGINT, SIGTERM and SIGHUP are caught from
/// the first call on for the rest of the process (tokio does not release them), so the caller must end soon
/// after, or catch them itself.
///
/// Must run in a tokio runtime with I/O and time enabled. It never blocks the thread, except to draw.
///
/// # Errors
///
/// There is no terminal, it cannot be made raw, or something else in the process panicked.
pub async fn run(feed: Feed, options: Options) -> io::Result<Exit> {
    // Before the terminal is touched: from here on nothing ends the process without restoring it.
    let signals = Signals::listen()?;
    let mut screen = Screen::enter(options.color)?;
    let exit = drive(feed, options, signals, &mut screen).await;
    screen.leave().await;
    exit
}

async fn drive(
    feed: Feed,
    options: Options,
    signals: Signals,
    screen: &mut Screen,
) -> io::Result<Exit> {
    let Feed {
        mut snapshots,
        mut transport,
        commands,
    } = feed;
    let Signals {
        mut end,
        mut resized,
    } = signals;
    let mut app = App::new(
        options,
        transport
            .as_mut()
            .map(|transport| *transport.borrow_and_update()),
    );
    let (columns, rows) = screen.resize()?;
    app.update(Msg::Resize { columns, rows });
    app.update(Msg::Snapshot(snapshots.borrow_and_update().clone()));

    let panicked = screen.panicked();
    let mut decoder = Decoder::default();
    let mut bytes = [0; 1024];
    let mut last_read = Instant::now();
    let mut changed = true;
    let mut next_frame = Instant::now();

    while !app.quit {
        if changed && screen.unwritten.is_empty() && Instant::now() >= next_frame {
            screen.draw(&app)?;
            changed = false;
            next_frame = Instant::now() + FRAME;
        }
        let waits_for_frame = changed && screen.unwritten.is_empty();
        let mut keys = Vec::new();
        select! {
            // What ends the dashboard comes first: after that nothing more may be written.
            biased;
            () = panicked.notified() => return Err(io::Error::other("a part of the program panicked")),
            signal = end.recv() => return Ok(Exit::Signal(signal)),
            read = screen.tty().read(&mut bytes) => match read {
                Ok(read @ 1..) => {
                    keys = decoder.feed(bytes.get(..read).unwrap_or_default());
                    last_read = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return Ok(Exit::TerminalGone),
            },
            written = screen.tty().write(&screen.unwritten), if !screen.unwritten.is_empty() => match written {
                Ok(written) => drop(screen.unwritten.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Exit::TerminalGone),
            },
            _ = resized.recv() => match screen.resize() {
                Ok((columns, rows)) => {
                    app.update(Msg::Resize { columns, rows });
                    changed = true;
                }
                Err(_) => return Ok(Exit::TerminalGone),
            },
            () = sleep_until(last_read + SEQUENCE), if decoder.is_waiting() => keys.extend(decoder.give_up()),
            moved = moved(&mut transport) => {
                match moved {
                    Some(now) => {
                        app.update(Msg::Transport(now));
                    }
                    None => transport = None,
                }
                changed = true;
            },
            news = snapshots.changed(), if !app.session_ended => {
                app.update(match news {
                    Ok(()) => Msg::Snapshot(snapshots.borrow_and_update().clone()),
                    Err(_) => Msg::SessionEnded,
                });
                changed = true;
            },
            () = sleep_until(next_frame), if waits_for_frame => {}
        }
        for key in keys {
            if let Some(command) = app.update(Msg::Key(key)) {
                // A replay that is gone has shown its last snapshot; there is nothing left to command.
                let _ = commands.send(command);
            }
            changed = true;
        }
    }
    Ok(Exit::Quit)
}

/// Where the replay stands now; `None` when it does not move any more. Never, in a live session.
async fn moved(transport: &mut Option<watch::Receiver<Transport>>) -> Option<Transport> {
    match transport {
        Some(transport) => transport
            .changed()
            .await
            .ok()
            .map(|()| *transport.borrow_and_update()),
        None => std::future::pending().await,
    }
}

/// What the kernel tells a program with a terminal.
struct Signals {
    end: End,
    resized: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let end = End {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        };
        Ok(Self {
            end,
            resized: signal(SignalKind::window_change())?,
        })
    }
}

/// The signals that end the dashboard.
struct End {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl End {
    async fn recv(&mut self) -> i32 {
        let kind = select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

#[cfg(test)]
mod tests {
    //! The dashboard in a real terminal: the test program starts itself behind a pseudo-terminal.

    use std::{
        env,
        io::{Read, Write},
        os::unix::net::{UnixListener, UnixStream},
        path::PathBuf,
        sync::{Arc, mpsc},
        time::Duration,
    };

    use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
    use tokio::sync::{mpsc::unbounded_channel, watch};

    use super::*;
    use crate::{model::Snapshot, tui::demo};

    const DEADLINE: Duration = Duration::from_secs(20);
    const KIND: &str = "TRACER_TEST_DASHBOARD";
    const REPORT: &str = "TRACER_TEST_DASHBOARD_REPORT";

    /// Does nothing as a test; behind a pseudo-terminal it is the program the other tests look at.
    #[test]
    #[expect(clippy::exit, reason = "the exit code is what the other tests read")]
    fn program() {
        let Ok(kind) = env::var(KIND) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let exit = runtime.block_on(dashboard(&kind));
        report(&format!("{exit:?}"));
        println!("the last word");
        std::process::exit(match exit {
            Ok(Exit::Quit) => 10,
            Ok(Exit::TerminalGone) => 11,
            Ok(Exit::Signal(signal)) => 100 + signal,
            Err(_) => 12,
        });
    }

    async fn dashboard(kind: &str) -> io::Result<Exit> {
        let (to_snapshots, snapshots) = watch::channel(Arc::new(demo::healthy()));
        let feed = Feed {
            snapshots,
            transport: None,
            commands: unbounded_channel().0,
        };
        let options = Options {
            color: true,
            follow: true,
            title: "live".to_owned(),
        };
        match kind {
            "ends" => drop(to_snapshots),
            "panics" => {
                tokio::spawn(async move {
                    to_snapshots.closed().await;
                });
                let panics = tokio::spawn(async {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    panic!("out of cheese");
                });
                let exit = run(feed, options).await;
                assert!(panics.await.is_err());
                return exit;
            }
            "unwinds" => {
                let panics = async {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    panic!("out of cheese");
                };
                return tokio::join!(run(feed, options), panics).0;
            }
            "floods" => {
                tokio::spawn(flood(to_snapshots));
            }
            _ => {
                tokio::spawn(async move { to_snapshots.closed().await });
            }
        }
        run(feed, options).await
    }

    /// Far more than a terminal takes that nobody reads.
    async fn flood(snapshots: watch::Sender<Arc<Snapshot>>) {
        let both = [Arc::new(demo::exited()), Arc::new(demo::healthy())];
        for at in 0..40 {
            let _ = snapshots.send(Arc::clone(&both[at % 2]));
            tokio::time::sleep(FRAME).await;
        }
        report("flooded");
        snapshots.closed().await;
    }

    fn report(text: &str) {
        if let Some(path) = env::var_os(REPORT) {
            UnixStream::connect(path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }
    }

    /// What the program reports, in order.
    struct Reports {
        path: PathBuf,
        texts: mpsc::Receiver<String>,
    }

    impl Reports {
        fn listen(name: &str) -> Self {
            let path =
                env::temp_dir().join(format!("tracer-dashboard-{name}-{}", std::process::id()));
            let listener = UnixListener::bind(&path).unwrap();
            let (sender, texts) = mpsc::channel();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut text = String::new();
                    stream.unwrap().read_to_string(&mut text).unwrap();
                    if sender.send(text).is_err() {
                        return;
                    }
                }
            });
            Self { path, texts }
        }

        fn next(&self) -> String {
            self.texts.recv_timeout(DEADLINE).unwrap()
        }
    }

    impl Drop for Reports {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    struct Screened {
        child: Box<dyn Child + Send + Sync>,
        master: Box<dyn MasterPty + Send>,
        keyboard: Box<dyn Write + Send>,
        output: mpsc::Receiver<Vec<u8>>,
        screen: vt100::Parser,
    }

    fn command(kind: &str) -> CommandBuilder {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut command = CommandBuilder::new(env::current_exe().unwrap());
        command.args([&format!("{module}::program"), "--exact", "--nocapture"]);
        command.env(KIND, kind);
        command.env("TERM", "xterm-256color");
        command
    }

    fn size(rows: u16, cols: u16) -> PtySize {
        PtySize {
            rows,
            cols,
            pixel_width: 0,
            pixel_height: 0,
        }
    }

    impl Screened {
        fn start(kind: &str) -> Self {
            let pty = native_pty_system().openpty(size(24, 80)).unwrap();
            let child = pty.slave.spawn_command(command(kind)).unwrap();
            drop(pty.slave);
            let keyboard = pty.master.take_writer().unwrap();
            let mut reader = pty.master.try_clone_reader().unwrap();
            let (sender, output) = mpsc::channel();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = reader.read(&mut bytes) {
                    if sender.send(bytes[..read].to_vec()).is_err() {
                        return;
                    }
                }
            });
            let screen = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
            Self {
                child,
                master: pty.master,
                keyboard,
                output,
                screen,
            }
        }

        fn wait_for(&mut self, text: &str) {
            while !self.screen.screen().contents().contains(text) {
                match self.output.recv_timeout(DEADLINE) {
                    Ok(bytes) => self.screen.process(&bytes),
                    Err(error) => panic!(
                        "{error}: no {text:?} in\n{}",
                        self.screen.screen().contents()
                    ),
                }
            }
        }

        fn signal(&self, name: &str) {
            signal(name, self.child.process_id().unwrap());
        }

        /// The exit code, when the terminal is as it was and the program has spoken its last word on it.
        fn end(mut self, last_word: &str) -> u32 {
            self.wait_for(last_word);
            assert!(
                !self.screen.screen().alternate_screen(),
                "left the alternate screen"
            );
            assert!(!self.screen.screen().hide_cursor(), "shows the cursor");
            let modes = self.master.get_termios().unwrap().local_flags.bits();
            // ECHO and ICANON (`termbits.h`, x86-64 and arm64).
            assert_eq!(modes & 0o12, 0o12, "echoes and reads lines again");
            code(self.child)
        }
    }

    fn signal(name: &str, pid: u32) {
        let kill = std::process::Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    fn code(mut child: Box<dyn Child + Send + Sync>) -> u32 {
        let (sender, code) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait().unwrap().exit_code()));
        code.recv_timeout(DEADLINE).unwrap()
    }

    #[test]
    fn the_reader_quits() {
        for key in ["q", "\x03"] {
            let mut dashboard = Screened::start("");
            dashboard.wait_for("q quit");
            assert!(dashboard.screen.screen().alternate_screen());
            dashboard.keyboard.write_all(b"?").unwrap();
            dashboard.wait_for("Esc close");
            dashboard.keyboard.write_all(b"\x1b").unwrap();
            dashboard.wait_for("q quit");
            dashboard.master.resize(size(12, 40)).unwrap();
            dashboard
                .screen
                .screen_mut()
                .set_size(12.try_into().unwrap(), 40.try_into().unwrap());
            dashboard.wait_for("libuv-worker 4188  █");
            dashboard.keyboard.write_all(key.as_bytes()).unwrap();
            assert_eq!(dashboard.end("the last word"), 10, "{key:?}");
        }
    }

    #[test]
    fn a_signal_ends_it() {
        for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
            let mut dashboard = Screened::start("");
            dashboard.wait_for("q quit");
            dashboard.signal(name);
            assert_eq!(dashboard.end("the last word"), 100 + number, "{name}");
        }
    }

    #[test]
    fn the_last_snapshot_stays_until_the_reader_quits() {
        let mut dashboard = Screened::start("ends");
        dashboard.wait_for("■ session ended");
        dashboard.wait_for("libuv-worker");
        dashboard.keyboard.write_all(b"q").unwrap();
        assert_eq!(dashboard.end("the last word"), 10);
    }

    #[test]
    fn a_panic_is_read_on_the_screen_one_had_before() {
        let dashboard = Screened::start("panics");
        assert_eq!(dashboard.end("the last word"), 12);
        let dashboard = Screened::start("unwinds");
        assert_eq!(
            dashboard.end("out of cheese"),
            101,
            "what the test harness says of a panic"
        );
    }

    #[test]
    fn a_terminal_that_is_gone_ends_it() {
        // Once as the terminal's own program, which the kernel sends SIGHUP, and once as one that only uses it.
        let cases: [(&str, &[&str], &[&str]); 2] = [
            ("own", &[], &["Ok(Signal(1))", "Ok(TerminalGone)"]),
            ("used", &["setsid", "--wait"], &["Ok(TerminalGone)"]),
        ];
        for (name, wrapper, reported) in cases {
            let reports = Reports::listen(name);
            let pty = native_pty_system().openpty(size(24, 80)).unwrap();
            let mut command = command("");
            command.env(REPORT, &reports.path);
            command
                .get_argv_mut()
                .splice(0..0, wrapper.iter().map(|&word| word.into()));
            let child = pty.slave.spawn_command(command).unwrap();
            drop(pty.slave);
            let mut reader = pty.master.try_clone_reader().unwrap();
            let (mut seen, mut bytes) = (String::new(), [0; 4096]);
            while !seen.contains("libuv-worker") {
                let read = reader.read(&mut bytes).unwrap();
                assert_ne!(read, 0, "ended early:\n{seen}");
                seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            drop((reader, pty.master));
            let report = reports.next();
            assert!(reported.contains(&report.as_str()), "{name}: {report}");
            code(child);
        }
    }

    #[test]
    fn a_terminal_nobody_reads_holds_up_nothing() {
        let reports = Reports::listen("floods");
        let pty = native_pty_system().openpty(size(100, 300)).unwrap();
        let mut command = command("floods");
        command.env(REPORT, &reports.path);
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        assert_eq!(reports.next(), "flooded", "the rest of the program goes on");
        signal("TERM", child.process_id().unwrap());
        assert_eq!(reports.next(), "Ok(Signal(15))");
    }
}
