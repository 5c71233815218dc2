//! Against this process, its children and this kernel.

use std::{
    fs,
    hint::black_box,
    io::{BufRead, BufReader, Lines, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use blazesym::inspect;

use super::*;
use crate::target::mapping;

#[inline(always)]
fn inner(number: u64) -> u64 {
    let mut sum = number;
    for step in 0..black_box(100) {
        sum = sum.wrapping_mul(31).wrapping_add(black_box(step));
    }
    sum
}

#[inline(never)]
fn outer(number: u64) -> u64 {
    let first = black_box(number);
    let second = inner(first); // the line of the call
    black_box(first.wrapping_mul(second))
}

const LINE_OF_THE_CALL: u32 = line!() - 4;
const OUTER: &str = "tracer::symbol::tests::outer";
/// Without its path where the tests are built with line tables only: inlined, it has no symbol.
const INNER: &str = "inner";

fn own() -> Pid {
    Pid(std::process::id())
}

fn start_of_outer() -> u64 {
    black_box(outer(1));
    outer as *const () as u64
}

/// The first place of `outer` in which `inner` was inlined.
fn inlined(symbolizer: &mut Symbolizer, pid: Pid, outer: u64) -> Option<Symbol> {
    let lookups: Vec<Lookup> = (outer..outer + 256).map(Lookup::at).collect();
    symbolizer
        .process(pid, &lookups)
        .into_iter()
        .find(|symbol| symbol.frames.len() >= 2 && symbol.frames[0].function.ends_with(INNER))
}

fn function(symbols: &[Symbol]) -> &str {
    symbols[0]
        .frames
        .last()
        .map_or("", |frame| frame.function.as_str())
}

/// A copy of this test's program that told where `outer` is, and waits until its input is closed.
struct Waiting {
    child: Child,
    /// Kept, so that what it still says does not fail.
    _said: Lines<BufReader<ChildStdout>>,
    outer: u64,
}

impl Waiting {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--exact", "symbol::tests::waits_when_asked", "--nocapture"])
            .env("TRACER_TEST_WAITS", "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let outer = said
            .find_map(|line| line.unwrap().split_once("outer is at ")?.1.parse().ok())
            .unwrap();
        Self {
            child,
            _said: said,
            outer,
        }
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

/// No test by itself: what [`Waiting`] runs.
#[test]
fn waits_when_asked() {
    if std::env::var_os("TRACER_TEST_WAITS").is_some() {
        println!("outer is at {}", start_of_outer());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn copy_in(directory: &Path) -> PathBuf {
    let copy = directory.join("program");
    fs::copy(program(), &copy).unwrap();
    copy
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).status();
    let done = status.is_ok_and(|status| status.success());
    if !done {
        println!("skipped: `{program}` does not work here");
    }
    done
}

/// Where this process has a function of a library, and the library's path.
fn library_function(library: &str, name: &str) -> (u64, String) {
    let mut maps = Maps::default();
    assert!(maps.refresh(own()));
    let code = |mapping: &&mapping::Mapping| mapping.executable && mapping.path.contains(library);
    let mapping = maps.mappings.iter().find(code).unwrap();
    let source = inspect::source::Elf::new(&*mapping.path).into();
    let inspector = inspect::Inspector::new();
    let found = inspector.lookup(&source, &[name]).unwrap();
    let offset = found[0][0].file_offset.unwrap();
    (
        mapping.start + (offset - mapping.offset),
        mapping.path.to_string(),
    )
}

#[test]
fn an_inlined_call_is_the_innermost_frame_with_file_and_line() {
    let symbol = inlined(&mut Symbolizer::new(), own(), start_of_outer()).unwrap();
    let [called, caller] = symbol.frames.as_slice() else {
        panic!("{symbol:?}");
    };
    assert!(called.function.ends_with(INNER), "{called:?}");
    assert_eq!(caller.function, OUTER);
    assert_eq!(caller.line, LINE_OF_THE_CALL);
    assert!(called.line > 0 && called.line < LINE_OF_THE_CALL);
    for frame in [called, caller] {
        assert!(frame.file.ends_with("src/symbol/tests.rs"), "{frame:?}");
    }
    assert_eq!(symbol.module, program().to_string_lossy());
    assert!(symbol.offset > 0);
}

#[test]
fn what_is_returned_to_is_charged_to_the_call_before() {
    let mut symbolizer = Symbolizer::new();
    let start = start_of_outer();
    let asked = [
        Lookup::at(start - 1),
        Lookup::at(start),
        Lookup::return_to(start),
        Lookup::return_to(start + 1),
    ];
    let [before, at, to_start, into] = symbolizer.process(own(), &asked).try_into().unwrap();
    assert_eq!(function(&[at]), OUTER);
    assert_eq!(function(&[into]), OUTER);
    assert_ne!(function(std::slice::from_ref(&to_start)), OUTER);
    assert_eq!(to_start.frames, before.frames);
    assert_eq!(
        (to_start.address, to_start.offset),
        (start, before.offset + 1)
    );
    let stack: Vec<Lookup> = Lookup::stack(&[1, 2, 3]).collect();
    assert_eq!(
        stack,
        [Lookup::at(1), Lookup::return_to(2), Lookup::return_to(3)]
    );
}

#[test]
fn a_function_of_the_c_library_has_its_name() {
    let (address, path) = library_function("libc.so", "getpid");
    let symbols = Symbolizer::new().process(own(), &[Lookup::at(address)]);
    assert!(function(&symbols).ends_with("getpid"), "{symbols:?}");
    assert_eq!(symbols[0].module, path);
}

#[test]
fn the_vdso_has_names() {
    let mut symbolizer = Symbolizer::new();
    let child = Waiting::start(&mut Command::new(program()));
    let mut maps = Maps::default();
    assert!(maps.refresh(child.pid()));
    let vdso = maps
        .mappings
        .iter()
        .find(|mapping| &*mapping.path == "[vdso]")
        .unwrap();
    let lookups: Vec<Lookup> = (vdso.start..vdso.end).map(Lookup::at).collect();
    let symbols = symbolizer.process(child.pid(), &lookups);
    assert!(symbols.iter().all(|symbol| symbol.module == "[vdso]"));
    assert!(
        symbols
            .iter()
            .flat_map(|symbol| &symbol.frames)
            .any(|frame| frame.function.ends_with("clock_gettime"))
    );
}

#[test]
fn a_deleted_program_has_names_and_when_it_ended_too() {
    let directory = tempfile::tempdir().unwrap();
    let copy = copy_in(directory.path());
    let child = Waiting::start(&mut Command::new(&copy));
    let (pid, outer) = (child.pid(), child.outer);
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, "something else now").unwrap();

    let mut symbolizer = Symbolizer::new();
    symbolizer.remember(pid);
    let symbol = inlined(&mut symbolizer, pid, outer).unwrap();
    assert_eq!(symbol.module, copy.to_string_lossy());

    child.end();
    symbolizer.known = Recent::new(PLACES);
    assert_eq!(inlined(&mut symbolizer, pid, outer), Some(symbol));
    assert_eq!(inlined(&mut Symbolizer::new(), pid, outer), None);
    symbolizer.forget(pid);
    assert_eq!(inlined(&mut symbolizer, pid, outer), None);
}

#[test]
fn a_program_that_ended_is_found_again_by_its_path() {
    let child = Waiting::start(&mut Command::new(program()));
    let (pid, outer) = (child.pid(), child.outer);
    let mut symbolizer = Symbolizer::new();
    symbolizer.remember(pid);
    child.end();
    symbolizer.files = Files::new(FILES);
    assert!(inlined(&mut symbolizer, pid, outer).is_some());
}

/// What is used without `CAP_SYS_ADMIN`: none of the paths but `map_files` is special.
#[test]
fn a_file_is_found_without_map_files() {
    let directory = tempfile::tempdir().unwrap();
    let copy = copy_in(directory.path());
    let child = Waiting::start(&mut Command::new(&copy));
    let mut maps = Maps::default();
    assert!(maps.refresh(child.pid()));
    let mapping = maps.mappings[maps.index(child.outer).unwrap()].clone();
    let key = |mapping: &mapping::Mapping| {
        mapping::open_without_map_files(child.pid(), mapping, &mapping.path)
    };
    let in_place = key(&mapping);
    assert!(in_place.is_some());
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, "something else now").unwrap();
    assert_eq!(key(&mapping), in_place);
    let library = maps
        .mappings
        .iter()
        .find(|mapping| mapping.path.contains("libc.so"))
        .unwrap();
    assert!(key(library).is_some());
    let other = mapping::Mapping {
        inode: u64::MAX,
        ..mapping
    };
    assert_eq!(key(&other), None);
}

#[test]
fn a_stripped_program_has_what_is_left_and_its_debug_link_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let copy = copy_in(directory.path());
    let program = copy.to_str().unwrap();
    let debug = format!("{program}.debug");
    if !run("objcopy", &["--only-keep-debug", program, &debug])
        || !run("strip", &["--strip-all", program])
    {
        return;
    }
    let mut symbolizer = Symbolizer::new();
    let child = Waiting::start(&mut Command::new(program));
    let symbols = symbolizer.process(child.pid(), &[Lookup::at(child.outer)]);
    assert_eq!((symbols[0].frames.len(), &*symbols[0].module), (0, program));
    assert!(symbols[0].offset > 0);
    child.end();

    let link = format!("--add-gnu-debuglink={debug}");
    assert!(run("objcopy", &[&link, program]));
    let child = Waiting::start(&mut Command::new(program));
    assert!(inlined(&mut symbolizer, child.pid(), child.outer).is_some());

    child.end();

    // A link that leads to something else costs the lines, not the names.
    let named = directory.path().join("named");
    fs::copy(self::program(), &named).unwrap();
    let named = named.to_str().unwrap();
    assert!(run("objcopy", &["--strip-debug", &link, named]));
    fs::write(&debug, "not what it was").unwrap();
    let child = Waiting::start(&mut Command::new(named));
    let symbols = Symbolizer::new().process(child.pid(), &[Lookup::at(child.outer)]);
    assert_eq!(function(&symbols), OUTER);
    assert_eq!(symbols[0].frames[0].line, 0);
}

/// New mount and process namespaces and another root: none of its paths means anything here.
#[test]
fn a_program_in_other_namespaces_has_names() {
    if !run("unshare", &["-mpf", "true"]) {
        return;
    }
    let jail = tempfile::tempdir().unwrap();
    let libraries = jail.path().join("lib64");
    fs::create_dir(&libraries).unwrap();
    copy_in(jail.path());
    let mut maps = Maps::default();
    assert!(maps.refresh(own()));
    for mapping in maps.mappings.iter().filter(|mapping| mapping.executable) {
        let path = Path::new(&*mapping.path);
        if let Some(name) = path.file_name().filter(|_| mapping.path.contains(".so")) {
            fs::copy(path, libraries.join(name)).unwrap();
        }
    }
    let mut command = Command::new("unshare");
    command
        .args(["-mpf", "--kill-child", "chroot"])
        .arg(jail.path())
        .arg("/program")
        .env("LD_LIBRARY_PATH", "/lib64");
    let child = Waiting::start(&mut command);
    let family = crate::target::process::with_descendants(child.pid());
    let pid = *family.last().unwrap();
    assert_ne!(pid, child.pid());

    let symbol = inlined(&mut Symbolizer::new(), pid, child.outer).unwrap();
    assert_eq!(symbol.module, "/program");
    fs::remove_file(jail.path().join("program")).unwrap();
    assert_eq!(
        inlined(&mut Symbolizer::new(), pid, child.outer),
        Some(symbol)
    );
}

#[test]
fn garbage_has_no_frames() {
    let mut symbolizer = Symbolizer::new();
    let heap = Box::new(1u64);
    let on_heap = &raw const *heap as u64;
    let garbage = [0, 1, 0xdead_beef, on_heap, 1 << 47, u64::MAX - 1, u64::MAX];
    let mut lookups: Vec<Lookup> = garbage.map(Lookup::at).to_vec();
    lookups.extend(garbage.map(Lookup::return_to));
    for pid in [own(), Pid(0), Pid(i32::MAX as u32), Pid(u32::MAX)] {
        let symbols = symbolizer.process(pid, &lookups);
        assert_eq!(symbols.len(), lookups.len());
        for (symbol, lookup) in symbols.iter().zip(&lookups) {
            assert_eq!(symbol.address, lookup.address);
            assert!(symbol.frames.is_empty(), "{symbol:?}");
        }
    }
    for symbol in symbolizer.kernel(&lookups[..6]) {
        assert!(symbol.frames.is_empty(), "{symbol:?}");
    }
    assert!(symbolizer.process(own(), &[]).is_empty());
    let [of_heap] = symbolizer
        .process(own(), &[Lookup::at(on_heap)])
        .try_into()
        .unwrap();
    assert!(!of_heap.module.is_empty(), "{of_heap:?}");
}

#[test]
fn a_kernel_function_has_its_name() {
    let all = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let known = all.lines().find_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        (rest == "T vfs_read").then(|| u64::from_str_radix(address, 16).ok())?
    });
    let Some(address) = known.filter(|&address| address != 0) else {
        println!("skipped: /proc/kallsyms tells no addresses here");
        return;
    };
    let mut symbolizer = Symbolizer::new();
    let symbols = symbolizer.kernel(&[Lookup::at(address + 1), Lookup::return_to(address)]);
    assert_eq!(symbols[0].frames[0].function, "vfs_read");
    assert_eq!(symbols[0].module, "[kernel]");
    assert_ne!(function(&symbols[1..]), "vfs_read");
    let asked = symbolizer.engine.asked;
    symbolizer.kernel(&[Lookup::at(address + 1)]);
    assert_eq!(symbolizer.engine.asked, asked);
}

#[test]
fn nothing_is_asked_twice_and_processes_of_a_program_share() {
    let mut symbolizer = Symbolizer::new();
    let first = Waiting::start(&mut Command::new(program()));
    let second = Waiting::start(&mut Command::new(program()));
    let names = inlined(&mut symbolizer, first.pid(), first.outer).unwrap();
    let asked = symbolizer.engine.asked;
    assert!(asked >= 256);
    let again = inlined(&mut symbolizer, first.pid(), first.outer).unwrap();
    let shared = inlined(&mut symbolizer, second.pid(), second.outer).unwrap();
    assert_eq!((&again, &shared.frames), (&names, &names.frames));
    assert_eq!(symbolizer.engine.asked, asked);
    assert_eq!(symbolizer.processes.len(), 2);
    for pid in [first.pid(), second.pid()] {
        symbolizer.forget(pid);
    }
    assert_eq!(symbolizer.processes.len(), 0);
}

#[test]
fn with_room_for_one_file_the_names_are_the_same() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let mut symbolizer = Symbolizer {
        files: Files::new(1),
        known: Recent::new(2),
        ..Symbolizer::new()
    };
    let (getpid, _) = library_function("libc.so", "getpid");
    let asked = [Lookup::at(start_of_outer()), Lookup::at(getpid)];
    let first = symbolizer.process(own(), &asked);
    assert!(function(&first).ends_with("outer") && function(&first[1..]).ends_with("getpid"));
    let before = descriptors();
    for _ in 0..20 {
        symbolizer.known = Recent::new(2);
        assert_eq!(symbolizer.process(own(), &asked), first);
        assert_eq!(symbolizer.files.len(), 1);
    }
    assert!(descriptors() < before + 20, "descriptors of files are kept");
}

#[test]
fn a_panic_in_a_question_is_no_answer() {
    assert_eq!(engine::contained(|| 1), Some(1));
    assert_eq!(engine::contained(|| [1][black_box(7)]), None);
}

#[test]
fn a_damaged_file_gives_no_names_and_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let whole = fs::read("/bin/true").unwrap();
    // All 0xff from the program headers on: every offset and size in them overflows.
    let mut wild = whole.clone();
    wild[64..].fill(0xff);
    let mut engine = Engine::new();
    let files: [&[u8]; 5] = [b"", b"#!/bin/sh", &whole[..64], &whole[..4096], &wild];
    for (number, bytes) in files.into_iter().enumerate() {
        let path = directory.path().join(number.to_string());
        fs::write(&path, bytes).unwrap();
        let frames = engine.file(&path, &mut true, &[0, 4096, u64::MAX]);
        for frames in frames.unwrap_or_default() {
            assert!(frames.is_empty());
        }
    }
    let mut symbolizer = Symbolizer {
        engine,
        ..Symbolizer::new()
    };
    let symbols = symbolizer.process(own(), &[Lookup::at(start_of_outer())]);
    assert_eq!(function(&symbols), OUTER);
}
