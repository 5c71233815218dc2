//! What a leaf waits for.

use super::{
    look::{Follow, Value},
    walk::Walk,
};
use crate::runtime::dwarf::Type;

/// What has to happen for a task to go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A lock or permits.
    Lock {
        /// Which kind.
        lock: Lock,
        /// Address of the semaphore in it; the same in [`super::Held`].
        address: u64,
        /// Permits that are free now; 0 of a locked mutex.
        free: Option<u64>,
    },
    /// Time.
    Timer {
        /// When, on the monotonic clock, in nanoseconds.
        deadline: Option<u64>,
    },
    /// A socket, pipe or the like that is ready.
    Io {
        /// Its descriptor.
        fd: Option<i32>,
    },
    /// The other end of a channel.
    Channel {
        /// Which kind.
        channel: Channel,
        /// It has something to send; otherwise it receives.
        sends: bool,
        /// Address of what the two ends share.
        address: Option<u64>,
    },
    /// The end of another task.
    Task {
        /// Where its header is.
        header: u64,
        /// Its id.
        id: Option<u64>,
    },
    /// `Notify`.
    Notify {
        /// Its address.
        address: u64,
    },
    /// Others at a barrier.
    Barrier {
        /// Its address.
        address: Option<u64>,
    },
    /// Its turn: it has yielded.
    Turn,
    /// Nothing: it never ends.
    Nothing,
}

/// Kinds of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// `Mutex`.
    Mutex,
    /// `RwLock`, to read.
    Read,
    /// `RwLock`, to write.
    Write,
    /// `Semaphore`.
    Semaphore,
    /// `OnceCell`, or another user of a semaphore.
    Other,
}

/// Kinds of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `mpsc`.
    Mpsc,
    /// `oneshot`.
    Oneshot,
    /// `watch`.
    Watch,
    /// `broadcast`.
    Broadcast,
}

/// A task's function for its vtable's user: where in the vtable it is said where the id is.
/// <https://github.com/tokio-rs/tokio/blob/tokio-1.44.2/tokio/src/runtime/task/raw.rs>
const ID_OFFSET: u64 = 9 * 8;

impl Walk<'_> {
    /// What `leaf`, which nothing is below of, waits for. What it is for says the outermost of tokio's functions that
    /// it is in: a `Notified` may be a barrier's.
    pub(super) fn resource(&mut self, leaf: &Value) -> Option<Resource> {
        let inside = self
            .frames
            .iter()
            .rev()
            .take_while(|frame| frame.scope.starts_with("tokio::"));
        let outermost = inside.count();
        let first = self.frames.len() - outermost;
        let origin = self
            .frames
            .get(first)
            .map_or_else(|| leaf.of.path.clone(), |frame| frame.scope.to_string());
        let variables = self.frames.get(first).map(|frame| frame.variables.clone());
        let shared = |walk: &mut Self| {
            let arc = walk.search(leaf, Follow::References, is_shared);
            let arc =
                arc.or_else(|| walk.search(variables.as_ref()?, Follow::References, is_shared))?;
            let pointer = walk.scalar(&arc)?;
            walk.snapshot.word(pointer.address)
        };
        let is_in = |module: &str| {
            origin
                .strip_prefix(module)
                .is_some_and(|rest| rest.starts_with("::"))
        };
        let channel = [
            ("tokio::sync::mpsc", Channel::Mpsc),
            ("tokio::sync::oneshot", Channel::Oneshot),
            ("tokio::sync::watch", Channel::Watch),
            ("tokio::sync::broadcast", Channel::Broadcast),
        ];
        if let Some((_, channel)) = channel.into_iter().find(|(module, _)| is_in(module)) {
            let receives = [
                "::recv",
                "::recv_many",
                "::Receiver",
                "::Recv",
                "::changed",
                "::wait_for",
            ];
            let sends = channel == Channel::Mpsc && !receives.iter().any(|of| origin.ends_with(of));
            return Some(Resource::Channel {
                channel,
                sends,
                address: shared(self),
            });
        }
        if is_in("tokio::task::yield_now") {
            return Some(Resource::Turn);
        }
        if is_in("tokio::sync::barrier") {
            let barrier = |of: &Type| of.path == "tokio::sync::barrier::Barrier";
            let barrier = self.search(variables.as_ref()?, Follow::References, barrier);
            return Some(Resource::Barrier {
                address: barrier.map(|barrier| barrier.address),
            });
        }
        match leaf.of.path.as_str() {
            "core::future::pending::Pending" => Some(Resource::Nothing),
            "tokio::time::sleep::Sleep" => Some(Resource::Timer {
                deadline: self.deadline(leaf),
            }),
            "tokio::sync::batch_semaphore::Acquire" => self.lock(leaf, &origin),
            "tokio::sync::notify::Notified" | "tokio::sync::notify::OwnedNotified" => {
                let notify = |of: &Type| of.path == "tokio::sync::notify::Notify";
                let notify = self.search(leaf, Follow::References, notify)?;
                Some(Resource::Notify {
                    address: notify.address,
                })
            }
            "tokio::runtime::task::join::JoinHandle" => {
                let (header, id) = self.awaited_task(leaf)?;
                Some(Resource::Task { header, id })
            }
            path => {
                let is_io = [
                    "tokio::net::",
                    "tokio::io::",
                    "tokio::process::",
                    "tokio::signal::",
                    "tokio::runtime::io::",
                ];
                let is_io = |path: &str| is_io.iter().any(|module| path.starts_with(module));
                let fd = self.descriptor(leaf);
                (fd.is_some() || is_io(path) || is_io(&origin)).then_some(Resource::Io { fd })
            }
        }
    }

    fn lock(&mut self, acquire: &Value, origin: &str) -> Option<Resource> {
        let semaphore = self.field(acquire, "semaphore")?;
        let semaphore = self.pointee(&semaphore)?;
        let lock = if origin.starts_with("tokio::sync::mutex") {
            Lock::Mutex
        } else if origin.starts_with("tokio::sync::rwlock") {
            let reads = origin
                .rsplit("::")
                .next()
                .is_some_and(|name| name.starts_with("read"));
            if reads { Lock::Read } else { Lock::Write }
        } else if origin.starts_with("tokio::sync::semaphore") {
            Lock::Semaphore
        } else {
            Lock::Other
        };
        let permits = self.field(&semaphore, "permits");
        // The lowest bit says that it is closed.
        let free = permits
            .and_then(|permits| self.counter(&permits))
            .map(|permits| permits >> 1);
        Some(Resource::Lock {
            lock,
            address: semaphore.address,
            free,
        })
    }

    /// When a timer ends, in nanoseconds of the monotonic clock: what `Instant` is on Linux.
    fn deadline(&mut self, sleep: &Value) -> Option<u64> {
        let deadline = self.search(sleep, Follow::Nothing, |of| {
            of.path == "tokio::time::instant::Instant"
        })?;
        let time = self.search(&deadline, Follow::Nothing, |of| {
            of.path.ends_with("::Timespec")
        })?;
        let seconds = self
            .field(&time, "tv_sec")
            .and_then(|of| self.number(&of))?;
        let nanos = self.field(&time, "tv_nsec")?;
        let nanos = self.scalar(&nanos).and_then(|of| self.number(&of))?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    }

    /// The header and the id of the task that a handle is for.
    pub(super) fn awaited_task(&mut self, handle: &Value) -> Option<(u64, Option<u64>)> {
        let pointer = self.scalar(handle)?;
        let header = self
            .snapshot
            .word(pointer.address)
            .filter(|header| *header != 0)?;
        let id = (self.layout.vtable == 16)
            .then(|| {
                let vtable = self.snapshot.word(header.checked_add(16)?)?;
                let offset = self.snapshot.word(vtable.checked_add(ID_OFFSET)?)?;
                let offset = Some(offset).filter(|offset| *offset < 256)?;
                self.snapshot.word(header.checked_add(offset)?)
            })
            .flatten();
        Some((header, id))
    }

    /// The descriptor in what waits, or in a variable of tokio's functions around it.
    fn descriptor(&mut self, leaf: &Value) -> Option<i32> {
        let mut found = self.source(leaf);
        let mut frame = self.frames.len();
        while found.is_none() && frame > 0 {
            frame -= 1;
            let frame = &self.frames[frame];
            if !frame.scope.starts_with("tokio::") {
                break;
            }
            let variables = frame.variables.clone();
            for (name, variable) in self.fields(&variables) {
                if found.is_none() && name != "__awaitee" {
                    found = self.source(&variable);
                }
            }
        }
        let owned = self.search(&found?, Follow::Nothing, |of| {
            of.path == "std::os::fd::owned::OwnedFd"
        })?;
        let number = self.scalar(&owned)?;
        let number = self.number(&number)?;
        i32::try_from(number).ok()
    }

    /// What tokio's driver watches in something: that it owns, else that it refers to. What many share comes last.
    fn source(&mut self, of: &Value) -> Option<Value> {
        let watched = |of: &Type| {
            [
                "tokio::io::poll_evented::PollEvented",
                "tokio::io::async_fd::AsyncFd",
            ]
            .contains(&of.path.as_str())
        };
        let owned = self.search(of, Follow::Owned, watched);
        owned.or_else(|| self.search(of, Follow::References, watched))
    }
}

fn is_shared(of: &Type) -> bool {
    of.path == "alloc::sync::Arc"
}
