//! What is recognised from outside, held against programs whose source is here: this very one, the tokio service, a
//! stripped copy of it, and programs that have no tokio.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it looked at"
)]

mod common;

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    process::Command,
    sync::{Arc, mpsc},
    task::{Context, Poll},
    time::Duration,
};

use common::{Workload, example};
use tokio::sync::{Barrier, Notify};
use tracer::{
    runtime::{
        self, Mapped,
        cache::Cache,
        image::Image,
        memory::{Memory as _, ProcessMemory},
        probe::ProbePoint,
        tokio::{
            self as recognised, Kind, Tokio,
            live::{Found, Scan},
        },
    },
    target::sys,
};
use tracer_common::{Nanos, Pid};
use xtask::matrix::{Flavour, Matrix, NEWEST, VERSIONS};

const FOREVER: Nanos = Nanos(u64::MAX);

#[rustfmt::skip]
mod tasks {
    use super::*;

    pub(crate) const PATIENT: u32 = line!() + 1;
    pub(crate) async fn patient(arrived: Arc<Barrier>, gate: Arc<Notify>) { arrived.wait().await; gate.notified().await; }

    pub(crate) const BLOCK: u32 = line!() + 3;
    pub(crate) fn block(arrived: Arc<Barrier>, gate: Arc<Notify>) -> impl Future<Output = ()> {
        let both = (arrived, gate);
        async move { both.0.wait().await; both.1.notified().await; }
    }

    pub(crate) struct Keeper;
    impl Keeper {
        pub(crate) async fn keep(self, arrived: Arc<Barrier>, gate: Arc<Notify>) { patient(arrived, gate).await; }
    }

    pub(crate) fn boxed(arrived: Arc<Barrier>, gate: Arc<Notify>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { arrived.wait().await; gate.notified().await; })
    }
}

/// A future that is no `async fn`.
struct Manual;

impl Future for Manual {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Tells a test where a thread's variables are.
struct Anchor;

thread_local! {
    static ANCHOR: Cell<u64> = const { Cell::new(0) };
}

impl Anchor {
    fn address() -> u64 {
        ANCHOR.with(|anchor| std::ptr::from_ref(anchor).addr() as u64)
    }
}

fn scan(pid: Pid, mapped: &[Mapped]) -> Found {
    let files: Vec<(&Tokio, u64)> = mapped.iter().map(|one| (&one.holds, one.bias)).collect();
    let memory = ProcessMemory::of(pid).unwrap();
    let mut scan = Scan::of(pid, &files);
    while !scan.advance(&memory, FOREVER) {}
    scan.found()
}

/// How many live tasks there are by label.
fn labels(mapped: &[Mapped], found: &Found) -> BTreeMap<String, usize> {
    let mut labels = BTreeMap::new();
    for task in &found.tasks {
        let of = &mapped[task.file].holds.types[task.task_type];
        assert_eq!(of.kind, task.kind);
        *labels.entry(of.name.clone()).or_default() += 1;
    }
    labels
}

#[test]
fn our_own_tasks_are_found_with_name_place_and_state() {
    const MANY: usize = 2_000;
    let runtime = ::tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let gate = Arc::new(Notify::new());
    let arrived = Arc::new(Barrier::new(MANY + 4));
    let entered = runtime.enter();
    for _ in 0..MANY {
        ::tokio::spawn(tasks::patient(Arc::clone(&arrived), Arc::clone(&gate)));
    }
    ::tokio::spawn(tasks::block(Arc::clone(&arrived), Arc::clone(&gate)));
    ::tokio::spawn(tasks::Keeper.keep(Arc::clone(&arrived), Arc::clone(&gate)));
    ::tokio::spawn(tasks::boxed(Arc::clone(&arrived), Arc::clone(&gate)));
    ::tokio::spawn(Manual);
    let (go, going) = mpsc::channel::<()>();
    let (started, starting) = mpsc::channel();
    ::tokio::task::spawn_blocking(move || {
        started.send(()).unwrap();
        let _ended = going.recv();
    });
    drop(entered);
    runtime.block_on(arrived.wait());
    starting.recv().unwrap();

    let own = Pid(std::process::id());
    let mapped = runtime::find(own, &Cache::off()).tokio;
    let [program] = mapped.as_slice() else {
        panic!("{} files with tokio", mapped.len());
    };
    assert_eq!(
        Path::new(&program.path),
        std::env::current_exe().unwrap().as_path()
    );
    assert!(!program.build_id.is_empty());
    assert_eq!(
        program.holds.version.as_deref(),
        tokio_in_the_lock_file().as_deref()
    );
    let of = |name: &str| {
        let types = program.holds.types.iter();
        types.filter(|one| one.name == name).collect::<Vec<_>>()
    };
    for (name, line) in [("patient", tasks::PATIENT), ("block", tasks::BLOCK)] {
        let found = of(name);
        assert!(!found.is_empty(), "{name}");
        for one in found {
            let source = one.source.as_ref().unwrap();
            assert!(source.file.ends_with("tests/runtime.rs"), "{source:?}");
            assert_eq!((source.line, one.kind), (line, Kind::Async), "{name}");
        }
    }

    // A worker may yet be on its way from the barrier to the gate.
    let expected = BTreeMap::from(
        [
            ("Keeper::keep", 1),
            ("Manual", 1),
            (
                "[blocking] our_own_tasks_are_found_with_name_place_and_state",
                1,
            ),
            ("[blocking] tokio worker", 2),
            ("block", 1),
            ("dyn Future", 1),
            ("patient", MANY),
        ]
        .map(|(name, count)| (name.to_owned(), count)),
    );
    let found = scan(own, &mapped);
    assert_eq!(labels(&mapped, &found), expected);
    let running = found.tasks.iter().filter(|task| task.state.is_running());
    assert!(running.count() >= 3, "two workers and a blocking job run");
    assert!(
        found
            .tasks
            .iter()
            .all(|task| task.id.is_some_and(|id| id > 0))
    );

    // What has ended is told apart, at once and after the runtime is gone.
    gate.notify_waiters();
    drop(go);
    drop(runtime);
    let found = scan(own, &mapped);
    assert_eq!(found.tasks, []);
}

fn tokio_in_the_lock_file() -> Option<String> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let text = fs::read_to_string(lock).ok()?;
    let (_, rest) = text.split_once("name = \"tokio\"\nversion = \"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

#[test]
fn the_id_of_the_task_that_a_thread_polls_is_where_it_is_said_to_be() {
    let data = fs::read(std::env::current_exe().unwrap()).unwrap();
    let image = Image::parse(&data).unwrap();
    let tokio = recognised::recognise(&image).unwrap();
    let is_anchor = |name: &str| name.contains("6ANCHOR") && name.contains("VAL");
    let (anchor, _) = image.thread_locals(is_anchor).next().unwrap();
    let block = image.thread_block().unwrap();
    let runtime = ::tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let task = runtime.spawn(async move {
        let thread = Anchor::address() - anchor + block;
        let id: u64 = ::tokio::task::id().to_string().parse().unwrap();
        (thread, id, tokio.current_task)
    });
    let memory = ProcessMemory::of(Pid(std::process::id())).unwrap();
    let (thread, id, places) = runtime.block_on(task).unwrap();
    let place = *places.first().expect("a candidate");
    let looking = runtime.spawn(async move {
        let id: u64 = ::tokio::task::id().to_string().parse().unwrap();
        let memory = ProcessMemory::of(Pid(std::process::id())).unwrap();
        (id, memory.word(thread.wrapping_add_signed(place)))
    });
    let (other, seen) = runtime.block_on(looking).unwrap();
    assert_ne!(id, other);
    assert_eq!(seen, Some(other), "of {places:?}");
    // The worker is a task itself, which never ends.
    assert!(common::wait_until(Duration::from_secs(5), || {
        let now = memory.word(thread.wrapping_add_signed(place));
        now.is_some_and(|now| now > 0 && now != id && now != other)
    }));
}

#[test]
fn a_service_is_recognised_down_to_its_probes() {
    let data = sys::map_file(&example("tokio-service")).unwrap();
    let image = Image::parse(&data).unwrap();
    let tokio = recognised::recognise(&image).unwrap();
    let plants = |line| Some(("plants.rs".to_owned(), line));
    let types: BTreeMap<&str, Option<(String, u32)>> = tokio
        .types
        .iter()
        .map(|one| {
            let source = one.source.as_ref();
            let file = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
            (
                one.name.as_str(),
                source.map(|source| (file(&source.file), source.line)),
            )
        })
        .collect();
    let line = |what: &str| line_of("workloads/tokio/plants.rs", what);
    let mut expected = BTreeMap::from([
        ("[blocking] blocking_caller", None),
        ("[blocking] tokio worker", None),
        ("blocking_caller", plants(line("async fn blocking_caller"))),
        ("ledger_writer", plants(line("async fn ledger_writer"))),
        ("poll_blocker", plants(line("async fn poll_blocker"))),
        ("visitor", plants(line("async fn visitor("))),
        ("visitor_source", plants(line("async fn visitor_source"))),
    ]);
    let load = line_of("workloads/tokio/load.rs", "async fn client");
    expected.insert("client", Some(("load.rs".to_owned(), load)));
    for (name, source) in expected {
        assert_eq!(types.get(name), Some(&source), "{name}");
    }
    assert!(types.contains_key("axum::serve::handle_connection"));
    assert!(tokio.types.iter().all(|one| !one.name.contains('#')));
    assert_eq!(tokio.layout.vtable, 16);
    assert_eq!(tokio.wakes.len(), 2);
    for wake in &tokio.wakes {
        assert_is_what_it_says(&data, wake.point);
    }
    for one in &tokio.types {
        assert_is_what_it_says(&data, one.poll_probe);
        assert_eq!(
            image.file_offset(one.poll),
            Some(one.poll_probe.file_offset)
        );
    }
}

fn line_of(file: &str, what: &str) -> u32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).unwrap();
    let index = text.lines().position(|line| line.contains(what)).unwrap();
    u32::try_from(index + 1).unwrap()
}

fn assert_is_what_it_says(file: &[u8], point: ProbePoint) {
    let at = usize::try_from(point.file_offset).unwrap();
    let emulated = match file[at] {
        0x50..=0x57 | 0x70..=0x7f | 0x90 | 0xe8 | 0xe9 | 0xeb => true,
        0x0f => (0x80..=0x8f).contains(&file[at + 1]),
        0x41 => (0x50..=0x57).contains(&file[at + 1]),
        _ => false,
    };
    assert_eq!(emulated, point.is_emulated, "at {at:x}: {:x}", file[at]);
}

/// Nothing but what is needed to run: no table of sections, so no symbols.
fn stripped(program: &Path) -> Vec<u8> {
    let mut data = fs::read(program).unwrap();
    data[0x28..0x30].fill(0);
    data[0x3c..0x40].fill(0);
    data
}

#[test]
fn a_stripped_program_has_the_same_types_and_places() {
    let program = example("tokio-service");
    let whole = fs::read(&program).unwrap();
    let whole = recognised::recognise(&Image::parse(&whole).unwrap()).unwrap();
    let data = stripped(&program);
    let image = Image::parse(&data).unwrap();
    assert!(!image.has_symbols());
    let tokio = recognised::recognise(&image).unwrap();
    assert_eq!(
        (&tokio.version, tokio.layout, &tokio.wakes),
        (&whole.version, whole.layout, &whole.wakes)
    );
    // Without optimization it takes names to find it.
    if let Some(place) = tokio.current_task.first() {
        assert_eq!(Some(place), whole.current_task.first());
    }
    assert_eq!(tokio.types.len(), whole.types.len());
    for (bare, named) in tokio.types.iter().zip(&whole.types) {
        assert_eq!(
            (bare.vtable, bare.kind, bare.poll_probe, bare.id),
            (named.vtable, named.kind, named.poll_probe, named.id)
        );
        // A worker is known by what it does.
        if !bare.raw_name.is_empty() {
            assert_eq!(bare.name, "[blocking] tokio worker");
            assert_eq!(bare.name, named.name);
        }
        if let (Some(source), Some(known)) = (&bare.source, &named.source) {
            assert_eq!(source, known, "{}", named.name);
        }
        if named.source.is_none() {
            assert_eq!(bare.source, None, "{}", named.name);
        }
    }
    // It says what it lacks.
    assert!(!tokio.notes.is_empty());
}

#[test]
fn tasks_of_another_process_are_read_while_it_runs() {
    let service = Workload::start(Command::new(example("tokio-service")).arg("--load"));
    let mapped = runtime::find(service.pid(), &Cache::off()).tokio;
    assert_eq!(mapped.len(), 1);
    // Always there, from before the first line is said.
    let mut expected = vec![
        ("[blocking] tokio worker", 2),
        ("blocking_caller", 1),
        ("client", 4),
        ("ledger_writer", 2),
        ("poll_blocker", 1),
        ("serve", 1),
        ("visitor_source", 1),
    ];
    expected.sort_unstable();
    for _ in 0..20 {
        let found = scan(service.pid(), &mapped);
        let mut labels = labels(&mapped, &found);
        // These come and go.
        for (passing, most) in [
            ("[blocking] blocking_caller", 1),
            ("visitor", 100),
            ("axum::serve::handle_connection", 4),
        ] {
            let count = labels.remove(passing).unwrap_or_default();
            assert!(count <= most, "{count} of {passing}");
        }
        let labels: Vec<(&str, usize)> = labels
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        assert_eq!(labels, expected);
    }
}

/// What is kept of a program is what is recognised, and is used: its probes are found to be in the program.
#[test]
fn what_is_kept_of_a_program_is_what_was_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("cache")).of_everything();
    let matrix = Matrix::of_this_test().unwrap();
    let programs = Flavour::ALL.map(|flavour| (NEWEST, flavour));
    let programs = programs.map(|(version, flavour)| matrix.program(version, flavour).unwrap());
    let oldest = matrix.program(VERSIONS[0], Flavour::Release).unwrap();
    for path in programs.iter().chain([&oldest, &example("tokio-service")]) {
        let data = sys::map_file(path).unwrap();
        let image = Image::parse(&data).unwrap();
        let file = fs::File::open(path).unwrap();
        let [fresh, first, again] = [&Cache::off(), &cache, &cache].map(|cache| {
            let begun = sys::monotonic();
            let found = cache.recognise(&file, &image);
            let took = sys::monotonic().since(begun).unwrap();
            (found, Duration::from_nanos(took.0))
        });
        println!("{}: {:?}, {:?}", path.display(), fresh.1, again.1);
        let (fresh, first, again) = (fresh.0, first.0, again.0);
        assert!(fresh.holds.tokio.is_some(), "{}", path.display());
        assert_eq!(fresh.holds.tokio, first.holds.tokio);
        assert_eq!(fresh.holds.tokio, again.holds.tokio);
        let known = [&fresh, &first, &again].map(|found| found.is_from_cache);
        assert_eq!(known, [false, false, true], "{}", path.display());
        let whole = fresh.holds.tokio.unwrap();
        for change in [
            |tokio: &mut Tokio| tokio.types[0].poll_probe.file_offset += 1,
            |tokio: &mut Tokio| {
                tokio.types[0].poll += 1;
                tokio.types[0].poll_probe.file_offset += 1;
            },
            |tokio: &mut Tokio| tokio.wakes[0].point.file_offset += 1 << 40,
            |tokio: &mut Tokio| tokio.wakes[0].point.is_emulated ^= true,
        ] {
            let mut changed = whole.clone();
            change(&mut changed);
            assert!(whole.fits(&image) && !changed.fits(&image));
        }
    }
    assert_eq!(cache.usage().unwrap().entries, programs.len() + 2);
}

#[test]
fn programs_without_tokio_have_none() {
    const LOOKED_AT: usize = 60;
    const FIRST: [&str; 12] = [
        "gdb",
        "perf",
        "libLLVM",
        "librustc_driver",
        "python3",
        "bash",
        "node",
        "libc.so",
        "libstdc++",
        "git",
        "ld",
        "libcrypto",
    ];
    let mut paths: Vec<PathBuf> = [
        "/usr/bin",
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
    ]
    .iter()
    .filter_map(|directory| fs::read_dir(directory).ok())
    .flat_map(|entries| entries.filter_map(Result::ok))
    .map(|entry| entry.path())
    .filter(|path| path.is_file() && !path.is_symlink())
    .collect();
    let rank = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let first = FIRST.iter().position(|first| name.starts_with(first));
        (first.unwrap_or(FIRST.len()), name)
    };
    paths.sort_by_cached_key(rank);
    let mut looked_at = 0;
    for path in paths {
        let Ok(data) = sys::map_file(&path) else {
            continue;
        };
        let Some(image) = Image::parse(&data) else {
            continue;
        };
        looked_at += 1;
        if let Some(tokio) = recognised::recognise(&image) {
            // Some are written in Rust by now.
            let has = memchr::memmem::find(&data, b"tokio").is_some();
            assert!(has, "{} has {} types", path.display(), tokio.types.len());
        }
        if looked_at == LOOKED_AT {
            break;
        }
    }
    println!("looked at {looked_at} files");
    assert!(looked_at >= 20);
}

/// Everything that reads an image, wherever it leads.
fn use_up(image: &Image) {
    for segment in image.segments() {
        for at in [
            segment.address,
            segment.address.wrapping_add(segment.memory_size / 2),
        ] {
            let _bounds = image.function(at);
            let _bytes = (image.word(at), image.pointer(at), image.file_offset(at));
            let _names = image.names(at).count();
        }
    }
    let _pointers = image.code_pointers().take(10_000).count();
    let _names = image.named(|name| name.len() == 7).count();
    let _build_id = image.build_id();
    let _bias = image.bias(0x1000, 0x1000);
}

#[test]
fn a_damaged_file_does_no_harm() {
    let mut data = fs::read(example("tokio-service")).unwrap();
    let image = Image::parse(&data).unwrap();
    let offset = |address| usize::try_from(image.file_offset(address).unwrap()).unwrap();
    // The headers, the start of each segment, the tables of task types.
    let tokio = recognised::recognise(&image).unwrap();
    let mut places: Vec<usize> = (16..64 + 56 * 14).step_by(12).collect();
    for segment in image.segments() {
        let start = offset(segment.address);
        places.extend((start..start + 256).step_by(48));
    }
    places.extend(
        tokio
            .types
            .iter()
            .take(4)
            .map(|one| offset(one.vtable) + 56),
    );
    let sections = u64::from_le_bytes(data[0x28..0x30].try_into().unwrap());
    let sections = usize::try_from(sections).unwrap();
    places.extend((sections..data.len()).step_by(100));
    drop(image);

    for (count, &at) in places.iter().enumerate() {
        let size = 4.min(data.len() - at);
        let kept: Vec<u8> = data[at..at + size].to_vec();
        let with = [0u8, 0xff, 0x7f][count % 3];
        data[at..at + size].fill(with);
        if let Some(image) = Image::parse(&data) {
            use_up(&image);
            if count % 40 == 0 {
                let _tokio = recognised::recognise(&image);
            }
        }
        data[at..at + size].copy_from_slice(&kept);
    }
    for part in 0..50 {
        let end = data.len() * part / 50;
        if let Some(image) = Image::parse(&data[..end]) {
            use_up(&image);
            if part % 10 == 0 {
                let _tokio = recognised::recognise(&image);
            }
        }
    }
    for end in (0..2_000).step_by(37) {
        if let Some(image) = Image::parse(&data[..end]) {
            use_up(&image);
        }
    }
}
