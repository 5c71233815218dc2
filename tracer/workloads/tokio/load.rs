//! A load generator in the same process, on a runtime of one thread that is none of the service's workers.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::crew::{Crew, Stopping};
use crate::routes::ITEMS;
use crate::truth::Truth;

const CONNECTIONS: u32 = 4;
/// With four connections, 200 requests a second.
const PERIOD: Duration = Duration::from_millis(20);

pub(crate) fn start(port: u16, truth: &Arc<Truth>) -> io::Result<Crew> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let truth = Arc::clone(truth);
    let mut crew = Crew::default();
    crew.start("load", move |stopping| {
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for number in 0..CONNECTIONS {
                clients.spawn(client(number, port, Arc::clone(&truth), stopping.clone()));
            }
            clients.join_all().await;
        });
    })?;
    Ok(crew)
}

async fn client(number: u32, port: u16, truth: Arc<Truth>, stopping: Stopping) {
    let mut beat = interval(PERIOD);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connection = None;
    // Each client begins elsewhere in the sequence of paths.
    let mut turn = number * 3;
    loop {
        beat.tick().await;
        if stopping.is_asked() {
            return;
        }
        truth.load.sent.add(1);
        match request(&mut connection, port, &path(turn)).await {
            Ok(()) => truth.load.ok.add(1),
            Err(_lost) => {
                // The next request finds out whether the service is still there.
                connection = None;
                truth.load.failed.add(1);
            }
        }
        turn = turn.wrapping_add(1);
    }
}

/// Mostly lookups, some waiting, some work.
fn path(turn: u32) -> String {
    match turn % 10 {
        0..=5 => format!("/item/{}", turn % ITEMS),
        6..=8 => "/delay".to_owned(),
        _ => "/digest".to_owned(),
    }
}

/// One request over a connection that is kept. An answer other than 200 is an error.
async fn request(
    connection: &mut Option<BufStream<TcpStream>>,
    port: u16,
    path: &str,
) -> io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(port).await?),
    };
    let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;

    let status = line(stream).await?;
    let mut length = 0;
    loop {
        let header = line(stream).await?;
        if header.is_empty() {
            break;
        }
        if let Some(("content-length", value)) = header.split_once(": ") {
            length = value.parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if status.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(io::Error::other(status))
    }
}

async fn connect(port: u16) -> io::Result<BufStream<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    Ok(BufStream::new(stream))
}

/// One line without its end; the end of the connection is an error.
async fn line(stream: &mut BufStream<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}
