//! A load generator for machines without `wrk`.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    runtime::Builder,
    time::sleep,
};

use crate::{Started, count};

/// As many as the benchmark gives `wrk`.
const CONNECTIONS: u32 = 64;

/// How long a client whose server is gone waits before it looks again.
const PATIENCE: Duration = Duration::from_millis(50);

pub(crate) fn load(port: u16) -> io::Result<Started> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    for _ in 0..CONNECTIONS {
        runtime.spawn(async move {
            loop {
                // A lost connection is made anew.
                if ask(port).await.is_err() {
                    sleep(PATIENCE).await;
                }
            }
        });
    }
    Ok(Started {
        port: Some(port),
        runtime: Some(runtime),
    })
}

/// One request after the other over one connection, until it is lost.
async fn ask(port: u16) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufStream::new(stream);
    let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    let mut line = String::new();
    let mut body = Vec::new();
    loop {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        count();
    }
}
