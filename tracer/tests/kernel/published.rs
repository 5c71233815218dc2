//! Published programs that nobody here wrote. What is expected of them was read in their sources: which tasks they
//! have, and that there is one for each connection.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tracer::{
    bpf,
    model::{Snapshot, TaskTypeView},
    record::{ProbeStatus, RuntimeMeta},
};
use tracer_common::Pid;
use xtask::published::Published;

use crate::common::{ByHand, fold, kernel_test, wait_until};

/// How long a server may take to do what was asked of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program that has no end of its own.
struct Server(Child);

impl Server {
    fn start(name: &str, arguments: &[&str], address: SocketAddrV4) -> Self {
        let path = Published::of_this_test().unwrap().program(name).unwrap();
        let child = Command::new(path)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self(child);
        let listens = wait_until(PATIENCE, || {
            assert_eq!(server.0.try_wait().unwrap(), None, "{name} has ended");
            listens(address)
        });
        assert!(listens, "{name} does not listen");
        server
    }

    fn attach(&self) -> ByHand {
        let session = ByHand::attach(Pid(self.0.id()), bpf::Options::default());
        for probe in ["task_poll", "task_poll_return", "task_wake"] {
            let probes = session.live.probes();
            let found = probes.iter().find(|known| known.name == probe).unwrap();
            assert_eq!(found.status, ProbeStatus::Attached, "{}", found.why);
        }
        session
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody listens there, without connecting: that would be a task already.
fn listens(address: SocketAddrV4) -> bool {
    let local = format!(
        "{:08X}:{:04X} 00000000:0000 0A",
        u32::from_ne_bytes(address.ip().octets()),
        address.port()
    );
    fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .contains(&local)
}

fn connect(address: SocketAddrV4) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Says that nothing more will come, and waits until the other end says the same.
fn hang_up(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// Reads until there is this byte, and gives what was before it.
fn read_to(stream: &mut TcpStream, end: u8) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).unwrap();
        if byte[0] == end {
            return String::from_utf8(text).unwrap();
        }
        text.push(byte[0]);
    }
}

fn tokio(snapshot: &Snapshot) -> &RuntimeMeta {
    let [runtime] = &snapshot.tasks.runtimes[..] else {
        panic!("{:?}", snapshot.tasks.runtimes)
    };
    assert_eq!(runtime.kind, "tokio");
    runtime
}

/// The type whose code is at this line of a file.
fn at<'a>(snapshot: &'a Snapshot, source: &str) -> &'a TaskTypeView {
    let types = &snapshot.tasks.types;
    let mut found = types.iter().filter(|view| view.source().ends_with(source));
    let all: Vec<_> = types
        .iter()
        .map(|view| (&view.name, view.source(), view.alive, view.polls))
        .collect();
    let one = found
        .next()
        .unwrap_or_else(|| panic!("nothing at {source}: {all:?}"));
    assert!(found.next().is_none(), "twice at {source}: {all:?}");
    one
}

/// Spawned, ended, and there.
fn life(view: &TaskTypeView) -> (Option<u64>, u64, u64) {
    let alive = view.alive.unwrap_or_default().unfinished();
    (view.spawned, view.completed, alive)
}

/// Ticks until a type has lived so, and gives what is known then.
fn wait_for_life(
    session: &mut ByHand,
    source: &str,
    expected: (Option<u64>, u64, u64),
) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let is_so = wait_until(PATIENCE, || {
        session.tick();
        snapshot = fold(&session.records);
        life(at(&snapshot, source)) == expected
    });
    let view = at(&snapshot, source);
    assert!(is_so, "{source}: {:?}, not {expected:?}", life(view));
    snapshot
}

/// Nothing was lost, and each poll has a reason: it was the first, or followed a wake that was seen.
fn assert_balanced(snapshot: &Snapshot) {
    assert_eq!(snapshot.quality.lost, []);
    assert_eq!(snapshot.quality.inconsistent, 0);
    for view in &snapshot.tasks.types {
        let reasons = view.spawned.unwrap() + view.queued + view.rescheduled;
        assert_eq!(reasons, view.polls, "{}", view.name);
        assert_eq!(view.busy.count, view.polls, "{}", view.name);
    }
}

#[test]
fn mini_redis_has_a_task_for_each_connection() {
    let Some(_kernel) = kernel_test("mini_redis_has_a_task_for_each_connection") else {
        return;
    };
    const CLIENTS: u64 = 20;
    const CLOSED: u64 = 12;
    const REQUESTS: u64 = 50;
    /// `tokio::spawn(async move { handler.run() … })` in `Listener::run`.
    const CONNECTION: &str = "server.rs:276";
    /// `async fn purge_expired_tasks`, spawned once.
    const PURGE: &str = "db.rs:331";
    let port = {
        // Free now, and nobody else is given it so soon.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let arguments = ["--port", &port.to_string()];
    let server = Server::start("mini-redis-server", &arguments, address);
    let mut first = connect(address);
    set(&mut first, "first", "1", None);

    let mut session = server.attach();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    for round in 0..REQUESTS {
        for (number, client) in clients.iter_mut().enumerate() {
            let (key, value) = (format!("key-{number}"), format!("value-{round}"));
            set(client, &key, &value, None);
            assert_eq!(get(client, &key), Some(value));
        }
    }
    let spawned = Some(CLIENTS);
    let snapshot = wait_for_life(&mut session, CONNECTION, (spawned, 0, CLIENTS + 1));
    let runtime = tokio(&snapshot);
    assert!(runtime.version.starts_with("1."), "{runtime:?}");
    for view in &snapshot.tasks.types {
        println!("{} {} {:?}", view.name, view.source(), life(view));
    }
    let connection = at(&snapshot, CONNECTION);
    assert_eq!(connection.name, "Listener::run::{closure}");
    // Each client is answered and then left alone until all others were, but a task that lost its CPU in between finds
    // the next request there and needs no other poll.
    let polls = CLIENTS * REQUESTS / 2;
    assert!(connection.polls >= polls, "{}", connection.polls);
    assert!(connection.wakes.unwrap() >= polls);
    let purge = at(&snapshot, PURGE);
    assert_eq!(purge.name, "purge_expired_tasks");
    // Known from its memory only: it sleeps since before the tracer came.
    assert_eq!((purge.polls, life(purge)), (0, (Some(0), 0, 1)));

    for client in clients.drain(..CLOSED as usize) {
        hang_up(client);
    }
    let left = CLIENTS + 1 - CLOSED;
    wait_for_life(&mut session, CONNECTION, (spawned, CLOSED, left));
    // It is woken to know of the new time, and by that time.
    set(&mut first, "short", "1", Some(20));
    assert!(wait_until(PATIENCE, || get(&mut first, "short").is_none()));
    for client in clients {
        hang_up(client);
    }
    hang_up(first);
    wait_for_life(&mut session, CONNECTION, (spawned, CLIENTS + 1, 0));
    let snapshot = session.finish();
    let purge = at(&snapshot, PURGE);
    assert!(purge.polls >= 2, "{}", purge.polls);
    let connection = at(&snapshot, CONNECTION);
    assert_eq!(connection.cancelled, 0);
    // The one that was there before has no beginning.
    assert_eq!(connection.lifetime.count, CLIENTS);
    assert_balanced(&snapshot);
}

/// A command of Redis and its answer, which is one line or a value.
fn redis(stream: &mut TcpStream, words: &[&str]) -> Option<String> {
    let mut frame = format!("*{}\r\n", words.len());
    for word in words {
        frame += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(frame.as_bytes()).unwrap();
    let mut line = || read_to(stream, b'\n').trim_end().to_owned();
    let answer = line();
    match answer.split_at(1) {
        ("+", text) => Some(text.to_owned()),
        ("$", "-1") => None,
        ("$", _) => Some(line()),
        (_, _) => panic!("{words:?}: {answer}"),
    }
}

/// Sets a value, for so many milliseconds.
fn set(stream: &mut TcpStream, key: &str, value: &str, ms: Option<u32>) {
    let ms = ms.map(|ms| ms.to_string());
    let mut words = vec!["SET", key, value];
    words.extend(ms.iter().flat_map(|ms| ["PX", ms]));
    assert_eq!(redis(stream, &words).as_deref(), Some("OK"));
}

fn get(stream: &mut TcpStream, key: &str) -> Option<String> {
    redis(stream, &["GET", key])
}

#[test]
fn bore_has_a_task_for_each_connection_and_one_that_cleans_up_after_it() {
    let Some(_kernel) =
        kernel_test("bore_has_a_task_for_each_connection_and_one_that_cleans_up_after_it")
    else {
        return;
    };
    /// Always this one.
    const CONTROL: u16 = 7835;
    const CLIENTS: u64 = 5;
    const TUNNELS: u64 = 8;
    const ROUNDS: u64 = 40;
    /// `tokio::spawn(async move { … handle_connection … }.instrument(…))` in `Server::listen`.
    const CONNECTION: &str = "server.rs:68";
    /// `tokio::spawn(async move { sleep(10 s) … })` in `Server::handle_connection`.
    const CLEANER: &str = "server.rs:160";
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 78, high, low);
    let address = SocketAddrV4::new(ip, CONTROL);
    let arguments = ["server", "--bind-addr", &ip.to_string()];
    let server = Server::start("bore", &arguments, address);
    let mut session = server.attach();

    // Each has a port that leads to it.
    let mut clients: Vec<(TcpStream, SocketAddrV4)> = (0..CLIENTS)
        .map(|_| {
            let mut client = connect(address);
            client.write_all(b"{\"Hello\":0}\0").unwrap();
            let hello = read_to(&mut client, 0);
            let port = hello
                .strip_prefix("{\"Hello\":")
                .unwrap()
                .trim_end_matches('}');
            (client, SocketAddrV4::new(ip, port.parse().unwrap()))
        })
        .collect();
    let mut tunnels = Vec::new();
    for number in 0..TUNNELS {
        let (client, outside) = &mut clients[number as usize % CLIENTS as usize];
        let visitor = connect(*outside);
        let id = loop {
            let said = read_to(client, 0);
            if let Some(id) = said.strip_prefix("{\"Connection\":") {
                break id.trim_end_matches('}').to_owned();
            }
            assert_eq!(said, "\"Heartbeat\"");
        };
        let mut inside = connect(address);
        let accept = format!("{{\"Accept\":{id}}}\0");
        inside.write_all(accept.as_bytes()).unwrap();
        tunnels.push((visitor, inside));
    }
    let mut word = [0; 4];
    for _ in 0..ROUNDS {
        for (visitor, inside) in &mut tunnels {
            visitor.write_all(b"ping").unwrap();
            inside.read_exact(&mut word).unwrap();
            inside.write_all(b"pong").unwrap();
            visitor.read_exact(&mut word).unwrap();
        }
    }
    let all = CLIENTS + TUNNELS;
    let snapshot = wait_for_life(&mut session, CONNECTION, (Some(all), 0, all));
    for view in &snapshot.tasks.types {
        println!("{} {} {:?}", view.name, view.source(), life(view));
    }
    // As its lock file says.
    assert_eq!(tokio(&snapshot).version, "1.28.0");
    let connection = at(&snapshot, CONNECTION);
    // Without the `Instrumented` around it.
    assert_eq!(connection.name, "Server::listen::{closure}");
    // Twice in a round at most: a task that lost its CPU finds both directions ready.
    let least = TUNNELS * ROUNDS / 2;
    assert!(connection.polls >= least, "{}", connection.polls);
    // They sleep ten seconds, which a slow machine may need until here.
    let (spawned, ended, alive) = life(at(&snapshot, CLEANER));
    assert_eq!((spawned, ended + alive), (Some(TUNNELS), TUNNELS));

    for (visitor, inside) in tunnels {
        visitor.shutdown(Shutdown::Write).unwrap();
        hang_up(inside);
    }
    wait_for_life(&mut session, CONNECTION, (Some(all), TUNNELS, CLIENTS));
    let snapshot = session.finish();
    assert_balanced(&snapshot);
}

#[test]
fn programs_without_tokio_have_no_tasks() {
    let Some(_kernel) = kernel_test("programs_without_tokio_have_no_tasks") else {
        return;
    };
    let node = crate::common::Workload::node(&["service.mjs"]);
    // Written in Rust, and has no tokio.
    let truth = crate::common::Workload::truth();
    let sleep = |program: &str, arguments: &[&str]| {
        let child = Command::new(program).args(arguments).spawn();
        child.map(Server)
    };
    let mut others = vec![sleep("sleep", &["600"]).unwrap()];
    // Where there is one.
    others.extend(sleep("python3", &["-c", "import time; time.sleep(600)"]));
    others.extend(sleep("perl", &["-e", "sleep 600"]));
    let pids = others.iter().map(|other| Pid(other.0.id()));
    for pid in pids.chain([node.pid(), truth.pid()]) {
        let mut session = ByHand::attach(pid, bpf::Options::default());
        session.tick();
        let snapshot = session.finish();
        let [runtime] = &snapshot.tasks.runtimes[..] else {
            panic!("{:?}", snapshot.tasks.runtimes)
        };
        let kind = if pid == node.pid() { "node" } else { "native" };
        assert_eq!(runtime.kind, kind, "{runtime:?}");
        assert!(runtime.files > 0 && snapshot.tasks.is_empty());
        assert_eq!(snapshot.tasks.watched, None);
    }
}
