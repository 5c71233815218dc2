//! Labels of task types for people: short, and different for different types.

use std::collections::BTreeMap;

use super::{
    Kind, Source,
    name::Named,
    shown::{Shown, shown, unwrapped},
};

/// How much of what is known about a type its label says.
#[derive(Clone, Copy, Default)]
struct Form {
    /// Modules around the name.
    modules: usize,
    has_place: bool,
    has_arguments: bool,
}

/// What is said more of types that would be shown alike, one after the other.
const MORE: [fn(&mut Form); 6] = [
    |form| form.modules = 1,
    |form| form.modules = 2,
    |form| form.modules = 3,
    |form| form.modules = 8,
    |form| form.has_place = true,
    |form| form.has_arguments = true,
];

/// Names to show, none the same for different types.
pub(super) fn display(named: &[Named]) -> Vec<String> {
    let shown: Vec<Option<Shown>> = named
        .iter()
        .map(|named| named.future().map(shown))
        .collect();
    let label = |index: usize, form: Form| {
        let known = &named[index];
        let Some(shown) = &shown[index] else {
            return unnamed(known, index);
        };
        let mut label = shown.with(form.modules);
        if form.has_arguments {
            label.push_str(&shown.arguments);
        }
        if let Some(source) = known.source.as_ref().filter(|_| form.has_place) {
            label = format!("{label} {}", short(source));
        }
        label
    };
    let mut forms = vec![Form::default(); named.len()];
    let mut labels: Vec<String> = (0..named.len())
        .map(|index| label(index, Form::default()))
        .collect();
    for more in MORE {
        for group in same(&labels, named) {
            let longer: Vec<(Form, String)> = group
                .iter()
                .map(|&index| {
                    let mut form = forms[index];
                    more(&mut form);
                    (form, label(index, form))
                })
                .collect();
            // Only what tells some of them apart.
            if longer.iter().any(|(_, label)| *label != longer[0].1) {
                for (index, (form, label)) in group.into_iter().zip(longer) {
                    (forms[index], labels[index]) = (form, label);
                }
            }
        }
    }
    for group in same(&labels, named) {
        for index in group {
            // Different instances of a library's function are one thing to those who did not write it.
            let of_library = shown[index].as_ref().is_some_and(|one| one.is_of_library);
            if !of_library {
                labels[index] = format!("{} #{}", labels[index], index + 1);
            }
        }
    }
    labels
}

/// Where it is written tells more than a number.
fn unnamed(named: &Named, index: usize) -> String {
    match (&named.source, named.kind) {
        (Some(source), _) => short(source),
        (None, Some(Kind::Blocking)) => format!("[blocking] type #{}", index + 1),
        (None, _) => format!("type #{}", index + 1),
    }
}

/// `main.rs:20`
fn short(source: &Source) -> String {
    let file = source.file.rsplit('/').next().unwrap_or_default();
    format!("{file}:{}", source.line)
}

/// Groups of types that are shown alike but differ. One type has several tables when several schedulers run it.
fn same(names: &[String], named: &[Named]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        groups.entry(name).or_default().push(index);
    }
    let differ = |group: &Vec<usize>| {
        // What boxes or wraps a future adds nothing to its name.
        let of = |index: usize| {
            let named = &named[index];
            let futures: Vec<&str> = named.futures.iter().map(|one| unwrapped(one).0).collect();
            (futures, &named.source)
        };
        group.iter().any(|&index| of(index) != of(group[0]))
    };
    groups.into_values().filter(differ).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(future: &str, line: u32) -> Named {
        Named {
            futures: (!future.is_empty())
                .then(|| future.to_owned())
                .into_iter()
                .collect(),
            source: (line > 0).then(|| Source {
                file: "src/web/main.rs".to_owned(),
                line,
            }),
            kind: Some(if unwrapped(future).1 {
                Kind::Blocking
            } else {
                Kind::Async
            }),
        }
    }

    fn labels(types: &[(&str, u32)]) -> Vec<String> {
        let named: Vec<Named> = types
            .iter()
            .map(|&(name, line)| named(name, line))
            .collect();
        display(&named)
    }

    #[test]
    fn a_module_tells_apart_and_where_it_does_not_the_line_does() {
        assert_eq!(
            labels(&[
                ("app::users::load::{{closure}}", 3),
                ("app::posts::load::{{closure}}", 4),
                ("app::run::{{closure}}::{{closure}}", 5),
                ("app::run::{{closure}}::{{closure}}", 6),
                ("app::other::{{closure}}", 7),
            ]),
            [
                "users::load",
                "posts::load",
                "run::{closure} main.rs:5",
                "run::{closure} main.rs:6",
                "other"
            ]
        );
    }

    #[test]
    fn what_differs_in_its_type_arguments_only_shows_them() {
        assert_eq!(
            labels(&[
                ("app::work<app::Small>::{{closure}}", 3),
                ("app::work<app::Large>::{{closure}}", 3),
            ]),
            ["work<Small>", "work<Large>"]
        );
    }

    #[test]
    fn one_type_in_a_box_or_on_two_runtimes_is_one() {
        let boxed = "core::pin::Pin<alloc::boxed::Box<app::work::{{closure}}>>";
        let bare = "app::work::{{closure}}";
        assert_eq!(labels(&[(bare, 3), (boxed, 3), (bare, 3)]), ["work"; 3]);
    }

    #[test]
    fn what_has_no_name_has_a_place_or_a_number() {
        assert_eq!(labels(&[("", 0), ("", 8)]), ["type #1", "main.rs:8"]);
    }
}
