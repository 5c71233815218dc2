use tracer_common::Nanos;

use super::*;
use crate::{dump::Dump, target::process::Description};

fn node(function: &str, kind: Kind, children: Vec<Node>) -> Node {
    let (file, line) = match kind {
        Kind::Function | Kind::Block => ("src/app.rs".to_owned(), 7),
        Kind::Future | Kind::All | Kind::Any => (String::new(), 0),
    };
    Node {
        function: function.to_owned(),
        raw_name: format!("{function}<u8>"),
        kind,
        file,
        line,
        is_new: false,
        waits_on: None,
        holds: Vec::new(),
        ended: 0,
        omitted: 0,
        children,
    }
}

/// A future in a future, and so on.
fn chain(names: &[&str], end: Node) -> Node {
    let names = names.iter().rev();
    names.fold(end, |inner, name| node(name, Kind::Future, vec![inner]))
}

/// What is written of trees of this shape, one for each list of what its nodes wait for.
fn written(shape: Node, waits: Vec<Vec<(usize, Resource)>>, detail: Detail) -> String {
    let dump = Dump {
        process: Description::default(),
        is_stopped: false,
        files: 1,
        node: None,
        javascript: None,
        runtimes: Vec::new(),
        types: Vec::new(),
        tasks: Vec::new(),
        forest: None,
        at: Nanos(1_000_000_000),
        took: Nanos(0),
        read: 0,
        torn: 0,
        is_whole: true,
    };
    let trees = waits.into_iter().map(|waits| TreeOf {
        shape: 0,
        waits,
        holds: Vec::new(),
        size: 128,
    });
    let tasks: Vec<Task> = (1..)
        .zip(trees)
        .map(|(id, tree)| Task {
            id: Some(id),
            header: id * 128,
            of: 0,
            state: crate::runtime::tokio::live::State(0),
            list: 1,
            thread: None,
            tree: TaskTree::Read(tree),
        })
        .collect();
    let mut forest = Forest::default();
    forest.shapes.push(shape);
    let words = Words::new(&dump);
    let writer = Writer {
        words: &words,
        forest: &forest,
        detail,
    };
    let mut out = String::new();
    for group in same(&tasks.iter().collect::<Vec<_>>()) {
        let _ = writeln!(out, "{}:", group.tasks.len());
        writer.tree(&mut out, &group, 2);
    }
    out
}

fn timer(seconds: u64) -> Resource {
    Resource::Timer {
        deadline: Some(seconds * 1_000_000_000),
    }
}

#[test]
fn futures_in_a_row_are_folded() {
    let leaf = node("tokio::time::sleep::Sleep", Kind::Future, Vec::new());
    let inner = node("app::handle", Kind::Function, vec![leaf]);
    let names = [
        "hyper::Connection",
        "hyper::Dispatcher",
        "tower::Oneshot",
        "axum::Route",
    ];
    let shape = chain(&names, inner);
    let waits = vec![vec![(5, timer(13))]];
    assert_eq!(
        written(shape.clone(), waits.clone(), Detail::default()),
        "1:\n  hyper::Connection … 2 futures … axum::Route\n    app::handle (src/app.rs:7)\n      waits for a timer, 12.0 s left\n"
    );
    let all = Detail {
        verbose: true,
        ..Detail::default()
    };
    let all = written(shape, waits, all);
    for name in names {
        assert!(all.contains(name), "{all}");
    }
    assert!(all.contains("tokio::time::sleep::Sleep"), "{all}");
}

#[test]
fn neighbours_and_levels_that_look_the_same_are_counted() {
    let leaf = || node("core::future::Pending", Kind::Future, Vec::new());
    let branch = || node("app::branch", Kind::Function, vec![leaf()]);
    let join = node("join!", Kind::All, vec![branch(), branch(), branch()]);
    let again = node("app::again", Kind::Function, vec![join]);
    let again = node("app::again", Kind::Function, vec![again]);
    let waits = [4, 6, 8].map(|leaf| (leaf, Resource::Nothing)).into();
    assert_eq!(
        written(again, vec![waits], Detail::default()),
        "1:\n  app::again (src/app.rs:7), × 2 in each other\n    join!, all of\n      app::branch (src/app.rs:7), × 3\n        waits for nothing: it never ends\n"
    );
}

#[test]
fn how_tokio_waits_inside_is_left_out() {
    let leaf = node(
        "tokio::sync::batch_semaphore::Acquire",
        Kind::Future,
        Vec::new(),
    );
    let inner = node(
        "tokio::sync::mutex::Mutex::acquire",
        Kind::Function,
        vec![leaf],
    );
    let lock = node(
        "tokio::sync::mutex::Mutex::lock",
        Kind::Function,
        vec![inner],
    );
    let root = node("app::pay", Kind::Function, vec![lock]);
    let lock = Resource::Lock {
        lock: crate::runtime::tokio::tree::Lock::Mutex,
        address: 0x1230,
        free: Some(0),
    };
    assert_eq!(
        written(root, vec![vec![(3, lock)]], Detail::default()),
        "1:\n  app::pay (src/app.rs:7)\n    tokio::sync::mutex::Mutex::lock (src/app.rs:7)\n      waits for Mutex 0x1230, no task is seen to hold it\n"
    );
}

#[test]
fn trees_that_differ_in_their_resources_alone_are_one() {
    let root = node(
        "app::tick",
        Kind::Function,
        vec![node("tokio::time::sleep::Sleep", Kind::Future, Vec::new())],
    );
    let waits = [3, 61, 2].map(|seconds| vec![(1, timer(seconds))]).into();
    assert_eq!(
        written(root, waits, Detail::default()),
        "3:\n  app::tick (src/app.rs:7)\n    waits for a timer, 1.0 s left … 1m00s left\n"
    );
}
