//! What is recognised of Node.js from outside, held against real builds: what they say of themselves, what they can be
//! probed at, copies of them without symbols, and programs that are something else.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it looked at"
)]

mod common;
#[path = "node/heap.rs"]
mod heap;
#[path = "node/in_flight.rs"]
mod in_flight;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use common::Workload;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};
use serde_json::Value;
use tracer::{
    runtime::{
        self, Holds,
        cache::Cache,
        image::Image,
        memory::ProcessMemory,
        node::{self, Component, Function, Meaning, Node, Parts, Point},
    },
    target::sys,
};
use tracer_common::Pid;
use xtask::node::{Builds, VERSIONS};

/// Says what it is made of, and its types of resources, then waits.
const SAY: &str = "
    const { internalBinding } = require('internal/test/binding');
    const { versions } = process;
    const providers = Object.entries(internalBinding('async_wrap').Providers)
        .sort((one, other) => one[1] - other[1]).map(([name]) => name);
    console.log(JSON.stringify({ event: 'ready', versions, providers }));
    process.stdin.resume().on('end', () => process.exit());
";

/// What is found without names.
const OF_THE_POOL: [Function; 5] = [
    Function::WorkSubmit,
    Function::FsWork,
    Function::AddressWork,
    Function::NameWork,
    Function::RandomWork,
];

/// What can be seen of a build, by function: how often it is there.
type Table = BTreeMap<Function, usize>;

/// A build that says what it is.
struct Running {
    workload: Workload,
    node: Node,
    took: Duration,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.args(["--expose-internals", "-e", SAY]);
        let workload = Workload::start(&mut command);
        let (found, took) = timed(|| runtime::find(workload.pid(), &Cache::off()));
        assert!(found.tokio.is_empty());
        Self {
            node: found.node.expect("Node.js"),
            workload,
            took,
        }
    }

    fn says(&self, what: &str) -> Option<&str> {
        self.workload.ready["versions"][what].as_str()
    }

    fn assert_is_what_it_says(&self) {
        assert_eq!(self.node.version.as_deref(), self.says("node"));
        assert_eq!(self.node.v8.as_deref(), self.says("v8"));
        assert_eq!(self.node.uv.as_deref(), self.says("uv"));
        let module = self.node.module(Component::Node).unwrap();
        let providers = module.holds.providers.as_ref().unwrap();
        let said: Vec<&str> = self.workload.ready["providers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(providers.names, said);
        let memory = ProcessMemory::of(self.workload.pid()).unwrap();
        let numbers = self.node.nodedbg(&memory);
        for name in [
            "offset_HandleWrap__handle_wrap_queue___ListNode_HandleWrap",
            "offset_ReqWrap__req_wrap_queue___ListNode_ReqWrapQueue",
            "offset_Environment__handle_wrap_queue___Environment_HandleWrapQueue",
            "offset_ListNode_HandleWrap__next___uintptr_t",
        ] {
            let value = numbers[name];
            assert!((8..65_536).contains(&value), "{name} is {value}");
        }
        let module = self.node.module(Component::V8).unwrap();
        let content = module.content();
        let image = Image::parse(content).unwrap();
        let known: BTreeMap<&str, u64> = image
            .named(|name| name.starts_with("v8dbg_"))
            .map(|(address, name)| (name, address))
            .collect();
        for (name, value) in &module.holds.v8dbg {
            let address = known[format!("v8dbg_{name}").as_str()];
            let mut bytes = [0; 4];
            let address = address.wrapping_add(module.bias);
            assert!(runtime::memory::Memory::read(&memory, address, &mut bytes));
            assert_eq!(i32::from_le_bytes(bytes), *value, "{name}");
        }
        assert!(module.holds.v8dbg.len() > 400);
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = sys::monotonic();
    let result = work();
    let took = sys::monotonic().since(begun).unwrap();
    (result, Duration::from_nanos(took.0))
}

/// The builds that can be had here; at least one.
fn builds() -> Vec<(&'static str, PathBuf)> {
    let builds = Builds::of_this_test().unwrap();
    let found: Vec<_> = VERSIONS
        .into_iter()
        .filter_map(|version| match builds.program(version) {
            Ok(program) => Some((version, program)),
            Err(error) => {
                println!("not looked at: {error:#}");
                None
            }
        })
        .collect();
    let versions: Vec<&str> = found.iter().map(|(version, _)| *version).collect();
    println!("looked at Node.js {}", versions.join(", "));
    assert!(!found.is_empty(), "no build of Node.js is here");
    found
}

fn parts(path: &Path) -> Option<Parts> {
    let data = sys::map_file(path).unwrap();
    let image = Image::parse(&data)?;
    node::recognise(&image)
}

fn table(points: &[Point]) -> Table {
    let mut table = Table::new();
    for point in points {
        *table.entry(point.function).or_default() += 1;
    }
    table
}

/// True for a function that begins by comparing something, and returns unless that leads elsewhere.
fn leaves_early(image: &Image, function: u64) -> bool {
    let bytes = image.bytes(function, 24).unwrap();
    let decoder = Decoder::with_ip(64, bytes, function, DecoderOptions::NONE);
    let flow: Vec<FlowControl> = decoder
        .into_iter()
        .take(3)
        .map(|instruction| instruction.flow_control())
        .collect();
    flow == [
        FlowControl::Next,
        FlowControl::ConditionalBranch,
        FlowControl::Return,
    ]
}

/// Each place is an instruction that the kernel emulates or the table says that it is none, is in its function, is
/// passed by every call, and has what it says in registers that nothing has written.
fn check(path: &Path, points: &[Point]) {
    let data = sys::map_file(path).unwrap();
    let image = Image::parse(&data).unwrap();
    let mut places = BTreeSet::new();
    for point in points {
        let name = &point.symbol;
        assert!(places.insert(point.probe.file_offset), "{name} twice");
        // What has no name in the file was found by who calls it.
        let is_named = image.names(point.address).any(|one| one == name);
        assert!(is_named || !image.has_symbols(), "{name}");
        let function = image.function(point.address).unwrap();
        assert_eq!(function.start, point.address, "{name}");
        let place = image.code_at(point.probe.file_offset).unwrap();
        assert!(function.contains(&place), "{name}");
        let bytes = image.bytes(place, 2).unwrap();
        let is_emulated = match bytes[0] {
            0x50..=0x57 | 0x70..=0x7f | 0x90 | 0xe8 | 0xe9 | 0xeb => true,
            0x0f => (0x80..=0x8f).contains(&bytes[1]),
            0x41 => (0x50..=0x57).contains(&bytes[1]),
            _ => false,
        };
        assert_eq!(is_emulated, point.probe.is_emulated, "{name}: {bytes:x?}");
        // Behind an early way out nothing has happened yet either: a comparison, a jump to there, and a return.
        if point.function == Function::ScopeClose && leaves_early(&image, point.address) {
            assert!(bytes[0] == 0x55, "{name}: {bytes:x?}");
            continue;
        }
        let before = image.bytes(point.address, place - point.address).unwrap();
        let decoder = Decoder::with_ip(64, before, point.address, DecoderOptions::NONE);
        let mut end = point.address;
        for instruction in decoder {
            end = instruction.next_ip();
            assert_eq!(instruction.flow_control(), FlowControl::Next, "{name}");
            if point.has_return {
                let is_push = matches!(instruction.mnemonic(), Mnemonic::Push | Mnemonic::Sub);
                assert!(!is_push, "{name}: the stack has moved");
            }
        }
        assert_eq!(end, place, "{name}: inside an instruction");
        // Nothing comes back.
        let code = image.bytes(function.start, function.end - function.start);
        let decoder = Decoder::with_ip(64, code.unwrap(), function.start, DecoderOptions::NONE);
        for instruction in decoder {
            if place > function.start && instruction.op0_kind() == OpKind::NearBranch64 {
                let target = instruction.near_branch_target();
                let is_call = instruction.flow_control() == FlowControl::Call;
                assert!(
                    is_call || !(function.start..=place).contains(&target),
                    "{name}"
                );
            }
        }
    }
}

fn print(builds: &[(String, Table)]) {
    let functions: BTreeSet<Function> = builds
        .iter()
        .flat_map(|one| one.1.keys().copied())
        .collect();
    let row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!("{cell:>9}")).collect();
        println!("{name:<22}{cells}");
    };
    row("", &mut builds.iter().map(|one| one.0.clone()));
    for function in functions {
        let count = |one: &(String, Table)| match one.1.get(&function) {
            None => "·".to_owned(),
            Some(count) => count.to_string(),
        };
        row(&format!("{function:?}"), &mut builds.iter().map(count));
    }
}

/// How many places each function has in builds with symbols. Where compilers and versions differ, so does this.
fn expected(version: &str) -> Table {
    use Function as F;
    let major: u32 = version.split('.').next().unwrap().parse().unwrap();
    let once = [
        F::Scavenge,
        F::MarkCompact,
        F::MinorMark,
        F::Microtasks,
        F::AwaitFulfilled,
        F::AwaitRejected,
        F::PromiseFulfilled,
        F::PromiseRejected,
        F::PromiseThen,
        F::PromiseAllElement,
        F::MakeCallback,
        F::AnyCallback,
        F::ScopeOpen,
        F::ScopeOpenOfResource,
        F::ScopeClose,
        F::ScopeEnd,
        F::Timers,
        F::Immediates,
        F::LoopTimers,
        F::WorkSubmit,
        F::WorkQueue,
        F::FsWork,
        F::AddressWork,
        F::NameWork,
        F::QueuedWork,
        F::RandomWork,
    ];
    let mut table: Table = once.map(|function| (function, 1)).into();
    table.insert(F::AwaitStarted, if major < 24 { 2 } else { 1 });
    // The compiler made a copy that all callers use, and kept what nobody calls.
    table.insert(F::GarbageCollection, if major == 18 { 2 } else { 1 });
    table
}

#[test]
fn each_build_is_known_as_what_it_says_it_is_with_its_places() {
    let mut tables = Vec::new();
    for (version, program) in builds() {
        let running = Running::start(Command::new(&program));
        println!(
            "{version}: V8 {}, libuv {}, recognised in {:?}",
            running.says("v8").unwrap(),
            running.says("uv").unwrap(),
            running.took
        );
        running.assert_is_what_it_says();
        assert_eq!(running.node.version.as_deref(), Some(version));
        let [module] = running.node.modules.as_slice() else {
            panic!("{} files", running.node.modules.len());
        };
        assert!(Path::new(&module.path).ends_with(program.file_name().unwrap()));
        assert_eq!(module.bias, 0, "it is linked where it runs");
        assert_eq!(running.node.notes, Vec::<String>::new());
        let points = &module.holds.points;
        check(&program, points);
        let stepped: Vec<&str> = points
            .iter()
            .filter(|point| !point.probe.is_emulated)
            .map(|point| point.symbol.as_str())
            .collect();
        println!("{version}: single-stepped: {stepped:?}");
        // It begins with what it computes and jumps where nobody can tell.
        assert!(
            stepped.iter().all(|name| *name == "uv__queue_work"),
            "{stepped:?}"
        );
        let table = table(points);
        assert_eq!(table, expected(version), "{version}");
        tables.push((version.to_owned(), table));
        for (function, meaning, register) in [
            (Function::ScopeClose, Meaning::Scope, 5),
            (Function::MakeCallback, Meaning::Resource, 5),
            (Function::WorkQueue, Meaning::Request, 4),
            (Function::FsWork, Meaning::Work, 5),
            (Function::WorkSubmit, Meaning::WorkFunction, 2),
        ] {
            for (_, point) in running.node.points(function) {
                assert_eq!(point.register(meaning), Some(register), "{}", point.symbol);
            }
        }
        let collections = running.node.points(Function::GarbageCollection);
        for (_, point) in collections {
            // The arguments of a copy are not to be relied on.
            let is_copy = point.symbol.contains('.');
            let collector = point.register(Meaning::Collector);
            assert_eq!(collector, (!is_copy).then_some(4), "{}", point.symbol);
        }
        if version.starts_with("18.") {
            let of = |function| running.node.points(function).next().unwrap().1;
            assert!(of(Function::Microtasks).symbol.contains(".part."));
        }
    }
    print(&tables);
}

#[test]
fn node_in_libraries_is_known_down_to_its_places() {
    let shared = match Builds::of_this_test().unwrap().shared() {
        Ok(shared) => shared,
        Err(error) => {
            println!("not looked at: {error:#}");
            return;
        }
    };
    assert_eq!(parts(&shared.program), None, "Node is in the library");
    let running = Running::start(shared.command());
    running.assert_is_what_it_says();
    let node = &running.node;
    println!("{:?}, recognised in {:?}", node.version, running.took);
    let file = |component| {
        let path = Path::new(&node.module(component).unwrap().path);
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert!(file(Component::Node).starts_with("libnode.so."));
    assert_eq!(file(Component::V8), file(Component::Node));
    assert!(file(Component::Uv).starts_with("libuv.so."));
    let mut tables = Vec::new();
    for module in &node.modules {
        check(&module.own_path(), &module.holds.points);
        assert_ne!(module.bias, 0, "{}", module.path);
        let name = Path::new(&module.path).file_stem().unwrap();
        let name = name.to_str().unwrap().split('.').next().unwrap();
        tables.push((name.to_owned(), table(&module.holds.points)));
    }
    print(&tables);
    for function in [
        Function::GarbageCollection,
        Function::Scavenge,
        Function::Microtasks,
        Function::MakeCallback,
        Function::AnyCallback,
        Function::ScopeClose,
        Function::Timers,
        Function::Immediates,
        Function::WorkQueue,
    ]
    .into_iter()
    .chain(OF_THE_POOL)
    {
        assert_eq!(node.points(function).count(), 1, "{function:?}");
    }
    said(&node.notes, &["awaits and promises", "libuv's timers"]);
}

/// There is a note about each of these, and about nothing else.
fn said(notes: &[String], about: &[&str]) {
    println!("{notes:#?}");
    for about in about {
        let note = notes.iter().find(|note| note.starts_with(about));
        let note = note.unwrap_or_else(|| panic!("nothing is said of {about}"));
        assert!(note.contains("the file is stripped"), "{note}");
    }
}

#[test]
fn a_stripped_copy_is_known_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("server");
    for (version, program) in builds() {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&copy).arg(&program);
        assert!(strip.status().unwrap().success(), "strip {version}");
        let running = Running::start(Command::new(&copy));
        running.assert_is_what_it_says();
        let module = running.node.module(Component::Node).unwrap();
        let points = &module.holds.points;
        check(&copy, points);
        print(&[(version.to_owned(), table(points))]);
        // What is left is where it was.
        let whole = parts(&program).unwrap();
        for point in points {
            let what = |one: &Point| {
                let arguments = one.arguments.clone();
                (one.function, one.address, one.probe.is_emulated, arguments)
            };
            let mut known = whole.points.iter().map(what);
            assert!(known.any(|one| one == what(point)), "{}", point.symbol);
        }
        assert_eq!(module.holds.v8dbg, whole.v8dbg);
        assert_eq!(module.holds.nodedbg, whole.nodedbg);
        assert_eq!(module.holds.providers, whole.providers);
        for function in OF_THE_POOL {
            let count = running.node.points(function).count();
            assert_eq!(count, 1, "{version}: {function:?}");
        }
        let mut about = vec!["awaits and promises", "libuv's timers"];
        // V8 offers its insides to nobody any more.
        let major: u32 = version.split('.').next().unwrap().parse().unwrap();
        let inside = ["garbage collections", "runs of the microtask queue"];
        if major >= 24 {
            about.extend(inside);
        }
        // What has the name is a copy that nobody calls.
        if major == 18 {
            about.push(inside[0]);
        }
        said(&running.node.notes, &about);
        for one in inside {
            let mut notes = running.node.notes.iter();
            let is_said = notes.any(|note| note.starts_with(one));
            assert_eq!(is_said, about.contains(&one), "{one}");
        }
    }
}

#[test]
fn what_is_kept_of_a_build_is_what_was_recognised() {
    const COLD: Duration = Duration::from_secs(1);
    const KNOWN: Duration = Duration::from_millis(300);
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("cache")).of_everything();
    for (version, program) in builds() {
        let data = sys::map_file(&program).unwrap();
        let image = || Image::parse(&data).unwrap();
        let file = fs::File::open(&program).unwrap();
        let recognise = |cache: &Cache| timed(|| cache.recognise(&file, &image()));
        let (fresh, cold) = recognise(&Cache::off());
        let (first, _) = recognise(&cache);
        let (again, known) = recognise(&cache);
        println!("{version}: {cold:?}, from the cache {known:?}");
        assert!(again.is_from_cache && !first.is_from_cache, "{version}");
        assert_eq!(fresh.holds, first.holds);
        assert_eq!(fresh.holds, again.holds);
        // Not optimised, this takes several times as long.
        if !cfg!(debug_assertions) {
            assert!(
                cold < COLD && known < KNOWN,
                "{version}: {cold:?}, {known:?}"
            );
        }
        let whole = fresh.holds;
        let changes: [fn(&mut Point); 6] = [
            |point| point.probe.file_offset += 1,
            |point| point.probe.is_emulated ^= true,
            |point| point.address += 1,
            |point| point.has_return ^= true,
            |point| point.function = Function::FsWork,
            |point| point.arguments.clear(),
        ];
        for change in changes {
            let mut changed: Holds = whole.clone();
            change(&mut changed.node.as_mut().unwrap().points[0]);
            assert!(whole.fits(&image()) && !changed.fits(&image()));
        }
    }
    assert_eq!(cache.usage().unwrap().entries, builds().len());
}

#[test]
fn what_is_not_node_is_not_taken_for_it() {
    let mut looked_at = 0;
    for directory in ["/usr/bin", "/usr/sbin"] {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_symlink() || !path.is_file() {
                continue;
            }
            let Some(data) = sys::map_file(&path).ok() else {
                continue;
            };
            let Some(image) = Image::parse(&data) else {
                continue;
            };
            looked_at += 1;
            let parts = node::recognise(&image).unwrap_or_default();
            if parts.has(Component::Node) {
                // It says so itself.
                let said = Command::new(&path)
                    .args(["-p", "process.versions.node"])
                    .output();
                let said = String::from_utf8(said.unwrap().stdout).unwrap();
                let version = parts.versions[&Component::Node].as_deref();
                assert_eq!(version, Some(said.trim()), "{}", path.display());
                println!("{} is Node.js {}", path.display(), said.trim());
            }
        }
    }
    println!("looked at {looked_at} files");
    assert!(looked_at >= 20);
    let own = runtime::find(Pid(std::process::id()), &Cache::off());
    assert!(own.node.is_none());
}

/// A program that is linked with libuv has the loop, and is no Node.
#[test]
fn a_program_with_libuv_alone_is_not_node() {
    let Ok(shared) = Builds::of_this_test().unwrap().shared() else {
        println!("not looked at: there is no libuv here");
        return;
    };
    let library = fs::read_dir(&shared.libraries)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("libuv.so.1."));
    let library = library.unwrap();
    let held = parts(&library).unwrap();
    assert!(held.has(Component::Uv) && !held.has(Component::Node));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("loop.cc");
    let program = folder.path().join("loop");
    fs::write(
        &source,
        r#"
        #include <cstdio>
        extern "C" { void *uv_default_loop(); int uv_run(void *, int); const char *uv_version_string(); }
        int main() {
            uv_run(uv_default_loop(), 0);
            std::printf("{\"event\":\"ready\",\"uv\":\"%s\"}\n", uv_version_string());
            std::fflush(stdout);
            std::getchar();
        }
        "#,
    )
    .unwrap();
    let mut compile = Command::new("c++");
    compile.arg("-o").arg(&program).arg(&source).arg(&library);
    assert!(compile.status().unwrap().success());
    let mut command = Command::new(&program);
    command.env("LD_LIBRARY_PATH", &shared.libraries);
    let workload = Workload::start(&mut command);
    let uv = held.versions[&Component::Uv].as_deref();
    assert_eq!(uv, workload.ready["uv"].as_str());
    let found = runtime::find(workload.pid(), &Cache::off());
    assert!(found.node.is_none() && found.files > 2);
}
