//! A call stack in one line: the place a person would look at first.
//!
//! The innermost frames of a wait are always the same: the wrapper of the system call, the lock's slow path, the
//! language's own library. What tells stacks apart is who called those.

use std::sync::Arc;

use crate::{
    record::{FrameMeta, SymbolMeta},
    symbol::name::short,
};

/// Files whose functions only lead into the kernel, by how their name begins.
const LIBRARIES: &[&str] = &[
    "libc.so",
    "libc-",
    "libc.musl",
    "ld-linux",
    "ld-musl",
    "libpthread",
    "[vdso]",
];

/// Functions that wait on behalf of their caller, by how their name begins: of libraries that are linked in.
const WAITERS: &[&str] = &[
    "__GI_",
    "__futex",
    "__pthread",
    "___pthread",
    "__lll_lock",
    "__libc_",
    "__internal_syscall",
    "__syscall",
    "__new_sem",
    "__clock_nanosleep",
    "__clone",
    "clone3",
    "pthread_",
    "start_thread",
    "do_futex_wait",
    "futex_",
    "sem_wait",
    "uv_cond_",
    "uv_mutex_",
    "uv_sem_",
    "uv_thread_",
    "core::",
    "alloc::",
    "std::sys::",
    "std::sys_common::",
    "std::sync::",
    "std::thread::",
    "std::panic",
    "std::rt::",
    "std::__1::",
    "std::condition_variable",
    "std::mutex",
    "parking_lot",
    "lock_api::",
];

/// Where the sources of such functions are: an inlined function has no more than its bare name.
const SOURCES: &[&str] = &[
    "/rust/library/",
    "/rustc/",
    "/sysdeps/",
    "/nptl/",
    "/parking_lot",
    "/lock_api",
];

/// Where threads and programs begin: at the outer end of every stack.
const BEGINNINGS: &[&str] = &[
    "start_thread",
    "__clone",
    "clone",
    "_start",
    "__libc_start",
    "uv_thread_",
    "std::sys",
    "std::rt::",
    "std::panic",
    "std::thread::",
    "core::",
    "alloc::",
];

/// Functions with the name of the system call they make.
const WRAPPERS: &[&str] = &[
    "accept",
    "accept4",
    "close",
    "connect",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fdatasync",
    "fsync",
    "mmap",
    "mmap64",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "clock_nanosleep",
    "open",
    "open64",
    "openat",
    "openat64",
    "poll",
    "ppoll",
    "pread",
    "pread64",
    "pwrite",
    "pwrite64",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmsg",
    "select",
    "send",
    "sendfile",
    "sendmsg",
    "sendto",
    "syscall",
    "usleep",
    "wait4",
    "waitpid",
    "write",
    "writev",
];

/// Where a stack is, in one line: `Core::poll (core.rs:412)`. The first frame that has a name and does not only wait
/// on behalf of its caller; when all do, the outermost of those; when none has a name, the place in the mapped file.
/// `None` without a stack.
#[must_use]
pub fn place(stack: &[Arc<SymbolMeta>]) -> Option<String> {
    let named = || {
        stack
            .iter()
            .flat_map(|symbol| symbol.frames.iter().map(move |frame| (symbol, frame)))
            .filter(|(_, frame)| !frame.function.is_empty())
    };
    named()
        .find(|(symbol, frame)| !only_waits(&symbol.module, frame))
        .or_else(|| {
            // Code without frame pointers ends a stack early, inside a lock's slow path.
            let begins = |frame: &FrameMeta| begins_with(&frame.function, BEGINNINGS);
            named().rfind(|(_, frame)| !begins(frame))
        })
        .or_else(|| named().next())
        .map(|(_, frame)| match frame.line {
            0 => function(frame),
            line if frame.file.is_empty() => format!("{}, line {line}", short(&frame.function)),
            line => format!("{} ({}:{line})", short(&frame.function), last(&frame.file)),
        })
        .or_else(|| stack.first().map(|symbol| nameless(symbol)))
}

/// Where JavaScript is on a stack, in one line: the innermost function, and, when that is one of Node itself, who called
/// Node: `spawnSync ← build (assets.js:41)`. `None` when there is none on it.
#[must_use]
pub fn in_javascript(stack: &[Arc<SymbolMeta>]) -> Option<String> {
    let js = || {
        let symbols = stack.iter().filter(|symbol| symbol.is_javascript());
        symbols.flat_map(|symbol| &symbol.frames)
    };
    let line = |frame: &FrameMeta| js_function(&short(&frame.function), &frame.file, frame.line);
    let innermost = js().next()?;
    let is_own = |frame: &&FrameMeta| !frame.file.starts_with("node:");
    Some(match js().find(is_own) {
        Some(own) if innermost.file.starts_with("node:") => {
            format!("{} ← {}", short(&innermost.function), line(own))
        }
        _ => line(innermost),
    })
}

/// A function of JavaScript and a line of it: `render (report.js:41)`, `parserOnBody (node:_http_common:87)`.
#[must_use]
pub fn js_function(function: &str, script: &str, line: u32) -> String {
    match (last(script), line) {
        ("", _) => function.to_owned(),
        (script, 0) => format!("{function} ({script})"),
        (script, line) => format!("{function} ({script}:{line})"),
    }
}

/// A function, whichever of its lines: `Core::poll (core.rs)`.
#[must_use]
pub fn function(frame: &FrameMeta) -> String {
    let name = short(&frame.function);
    if frame.file.is_empty() {
        name
    } else {
        format!("{name} ({})", last(&frame.file))
    }
}

/// An address without a symbol: `libfoo.so+0x1234`, `0x7f00 [anon]`, `0x7f00`.
fn nameless(symbol: &SymbolMeta) -> String {
    match symbol.module.as_str() {
        "" => format!("{:#x}", symbol.address),
        module if module.starts_with('[') => format!("{:#x} {module}", symbol.address),
        module => format!("{}+{:#x}", last(module), symbol.offset),
    }
}

/// True for a function that only waits, or calls, on behalf of its caller.
fn only_waits(module: &str, frame: &FrameMeta) -> bool {
    // A symbol may have a version: `pthread_cond_wait@@GLIBC_2.3.2`.
    let name = frame.function.split('@').next().unwrap_or_default();
    begins_with(last(module), LIBRARIES)
        || begins_with(name, WAITERS)
        || WRAPPERS.contains(&name.trim_start_matches('_'))
        || SOURCES.iter().any(|source| frame.file.contains(source))
}

fn begins_with(name: &str, any: &[&str]) -> bool {
    // `<T as Trait>::method` is of `T`.
    let name = name.trim_start_matches(['<', '&']);
    any.iter().any(|beginning| name.starts_with(beginning))
}

/// The last part of a path. What is in Node itself has no path: `node:internal/fs/promises`.
fn last(path: &str) -> &str {
    if path.starts_with("node:") {
        return path;
    }
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use tracer_common::Pid;

    use super::*;

    fn symbol(module: &str, frames: &[(&str, &str, u32)]) -> Arc<SymbolMeta> {
        Arc::new(SymbolMeta {
            address: 0x7f00,
            offset: 0x1234,
            module: module.into(),
            frames: frames
                .iter()
                .map(|&(function, file, line)| FrameMeta {
                    function: function.into(),
                    file: file.into(),
                    line,
                })
                .collect(),
            ..SymbolMeta::default()
        })
    }

    fn of(functions: &[&str]) -> String {
        let stack: Vec<_> = functions
            .iter()
            .map(|&function| symbol("/app/bin", &[(function, "", 0)]))
            .collect();
        place(&stack).unwrap()
    }

    #[test]
    fn where_javascript_is_names_who_called_node() {
        let native = symbol("/usr/bin/node", &[("uv__io_poll", "", 0)]);
        let js = |frames: &[(&str, &str, u32)]| {
            let symbol = Arc::unwrap_or_clone(symbol("[baseline]", frames));
            Arc::new(SymbolMeta {
                pid: Pid(7),
                address: SymbolMeta::GIVEN | 1,
                ..symbol
            })
        };
        let spawn = js(&[("spawnSync", "node:child_process", 902)]);
        let own = js(&[
            ("build", "file:///srv/app/assets.mjs", 41),
            ("main", "file:///srv/app/assets.mjs", 90),
        ]);
        for (stack, said) in [
            (vec![native.clone()], None),
            (
                vec![native.clone(), spawn.clone(), own.clone()],
                Some("spawnSync ← build (assets.mjs:41)"),
            ),
            (vec![native.clone(), own], Some("build (assets.mjs:41)")),
            (
                vec![native.clone(), spawn, native],
                Some("spawnSync (node:child_process:902)"),
            ),
        ] {
            assert_eq!(in_javascript(&stack).as_deref(), said);
        }
    }

    #[test]
    fn a_place_is_the_first_frame_that_does_more_than_wait() {
        for (stack, said) in [
            (
                &[
                    "syscall",
                    "std::sys::pal::unix::futex::futex_wait",
                    "std::sys::sync::mutex::futex::Mutex::lock_contended",
                    "app::pool::Pool<T>::take",
                    "app::main",
                ][..],
                "Pool::take",
            ),
            (
                &[
                    "__futex_abstimed_wait_common",
                    "__pthread_cond_wait_common",
                    "pthread_cond_wait@@GLIBC_2.3.2",
                    "uv_cond_wait",
                    "worker",
                ],
                "worker",
            ),
            (&["__GI___libc_read", "node::fs::Read(int)"], "fs::Read"),
            (&["__read", "app::load"], "app::load"),
            (&["core::ops::FnOnce::call_once", "a::b::c"], "b::c"),
            (
                &[
                    "<core::future::poll_fn::PollFn<F> as core::future::Future>::poll",
                    "x::run",
                ],
                "x::run",
            ),
            (&["readline"], "readline"),
            (&["corentin::main"], "corentin::main"),
        ] {
            assert_eq!(of(stack), said, "{stack:?}");
        }
    }

    #[test]
    fn a_place_has_file_and_line_without_the_way_there() {
        let stack = [
            symbol("/usr/lib/libc.so.6", &[("__memmove_avx", "", 0)]),
            symbol(
                "/app/bin",
                &[
                    ("core::ptr::write", "/rust/core/src/ptr.rs", 3),
                    (
                        "tokio::runtime::task::core::Core<T,S>::poll",
                        "/src/task/core.rs",
                        412,
                    ),
                ],
            ),
        ];
        assert_eq!(place(&stack).unwrap(), "Core::poll (core.rs:412)");
        let inlined = [symbol(
            "/app/bin",
            &[
                (
                    "lock",
                    "/rustc/5980/library/std/src/sys/sync/mutex/futex.rs",
                    33,
                ),
                ("take<T>", "/srv/src/pool.rs", 88),
                ("app::main", "/srv/src/main.rs", 9),
            ],
        )];
        assert_eq!(place(&inlined).unwrap(), "take (pool.rs:88)");
        let no_line = [symbol("/app/bin", &[("a::b", "src/a.rs", 0)])];
        assert_eq!(place(&no_line).unwrap(), "a::b (a.rs)");
    }

    #[test]
    fn a_stack_that_only_waits_is_its_outermost_wait_and_one_without_names_an_address() {
        assert_eq!(
            of(&[
                "",
                "syscall",
                "___pthread_cond_signal",
                "start_thread",
                "clone3"
            ]),
            "___pthread_cond_signal"
        );
        assert_eq!(of(&["", "start_thread"]), "start_thread");
        let at = |module| place(&[symbol(module, &[])]).unwrap();
        assert_eq!(at("/usr/lib/libfoo.so.1"), "libfoo.so.1+0x1234");
        assert_eq!(at("[anon]"), "0x7f00 [anon]");
        assert_eq!(at(""), "0x7f00");
        assert_eq!(place(&[]), None);
    }
}
