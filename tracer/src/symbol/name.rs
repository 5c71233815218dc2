//! Names of functions as people read them.

/// Bytes kept of a name. Templates and generics can make a name as long as a page, and a hostile file any length.
pub const LONGEST: usize = 1_024;

/// The name without Rust's hash (`::h0123456789abcdef`), generics kept.
#[must_use]
pub fn clean(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((rest, hash)) if is_hash(hash) => rest,
        Some(_) | None => name,
    };
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let mut end = LONGEST - '…'.len_utf8();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &name[..end])
}

fn is_hash(text: &str) -> bool {
    text.len() == 16
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The last two segments of a path, without generics and arguments: enough to tell functions apart in a table.
///
/// `tokio::runtime::task::core::Core<T,S>::poll` is `Core::poll`, `myapp::main::{{closure}}` is `main::{closure}`.
/// A method of a trait is named by the type it is for.
#[must_use]
pub fn short(name: &str) -> String {
    let cleaned = clean(name);
    let segments = segments(&cleaned, 0);
    let (last, before) = match segments.as_slice() {
        [] => return cleaned,
        [only] => return only.clone(),
        [.., before, last] => (last, before),
    };
    format!("{before}::{last}")
}

/// The function's own name, without path, generics and arguments.
pub(super) fn last_segment(name: &str) -> Option<String> {
    segments(name, 0).pop()
}

/// Types nested deeper than this are left out; a name of [`LONGEST`] bytes may nest hundreds deep.
const DEEPEST: usize = 8;

/// The path's segments, each without generics and arguments. Closures in closures are one.
fn segments(name: &str, depth: usize) -> Vec<String> {
    let mut segments: Vec<String> = Vec::new();
    for segment in split(name) {
        let segment = plain(segment, segments.is_empty(), depth);
        let repeats = segment.starts_with('{') && segments.last() == Some(&segment);
        if !segment.is_empty() && !repeats {
            segments.push(segment);
        }
    }
    segments
}

/// C++ operators whose name holds a bracket, longer ones first.
const OPERATORS: &[&str] = &[
    "<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "()", "[]", "<", ">",
];

/// Walks `text` and tells of each piece outside brackets, of each bracket group as a whole, and of each `::` outside.
enum Piece<'a> {
    Text(&'a str),
    Group(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = if rest.starts_with(['<', '(', '[', '{']) {
            let end = group_end(rest);
            pieces.push(Piece::Group(&rest[..end]));
            end
        } else {
            let end = text_end(rest);
            pieces.push(Piece::Text(&rest[..end]));
            end
        };
        rest = &rest[end..];
    }
    pieces
}

/// Where the text before the next bracket ends, in bytes. An operator's own brackets belong to the text.
fn text_end(text: &str) -> usize {
    let bracket = text
        .find(['<', '(', '[', '{'])
        .unwrap_or(text.len())
        .max(text.chars().next().map_or(0, char::len_utf8));
    let Some(operator) = text.find("operator").map(|at| at + "operator".len()) else {
        return bracket;
    };
    let inside_a_word = text[..operator - "operator".len()]
        .ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    if operator > bracket || inside_a_word {
        return bracket;
    }
    OPERATORS
        .iter()
        .find(|symbol| text[operator..].starts_with(**symbol))
        .map_or(bracket, |symbol| operator + symbol.len())
}

/// Where the group that `text` starts with ends, in bytes; the end of the text when it is not closed.
fn group_end(text: &str) -> usize {
    let mut depth = 0usize;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '<' | '(' | '[' | '{' => depth += 1,
            // Not the arrow of a function type.
            '>' if before == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = letter;
        if depth == 0 {
            return at + letter.len_utf8();
        }
    }
    text.len()
}

/// Splits at each `::` that is not in brackets.
fn split(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    for piece in pieces(name) {
        match piece {
            Piece::Text(text) => {
                let mut from = 0;
                while let Some(found) = text[from..].find("::") {
                    parts.push(&name[start..at + from + found]);
                    from += found + 2;
                    start = at + from;
                }
                at += text.len();
            }
            Piece::Group(group) => at += group.len(),
        }
    }
    parts.push(&name[start..]);
    parts
}

/// One segment without generics, arguments and return type; empty when nothing is left.
fn plain(segment: &str, first: bool, depth: usize) -> String {
    let mut text = String::new();
    for piece in pieces(segment.trim()) {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Group(group) if !text.trim_end().is_empty() => {
                // Arguments: what follows is ` const` and the like.
                if group.starts_with('(') && group != "(anonymous namespace)" {
                    break;
                }
            }
            Piece::Group(group) if group.starts_with('{') => return braced(group),
            Piece::Group(group) if group.starts_with('<') => {
                let inner = group.trim_start_matches('<');
                let inner = inner.strip_suffix('>').unwrap_or(inner);
                if first || inner.starts_with("impl ") || before(inner, " as ").is_some() {
                    return self_type(group, depth);
                }
            }
            Piece::Group("(anonymous namespace)") => {}
            Piece::Group(group) if first && depth > 0 => return group.to_owned(),
            Piece::Group(_) => {}
        }
    }
    let text = text.trim();
    match (text.find("operator"), text.rsplit_once(' ')) {
        (Some(at), _) => text[at..].to_owned(),
        (None, Some((_, last))) => last.trim_start_matches(['*', '&']).to_owned(),
        (None, None) => text.trim_start_matches(['*', '&']).to_owned(),
    }
}

/// `{{closure}}` and `{closure#0}` are `{closure}`, `{lambda(int)#1}` is `{lambda}`.
fn braced(group: &str) -> String {
    let inner = group.trim_matches(['{', '}']);
    let end = inner.find(['#', '(', ':']).unwrap_or(inner.len());
    let inner = inner[..end].trim_end_matches("_env");
    format!("{{{inner}}}")
}

/// The type that `<T>`, `<T as Trait>` or `<impl Trait for T>` is about, without its path and generics.
fn self_type(group: &str, depth: usize) -> String {
    if depth >= DEEPEST {
        return String::new();
    }
    let inner = group.strip_prefix('<').unwrap_or(group);
    let inner = inner.strip_suffix('>').unwrap_or(inner);
    let inner = match inner.strip_prefix("impl ") {
        Some(inner) => after(inner, " for ").unwrap_or(inner),
        None => before(inner, " as ").unwrap_or(inner),
    };
    let mut inner = inner.trim_start_matches(['&', '*']);
    for word in ["mut ", "const ", "dyn "] {
        inner = inner.strip_prefix(word).unwrap_or(inner);
    }
    let inner = before(inner, " + ").unwrap_or(inner);
    segments(inner, depth + 1).pop().unwrap_or_default()
}

/// What stands before `word`, when that is outside brackets.
fn before<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    outside(text, word).map(|at| &text[..at])
}

/// What stands after `word`, when that is outside brackets.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    outside(text, word).map(|at| &text[at + word.len()..])
}

fn outside(text: &str, word: &str) -> Option<usize> {
    let mut at = 0;
    for piece in pieces(text) {
        match piece {
            Piece::Text(piece) => {
                if let Some(found) = piece.find(word) {
                    return Some(at + found);
                }
                at += piece.len();
            }
            Piece::Group(group) => at += group.len(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_goes_and_the_generics_stay() {
        assert_eq!(clean("core::poll::h0123456789abcdef"), "core::poll");
        assert_eq!(clean("a::Core<T,S>::poll"), "a::Core<T,S>::poll");
        for kept in [
            "a::h0123456789abcde",
            "a::h0123456789abcdeX",
            "h",
            "",
            "::h",
        ] {
            assert_eq!(clean(kept), kept);
        }
    }

    #[test]
    fn a_name_is_cut_at_a_letter() {
        let long = clean(&"ä".repeat(5_000));
        assert!(long.len() <= LONGEST && long.ends_with("ä…"));
    }

    #[test]
    fn short_names() {
        for (name, expected) in [
            ("tokio::runtime::task::core::Core<T,S>::poll", "Core::poll"),
            ("myapp::main::{{closure}}", "main::{closure}"),
            ("myapp::main::{{closure}}::{{closure}}", "main::{closure}"),
            ("myapp::main::{closure#0}::{closure#1}", "main::{closure}"),
            ("t::outer::<u32>", "t::outer"),
            ("myapp::main::h0123456789abcdef", "myapp::main"),
            ("main", "main"),
            ("read", "read"),
            ("", ""),
            ("<myapp::Foo<T> as core::future::Future>::poll", "Foo::poll"),
            ("<alloc::vec::Vec<T> as Extend<T>>::extend", "Vec::extend"),
            ("<&mut I as Iterator>::next", "I::next"),
            ("<[u8] as Debug>::fmt", "[u8]::fmt"),
            ("<dyn core::any::Any + Send>::is", "Any::is"),
            ("<fn() -> T as Tr>::call", "fn::call"),
            (
                "core::ptr::<impl core::fmt::Debug for alloc::Str<X>>::fmt",
                "Str::fmt",
            ),
            (
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
                "FnOnce::call_once",
            ),
            (
                "core::ptr::drop_in_place<myapp::main::{{closure}}>",
                "ptr::drop_in_place",
            ),
            (
                "node::Environment::RunTimers(uv_timer_s*)",
                "Environment::RunTimers",
            ),
            (
                "v8::internal::(anonymous namespace)::Invoke(v8::internal::Isolate*)",
                "internal::Invoke",
            ),
            (
                "std::function<void (int)>::operator()(int) const",
                "function::operator()",
            ),
            (
                "std::ostream& std::operator<< <char>(std::ostream&, char)",
                "std::operator<<",
            ),
            ("void node::Make<int>(int)", "node::Make"),
            ("v8::Local<v8::Object>* ns::make<T>(T)", "ns::make"),
            (
                "uv_run::{lambda(int)#1}::operator()(int) const",
                "{lambda}::operator()",
            ),
            ("operator new(unsigned long)", "operator new"),
            (
                "std::__cxx11::to_string[abi:cxx11](int)",
                "__cxx11::to_string",
            ),
            ("foo(int) [clone .cold]", "foo"),
        ] {
            assert_eq!(short(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_short_name(text in "[a-z:<>(){}\\[\\] &*+#ä-]{0,80}|\\PC{0,200}") {
            let _name = short(&text);
        }

        #[test]
        fn brackets_in_any_order(text in "(operator|::|<|>|->|\\(|\\)|\\{|\\}|a| as | for |impl ){0,40}") {
            let _name = short(&text);
        }
    }

    #[test]
    fn deep_nesting_ends() {
        let _name = short(&"<".repeat(100_000));
        let _name = short(&"<a as ".repeat(LONGEST));
    }
}
