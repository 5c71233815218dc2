//! A program to be observed. It lives as long as the pipe to its stdin is open, so it cannot outlive us, however we end.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// How long a program may take to say that it is ready; Node on a busy machine needs seconds.
const START: Duration = Duration::from_secs(30);

/// How long a program may take to answer. One that a tracer stops at every system call is slow.
const ANSWER: Duration = Duration::from_secs(30);

/// How many lines are kept for a reader. Who tells its truth each second is not always listened to.
const KEPT: usize = 8;

/// How long a program may take to end after its stdin was closed.
const END: Duration = Duration::from_secs(5);

/// What a program says in its first line: `{"event":"ready","pid":…,"port":…}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The process to observe.
    pub(crate) pid: u32,
    /// Where it listens, if it does.
    pub(crate) port: Option<u16>,
}

/// A running workload. Dropping it ends the program.
pub(crate) struct Workload {
    child: Child,
    /// The first lines, then closed when the program's stdout is.
    lines: Receiver<String>,
    log: PathBuf,
}

impl Workload {
    /// Starts `command`, with its stderr in `log`: the screen may belong to the dashboard.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        if let Some(directory) = log.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        let stderr = File::create(log).with_context(|| format!("create {}", log.display()))?;
        // In its own group Ctrl-C does not reach it: the agent ends first and sees its target alive to the end.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let name = crate::quiet::by_hand(&command);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let stdout = child
            .stdout
            .take()
            .with_context(|| format!("read from {name}"))?;
        Ok(Self {
            child,
            lines: lines(stdout),
            log: log.to_path_buf(),
        })
    }

    /// Waits until the program is ready.
    pub(crate) fn ready(&self) -> Result<Ready> {
        let log = self.log.display();
        match self.lines.recv_timeout(START) {
            Ok(line) => ready(&line)
                .with_context(|| format!("the workload's first line is not a ready event: {line}")),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "the workload was not ready after {} s; its messages are in {log}",
                    START.as_secs()
                )
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the workload ended before it was ready; its messages are in {log}")
            }
        }
    }

    /// Writes an empty line and returns the program's next line, which is the answer of a program that speaks only when
    /// asked.
    pub(crate) fn ask(&mut self) -> Result<String> {
        let log = self.log.display();
        let stdin = self.child.stdin.as_mut().context("stdin is closed")?;
        let asked = stdin.write_all(b"\n");
        let answer = asked
            .ok()
            .and_then(|()| self.lines.recv_timeout(ANSWER).ok());
        answer.with_context(|| format!("the workload does not answer; its messages are in {log}"))
    }

    /// Waits until the program has closed its stdout, which it does by ending. Says no when it takes too long.
    fn has_ended(&self) -> bool {
        loop {
            match self.lines.recv_timeout(END) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !self.has_ended() {
            // Fails only when the program has ended in between, which is what we want.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The lines of `stdout`. Those that nobody takes are dropped, so that the program never waits for us.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(KEPT);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Full, or nobody listens any more because the command is ending.
            let _ = sender.try_send(line);
        }
    });
    receiver
}

fn ready(line: &str) -> Option<Ready> {
    let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    if !line.starts_with('{') || !line.contains(r#""event":"ready""#) {
        return None;
    }
    Some(Ready {
        pid: number(&line, "pid")?,
        port: number(&line, "port"),
    })
}

/// The number that `key` has in a JSON object without blanks.
pub(crate) fn number<T: std::str::FromStr>(object: &str, key: &str) -> Option<T> {
    let (_, value) = object.split_once(&format!("\"{key}\":"))?;
    let end = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    value[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_gives_pid_and_port() {
        let line = r#"{"event":"ready","pid":4182,"port":39011}"#;
        assert_eq!(
            ready(line),
            Some(Ready {
                pid: 4182,
                port: Some(39011)
            })
        );
        let spaced = r#"{ "port": 80, "event": "ready", "threads": [1, 2], "pid": 7 }"#;
        assert_eq!(
            ready(spaced),
            Some(Ready {
                pid: 7,
                port: Some(80)
            })
        );
        assert_eq!(
            ready(r#"{"event":"ready","pid":7}"#),
            Some(Ready { pid: 7, port: None })
        );
    }

    #[test]
    fn other_lines_are_not_ready() {
        for line in [
            "",
            "listening on 80",
            r#"{"event":"done","pid":7}"#,
            r#"{"event":"ready"}"#,
            r#"{"event":"ready","pid":"x"}"#,
        ] {
            assert_eq!(ready(line), None, "{line}");
        }
    }

    #[test]
    fn a_workload_answers_a_line_with_a_line() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("xtask-ask-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            r#"echo '{"event":"ready","pid":'$$'}'; n=0; while read -r line; do n=$((n+1)); echo '{"n":'$n'}'; done"#,
        ]);
        let mut workload = Workload::start(command, &directory.join("log"))?;
        workload.ready()?;
        assert_eq!(number(&workload.ask()?, "n"), Some(1));
        assert_eq!(number(&workload.ask()?, "n"), Some(2));
        drop(workload);
        fs::remove_dir_all(directory)?;
        Ok(())
    }

    #[test]
    fn a_workload_ends_when_its_stdin_closes() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("xtask-workload-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            r#"echo '{"event":"ready","pid":'$$'}'; cat >/dev/null; exit 0"#,
        ]);
        let workload = Workload::start(command, &directory.join("log"))?;
        let pid = workload.ready()?.pid;
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(workload);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        fs::remove_dir_all(directory)?;
        Ok(())
    }
}
