//! TCP over loopback, by blocking calls of the main thread. Both ends are ours, so nothing ever waits.

use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, recv, send, socket_with,
};
use serde_json::json;

use crate::Answer;
use crate::clock::now_ns;
use crate::numbers::{Spread, number, numbers};
use crate::verbs::Session;

/// Both ends of one.
pub(crate) struct Connection {
    client: OwnedFd,
    server: OwnedFd,
}

fn socket() -> Result<OwnedFd, String> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
        .map_err(|why| format!("open a socket: {why}"))
}

/// A socket bound to a port that the kernel chose.
fn bound() -> Result<(OwnedFd, SocketAddrV4), String> {
    let socket = socket()?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
        .map_err(|why| format!("bind to a port: {why}"))?;
    let address = getsockname(&socket)
        .and_then(SocketAddrV4::try_from)
        .map_err(|why| format!("read the port: {why}"))?;
    Ok((socket, address))
}

fn listener() -> Result<(OwnedFd, SocketAddrV4), String> {
    let (socket, address) = bound()?;
    listen(&socket, 16).map_err(|why| format!("listen: {why}"))?;
    Ok((socket, address))
}

impl Connection {
    fn open(listener: &OwnedFd, address: SocketAddrV4) -> Result<Self, String> {
        let client = socket()?;
        connect(&client, &address).map_err(|why| format!("connect: {why}"))?;
        let server =
            accept_with(listener, SocketFlags::CLOEXEC).map_err(|why| format!("accept: {why}"))?;
        Ok(Self { client, server })
    }
}

pub(crate) fn connect_closed(session: &mut Session, argument: &str) -> Answer {
    let [count] = numbers(argument, "N")?;
    // Bound and never listening: connects are refused, and nobody else can take the port meanwhile, not even one of the
    // connects as its own.
    let (reserved, address) = bound()?;
    let mut refused = 0_u32;
    let mut calls = Spread::default();
    let start_ns = now_ns();
    for _ in 0..count {
        let socket = socket()?;
        let before = now_ns();
        let result = connect(&socket, &address);
        calls.add(now_ns() - before);
        match result {
            Err(Errno::CONNREFUSED) => refused += 1,
            Ok(()) => return Err("connected to a port nobody listens on".to_owned()),
            Err(why) => return Err(format!("connect: {why}")),
        }
    }
    let end_ns = now_ns();
    drop(reserved);
    let mut answer = json!({
        "did": "connect-closed",
        "connects": count,
        "refused": refused,
        "errno": Errno::CONNREFUSED.raw_os_error(),
        "port": address.port(),
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    });
    calls.put(&mut answer, "call");
    Ok(answer)
}

/// One direction of one end, over all connections.
#[derive(Default)]
struct Traffic {
    calls: u64,
    bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.calls += 1;
        self.bytes += bytes as u64;
    }
}

pub(crate) fn connect_open(session: &mut Session, argument: &str) -> Answer {
    let [count, bytes] = numbers(argument, "N BYTES")?;
    let (listener, address) = listener()?;
    let mut buffer = vec![0_u8; CHUNK];
    let mut sent = [Traffic::default(), Traffic::default()];
    let mut received = [Traffic::default(), Traffic::default()];
    let mut connects = Spread::default();
    let start_ns = now_ns();
    for _ in 0..count {
        let before = now_ns();
        let both = Connection::open(&listener, address)?;
        connects.add(now_ns() - before);
        let ends = [&both.client, &both.server];
        for from in [0, 1] {
            let to = 1 - from;
            let traffic = (&mut sent[from], &mut received[to]);
            pass(ends[from], ends[to], bytes, &mut buffer, traffic)?;
        }
    }
    let end_ns = now_ns();
    let mut answer = json!({
        "did": "connect-open",
        "connects": count,
        "accepts": count,
        "port": address.port(),
        "sends": sent[0].calls + sent[1].calls,
        "receives": received[0].calls + received[1].calls,
        "client_sent_bytes": sent[0].bytes,
        "client_received_bytes": received[0].bytes,
        "server_sent_bytes": sent[1].bytes,
        "server_received_bytes": received[1].bytes,
        "syscalls": ["connect", "accept4", "sendto", "recvfrom"],
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    });
    connects.put(&mut answer, "open");
    Ok(answer)
}

/// What fits into the buffers of a new connection, so that one thread can be both ends.
const CHUNK: usize = 16 << 10;

fn pass(
    from: &OwnedFd,
    to: &OwnedFd,
    bytes: u32,
    buffer: &mut [u8],
    (sent, received): (&mut Traffic, &mut Traffic),
) -> Result<(), String> {
    let mut left = bytes as usize;
    while left > 0 {
        let room = left.min(buffer.len());
        let out = send(from, &buffer[..room], SendFlags::empty())
            .map_err(|why| format!("send: {why}"))?;
        sent.add(out);
        left -= out;
        let mut under_way = out;
        while under_way > 0 {
            let (_, taken) = recv(to, &mut buffer[..under_way], RecvFlags::empty())
                .map_err(|why| format!("receive: {why}"))?;
            if taken == 0 {
                return Err("the connection ended early".to_owned());
            }
            received.add(taken);
            under_way -= taken;
        }
    }
    Ok(())
}

pub(crate) fn sockets_open(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    if !session.connections.is_empty() {
        return Err("sockets are open; sockets-close first".to_owned());
    }
    crate::files::raise_fd_limit()?;
    let (listener, address) = listener()?;
    // Room for all before the first, so that the allocator calls nothing meanwhile.
    let mut connections = Vec::with_capacity(count as usize);
    let start_ns = now_ns();
    for _ in 0..count {
        connections.push(Connection::open(&listener, address)?);
    }
    let end_ns = now_ns();
    session.connections = connections;
    Ok(json!({
        "did": "sockets-open",
        "pairs": count,
        "sockets": 2 * u64::from(count),
        "port": address.port(),
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn sockets_close(session: &mut Session, _: &str) -> Answer {
    let pairs = session.connections.len();
    if pairs == 0 {
        return Err("no sockets are open".to_owned());
    }
    let start_ns = now_ns();
    session.connections.clear();
    let end_ns = now_ns();
    Ok(json!({
        "did": "sockets-close",
        "pairs": pairs,
        "sockets": 2 * pairs,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}
