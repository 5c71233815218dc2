//! Call stacks in a line: the innermost function first, `←` for "called by".

use ratatui::text::Span;

use super::table;
use crate::{
    human::{self, sanitise},
    model::StackView,
    record::SymbolMeta,
};

/// What `←` means, for the help.
pub(super) const MEANING: (&str, &str) = (
    "a ← b",
    "a stack, innermost function first: a was called by b",
);

const ARROW: &str = " ← ";

/// All functions, short; `None` when there is no stack.
pub(super) fn chain(stack: &StackView) -> Option<String> {
    joined(stack, 0)
}

/// The same without what every wait goes through: the C library, the inside of the standard library's locks; where a
/// function of JavaScript is on it, without all that Node does on its behalf.
pub(super) fn callers(stack: &StackView) -> Option<String> {
    let first = stack
        .iter()
        .position(|symbol| symbol.is_javascript())
        .or_else(|| stack.iter().position(|symbol| !is_plumbing(symbol)))
        .unwrap_or(0);
    joined(stack, first)
}

/// As much of a chain as fits, cut between functions.
pub(super) fn fitted(chain: &str, width: u16) -> String {
    let fits = |text: &str| Span::raw(text).width() <= usize::from(width);
    if fits(chain) {
        return chain.to_owned();
    }
    let ends = chain.rmatch_indices(ARROW).map(|(at, _)| at);
    let parts = ends.filter_map(|at| chain.get(..at));
    parts
        .map(|part| format!("{part}{ARROW}…"))
        .find(|part| fits(part))
        .unwrap_or_else(|| table::shortened(chain, width))
}

/// What a thread that waits for a futex is likely to be doing, by the functions it waits in.
pub(super) fn purpose(stack: &StackView) -> Option<&'static str> {
    const PURPOSES: [(&[&str], &str); 4] = [
        (
            &["cond_wait", "cond_timedwait", "Condvar"],
            "a condition: maybe idle",
        ),
        (
            &["mutex_lock", "lll_lock", "rwlock", "Mutex", "RwLock"],
            "a lock: contention",
        ),
        (&["park"], "parked: maybe idle"),
        (&["sem_wait", "Semaphore"], "a semaphore"),
    ];
    let functions = || stack.iter().flat_map(|symbol| &symbol.frames);
    PURPOSES.iter().find_map(|(words, purpose)| {
        functions()
            .any(|frame| words.iter().any(|word| frame.function.contains(word)))
            .then_some(*purpose)
    })
}

/// The innermost function with a name, else the place in its file.
pub(super) fn innermost(stack: &StackView) -> Option<String> {
    let symbol = stack.first()?;
    Some(match symbol.frames.first() {
        Some(frame) => short(&frame.function),
        None => place(symbol).unwrap_or_else(|| unnamed(1)),
    })
}

/// One line per function, with file and line where they are known.
pub(super) fn lines(stack: &StackView) -> Vec<String> {
    stack
        .iter()
        .flat_map(|symbol| human::frames(symbol))
        .map(|line| sanitise(&line).into_owned())
        .collect()
}

/// A function's name as it can be shown in a table.
pub(super) fn short(function: &str) -> String {
    sanitise(&human::short_function(function)).into_owned()
}

fn joined(stack: &StackView, from: usize) -> Option<String> {
    let mut functions: Vec<String> = Vec::new();
    let mut nameless = 0;
    for symbol in stack.iter().skip(from) {
        if symbol.frames.is_empty() && place(symbol).is_none() {
            nameless += 1;
            continue;
        }
        flush(&mut functions, &mut nameless);
        functions.extend(place(symbol).filter(|_| symbol.frames.is_empty()));
        functions.extend(symbol.frames.iter().map(|frame| short(&frame.function)));
    }
    flush(&mut functions, &mut nameless);
    // A function and its own innermost part often have the same name.
    functions.dedup();
    (!functions.is_empty()).then(|| functions.join(ARROW))
}

/// Addresses that belong to no file are code made at run time; they differ from run to run and say nothing.
fn flush(functions: &mut Vec<String>, nameless: &mut usize) {
    if *nameless > 0 {
        functions.push(unnamed(*nameless));
        *nameless = 0;
    }
}

fn unnamed(frames: usize) -> String {
    match frames {
        1 => "(no name)".to_owned(),
        _ => format!("(no name ×{frames})"),
    }
}

/// File and offset of code that has no symbol; `None` when it is in no file.
fn place(symbol: &SymbolMeta) -> Option<String> {
    if symbol.module.is_empty() || symbol.module.starts_with('[') {
        return None;
    }
    let file = symbol.module.rsplit('/').next().unwrap_or(&symbol.module);
    Some(format!("{}+{:#x}", sanitise(file), symbol.offset))
}

fn is_plumbing(symbol: &SymbolMeta) -> bool {
    let file = symbol.module.rsplit('/').next().unwrap_or_default();
    let library = ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl"];
    let inside = ["std::sys::", "parking_lot_core::", "core::"];
    library.iter().any(|name| file.starts_with(name))
        || symbol
            .frames
            .first()
            .is_some_and(|frame| inside.iter().any(|path| frame.function.starts_with(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FrameMeta;
    use std::sync::Arc;

    fn stack(frames: &[(&str, &str)]) -> StackView {
        let symbol = |&(module, function): &(&str, &str)| {
            let frame = FrameMeta {
                function: function.to_owned(),
                ..FrameMeta::default()
            };
            Arc::new(SymbolMeta {
                module: module.to_owned(),
                address: 0x1000,
                offset: 0x12ab,
                frames: if function.is_empty() {
                    vec![]
                } else {
                    vec![frame]
                },
                ..SymbolMeta::default()
            })
        };
        frames.iter().map(symbol).collect()
    }

    #[test]
    fn a_stack_is_read_from_the_inside() {
        let waits = stack(&[
            ("/lib/libc.so.6", "syscall"),
            ("/srv/app", "std::sys::sync::futex::wait"),
            ("/srv/app", "app::Cache<K>::get"),
            ("/srv/app", ""),
            ("", ""),
            ("[anon]", ""),
            ("/srv/app", "main"),
        ]);
        assert_eq!(
            callers(&waits).as_deref(),
            Some("Cache::get ← app+0x12ab ← (no name ×2) ← main")
        );
        assert_eq!(
            chain(&waits).as_deref(),
            Some("syscall ← futex::wait ← Cache::get ← app+0x12ab ← (no name ×2) ← main")
        );
        assert_eq!(innermost(&waits).as_deref(), Some("syscall"));
    }

    #[test]
    fn what_is_only_plumbing_is_shown_as_it_is() {
        let waits = stack(&[("/lib/libc.so.6", "nanosleep")]);
        assert_eq!(callers(&waits).as_deref(), Some("nanosleep"));
        assert_eq!((chain(&vec![]), innermost(&vec![])), (None, None));
    }

    #[test]
    fn a_chain_is_cut_between_functions() {
        let chain = "uv_cond_wait ← worker ← start_thread";
        for (width, text) in [
            (36, chain),
            (35, "uv_cond_wait ← worker ← …"),
            (20, "uv_cond_wait ← …"),
            (10, "uv_cond_w…"),
            (0, ""),
        ] {
            assert_eq!(fitted(chain, width), text, "{width}");
        }
    }

    #[test]
    fn a_wait_for_work_is_told_from_contention() {
        let said = |function| purpose(&stack(&[("/lib/libc.so.6", "wait"), ("", function)]));
        assert_eq!(said("pthread_cond_wait"), Some("a condition: maybe idle"));
        assert_eq!(said("pthread_mutex_lock"), Some("a lock: contention"));
        assert_eq!(said("std::thread::park"), Some("parked: maybe idle"));
        assert_eq!(said("main"), None);
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let evil = stack(&[("/lib/\x1b[2J", ""), ("", "a\x1b[2Jb")]);
        for text in [chain(&evil), callers(&evil), Some(lines(&evil).join(" "))] {
            assert!(!text.unwrap().contains('\x1b'));
        }
    }
}
