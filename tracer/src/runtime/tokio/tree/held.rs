//! Guards in the variables of tasks that wait: who holds a lock that others wait for.

use std::collections::HashMap;

use super::{
    Kind, Tree,
    look::{Follow, Value},
    walk::Walk,
};
use crate::runtime::dwarf::{self, Type};

/// Guards noted of one coroutine.
const MOST_GUARDS: usize = 16;

/// Kinds of guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Of a `Mutex`.
    Mutex,
    /// Of a `RwLock`, to read.
    Read,
    /// Of a `RwLock`, to write.
    Write,
    /// Permits of a `Semaphore`.
    Permit,
}

/// A guard in a variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// What it is.
    pub guard: Guard,
    /// Address of the lock's semaphore; the same in [`super::Resource::Lock`].
    pub lock: u64,
    /// The variable.
    pub variable: String,
    /// Certainly there. What a block captured may have been moved away meanwhile, and nothing tells.
    pub is_certain: bool,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder<'a, T> {
    /// The task.
    pub task: T,
    /// The function with the guard.
    pub function: &'a str,
    /// Its file, and the line at which it waits while it holds the lock.
    pub file: &'a str,
    /// See `file`.
    pub line: u32,
    /// The guard.
    pub held: &'a Held,
}

/// Who holds which lock, by the lock's address: all that the trees tell.
pub fn holders<'a, T: Copy>(
    trees: impl IntoIterator<Item = (T, &'a Tree)>,
) -> HashMap<u64, Vec<Holder<'a, T>>> {
    let mut holders: HashMap<u64, Vec<Holder<'a, T>>> = HashMap::new();
    for (task, tree) in trees {
        for node in tree.nodes() {
            for held in &node.holds {
                holders.entry(held.lock).or_default().push(Holder {
                    task,
                    function: &node.function,
                    file: &node.file,
                    line: node.line,
                    held,
                });
            }
        }
    }
    holders
}

impl Walk<'_> {
    /// The guards among the variables of a coroutine that waits.
    pub(super) fn held(&mut self, coroutine: &Value, kind: Kind, variables: &Value) -> Vec<Held> {
        let captured = self.captured(coroutine);
        let mut held: Vec<Held> = Vec::new();
        for (name, variable) in self.fields(variables) {
            let place = variable.address.wrapping_sub(variables.address);
            let is_captured = captured.contains(&(name.clone(), place));
            // A function's arguments are moved into variables before its first line.
            if name == "__awaitee" || (is_captured && kind == Kind::Function) {
                continue;
            }
            if held.len() >= MOST_GUARDS {
                break;
            }
            let Some(found) =
                self.search(&variable, Follow::Nothing, |of| guard(&of.path).is_some())
            else {
                continue;
            };
            let lock = self.search(&found, Follow::References, |of| {
                of.path == "tokio::sync::batch_semaphore::Semaphore"
            });
            if let (Some(lock), Some(guard)) = (lock, guard(&found.of.path))
                && !held.iter().any(|other| other.lock == lock.address)
            {
                held.push(Held {
                    guard,
                    lock: lock.address,
                    variable: name,
                    is_certain: !is_captured,
                });
            }
        }
        held
    }

    /// What a coroutine has before it is polled: name and place. It keeps the place for as long as it lives, and the
    /// bytes stay when the value is moved.
    fn captured(&mut self, coroutine: &Value) -> Vec<(String, u64)> {
        let of: &Type = &coroutine.of;
        let dwarf::Kind::Struct {
            variants: Some(variants),
            ..
        } = &of.kind
        else {
            return Vec::new();
        };
        let fresh = variants.arms.iter().find(|arm| arm.number == Some(0));
        let fresh = fresh.and_then(|arm| self.trees.types.get(arm.field.of));
        let Some(fresh) = fresh else {
            return Vec::new();
        };
        let dwarf::Kind::Struct { fields, .. } = &fresh.kind else {
            return Vec::new();
        };
        fields
            .iter()
            .map(|field| (field.name.clone(), field.offset))
            .collect()
    }
}

fn guard(path: &str) -> Option<Guard> {
    let (module, name) = path.strip_prefix("tokio::sync::")?.rsplit_once("::")?;
    let guard = match module.split("::").next()? {
        "mutex" if name.ends_with("MutexGuard") => Guard::Mutex,
        "rwlock" if name.ends_with("ReadGuard") => Guard::Read,
        "rwlock" if name.ends_with("Guard") => Guard::Write,
        "semaphore" if name.ends_with("SemaphorePermit") => Guard::Permit,
        _ => return None,
    };
    Some(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_known_by_their_paths() {
        assert_eq!(guard("tokio::sync::mutex::MutexGuard"), Some(Guard::Mutex));
        assert_eq!(
            guard("tokio::sync::mutex::OwnedMappedMutexGuard"),
            Some(Guard::Mutex)
        );
        assert_eq!(
            guard("tokio::sync::rwlock::read_guard::RwLockReadGuard"),
            Some(Guard::Read)
        );
        assert_eq!(
            guard("tokio::sync::rwlock::write_guard_mapped::RwLockMappedWriteGuard"),
            Some(Guard::Write)
        );
        assert_eq!(
            guard("tokio::sync::semaphore::OwnedSemaphorePermit"),
            Some(Guard::Permit)
        );
        assert_eq!(guard("tokio::sync::semaphore::Semaphore"), None);
        assert_eq!(guard("app::MutexGuard"), None);
    }
}
