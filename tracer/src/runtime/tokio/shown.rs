//! A task type's name as people write it: `fetch_user` for `app::handlers::fetch_user::{{closure}}`.

/// Ends the name of a closure or block in a function that is one itself.
const CLOSURE: &str = "::{closure}";

/// Letters of a name with its type arguments; with more of them the arguments are left out.
const LONG: usize = 40;

/// Crates whose functions and types keep the crate's name: they are not what somebody is looking for.
const LIBRARIES: &[&str] = &[
    "alloc",
    "axum",
    "core",
    "futures_util",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "sqlx_core",
    "std",
    "tokio",
    "tokio_util",
    "tonic",
    "tower",
];

/// What the runtime starts for itself on the blocking pool: a worker, anew when a task of the old one blocks in place.
const WORKERS: [&str; 4] = [
    "::worker::Launch::launch::",
    "::worker::Launch>::launch::",
    "::worker::block_in_place",
    "::worker::maybe_move_runtime::",
];

/// A type's name in parts, so that it can be told apart from others when it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) is_blocking: bool,
    pub(super) is_of_library: bool,
    /// Module or type that it is in, the nearest last; without those that `name` has already.
    pub(super) around: Vec<String>,
    pub(super) name: String,
    /// Type arguments that the name leaves out, in brackets.
    pub(super) arguments: String,
}

impl Shown {
    /// With so many of the modules around it.
    pub(super) fn with(&self, modules: usize) -> String {
        let skip = self.around.len().saturating_sub(modules);
        let mut parts: Vec<&str> = self.around[skip..].iter().map(String::as_str).collect();
        parts.push(&self.name);
        let name = parts.join("::");
        if self.is_blocking {
            format!("[blocking] {name}")
        } else {
            name
        }
    }
}

/// Takes a type apart, as the compiler names it.
pub(super) fn shown(type_name: &str) -> Shown {
    let (inner, is_blocking) = unwrapped(type_name);
    let mut shown = path(inner, false);
    shown.is_blocking = is_blocking;
    // That it is a closure is plain: nothing else runs there.
    if let Some(function) = shown.name.strip_suffix(CLOSURE).filter(|_| is_blocking) {
        shown.name = function.to_owned();
    }
    if WORKERS.iter().any(|name| inner.contains(name)) {
        shown.around.clear();
        shown.arguments.clear();
        shown.is_of_library = true;
        // Together they are [`super::WORKER`].
        "tokio worker".clone_into(&mut shown.name);
    }
    shown
}

/// Looks through types that only wrap a future. True when `spawn_blocking` is one of them.
pub(super) fn unwrapped(type_name: &str) -> (&str, bool) {
    let mut inner = type_name.trim();
    let mut is_blocking = false;
    // Each turn takes a wrapper away, and there are no more than brackets.
    while let Some((name, arguments)) = generic(inner) {
        let wrapped = match name {
            "tokio::runtime::blocking::task::BlockingTask" => {
                is_blocking = true;
                arguments.first()
            }
            "tracing::instrument::Instrumented"
            | "tracing::instrument::WithDispatch"
            | "tracing_futures::Instrumented"
            | "tokio::task::coop::unconstrained::Unconstrained"
            | "tokio::task::unconstrained::Unconstrained"
            | "tokio::util::trace::InstrumentedFuture"
            | "core::pin::Pin"
            | "alloc::boxed::Box" => arguments.first(),
            "tokio::task::task_local::TaskLocalFuture" => arguments.get(1),
            _ => None,
        };
        let Some(wrapped) = wrapped else { break };
        inner = wrapped;
    }
    (inner, is_blocking)
}

/// `a::B<C, D>` as `a::B` and its arguments.
fn generic(text: &str) -> Option<(&str, Vec<&str>)> {
    let open = text.find('<').filter(|&at| at > 0)?;
    let inside = text.strip_suffix('>')?.get(open + 1..)?;
    // The bracket that closes has to be the one of the first that opens.
    if close(text, open)? + 1 != text.len() {
        return None;
    }
    let name = text[..open].strip_suffix("::").unwrap_or(&text[..open]);
    Some((name, split(inside, ",")))
}

/// Where the bracket closes that opens at `open`.
fn close(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits where `by` is outside brackets.
fn split<'a>(text: &'a str, by: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut start, mut at) = (0usize, 0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ if depth == 0 && bytes[at..].starts_with(by.as_bytes()) => {
                parts.push(text[start..at].trim());
                at += by.len();
                start = at;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(text[start..].trim());
    parts
}

fn path(text: &str, is_argument: bool) -> Shown {
    if let Some(future) = text.strip_prefix("dyn ") {
        return Shown {
            name: dynamic(future),
            ..Shown::default()
        };
    }
    let mut parts: Vec<&str> = split(text, "::");
    parts.retain(|part| !part.is_empty());
    let closures = parts
        .iter()
        .rev()
        .take_while(|part| part.starts_with('{'))
        .count();
    parts.truncate(parts.len() - closures);
    let arguments = parts.last().and_then(|last| generic(last));
    let arguments = arguments.map_or_else(String::new, |(_, arguments)| {
        let arguments: Vec<String> = arguments.iter().map(|one| path(one, true).name).collect();
        format!("<{}>", arguments.join(", "))
    });
    // `f::<T>`, as the newer mangling writes it.
    if parts.len() > 1 && parts.last().is_some_and(|last| last.starts_with('<')) {
        parts.pop();
    }
    let mut names: Vec<String> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        names.extend(segment(part, is_last && closures == 0));
    }
    let Some(mut name) = names.pop() else {
        return Shown {
            name: text.to_owned(),
            ..Shown::default()
        };
    };
    let of_library = names
        .first()
        .is_some_and(|first| LIBRARIES.contains(&first.as_str()));
    if closures > 1 && !of_library {
        name.push_str(CLOSURE);
    }
    if of_library && !is_argument {
        // The crate and its public module: what is behind them is its own affair, unless it is a type's.
        let of = names.pop_if(|last| last.starts_with(char::is_uppercase));
        names.truncate(2);
        names.retain(|module| *module != name);
        names.extend(of);
        name = format!("{}::{name}", names.join("::"));
        names.clear();
    } else if !is_argument
        && names
            .last()
            .is_some_and(|last| last.starts_with(char::is_uppercase))
    {
        // A function of a type.
        name = format!("{}::{name}", names.pop().unwrap_or_default());
    }
    Shown {
        is_blocking: false,
        is_of_library: of_library,
        around: names,
        arguments: if name.ends_with('>') {
            String::new()
        } else {
            arguments
        },
        name,
    }
}

/// The names that a part of a path stands for: `<a::B as c::D>` is `B`, in `a`.
fn segment(part: &str, with_arguments: bool) -> Vec<String> {
    if let Some(inside) = part
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
    {
        let what = split(inside, " as ").first().copied().unwrap_or(inside);
        let what = split(what, " for ").last().copied().unwrap_or(what);
        let what = what.strip_prefix("impl ").unwrap_or(what);
        let inner = path(what, true);
        let mut names = inner.around;
        names.push(inner.name);
        return names;
    }
    match generic(part) {
        Some((name, arguments)) if with_arguments => {
            let arguments: Vec<String> = arguments.iter().map(|one| path(one, true).name).collect();
            let full = format!("{name}<{}>", arguments.join(", "));
            vec![if full.chars().count() > LONG {
                name.to_owned()
            } else {
                full
            }]
        }
        Some((name, _)) => vec![name.to_owned()],
        None => vec![part.to_owned()],
    }
}

/// `core::future::future::Future+Output = u64+core::marker::Send` is `dyn Future<Output = u64>`.
fn dynamic(text: &str) -> String {
    let bounds = split(text, "+");
    let output = bounds
        .iter()
        .find_map(|bound| bound.strip_prefix("Output = "));
    let plain = bounds.first().copied().unwrap_or_default();
    let (plain, arguments) = generic(plain).unwrap_or((plain, Vec::new()));
    let output = output.or_else(|| {
        arguments
            .iter()
            .find_map(|one| one.strip_prefix("Output = "))
    });
    let name = path(plain, true).name;
    let name = name.rsplit("::").next().unwrap_or_default();
    match output {
        Some("()") | None => format!("dyn {name}"),
        Some(output) => format!("dyn {name}<Output = {}>", path(output, true).name),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::WORKER, *};

    #[test]
    fn names_are_as_people_write_them() {
        for (name, expected) in [
            ("app::handlers::fetch_user::{{closure}}", "fetch_user"),
            ("app::handlers::fetch_user::{closure#0}", "fetch_user"),
            ("app::Manual", "Manual"),
            ("app::run<app::Db>::{{closure}}", "run"),
            ("app::run::<app::Db>::{closure#0}", "run"),
            ("app::main::{{closure}}::{{closure}}", "main::{closure}"),
            ("app::Conn::serve::{{closure}}", "Conn::serve"),
            ("<app::Conn>::serve::{closure#0}", "Conn::serve"),
            (
                "<app::Conn as app::Serve>::serve::{{closure}}",
                "Conn::serve",
            ),
            (
                "tokio::runtime::blocking::task::BlockingTask<app::resize::{{closure}}>",
                "[blocking] resize",
            ),
            (
                "tokio::runtime::blocking::task::BlockingTask<tokio::runtime::scheduler::multi_thread::worker::Launch::launch::{{closure}}>",
                WORKER,
            ),
            (
                "tokio::runtime::blocking::task::BlockingTask<<tokio::runtime::scheduler::multi_thread::worker::Launch>::launch::{closure#0}>",
                WORKER,
            ),
            (
                "tokio::runtime::blocking::task::BlockingTask<app::handle::{{closure}}::{{closure}}>",
                "[blocking] handle",
            ),
            (
                "tokio::runtime::blocking::task::BlockingTask<tokio::fs::metadata::metadata<&str>::{{closure}}::{{closure}}>",
                "[blocking] tokio::fs::metadata",
            ),
            (
                "tracing::instrument::Instrumented<app::spawned::{{closure}}>",
                "spawned",
            ),
            (
                "core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future+Output = u64+core::marker::Send>>",
                "dyn Future<Output = u64>",
            ),
            (
                "core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future<Output = ()> + core::marker::Send>>",
                "dyn Future",
            ),
            (
                "axum::serve::handle_connection<tokio::net::tcp::listener::TcpListener,axum::Router>::{{closure}}",
                "axum::serve::handle_connection",
            ),
            (
                "app::Both<app::A,alloc::vec::Vec<app::B>>",
                "Both<A, Vec<B>>",
            ),
            ("", ""),
        ] {
            assert_eq!(shown(name).with(0), expected, "{name}");
        }
    }

    #[test]
    fn a_name_can_take_its_modules_along() {
        let shown = shown("app::handlers::Conn::serve::{{closure}}");
        assert_eq!(shown.with(1), "handlers::Conn::serve");
        assert_eq!(shown.with(9), "app::handlers::Conn::serve");
    }

    #[test]
    fn brackets_that_do_not_close_do_no_harm() {
        for text in [
            "a<b", "a>b", "<", ">", "a<b>>", "{{", "::", "dyn ", "<<>", "a::<",
        ] {
            let _name = shown(text).with(9);
        }
    }
}
