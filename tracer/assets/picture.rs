//! Makes the README's picture of the dashboard from the running program: the real dashboard in a real terminal, on the
//! demo's Node service, drawn cell by cell as SVG.
//!
//! `cargo xtask picture` runs it; it needs the privileges tracing needs. Cells are placed one by one, and blocks are
//! drawn as rectangles, so that bars and sparklines look the same whatever the viewer's font is.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    num::NonZeroU16,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const ROWS: u16 = 34;
const COLUMNS: u16 = 132;
/// Windows to wait for, so that the sparklines show something.
const WATCHED: Duration = Duration::from_secs(25);

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let node = root.join("workloads/node");
    let mut service = Workload::start(&node.join("service.mjs"), &[])?;
    let port = field(&service.ready, "port")?;
    let client = Workload::start(&node.join("client.mjs"), &["--port", &port])?;
    let pid = field(&service.ready, "pid")?;
    let screen = watch(&tracer()?, &pid)?;
    drop(client);
    service.end();
    let path = root.join("assets/dashboard.svg");
    fs::write(&path, svg(screen.screen())).with_context(|| format!("write {}", path.display()))
}

/// The program that was built with this one.
fn tracer() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .context("the folder this was built in")?;
    let program = folder.join("tracer");
    if !program.exists() {
        bail!("{} is missing: run cargo xtask picture", program.display());
    }
    Ok(program)
}

/// A Node program that runs until its stdin is closed.
struct Workload {
    child: Child,
    ready: String,
}

impl Workload {
    fn start(script: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("node");
        command
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("run {}", script.display()))?;
        let mut ready = String::new();
        let mut output = BufReader::new(child.stdout.take().context("its output")?);
        output.read_line(&mut ready)?;
        // Its later lines must find a reader, or it stalls.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self { child, ready })
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself once its stdin is closed.
        let _ = self.child.wait();
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.end();
    }
}

fn field(ready: &str, name: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(ready).context("its first line")?;
    value
        .get(name)
        .map(ToString::to_string)
        .with_context(|| format!("no {name} in {ready}"))
}

/// Runs the dashboard for a while and gives its last screen.
fn watch(program: &Path, pid: &str) -> Result<vt100::Parser> {
    let size = PtySize {
        rows: ROWS,
        cols: COLUMNS,
        pixel_width: 0,
        pixel_height: 0,
    };
    let pair = native_pty_system().openpty(size)?;
    let mut command = CommandBuilder::new(program);
    command.args(["-p", pid]);
    command.env("TERM", "xterm-256color");
    command.env("COLORTERM", "truecolor");
    let mut child = pair.slave.spawn_command(command)?;
    drop(pair.slave);
    let output = reader(pair.master.try_clone_reader()?);
    let mut keyboard = pair.master.take_writer()?;
    let size = |value| NonZeroU16::new(value).unwrap_or(NonZeroU16::MIN);
    let mut terminal = vt100::Parser::new(size(ROWS), size(COLUMNS), 0);
    #[expect(
        clippy::disallowed_methods,
        reason = "the dashboard is watched for a while"
    )]
    let begun = Instant::now();
    while let Some(left) = WATCHED.checked_sub(begun.elapsed()) {
        match output.recv_timeout(left) {
            Ok(bytes) => terminal.process(&bytes),
            Err(_) if begun.elapsed() < WATCHED => {
                bail!("the dashboard ended: {}", terminal.screen().contents())
            }
            Err(_) => break,
        }
    }
    keyboard.write_all(b"q")?;
    child.wait()?;
    Ok(terminal)
}

fn reader(mut from: Box<dyn Read + Send>) -> Receiver<Vec<u8>> {
    let (send, output) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if bytes
                .get(..read)
                .is_none_or(|bytes| send.send(bytes.to_vec()).is_err())
            {
                break;
            }
        }
    });
    output
}

const CELL: (f32, f32) = (8.4, 18.0);
const BACKGROUND: &str = "#11151c";
const FOREGROUND: &str = "#d5dae2";

fn svg(screen: &vt100::Screen) -> String {
    let (width, height) = (f32::from(COLUMNS) * CELL.0, f32::from(ROWS) * CELL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"ui-monospace, \
         Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\">\n<title>tracer on a Node service</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            if let Some(cell) = screen.cell(row, column) {
                draw(
                    &mut out,
                    cell,
                    f32::from(column) * CELL.0,
                    f32::from(row) * CELL.1,
                );
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, cell: &vt100::Cell, x: f32, y: f32) {
    let mut colours = (
        colour(cell.fgcolor(), FOREGROUND),
        colour(cell.bgcolor(), BACKGROUND),
    );
    if cell.inverse() {
        colours = (colours.1, colours.0);
    }
    let (foreground, background) = colours;
    if background != BACKGROUND {
        rectangle(out, (x, y, CELL.0, CELL.1), &background, 1.0);
    }
    let text = cell.contents();
    let Some(glyph) = text.chars().next().filter(|glyph| *glyph != ' ') else {
        return;
    };
    let opacity = if cell.dim() { 0.6 } else { 1.0 };
    match glyph {
        // ▁▂▃▄▅▆▇█
        '\u{2581}'..='\u{2588}' => {
            let eighths = (glyph as u32 - 0x2580) as f32;
            let height = CELL.1 * eighths / 8.0;
            rectangle(
                out,
                (x, y + CELL.1 - height, CELL.0, height),
                &foreground,
                opacity,
            );
        }
        '░' => rectangle(
            out,
            (x, y + 2.0, CELL.0, CELL.1 - 4.0),
            &foreground,
            0.18 * opacity,
        ),
        '▒' => rectangle(
            out,
            (x, y + 2.0, CELL.0, CELL.1 - 4.0),
            &foreground,
            0.4 * opacity,
        ),
        '▓' => rectangle(
            out,
            (x, y + 2.0, CELL.0, CELL.1 - 4.0),
            &foreground,
            0.7 * opacity,
        ),
        _ => {
            let weight = if cell.bold() {
                " font-weight=\"bold\""
            } else {
                ""
            };
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
            let baseline = y + 13.5;
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{baseline:.1}\" fill=\"{foreground}\" fill-opacity=\"{opacity}\"{weight}>{escaped}</text>"
            );
        }
    }
}

/// Slightly wider than it is, so that neighbours leave no seam.
fn rectangle(
    out: &mut String,
    (x, y, width, height): (f32, f32, f32, f32),
    fill: &str,
    opacity: f32,
) {
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\" fill-opacity=\"{opacity:.2}\"/>",
        width + 0.1
    );
}

fn colour(colour: vt100::Color, default: &str) -> String {
    const ANSI: [&str; 16] = [
        "#11151c", "#e0575b", "#6fb86a", "#d9a441", "#5a9bd8", "#b07cc6", "#4fb3ad", "#c5cad3",
        "#6b7280", "#f07178", "#8fd487", "#f2c55c", "#7fb7ee", "#cda0e0", "#76d3cc", "#eef1f5",
    ];
    match colour {
        vt100::Color::Default => default.to_owned(),
        vt100::Color::Idx(index) => ANSI
            .get(usize::from(index))
            .map_or_else(|| extended(index), |hex| (*hex).to_owned()),
        vt100::Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    }
}

/// The 6×6×6 cube and the greys of 256-colour terminals.
fn extended(index: u8) -> String {
    if index >= 232 {
        let grey = 8 + 10 * (index - 232);
        return format!("#{grey:02x}{grey:02x}{grey:02x}");
    }
    let cube = index.saturating_sub(16);
    let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
    format!(
        "#{:02x}{:02x}{:02x}",
        level(cube / 36),
        level(cube / 6 % 6),
        level(cube % 6)
    )
}
