//! What a descriptor of a process is: socket with its peer, pipe, event counter, file.

use std::collections::HashMap;

use procfs::{
    net::{TcpState, UnixState},
    process::{FDTarget, Process},
};
use tracer_common::Pid;

/// What a descriptor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// `socket`, `listener`, `unix`, `pipe`, `eventfd`, `timerfd`, `epoll`, `io_uring`, `file`, `device`.
    pub kind: &'static str,
    /// A path, or local and peer address.
    pub name: String,
}

/// The network sockets of one process's network namespace, by inode.
#[derive(Debug, Default)]
pub struct Sockets(HashMap<u64, Socket>);

#[derive(Debug)]
struct Socket {
    kind: &'static str,
    name: String,
    connected: bool,
}

impl Sockets {
    /// Those `pid` can see; none when they may not be read.
    #[must_use]
    pub fn of(pid: Pid) -> Self {
        let mut sockets = HashMap::new();
        let Some(process) = open(pid) else {
            return Self(sockets);
        };
        let tcp = process.tcp().into_iter().chain(process.tcp6());
        for entry in tcp.flatten() {
            let listens = entry.state == TcpState::Listen;
            let name = if listens {
                entry.local_address.to_string()
            } else {
                format!("{} → {}", entry.local_address, entry.remote_address)
            };
            let socket = Socket {
                kind: if listens { "listener" } else { "tcp" },
                name,
                connected: entry.state == TcpState::Established,
            };
            sockets.insert(entry.inode, socket);
        }
        let udp = process.udp().into_iter().chain(process.udp6());
        for entry in udp.flatten() {
            let socket = Socket {
                kind: "udp",
                name: format!("{} → {}", entry.local_address, entry.remote_address),
                connected: false,
            };
            sockets.insert(entry.inode, socket);
        }
        for entry in process.unix().into_iter().flatten() {
            let path = entry
                .path
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default();
            let socket = Socket {
                kind: "unix",
                name: path,
                connected: entry.state == UnixState::CONNECTED,
            };
            sockets.insert(entry.inode, socket);
        }
        Self(sockets)
    }

    /// What descriptor `fd` of `pid` is, or `None` when it is closed or may not be read.
    #[must_use]
    pub fn describe(&self, pid: Pid, fd: u32) -> Option<Descriptor> {
        let info = open(pid)?.fd_from_fd(i32::try_from(fd).ok()?).ok()?;
        Some(match info.target {
            FDTarget::Socket(inode) => self.0.get(&inode).map_or(
                Descriptor {
                    kind: "socket",
                    name: String::new(),
                },
                |socket| Descriptor {
                    kind: socket.kind,
                    name: socket.name.clone(),
                },
            ),
            FDTarget::Pipe(_) => Descriptor {
                kind: "pipe",
                name: String::new(),
            },
            FDTarget::AnonInode(name) => Descriptor {
                kind: anonymous(&name),
                name,
            },
            FDTarget::Path(path) => Descriptor {
                kind: if path.starts_with("/dev/") {
                    "device"
                } else {
                    "file"
                },
                name: path.to_string_lossy().into_owned(),
            },
            FDTarget::Net(_) | FDTarget::MemFD(_) | FDTarget::Other(..) | FDTarget::Unknown(..) => {
                Descriptor {
                    kind: "other",
                    name: String::new(),
                }
            }
        })
    }

    /// How many of these inodes are connected.
    fn connected(&self, inodes: &[u64]) -> u64 {
        let connected = |inode: &&u64| self.0.get(inode).is_some_and(|socket| socket.connected);
        inodes.iter().filter(connected).count() as u64
    }
}

fn anonymous(name: &str) -> &'static str {
    const KINDS: [(&str, &str); 7] = [
        ("eventpoll", "epoll"),
        ("eventfd", "eventfd"),
        ("timerfd", "timerfd"),
        ("io_uring", "io_uring"),
        ("signalfd", "signalfd"),
        ("inotify", "inotify"),
        ("pidfd", "pidfd"),
    ];
    KINDS
        .iter()
        .find(|(part, _)| name.contains(part))
        .map_or("other", |&(_, kind)| kind)
}

/// Descriptors of a process: how many, how many of them connected sockets, and whether one is an io_uring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: u64,
    /// Connected sockets among them.
    pub sockets: u64,
    /// One of them is an io_uring.
    pub io_uring: bool,
}

/// What `pid` holds open, or `None` when it is gone or may not be read.
#[must_use]
pub fn held(pid: Pid) -> Option<Held> {
    let mut held = Held::default();
    let mut inodes = Vec::new();
    for descriptor in open(pid)?.fd().ok()? {
        held.descriptors += 1;
        match descriptor.map(|info| info.target) {
            Ok(FDTarget::Socket(inode)) => inodes.push(inode),
            Ok(FDTarget::AnonInode(name)) => held.io_uring |= name.contains("io_uring"),
            // Closed meanwhile, or nothing that is counted.
            Ok(_) | Err(_) => {}
        }
    }
    if !inodes.is_empty() {
        held.sockets = Sockets::of(pid).connected(&inodes);
    }
    Some(held)
}

fn open(pid: Pid) -> Option<Process> {
    Process::new(i32::try_from(pid.0).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    use super::*;

    #[test]
    fn own_descriptors_are_what_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let _server = listener.accept().unwrap();
        let (read, _write) = std::io::pipe().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let own = Pid(std::process::id());
        let sockets = Sockets::of(own);
        let describe = |fd: i32| sockets.describe(own, u32::try_from(fd).unwrap()).unwrap();
        let found = describe(client.as_raw_fd());
        assert_eq!(found.kind, "tcp");
        assert_eq!(
            found.name,
            format!("{} → {address}", client.local_addr().unwrap())
        );
        assert_eq!(describe(listener.as_raw_fd()).kind, "listener");
        assert_eq!(describe(read.as_raw_fd()).kind, "pipe");
        assert_eq!(describe(file.as_raw_fd()).kind, "file");
        assert_eq!(sockets.describe(own, 1 << 20), None);
        let held = held(own).unwrap();
        assert!(held.descriptors > 5 && held.sockets >= 2, "{held:?}");
    }
}
