//! Await trees of a program that knows where its tasks wait, built with full debug information with and without
//! optimisation.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

mod fixture;
mod hostile;
mod session;

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use fixture::{Running, Truth, program};
use tracer::{
    runtime::{
        dwarf::Missing,
        tokio::tree::{Channel, Kind, Lock, NoTree, Node, Resource, Tree, Trees, holders},
    },
    target::sys,
};

const HOUR: u64 = 3_600_000_000_000;

#[test]
fn every_task_of_a_plain_build_is_read_to_its_leaf() {
    every_task_is_read_to_its_leaf("plain");
}

#[test]
fn every_task_of_an_optimized_build_is_read_to_its_leaf() {
    every_task_is_read_to_its_leaf("optimized");
}

fn every_task_is_read_to_its_leaf(profile: &str) {
    let program = program(profile);
    let mut trees = Trees::open(&program).unwrap();
    let running = Running::start(&program);
    let found = all_trees(&running, &mut trees);
    let mut wrong = Vec::new();
    for (name, truth) in &running.truth {
        if name == "busy" {
            continue;
        }
        let Some(tree) = found.get(&truth.id) else {
            wrong.push(format!("{name}: no tree"));
            continue;
        };
        for what in differences(name, truth, tree) {
            wrong.push(format!("{name}: {what}\n{}", text(&tree.root, 1)));
        }
    }
    wrong.extend(wrong_holders(&running, &found));
    println!("{profile}: {} trees", found.len());
    for (of, known) in running.types_known(&trees) {
        if !known {
            wrong.push(format!("{of} has no type"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(running.truth.len() > 40);
}

/// The trees of all tasks the program told about, by id. What changes while it is read is read again.
fn all_trees(running: &Running, trees: &mut Trees) -> BTreeMap<u64, Tree> {
    let memory = running.memory();
    let mut found = BTreeMap::new();
    let all_read = fixture::wait_until(Duration::from_secs(20), || {
        for (id, task) in running.tasks() {
            match trees.tree(&memory, running.tokio.bias, task) {
                Ok(tree) => _ = found.insert(id, tree),
                Err(NoTree::Changing | NoTree::Running) => {}
                Err(why) => println!("task {id}: {why:?}"),
            }
        }
        running
            .truth
            .iter()
            .all(|(name, truth)| name == "busy" || found.contains_key(&truth.id))
    });
    println!("all tasks read: {all_read}");
    found
}

/// A task that goes on all the time is refused while it does, or read as it was in one moment.
#[test]
fn a_task_that_goes_on_is_never_read_half() {
    let program = program("optimized");
    let mut trees = Trees::open(&program).unwrap();
    let running = Running::start(&program);
    let memory = running.memory();
    let busy = &running.truth["busy"];
    let task = running.tasks()[&busy.id];
    let allowed = busy.ways();
    let mut read = BTreeMap::new();
    let enough = fixture::wait_until(Duration::from_secs(30), || {
        match trees.tree(&memory, running.tokio.bias, task) {
            Ok(tree) => {
                let mut ways = Vec::new();
                ways_down(&tree.root, &mut Vec::new(), &mut ways);
                assert!(
                    ways.iter().all(|way| allowed.contains(way)),
                    "{}",
                    text(&tree.root, 1)
                );
                *read.entry(ways.pop()).or_insert(0) += 1;
            }
            Err(why) => assert!(matches!(why, NoTree::Changing | NoTree::Running), "{why:?}"),
        }
        // In which of its places it is met is a matter of the machine.
        read.values().sum::<u32>() >= 2_000
    });
    assert!(enough, "{read:?}");
}

fn differences(name: &str, truth: &Truth, tree: &Tree) -> Vec<String> {
    let mut differences = Vec::new();
    let mut ways = Vec::new();
    ways_down(&tree.root, &mut Vec::new(), &mut ways);
    ways.sort();
    let mut expected = truth.ways();
    expected.sort();
    let omitted: u32 = tree.nodes().map(|node| node.omitted).sum();
    expected.truncate(expected.len() - omitted as usize);
    if ways != expected {
        differences.push(format!("stands at {ways:?}, not at {expected:?}"));
    }
    let holds = tree.nodes().any(|node| !node.holds.is_empty());
    if holds != name.ends_with("_holder") && name != "rwlock_writer" {
        differences.push(format!("holds a lock: {holds}"));
    }
    let leaves: Vec<&Node> = tree
        .nodes()
        .filter(|node| node.children.is_empty())
        .collect();
    if let Some(leaf) = leaves.iter().find(|leaf| leaf.waits_on.is_none()) {
        differences.push(format!("{} waits for nothing known", leaf.raw_name));
    }
    let resources: Vec<&Resource> = leaves
        .iter()
        .filter_map(|leaf| leaf.waits_on.as_ref())
        .collect();
    if let Some(expected) = resource(name)
        && !resources.iter().any(|resource| expected(resource, truth))
    {
        differences.push(format!("waits for {resources:?}"));
    }
    differences
}

/// What the leaf of a task has to be, for those where it is more than a line.
fn resource(name: &str) -> Option<fn(&Resource, &Truth) -> bool> {
    fn lock(resource: &Resource, truth: &Truth, kind: Lock) -> bool {
        matches!(resource, Resource::Lock { lock, address, free }
            if *lock == kind && truth.has("lock", *address) && *free == Some(0))
    }
    fn channel(resource: &Resource, kind: Channel, sending: bool) -> bool {
        matches!(resource, Resource::Channel { channel, sends, address: Some(_) } if *channel == kind && *sends == sending)
    }
    let expected: fn(&Resource, &Truth) -> bool = match name {
        "mutex_waiter" | "mutex_owned_waiter" | "owned_guard_waiter" => {
            |resource, truth| lock(resource, truth, Lock::Mutex)
        }
        "rwlock_reader" => |resource, truth| lock(resource, truth, Lock::Read),
        "semaphore_waiter" => |resource, truth| lock(resource, truth, Lock::Semaphore),
        "notified" => {
            |resource, truth| matches!(resource, Resource::Notify { address } if truth.has("lock", *address))
        }
        "at_barrier" => {
            |resource, truth| matches!(resource, Resource::Barrier { address: Some(address) } if truth.has("lock", *address))
        }
        "mpsc_receiver" | "mpsc_unbounded_receiver" => {
            |resource, _| channel(resource, Channel::Mpsc, false)
        }
        "mpsc_sender" => |resource, _| channel(resource, Channel::Mpsc, true),
        "oneshot_receiver" => |resource, _| channel(resource, Channel::Oneshot, false),
        "watch_receiver" => |resource, _| channel(resource, Channel::Watch, false),
        "broadcast_receiver" => |resource, _| channel(resource, Channel::Broadcast, false),
        "sleeper" | "ticker" | "in_time" | "method" | "joined" => |resource, _| {
            let now = sys::monotonic().0;
            matches!(resource, Resource::Timer { deadline: Some(deadline) }
                if (now..now + HOUR + HOUR / 60).contains(deadline))
        },
        "acceptor" | "reader" | "writer" | "datagrams" => {
            |resource, truth| matches!(resource, Resource::Io { fd: Some(fd) } if truth.facts["fd"] == [fd.to_string()])
        }
        "joiner" | "set_joiner" => {
            |resource, truth| matches!(resource, Resource::Task { id: Some(id), .. } if truth.facts["awaits"].contains(&id.to_string()))
        }
        "yielding" => |resource, _| *resource == Resource::Turn,
        "awaited" | "keeper" | "boxed" | "recursive" | "by_hand" | "selected" => {
            |resource, _| *resource == Resource::Nothing
        }
        _ => return None,
    };
    Some(expected)
}

/// The program's own functions on each way down, with their lines.
fn ways_down(node: &Node, above: &mut Vec<(String, u32)>, ways: &mut Vec<Vec<(String, u32)>>) {
    let is_own = matches!(node.kind, Kind::Function | Kind::Block) && node.file.starts_with("src/");
    if is_own {
        above.push((node.function.clone(), node.line));
    }
    let goes_on = node.children.iter().any(has_own);
    for child in &node.children {
        if has_own(child) {
            ways_down(child, above, ways);
        }
    }
    if !goes_on {
        ways.push(above.clone());
    }
    if is_own {
        above.pop();
    }
}

fn has_own(node: &Node) -> bool {
    node.function.starts_with("trees::") || node.children.iter().any(has_own)
}

fn wrong_holders(running: &Running, found: &BTreeMap<u64, Tree>) -> Vec<String> {
    let holders = holders(found.iter().map(|(id, tree)| (*id, tree)));
    let mut wrong = Vec::new();
    for (name, truth) in &running.truth {
        let Some(expected) = truth.facts.get("holder") else {
            continue;
        };
        let lock = found.get(&truth.id).and_then(|tree| {
            tree.nodes().find_map(|node| match node.waits_on {
                Some(Resource::Lock { address, .. }) => Some(address),
                _ => None,
            })
        });
        let found = lock
            .and_then(|lock| holders.get(&lock))
            .map_or(Vec::new(), |holders| {
                holders
                    .iter()
                    .map(|holder| holder.task.to_string())
                    .collect()
            });
        if found != *expected {
            wrong.push(format!("{name} waits for {expected:?}, found {found:?}"));
        }
    }
    wrong
}

fn text(node: &Node, depth: usize) -> String {
    let mut all = format!(
        "{:indent$}{} [{:?}] {}:{} {:?} {:?}\n",
        "",
        node.function,
        node.kind,
        node.file,
        node.line,
        node.waits_on,
        node.holds,
        indent = depth * 2,
    );
    for child in &node.children {
        all += &text(child, depth + 1);
    }
    all
}

#[test]
fn what_is_missing_is_said_in_a_line() {
    let lines = program("lines");
    assert!(matches!(Trees::open(&lines), Err(Missing::OnlyLines)));
    let directory = tempfile::tempdir().unwrap();
    let stripped = directory.path().join("stripped");
    objcopy(&["--strip-all"], &lines, &stripped);
    let why = Trees::open(&stripped).err().unwrap();
    assert!(matches!(why, Missing::Stripped), "{why}");
    assert!(why.to_string().contains("debug = \"full\""));
    let why = Trees::open(Path::new("/bin/sh").canonicalize().unwrap().as_path())
        .err()
        .unwrap();
    assert!(!why.to_string().contains('\n'));
    assert!(matches!(
        Trees::open(directory.path()),
        Err(Missing::Unreadable { .. })
    ));
}

#[test]
fn types_are_found_in_a_debug_file_and_in_compressed_sections() {
    let program = program("optimized");
    let polls = Trees::open(&program).unwrap().polls().count();
    let directory = tempfile::tempdir().unwrap();
    let stripped = directory.path().join("trees");
    let debug = directory.path().join("trees.debug");
    objcopy(&["--only-keep-debug"], &program, &debug);
    let link = format!("--add-gnu-debuglink={}", debug.display());
    objcopy(&["--strip-all", &link], &program, &stripped);
    assert_eq!(Trees::open(&stripped).unwrap().polls().count(), polls);
    // That of another program is not taken.
    objcopy(&["--only-keep-debug"], &fixture::program("plain"), &debug);
    assert!(matches!(Trees::open(&stripped), Err(Missing::Stripped)));
    for compression in ["zlib", "zstd"] {
        let compressed = directory.path().join(compression);
        objcopy(
            &[&format!("--compress-debug-sections={compression}")],
            &program,
            &compressed,
        );
        assert!(compressed.metadata().unwrap().len() < program.metadata().unwrap().len());
        assert_eq!(Trees::open(&compressed).unwrap().polls().count(), polls);
    }
}

/// Without the entries for tables of functions, what a box has in it is known by the function that ends its life.
#[test]
fn what_is_boxed_is_known_without_its_table() {
    let program = program("plain");
    let mut bytes = std::fs::read(&program).unwrap();
    let name = b"{vtable}\0";
    let places: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter(|(_, window)| window == name)
        .map(|(place, _)| place)
        .collect();
    places.iter().for_each(|place| bytes[place + 1] = b'V');
    assert!(!places.is_empty());
    let directory = tempfile::tempdir().unwrap();
    let renamed = directory.path().join("renamed");
    std::fs::write(&renamed, bytes).unwrap();
    let mut trees = Trees::open(&renamed).unwrap();
    let running = Running::start(&program);
    let found = all_trees(&running, &mut trees);
    for name in ["boxed", "boxes"] {
        let truth = &running.truth[name];
        let wrong = differences(name, truth, &found[&truth.id]);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

fn objcopy(arguments: &[&str], from: &Path, to: &Path) {
    let status = Command::new("objcopy")
        .args(arguments)
        .arg(from)
        .arg(to)
        .status();
    assert!(status.unwrap().success());
}
