//! The terminal: entered, written to without ever waiting for it, and restored in every way of ending.
//!
//! It is opened anew and non-blocking, for reading and for writing: a terminal that does not take what is drawn
//! (a stuck connection, Ctrl-S in a multiplexer) delays nothing but the next frame, and the shell's own
//! descriptors stay as they are.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    panic::{self, PanicHookInfo},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossterm::{
    cursor, queue,
    style::force_color_output,
    terminal::{Clear, ClearType, EnterAlternateScreen},
};
use ratatui::{Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, layout::Rect};
use rustix::{
    fs::OFlags,
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    time::timeout,
};

use super::{app::App, view};

/// How long a terminal that takes nothing may delay the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Larger terminals are drawn to this size.
const LARGEST: (u16, u16) = (1_000, 500);

/// The screen, from [`Screen::enter`] to [`Screen::leave`]. Dropping it restores the terminal too, as well as
/// that can be done without waiting.
pub(super) struct Screen {
    tty: Tty,
    /// What ratatui has drawn, as bytes that are not yet written.
    drawn: Drawn,
    /// What is being written.
    pub(super) unwritten: Vec<u8>,
    terminal: Terminal<CrosstermBackend<Drawn>>,
    restore: Restore,
}

impl Screen {
    /// Takes over the terminal.
    pub(super) fn enter(color: bool) -> io::Result<Self> {
        let no_terminal = |error: io::Error| {
            io::Error::new(error.kind(), format!("no terminal to draw on: {error}"))
        };
        let tty = Arc::new(open().map_err(no_terminal)?);
        let restore = Restore::prepare(&tty).map_err(no_terminal)?;
        // The caller has decided on colours; crossterm would read NO_COLOR on its own.
        force_color_output(color);
        let mut unwritten = Vec::new();
        queue!(unwritten, EnterAlternateScreen, cursor::Hide)?;
        let drawn = Drawn::default();
        let tty = Tty::register(tty)?;
        let terminal = sized(&drawn, tty.size()?)?;
        Ok(Self {
            tty,
            drawn,
            unwritten,
            terminal,
            restore,
        })
    }

    /// The terminal itself.
    pub(super) fn tty(&self) -> &Tty {
        &self.tty
    }

    /// Where a panic elsewhere is announced.
    pub(super) fn panicked(&self) -> Arc<Notify> {
        Arc::clone(&self.restore.state.panicked)
    }

    /// Adapts to the terminal's size, which is returned.
    pub(super) fn resize(&mut self) -> io::Result<(u16, u16)> {
        let size = self.tty.size()?;
        self.terminal = sized(&self.drawn, size)?;
        Ok(size)
    }

    /// Draws a frame, to be written later.
    pub(super) fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, app))?;
        self.unwritten.append(&mut self.drawn.bytes());
        Ok(())
    }

    /// Gives the terminal back. One that takes nothing more is left after a while.
    pub(super) async fn leave(mut self) {
        if self.restore.state.is_restored() {
            return;
        }
        if !self.write_all().await {
            self.unwritten.clear();
        }
        self.unwritten.extend_from_slice(RESTORE);
        self.write_all().await;
        self.restore.state.cook();
    }

    /// Writes what is unwritten; false when that cannot be done in time.
    async fn write_all(&mut self) -> bool {
        timeout(PATIENCE, async {
            while !self.unwritten.is_empty() {
                match self.tty.write(&self.unwritten).await {
                    Ok(written) => drop(self.unwritten.drain(..written)),
                    Err(_) => return false,
                }
            }
            true
        })
        .await
        .unwrap_or(false)
    }
}

/// The terminal this process belongs to, or else the one it reads from.
fn open() -> io::Result<File> {
    // A file description of its own: non-blocking is a property of the description, and the shell shares the
    // one on standard input. O_NOCTTY, so that a program without a terminal does not acquire one.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let open = |path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
    };
    open("/dev/tty").or_else(|_| open("/proc/self/fd/0"))
}

fn sized(
    drawn: &Drawn,
    (columns, rows): (u16, u16),
) -> io::Result<Terminal<CrosstermBackend<Drawn>>> {
    // A fixed viewport, because the others ask the terminal for its size at every frame.
    let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
    let mut to = drawn.clone();
    queue!(to, Clear(ClearType::All))?;
    Terminal::with_options(CrosstermBackend::new(to), TerminalOptions { viewport })
}

/// The open terminal.
pub(super) struct Tty(AsyncFd<Arc<File>>);

impl Tty {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; what that asks for holds: an Arc<File> is one open file"
    )]
    fn register(tty: Arc<File>) -> io::Result<Self> {
        Ok(Self(AsyncFd::new(tty)?))
    }

    /// Reads what was typed; nothing means that the terminal is gone.
    pub(super) async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::READABLE, |file| (&**file).read(bytes))
            .await
    }

    /// Writes as much as the terminal takes.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::WRITABLE, |file| (&**file).write(bytes))
            .await
    }

    /// Columns and rows; what they usually are when the terminal does not know.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = tcgetwinsize(&**self.0.get_ref())?;
        Ok(match (size.ws_col, size.ws_row) {
            (0, 0) => (80, 24),
            (columns, rows) => (columns.min(LARGEST.0), rows.min(LARGEST.1)),
        })
    }
}

/// Bytes ratatui has drawn.
#[derive(Clone, Debug, Default)]
struct Drawn(Arc<Mutex<Vec<u8>>>);

impl Drawn {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Drawn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends a sequence that was cut off (CAN), attributes, the alternate screen, and shows the cursor.
const RESTORE: &[u8] = b"\x18\x1b[0m\x1b[?1049l\x1b[?25h";

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// Restores the terminal when it is dropped, and before a panic is reported.
struct Restore {
    state: Arc<Restorable>,
    previous: Arc<Hook>,
}

struct Restorable {
    tty: Arc<File>,
    cooked: Termios,
    restored: AtomicBool,
    panicked: Arc<Notify>,
}

impl Restore {
    /// Remembers how the terminal is, and makes it raw.
    fn prepare(tty: &Arc<File>) -> io::Result<Self> {
        let cooked = tcgetattr(tty)?;
        let mut raw = cooked.clone();
        raw.make_raw();
        let state = Arc::new(Restorable {
            tty: Arc::clone(tty),
            cooked,
            restored: AtomicBool::new(false),
            panicked: Arc::default(),
        });
        let previous: Arc<Hook> = Arc::from(panic::take_hook());
        let restore = Self { state, previous };
        let (state, previous) = (Arc::clone(&restore.state), Arc::clone(&restore.previous));
        panic::set_hook(Box::new(move |info| {
            // Broken debug information can make a library panic; that is caught there, and costs a name.
            if std::thread::current().name() == Some("tracer-symbols") {
                return;
            }
            state.restore();
            state.panicked.notify_one();
            previous(info);
        }));
        tcsetattr(tty, OptionalActions::Now, &raw)?;
        Ok(restore)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.state.restore();
        // A panicking thread may not change the hook; it is not needed any more either.
        if !std::thread::panicking() {
            let previous = Arc::clone(&self.previous);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}

impl Restorable {
    fn is_restored(&self) -> bool {
        self.restored.load(Ordering::SeqCst)
    }

    /// Does at once what [`Screen::leave`] does with patience. Nobody is left to hear of an error.
    fn restore(&self) {
        if !self.is_restored() {
            let _ = (&*self.tty).write_all(RESTORE);
            self.cook();
        }
    }

    fn cook(&self) {
        if !self.restored.swap(true, Ordering::SeqCst) {
            let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.cooked);
        }
    }
}
