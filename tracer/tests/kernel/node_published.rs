//! Published packages of Node.js that nobody here wrote, on several versions of it. What is expected of them was read in
//! their sources: which functions a request passes, and which keep the loop or its pool busy.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tracer::{
    bpf,
    model::{LongIterationView, LoopView, Snapshot, WorkView},
    record::FrameMeta,
};
use tracer_common::{Nanos, Pid};
use xtask::{node::Builds, packages::Packages};

use crate::common::{
    ByHand, Workload, agrees_once, assert_close, fold, kernel_test, number, wait_until,
};

/// How long a server may take to do what was asked of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a service is under load.
const LOAD_SECONDS: &str = "2";
const INTERVAL: Nanos = Nanos(100_000_000);

/// A program of the packages' directory, on this version of Node.
fn on(version: &str, program: &Path) -> Command {
    let node = Builds::of_this_test().unwrap().program(version).unwrap();
    let packages = Packages::of_this_test().unwrap().ensure().unwrap();
    let mut command = Command::new(node);
    command.arg(program).current_dir(packages.path);
    command
}

fn ours(version: &str, program: &str) -> Command {
    on(version, &Packages::of_this_test().unwrap().program(program))
}

/// A program without an end of its own.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks a server over 16 connections for a while, and lets the session go on meanwhile. Every answer is a good one.
fn under_load(session: &mut ByHand, port: u64, path: &str) {
    let cannon = Path::new("node_modules/autocannon/autocannon.js");
    let url = format!("http://127.0.0.1:{port}{path}");
    let mut client = Running(
        on("24.21.0", cannon)
            .args(["--json", "-c", "16", "-d", LOAD_SECONDS, &url])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    while client.0.try_wait().unwrap().is_none() {
        session.run(INTERVAL, INTERVAL);
    }
    let said = client.0.stdout.take().unwrap();
    let said: Value = serde_json::from_reader(said).unwrap();
    let failed = ["errors", "timeouts", "non2xx", "resets"].map(|what| number(&said, what));
    assert_eq!(failed, [0; 4], "{said}");
}

/// Frames of JavaScript functions, innermost first, of each stack that was sampled, and how often it was.
fn stacks(snapshot: &Snapshot) -> impl Iterator<Item = (Vec<&FrameMeta>, u64)> {
    let views = snapshot.cpu.by_stack.iter();
    views.map(|view| (frames(&view.stack), view.samples))
}

/// JavaScript functions have addresses that no process has.
fn frames(stack: &tracer::model::StackView) -> Vec<&FrameMeta> {
    let symbols = stack.iter().filter(|symbol| symbol.address >> 63 == 1);
    symbols.flat_map(|symbol| &symbol.frames).collect()
}

/// Samples with each of these functions in the stack. A function is told by its name and how the path of its file ends.
fn assert_sampled(snapshot: &Snapshot, functions: &[(&str, &str)]) {
    let mut counts: BTreeMap<(&str, &str), u64> = functions.iter().map(|&of| (of, 0)).collect();
    for (frames, samples) in stacks(snapshot) {
        for (&(function, file), count) in &mut counts {
            let is_it =
                |frame: &&FrameMeta| frame.function == function && frame.file.ends_with(file);
            *count += if frames.iter().any(is_it) { samples } else { 0 };
        }
    }
    println!("{counts:?} of {} samples", snapshot.cpu.samples);
    assert!(counts.values().all(|&count| count > 0), "{counts:?}");
}

/// Each function is mentioned in its file before the line it was found on: no name and no line is made up.
fn assert_nothing_invented(snapshot: &Snapshot) {
    let mut sources: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut checked = 0;
    for (frames, _) in stacks(snapshot) {
        for frame in frames {
            // As `require` and as `import` have it.
            let path = frame.file.strip_prefix("file://").unwrap_or(&frame.file);
            if !path.starts_with('/') || frame.line == 0 {
                continue;
            }
            let lines = sources.entry(path.to_owned()).or_insert_with(|| {
                let text = fs::read_to_string(path).unwrap();
                text.lines().map(str::to_owned).collect()
            });
            let before = lines.get(..frame.line as usize);
            let before = before.unwrap_or_else(|| panic!("beyond the end of its file: {frame:?}"));
            let name = frame.function.rsplit(['.', ' ']).next().unwrap();
            // `(anonymous)`, and `<computed>` for what is assigned to `object[name]`.
            if !name.starts_with(['(', '<']) {
                checked += 1;
                assert!(before.iter().any(|line| line.contains(name)), "{frame:?}");
            }
        }
    }
    println!("{checked} frames are where the sources have them");
    assert!(checked > 0);
}

fn main_loop(snapshot: &Snapshot) -> &LoopView {
    snapshot.loops.main().expect("a loop of the main thread")
}

/// The most that the loop was used in one tick.
fn busiest(view: &LoopView) -> f64 {
    let shares = view.history.iter().filter_map(|point| point.utilization);
    shares.fold(0.0, f64::max)
}

/// What a framework's own process says of its loop, its collections and its requests, against what is seen from outside
/// while it is under load.
fn framework(version: &str, name: &str, functions: &[(&str, &str)]) {
    agrees_once(|| {
        let mut service = Workload::start(ours(version, "service.mjs").arg(name));
        let port = number(&service.ready, "port");
        let alone = service.ask("");
        let mut session = ByHand::attach(service.pid(), bpf::Options::default());
        let begin = service.ask("");
        session.tick();
        let before = main_loop(&fold(&session.records)).clone();
        under_load(&mut session, port, "/users/7");
        let end = service.ask("");
        session.tick();
        let snapshot = session.finish();
        let last = service.ask("");
        let after = main_loop(&snapshot);

        let grown = |from: &Value, to: &Value, what| number(to, what) - number(from, what);
        let served = grown(&begin, &end, "served");
        let counts = after.counts.as_ref().unwrap();
        println!(
            "{name} on {version}: {served} requests, {} iterations",
            counts.iterations
        );
        // Each request is an event of its connection.
        assert!(counts.events >= served && served > 1_000, "{counts:?}");
        assert!(counts.iterations > 0 && counts.iterations <= counts.waits);
        let ours = after.active.since(before.active).unwrap().0;
        assert_close("active", ours, grown(&begin, &end, "active_ns"), 0.05);
        // Its client may be slower than it.
        let busiest = busiest(after);
        assert!(busiest > 0.5, "{busiest}");

        let mut collections = snapshot.node.collections.iter();
        let scavenges = collections.find(|view| view.kind == "scavenge").unwrap();
        let theirs = [(&begin, &end), (&alone, &last)];
        let theirs = theirs.map(|(from, to)| grown(from, to, "scavenges"));
        let seen = scavenges.pause.count;
        assert!(
            theirs[0] > 0 && (theirs[0]..=theirs[1]).contains(&seen),
            "{seen}: {theirs:?}"
        );
        assert_sampled(&snapshot, functions);
        assert_nothing_invented(&snapshot);
    });
}

#[test]
fn fastify_is_seen_through() {
    let Some(_kernel) = kernel_test("fastify_is_seen_through") else {
        return;
    };
    let functions = [
        ("routeHandler", "/fastify/lib/route.js"),
        ("preSerializationHookEnd", "/fastify/lib/reply.js"),
        ("onSendEnd", "/fastify/lib/reply.js"),
        ("parserOnHeadersComplete", "node:_http_common"),
    ];
    framework("24.21.0", "fastify", &functions);
}

#[test]
fn express_is_seen_through() {
    let Some(_kernel) = kernel_test("express_is_seen_through") else {
        return;
    };
    let functions = [
        ("next", "/router/index.js"),
        ("handleRequest", "/router/lib/layer.js"),
        ("dispatch", "/router/lib/route.js"),
        ("json", "/express/lib/response.js"),
        ("send", "/express/lib/response.js"),
        ("parserOnHeadersComplete", "node:_http_common"),
    ];
    framework("20.20.2", "express", &functions);
}

#[test]
fn json_server_is_seen_through() {
    let Some(_kernel) = kernel_test("json_server_is_seen_through") else {
        return;
    };
    let port = {
        // Free now, and nobody else is given it so soon.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let program = Path::new("node_modules/json-server/lib/cli/bin.js");
    let database = Packages::of_this_test().unwrap().program("database.json");
    let child = on("22.23.3", program)
        .args(["--quiet", "--read-only", "--port", &port.to_string()])
        .arg(database)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let server = Running(child.unwrap());
    assert!(wait_until(PATIENCE, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }));
    let mut session = ByHand::attach(Pid(server.0.id()), bpf::Options::default());
    under_load(&mut session, port.into(), "/posts?_sort=title&q=the");
    let snapshot = session.finish();
    let view = main_loop(&snapshot);
    let busiest = busiest(view);
    assert!(busiest > 0.4, "{busiest}");
    assert!(view.counts.as_ref().unwrap().iterations > 0);
    // It searches all rows, sorts them and makes JSON of them for every request.
    let functions = [
        ("list", "/json-server/lib/server/router/plural.js"),
        ("dispatch", "/express/lib/router/route.js"),
        ("baseOrderBy", "/lodash/lodash.js"),
        ("jsonp", "/express/lib/response.js"),
    ];
    assert_sampled(&snapshot, &functions);
    assert_nothing_invented(&snapshot);
}

fn work<'a>(snapshot: &'a Snapshot, kind: &str) -> &'a WorkView {
    let mut works = snapshot.node.works.iter();
    let found = works.find(|view| view.kind == kind);
    found.unwrap_or_else(|| panic!("{kind} is not in {:?}", snapshot.node.works))
}

/// When a job began and ended.
fn spans(said: &Value) -> Vec<(u64, u64)> {
    let jobs = said["jobs"].as_array().unwrap();
    let span = |job| (number(job, "start_ns"), number(job, "end_ns"));
    jobs.iter().map(span).collect()
}

/// The long iteration that a job was in.
fn around(snapshot: &Snapshot, (start, end): (u64, u64)) -> Option<&LongIterationView> {
    let mut long = snapshot.loops.long.iter();
    long.find(|long| long.since.0 <= start && long.since.plus(long.busy).0 >= end)
}

#[test]
fn jobs_of_packages_hold_the_loop_or_the_pool() {
    let Some(_kernel) = kernel_test("jobs_of_packages_hold_the_loop_or_the_pool") else {
        return;
    };
    for version in ["18.20.8", "26.10.0"] {
        agrees_once(|| jobs(version));
    }
}

fn jobs(version: &str) {
    const NATIVE: u64 = 8;
    let mut program = Workload::start(&mut ours(version, "jobs.mjs"));
    let mut session = ByHand::attach(program.pid(), bpf::Options::default());
    let on_loop = spans(&program.ask("bcryptjs 5"));
    let on_pool = spans(&program.ask(&format!("bcrypt {NATIVE}")));
    program.ask("zip 8");
    session.tick();
    let snapshot = session.finish();

    // Written in JavaScript, so each of them is one long iteration, spent in these functions.
    let mut named = 0;
    for &span in &on_loop {
        let long = around(&snapshot, span).expect("a long iteration");
        if let Some(top) = frames(&long.stack).first() {
            println!(
                "{version}: {:?} in {} {}:{}",
                long.busy, top.function, top.file, top.line
            );
            assert!(
                top.file.ends_with("/bcryptjs/umd/index.js") && top.line > 0,
                "{top:?}"
            );
            named += u32::from(["_encipher", "_key"].contains(&top.function.as_str()));
        }
    }
    assert!(named >= 3, "{named} of {} are named", on_loop.len());

    // The same algorithm as an add-on: work for the pool, once for the salt and once for the hash, and random bytes
    // for each salt. The loop is free meanwhile.
    assert!(
        on_pool
            .iter()
            .all(|&span| around(&snapshot, span).is_none())
    );
    let (native, random) = (
        work(&snapshot, "napi"),
        work(&snapshot, "crypto.random_bytes"),
    );
    let counts = [native, random].map(|view| (view.queued.count, view.run.count));
    assert_eq!(counts, [(2 * NATIVE, 2 * NATIVE), (NATIVE, NATIVE)]);
    let took: u64 = on_pool.iter().map(|(start, end)| end - start).sum();
    let run = native.run.sum.0;
    assert!(run <= took && run >= took / 2, "{run} of {took}");
    assert_eq!(snapshot.node.works.len(), 2, "{:?}", snapshot.node.works);

    let functions = [
        ("hashSync", "/bcryptjs/umd/index.js"),
        ("_encipher", "/bcryptjs/umd/index.js"),
        ("FlateWorker.processChunk", "/jszip/lib/flate.js"),
        ("deflate_slow", "/pako/lib/zlib/deflate.js"),
    ];
    assert_sampled(&snapshot, &functions);
    assert_nothing_invented(&snapshot);
}
