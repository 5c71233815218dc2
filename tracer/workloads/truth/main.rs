//! The program the kernel tests measure: it does exactly what it is told and says exactly what it did.
//!
//! One command per line on stdin, one JSON object per line on stdout. It never does two things at once (only `hold-syscall`
//! leaves a thread behind, until `join`), and it enters the kernel through rustix, which on this platform is the bare
//! instruction: no libc wrapper that caches an answer or picks another syscall.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rustix::event::epoll;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::NanosleepRelativeResult;
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde_json::{Value, json};

/// What a command answers: the fields of its line, or why it could not be done.
type Answer = Result<Value, String>;

struct Verb {
    name: &'static str,
    argument: &'static str,
    does: &'static str,
    run: fn(&mut Session, &str) -> Answer,
}

// One line a command, so that it reads as the table it is.
#[rustfmt::skip]
const VERBS: &[Verb] = &[
    Verb { name: "syscalls", argument: "NAME N", does: "N calls of NAME on the main thread", run: syscalls },
    Verb { name: "spin", argument: "MS", does: "use MS of CPU time on the main thread", run: spin },
    Verb { name: "sleep", argument: "MS", does: "one nanosleep on the main thread", run: sleep },
    Verb { name: "spin-thread", argument: "MS", does: "spin on a new thread `spinner`", run: spin_thread },
    Verb { name: "sleep-thread", argument: "MS", does: "sleep on a new thread `sleeper`", run: sleep_thread },
    Verb { name: "threads", argument: "N", does: "N threads `storm`, one getppid each", run: threads },
    Verb { name: "fork", argument: "N", does: "N children, one after another, that exit at once", run: fork },
    Verb { name: "hold-syscall", argument: "MS", does: "one nanosleep on a thread `holder`, answered from inside it", run: hold },
    Verb { name: "join", argument: "", does: "wait for `holder`", run: join_holder },
    Verb { name: "futex", argument: "MS", does: "a thread `futex-wait` waits MS on a condition variable", run: futex },
    Verb { name: "epoll", argument: "MS", does: "a thread `epoller` waits MS on an empty epoll set", run: epoll },
    Verb { name: "page-faults", argument: "N", does: "touch N fresh anonymous pages", run: page_faults },
    Verb { name: "clocks", argument: "", does: "CPU clocks and context switches so far", run: clocks },
    Verb { name: "rename", argument: "NAME", does: "set the name of the main thread", run: rename },
];

/// A syscall that takes nothing, changes nothing and enters the kernel every time.
struct Cheap {
    /// The word in the command; `fail` is named for what it is for, not for what it calls.
    name: &'static str,
    syscall: &'static str,
    call: fn() -> Result<(), Errno>,
}

#[rustfmt::skip]
const CHEAP: &[Cheap] = &[
    Cheap { name: "getppid", syscall: "getppid", call: || { black_box(rustix::process::getppid()); Ok(()) } },
    Cheap { name: "getpid", syscall: "getpid", call: || { black_box(rustix::process::getpid()); Ok(()) } },
    Cheap { name: "getuid", syscall: "getuid", call: || { black_box(rustix::process::getuid()); Ok(()) } },
    Cheap { name: "sched_yield", syscall: "sched_yield", call: || { rustix::thread::sched_yield(); Ok(()) } },
    Cheap { name: "fail", syscall: "openat", call: open_nothing },
];

/// What lives from one command to the next.
struct Session {
    main_tid: i32,
    holder: Option<Thread<Span>>,
    answered: u64,
    refused: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            // The only error left is a reader that has gone away, and then there is nobody to tell.
            let _gone = serve(io::stdin().lock(), io::stdout().lock());
            ExitCode::SUCCESS
        }
        // A child of `fork`: nothing but the end of the process.
        [only] if only == "exit0" => ExitCode::SUCCESS,
        [..] => {
            let _gone = io::stderr().lock().write_all(usage().as_bytes());
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    let mut text =
        String::from("usage: truth   (takes no arguments; one command per line on stdin)\n");
    for verb in VERBS {
        let call = format!("{} {}", verb.name, verb.argument);
        text.push_str(&format!("  {call:<18} {}\n", verb.does));
    }
    let names: Vec<_> = CHEAP.iter().map(|cheap| cheap.name).collect();
    text.push_str(&format!(
        "  NAME of syscalls is one of: {}\n",
        names.join(", ")
    ));
    text
}

fn serve(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut session = Session {
        main_tid: own_tid(),
        holder: None,
        answered: 0,
        refused: 0,
    };
    let ready = json!({
        "event": "ready",
        "program": "truth",
        "pid": process::id(),
        "tid": session.main_tid,
        "at_ns": now_ns(),
    });
    say(&mut output, &ready)?;

    let mut line = Vec::new();
    while read_line(&mut input, &mut line) {
        let text = String::from_utf8_lossy(&line);
        let (name, argument) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if name.is_empty() {
            continue;
        }
        let answer = match VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => (verb.run)(&mut session, argument.trim()),
            None => Err("unknown command".to_owned()),
        };
        let answer = match answer {
            Ok(fields) => {
                session.answered += 1;
                fields
            }
            Err(why) => {
                session.refused += 1;
                json!({ "error": why, "command": text.trim() })
            }
        };
        say(&mut output, &answer)?;
    }

    let mut last = clock_fields(session.main_tid);
    last["event"] = "truth".into();
    last["final"] = true.into();
    last["answered"] = session.answered.into();
    last["refused"] = session.refused.into();
    say(&mut output, &last)
}

/// False at the end of input; an unreadable stdin is one that has ended.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    input.read_until(b'\n', line).is_ok_and(|bytes| bytes > 0)
}

fn say(output: &mut impl Write, fields: &Value) -> io::Result<()> {
    writeln!(output, "{fields}")?;
    output.flush()
}

// The commands, in the order of the table.

fn syscalls(session: &mut Session, argument: &str) -> Answer {
    let (name, count) = argument.split_once(' ').ok_or("wants NAME N")?;
    let count = number(count)?;
    let cheap = CHEAP
        .iter()
        .find(|cheap| cheap.name == name)
        .ok_or("unknown syscall name")?;

    let mut errors = 0_u32;
    let mut errno = None;
    // No thread clock here: reading one is a syscall, reading the monotonic clock is not.
    let start_ns = now_ns();
    for _ in 0..count {
        if let Err(why) = (cheap.call)() {
            errors += 1;
            errno = Some(why.raw_os_error());
        }
    }
    let end_ns = now_ns();
    Ok(json!({
        "did": "syscalls",
        "syscall": cheap.syscall,
        "count": count,
        "errors": errors,
        "errno": errno,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

fn spin(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    Ok(observe(|| use_cpu(ms)).answer("spin"))
}

fn sleep(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    Ok(observe(|| nanosleep(ms)).answer("sleep"))
}

fn spin_thread(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let span = finish(start("spinner", move || observe(|| use_cpu(ms)))?)?;
    Ok(span.answer("spin-thread"))
}

fn sleep_thread(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let span = finish(start("sleeper", move || observe(|| nanosleep(ms)))?)?;
    Ok(span.answer("sleep-thread"))
}

fn threads(_: &mut Session, argument: &str) -> Answer {
    const AT_ONCE: u32 = 64;
    let count = number(argument)?;
    let start_ns = now_ns();
    let mut left = count;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        let started: Vec<_> = (0..batch)
            .map(|_| start("storm", || _ = black_box(rustix::process::getppid())))
            .collect();
        // All of the batch is waited for before an error is told, so that no thread outlives its answer.
        let ended: Vec<_> = started.into_iter().map(|thread| finish(thread?)).collect();
        ended.into_iter().collect::<Result<Vec<()>, String>>()?;
        left -= batch;
    }
    Ok(json!({ "did": "threads", "count": count, "start_ns": start_ns, "end_ns": now_ns() }))
}

fn fork(_: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    let start_ns = now_ns();
    for _ in 0..count {
        let status = Command::new("/proc/self/exe")
            .arg("exit0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|why| format!("start a child: {why}"))?;
        if !status.success() {
            return Err(format!("a child ended with {status}"));
        }
    }
    Ok(json!({ "did": "fork", "count": count, "start_ns": start_ns, "end_ns": now_ns() }))
}

fn hold(session: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    if session.holder.is_some() {
        return Err("already holding; join first".to_owned());
    }
    let (entering, about_to_enter) = mpsc::channel();
    let holder = start("holder", move || {
        // A receiver that is gone means the main thread is ending; the thread goes with it.
        let _gone = entering.send(own_tid());
        observe(|| nanosleep(ms))
    })?;
    let tid = about_to_enter
        .recv()
        .map_err(|_recv| "the holder ended early".to_owned())?;
    // Between the message and the sleep the thread is running; once it is not, it is inside the call.
    while !holder.is_finished() && state_of(tid) != Some('S') {}
    session.holder = Some(holder);
    Ok(json!({ "did": "holding", "syscall": "nanosleep", "tid": tid, "at_ns": now_ns() }))
}

fn join_holder(session: &mut Session, _: &str) -> Answer {
    let holder = session.holder.take().ok_or("nothing is held")?;
    Ok(finish(holder)?.answer("join"))
}

fn futex(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (entering, about_to_wait) = mpsc::channel();
    let waiter = start("futex-wait", {
        let gate = Arc::clone(&gate);
        move || {
            let (open, opened) = &*gate;
            let mut guard = open.lock().unwrap_or_else(PoisonError::into_inner);
            let _gone = entering.send(());
            let mut waits = 0_u32;
            let span = observe(|| {
                while !*guard {
                    waits += 1;
                    guard = opened.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
            });
            (span, waits)
        }
    })?;
    about_to_wait
        .recv()
        .map_err(|_recv| "the waiter ended early".to_owned())?;
    nanosleep(ms);
    let (open, opened) = &*gate;
    // Released before the wake-up, so that the waiter finds the mutex free and waits once, not twice.
    *open.lock().unwrap_or_else(PoisonError::into_inner) = true;
    opened.notify_one();
    let (span, waits) = finish(waiter)?;
    let mut answer = span.answer("futex");
    answer["wait_ns"] = span.wall_ns().into();
    answer["waits"] = waits.into();
    Ok(answer)
}

fn epoll(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)
        .map_err(|why| format!("create an epoll set: {why}"))?;
    let epoller = start("epoller", move || {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 1];
        let mut result = Ok(0);
        let span = observe(|| {
            result =
                epoll::wait(&set, &mut events, Some(&timespec(ms))).map(|(ready, _)| ready.len());
        });
        (span, result)
    })?;
    let (span, result) = finish(epoller)?;
    let ready = result.map_err(|why| format!("wait on the epoll set: {why}"))?;
    let mut answer = span.answer("epoll");
    // What rustix calls unless the timeout is longer than 2^31 ms.
    answer["syscall"] = "epoll_pwait".into();
    answer["ready"] = ready.into();
    Ok(answer)
}

fn page_faults(session: &mut Session, argument: &str) -> Answer {
    const PAGE: usize = 4096;
    // glibc raises its mmap threshold each time a mapped block is freed, up to 32 MiB; a larger block is always a fresh
    // mapping. The pages past N are never touched.
    const ALWAYS_MAPPED: usize = 33 << 20;
    let pages = number(argument)?;
    // One fault must be one page also where huge pages are `always`.
    rustix::thread::disable_transparent_huge_pages(true)
        .map_err(|why| format!("switch huge pages off: {why}"))?;

    let bytes = pages as usize * PAGE;
    let mut memory: Vec<u8> = Vec::new();
    // The first reading brings in whatever reading needs.
    minor_faults();
    let before = minor_faults();
    let start_ns = now_ns();
    memory
        .try_reserve_exact(bytes.max(ALWAYS_MAPPED))
        .map_err(|why| format!("map {bytes} bytes: {why}"))?;
    for page in memory.spare_capacity_mut()[..bytes].chunks_exact_mut(PAGE) {
        page[0].write(1);
    }
    black_box(&mut memory);
    let end_ns = now_ns();
    let faults = minor_faults().saturating_sub(before);
    drop(memory);
    Ok(json!({
        "did": "page-faults",
        "count": pages,
        "minor_faults": faults,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

fn clocks(session: &mut Session, _: &str) -> Answer {
    let mut answer = clock_fields(session.main_tid);
    answer["did"] = "clocks".into();
    Ok(answer)
}

fn rename(session: &mut Session, argument: &str) -> Answer {
    let name = CString::new(argument).map_err(|_nul| "a name has no NUL".to_owned())?;
    rustix::thread::set_name(&name).map_err(|why| format!("set the name: {why}"))?;
    // Read back, because the kernel keeps 15 bytes.
    let kept = fs::read("/proc/thread-self/comm").map_err(|why| format!("read the name: {why}"))?;
    Ok(json!({
        "did": "rename",
        "name": String::from_utf8_lossy(&kept).trim_end_matches('\n'),
        "tid": session.main_tid,
    }))
}

// What the commands are made of.

/// One thread between two readings of its own clocks.
struct Span {
    tid: i32,
    start_ns: u64,
    end_ns: u64,
    cpu_ns: u64,
}

impl Span {
    fn wall_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    fn answer(&self, did: &str) -> Value {
        json!({
            "did": did,
            "tid": self.tid,
            "cpu_ns": self.cpu_ns,
            "wall_ns": self.wall_ns(),
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
        })
    }
}

fn observe(work: impl FnOnce()) -> Span {
    let tid = own_tid();
    // The CPU readings are the inner ones, so that no thread uses more than there was.
    let start_ns = now_ns();
    let cpu_before = clock_ns(ClockId::ThreadCPUTime);
    work();
    let cpu_ns = clock_ns(ClockId::ThreadCPUTime) - cpu_before;
    let end_ns = now_ns();
    Span {
        tid,
        start_ns,
        end_ns,
        cpu_ns,
    }
}

fn use_cpu(ms: u32) {
    let until = clock_ns(ClockId::ThreadCPUTime) + u64::from(ms) * 1_000_000;
    while clock_ns(ClockId::ThreadCPUTime) < until {
        // Tens of microseconds of arithmetic: reading the clock is a syscall and must stay the smaller part.
        let mut state = 1_u64;
        for _ in 0..10_000 {
            state = black_box(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
        }
    }
}

fn nanosleep(ms: u32) {
    match rustix::thread::nanosleep(&timespec(ms)) {
        // No handler is installed, so an interruption ends the process or restarts the call in the kernel; and the
        // caller says how long it really was.
        NanosleepRelativeResult::Ok
        | NanosleepRelativeResult::Interrupted(_)
        | NanosleepRelativeResult::Err(_) => {}
    }
}

fn open_nothing() -> Result<(), Errno> {
    rustix::fs::openat(
        CWD,
        c"/nonexistent/truth",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(drop)
}

/// A thread of ours, and the tid it had.
type Thread<T> = JoinHandle<(i32, T)>;

fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Thread<T>, String> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || (own_tid(), work()))
        .map_err(|why| format!("start thread {name}: {why}"))
}

/// Joins, and waits until the kernel has let go of the thread as well: a join returns when the thread gives up the address
/// space, which is some way before the end of its exit, where its last scheduler events are.
fn finish<T>(thread: Thread<T>) -> Result<T, String> {
    let (tid, value) = thread
        .join()
        .map_err(|_panic| "the thread panicked".to_owned())?;
    // Bare looking, without a sleep or a yield: those are calls that the tests count.
    let entry = PathBuf::from(format!("/proc/self/task/{tid}"));
    while entry.exists() {}
    Ok(value)
}

/// The letter the kernel gives for a thread of this process; `None` when there is no such thread.
fn state_of(tid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    stat_fields(&stat)?.next()?.chars().next()
}

/// Minor faults of the calling thread so far; zero where `/proc` is missing.
fn minor_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // Field 10 of the file, and so the eighth after the name.
    let field = stat_fields(&stat).and_then(|mut fields| fields.nth(7));
    field.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The fields of a `stat` line from the third on. The second is the name, which may hold blanks and brackets itself.
fn stat_fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

fn clock_fields(main_tid: i32) -> Value {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let switches = |key: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line[key.len()..].trim().parse().ok()
    };
    json!({
        "tid": main_tid,
        "at_ns": now_ns(),
        "process_cpu_ns": clock_ns(ClockId::ProcessCPUTime),
        "thread_cpu_ns": clock_ns(ClockId::ThreadCPUTime),
        "voluntary_switches": switches("voluntary_ctxt_switches:"),
        "involuntary_switches": switches("nonvoluntary_ctxt_switches:"),
    })
}

fn number(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .map_err(|_parse| format!("not a whole number below 2^32: `{text}`"))
}

fn timespec(ms: u32) -> Timespec {
    Timespec {
        tv_sec: i64::from(ms / 1000),
        tv_nsec: i64::from(ms % 1000) * 1_000_000,
    }
}

/// The clock of every event the kernel reports.
fn now_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither the monotonic nor a CPU clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn own_tid() -> i32 {
    rustix::thread::gettid().as_raw_pid()
}
