//! Names of coroutines and futures as people write them.

use rustc_demangle::demangle;

use super::{Kind, Trees};
use crate::runtime::dwarf::Type;

impl Trees {
    /// The name of the function or type that `of` comes from, and what it is.
    pub(super) fn name(&mut self, of: &Type) -> (String, Kind) {
        if let Some(known) = self.names.get(&of.at) {
            return known.clone();
        }
        let (path, kind) = match coroutine(&of.name) {
            Some(kind) => (&*of.scope, kind),
            None => (&*of.path, Kind::Future),
        };
        let name = (tidy(&self.without_impl(path)), kind);
        self.names.insert(of.at, name.clone());
        name
    }

    /// `app::{impl#3}::run` is `app::Worker::run`: a function of the same `impl` has a symbol that names it.
    fn without_impl(&mut self, path: &str) -> String {
        let Some(from) = path.find("{impl#") else {
            return path.to_owned();
        };
        let Some(end) = path[from..].find('}').map(|end| from + end + 1) else {
            return path.to_owned();
        };
        let of = self
            .types
            .method(&path[..end])
            .and_then(|(method, levels)| {
                self_type(&format!("{:#}", demangle(&method)), levels as usize)
            });
        match of {
            Some(of) => format!("{of}{}", &path[end..]),
            None => format!("{}{}", &path[..from], path[end..].trim_start_matches("::")),
        }
    }
}

/// What a type is that the compiler made of `async` code.
pub(super) fn coroutine(name: &str) -> Option<Kind> {
    let name = name.strip_prefix('{')?;
    if name.starts_with("async_fn_env#") || name.starts_with("async_gen_fn_env#") {
        return Some(Kind::Function);
    }
    let blocks = [
        "async_block_env#",
        "async_closure_env#",
        "async_gen_block_env#",
        "coroutine_env#",
    ];
    blocks
        .iter()
        .any(|block| name.starts_with(block))
        .then_some(Kind::Block)
}

/// The type of a method, by its name without the last `below` segments.
fn self_type(method: &str, below: usize) -> Option<String> {
    let parts = segments(method);
    let kept = parts.len().checked_sub(below).filter(|kept| *kept > 0)?;
    let of = parts[..kept].join("::");
    let inner = of
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(&of);
    // `<T as Trait>` and `<impl Trait for T>`. A type that is a letter says less than the trait.
    let inner = match inner.split_once(" as ") {
        Some((of, trait_)) if !of.contains("::") => trait_,
        Some((of, _)) => of,
        None => inner,
    };
    let inner = inner.rsplit(" for ").next().unwrap_or(inner);
    Some(inner.to_owned())
}

/// Without generics, and without the compiler's names for bodies of `async` code.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in segments(path) {
        let part = match part.find('<') {
            Some(0) | None => part,
            Some(at) => part[..at].trim_end_matches("::"),
        };
        if part.starts_with("{closure") {
            parts.push("{closure}");
        } else if !part.is_empty() && !part.starts_with("{async_") && !part.starts_with("{impl#") {
            parts.push(part);
        }
    }
    parts.join("::")
}

/// Splits at each `::` that is not in brackets.
fn segments(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && at >= start && bytes.get(at + 1) == Some(&b':') => {
                parts.push(&path[start..at]);
                start = at + 2;
            }
            _ => {}
        }
    }
    parts.push(path.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_tells_the_type_of_its_impl() {
        let of = |method, below| self_type(method, below).unwrap();
        assert_eq!(of("app::Worker::run::{{closure}}", 2), "app::Worker");
        assert_eq!(of("<app::Worker>::run::{closure#0}", 2), "app::Worker");
        assert_eq!(
            of("<app::By<F> as core::future::Future>::poll", 1),
            "app::By<F>"
        );
        assert_eq!(
            of("tokio::sync::Mutex<T>::lock::{{closure}}", 2),
            "tokio::sync::Mutex<T>"
        );
        assert_eq!(
            of("<F as axum::handler::Handler<T,S>>::call", 1),
            "axum::handler::Handler<T,S>"
        );
        assert_eq!(self_type("main", 1), None);
    }

    #[test]
    fn names_are_as_written() {
        assert_eq!(tidy("app::Worker<T>::run"), "app::Worker::run");
        assert_eq!(
            tidy("app::start::{async_fn#0}::{closure#1}"),
            "app::start::{closure}"
        );
        assert_eq!(tidy("app::fetch"), "app::fetch");
        assert_eq!(tidy("::"), "");
    }

    #[test]
    fn coroutines_are_told_from_other_types() {
        assert_eq!(coroutine("{async_fn_env#0}<u8>"), Some(Kind::Function));
        assert_eq!(coroutine("{async_block_env#3}"), Some(Kind::Block));
        assert_eq!(coroutine("{closure_env#3}"), None);
        assert_eq!(coroutine("Sleep"), None);
    }
}
