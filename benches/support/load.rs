//! Load: requests over kept connections, one after the other on each, as cheaply as can be.
//!
//! It reads no more of an answer than where it ends, so that whoever answers is the limit, not this.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What an answer is read into, piece by piece.
const BUFFER: usize = 256 * 1024;

/// A request, as it goes over the wire.
#[derive(Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// A question.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path, "")
    }

    /// One with a body of JSON.
    pub fn post(path: &str, body: &str) -> Self {
        Self::new("POST", path, body)
    }

    fn new(method: &str, path: &str, body: &str) -> Self {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n");
        if !body.is_empty() {
            text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        Self((text + "\r\n" + body).into_bytes())
    }

    /// The same to another path.
    pub fn at(&self, path: &str) -> Self {
        let text = String::from_utf8(self.0.clone()).expect("it was made of text");
        let mut words = text.splitn(3, ' ');
        let (method, rest) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        Self(format!("{method} {path} {rest}").into_bytes())
    }
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address.parse::<SocketAddr>()?).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER].into() })
    }

    /// The body of the answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.exchange(request, |piece| body.extend_from_slice(piece)).await.with_context(|| {
            let shown = body.get(..body.len().min(400)).unwrap_or_default();
            String::from_utf8_lossy(shown).into_owned()
        })?;
        Ok(body)
    }

    /// Sends a request and reads the answer to its end.
    pub async fn exchange(&mut self, request: &Request, mut take: impl FnMut(&[u8])) -> Result<()> {
        self.stream.write_all(&request.0).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read_after(filled).await?;
            if let Some(head) = Head::read(&self.buffer[..filled])? {
                break head;
            }
        };
        let begun = &self.buffer[head.size..filled];
        match head.content_length {
            Some(length) => {
                take(begun);
                let mut missing = length.saturating_sub(begun.len());
                while missing > 0 {
                    let read = self.read_after(0).await?;
                    take(&self.buffer[..read]);
                    missing = missing.saturating_sub(read);
                }
            }
            None => {
                let mut chunks = begun.to_vec();
                // What is sent is JSON, in which no line ends like this.
                while !chunks.ends_with(b"0\r\n\r\n") {
                    let read = self.read_after(0).await?;
                    chunks.extend_from_slice(&self.buffer[..read]);
                }
                each_chunk(&chunks, take)?;
            }
        }
        ensure!(head.status == 200, "it answered {}", head.status);
        Ok(())
    }

    async fn read_after(&mut self, filled: usize) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[filled..]).await?;
        ensure!(read > 0, "it closed the connection");
        Ok(read)
    }
}

/// What has to be known of an answer to find its end.
struct Head {
    status: u16,
    /// None if it comes in chunks.
    content_length: Option<usize>,
    size: usize,
}

impl Head {
    /// None if it is not whole yet.
    fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end])?;
        let status = text.get(9..12).context("no status")?.parse()?;
        let content_length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
        });
        Ok(Some(Self { status, content_length: content_length.transpose()?, size: end + 4 }))
    }
}

fn each_chunk(mut chunks: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
    loop {
        let line = chunks.windows(2).position(|two| two == b"\r\n").context("no size of a chunk")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..line])?, 16)?;
        if size == 0 {
            return Ok(());
        }
        take(chunks.get(line + 2..line + 2 + size).context("a chunk that is too short")?);
        chunks = &chunks[line + size + 4..];
    }
}

/// What the connections of a load ask, each its own requests over and over.
pub type Script = Arc<[Vec<Request>]>;

/// The same request on so many connections.
pub fn same(request: &Request, connections: usize) -> Script {
    vec![vec![request.clone()]; connections].into()
}

/// Requests answered per second, over a time.
pub async fn load(address: &str, script: &Script, time: Duration) -> Result<f64> {
    let connect = async |requests: &Vec<Request>| {
        let mut connection = Connection::open(address).await?;
        // The server may not have accepted it yet, which is not what is measured.
        connection.exchange(requests.first().context("a script")?, |_| ()).await?;
        Ok::<_, anyhow::Error>(connection)
    };
    let connections = try_join_all(script.iter().map(connect)).await?;
    let began = Instant::now();
    let end = began + time;
    let tasks = connections.into_iter().enumerate().map(|(index, mut connection)| {
        let script = script.clone();
        tokio::spawn(async move {
            let mut answered = 0_u64;
            let mut requests = script[index].iter().cycle();
            while Instant::now() < end {
                connection.exchange(requests.next().context("a script")?, |_| ()).await?;
                answered += 1;
            }
            Ok::<_, anyhow::Error>(answered)
        })
    });
    let mut answered = 0;
    for count in try_join_all(tasks).await? {
        answered += count?;
    }
    Ok(answered as f64 / began.elapsed().as_secs_f64())
}
