//! Where tasks wait as a session tells it: some types each time, and in words.

use std::{collections::BTreeMap, time::Duration};

use tracer::{
    record::WaitsMeta,
    runtime::cache::Cache,
    source::live::{Answer, Observer, Question},
};

use super::fixture::{self, Running, program};

/// Asks again and again until it was told of all of these types, by name.
fn told(running: &Running, names: &[&str]) -> BTreeMap<String, WaitsMeta> {
    let pid = running.pid();
    let mut observer = Observer::new(Cache::off());
    let Some(Answer::Found(_, found)) = observer.answer(Question::Find(pid)) else {
        panic!("no answer")
    };
    let mapped = &found.tokio[0];
    let types = mapped.holds.types.iter();
    let by_vtable: BTreeMap<u64, &str> = types
        .map(|of| (of.vtable.wrapping_add(mapped.bias), of.name.as_str()))
        .collect();
    let mut told: BTreeMap<String, WaitsMeta> = BTreeMap::new();
    let all = fixture::wait_until(Duration::from_secs(60), || {
        if let Some(Answer::Looked(_, look)) = observer.answer(Question::Look(pid)) {
            for waits in look.waits.into_iter().flatten() {
                assert_eq!(waits.pid, pid);
                told.insert(by_vtable[&waits.vtable].to_owned(), waits);
            }
        }
        names.iter().all(|&name| told.contains_key(name))
    });
    assert!(all, "{:?}", told.keys());
    told
}

#[test]
fn a_session_tells_who_waits_where_and_for_whom() {
    let running = Running::start(&program("optimized"));
    let told = told(&running, &["mutex_waiter", "joined", "sleeper"]);
    let id = |name: &str| running.truth[name].id;
    let waiter = &told["mutex_waiter"];
    let [group] = &waiter.groups[..] else {
        panic!("{waiter:?}")
    };
    assert_eq!((waiter.tasks, group.tasks), (1, 1));
    assert_eq!(group.ids, [id("mutex_waiter")]);
    let [first, .., last] = &group.lines[..] else {
        panic!("{group:?}")
    };
    assert!(first.starts_with("trees::locks::mutex_waiter (src/locks.rs:"));
    assert!(last.contains("waits for Mutex 0x"), "{last}");
    // The holder is of another type, and may not have been looked at in the same look.
    let holder = format!(
        "held by task {} mutex_holder (src/locks.rs:",
        id("mutex_holder")
    );
    let not_seen = "none of the tasks that were looked at is seen to hold it";
    assert!(last.contains(&holder) || last.contains(not_seen), "{last}");
    let joined = &told["joined"].groups[0].lines;
    let ways = running.truth["joined"].ways().len();
    let leaves = joined.iter().filter(|line| line.contains("waits for "));
    assert_eq!(leaves.count(), ways, "{joined:?}");
    let sleeper = told["sleeper"].groups[0].lines.last().unwrap();
    assert!(
        sleeper.contains("a timer, 59m") || sleeper.contains("a timer, 1h"),
        "{sleeper}"
    );
}

#[test]
fn a_session_tells_what_is_missing() {
    let running = Running::start(&program("lines"));
    let told = told(&running, &["mutex_waiter"]);
    let waiter = &told["mutex_waiter"];
    assert!(waiter.groups.is_empty());
    assert!(waiter.why.contains("debug"), "{}", waiter.why);
}
