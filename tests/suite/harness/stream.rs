//! A streamed HTTP response, read from a real port while it is sent.
//!
//! The request is of HTTP/1.0, so that the body comes without chunks, as `curl -N --http1.0` shows it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::socket::in_time;

/// A response, as far as it has been read.
pub struct HttpStream {
    /// Status code.
    pub status: u16,
    /// Headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    body: BufReader<TcpStream>,
}

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The id, for `Last-Event-ID`.
    pub id: Option<String>,
    /// Its type.
    pub event: String,
    /// The data.
    pub data: String,
}

impl Message {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl HttpStream {
    /// Sends a request, and reads the head of the response.
    pub async fn get(authority: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::ask(authority, "GET", path, headers, "").await.expect("an answer")
    }

    /// The same with a JSON body.
    pub async fn post(authority: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Self {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        Self::ask(authority, "POST", path, &headers, &body.to_string()).await.expect("an answer")
    }

    /// Sends a request to a server that may be shutting down; an error if it does not answer.
    pub async fn ask(
        authority: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Self> {
        let mut answer = Self::send(authority, method, path, headers, body).await?;
        answer.read_head().await?;
        Ok(answer)
    }

    /// Sends a GET request whose response is [read later](Self::answered).
    pub async fn begin(authority: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::send(authority, "GET", path, headers, "").await.expect("a connection")
    }

    async fn send(
        authority: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Self> {
        let mut request =
            format!("{method} {path} HTTP/1.0\r\nhost: {authority}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += body;
        let mut connection = in_time(TcpStream::connect(authority)).await?;
        in_time(connection.write_all(request.as_bytes())).await?;
        Ok(Self { status: 0, headers: BTreeMap::new(), body: BufReader::new(connection) })
    }

    async fn read_head(&mut self) -> std::io::Result<()> {
        let head = self.next_line().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        self.status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        while let Some(line) = self.next_line().await?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a header");
            self.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Ok(())
    }

    /// Status and JSON body of the response to a request that was [begun](Self::begin).
    pub async fn answered(mut self) -> (u16, Value) {
        self.read_head().await.expect("an answer");
        let body = self.line_to_end().await;
        (self.status, body)
    }

    /// The next line without its end; none after the end of the response.
    pub async fn next_line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        in_time(self.body.read_line(&mut line)).await?;
        // A line without an end means that the response was cut off.
        Ok(line.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()))
    }

    /// The next server-sent event, without comments; none after the end of the response.
    pub async fn next_message(&mut self) -> std::io::Result<Option<Message>> {
        let mut message = Message::default();
        let mut is_empty = true;
        while let Some(line) = self.next_line().await? {
            if line.is_empty() {
                if is_empty {
                    continue;
                }
                return Ok(Some(message));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            is_empty &= field.is_empty();
            match field {
                "" => {}
                "id" => message.id = Some(value.to_owned()),
                "event" => message.event = value.to_owned(),
                "data" => message.data += value,
                other => panic!("{other:?} is no field of an event"),
            }
        }
        Ok(None)
    }

    /// The next server-sent event, which has to come.
    pub async fn message(&mut self) -> Message {
        self.next_message().await.unwrap().expect("another event")
    }

    /// The next line as JSON.
    pub async fn line(&mut self) -> Value {
        let line = self.next_line().await.unwrap().expect("another line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The rest of the response as one JSON value.
    pub async fn line_to_end(&mut self) -> Value {
        let mut text = String::new();
        in_time(self.body.read_to_string(&mut text)).await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// Reads on until the response ends, as it should or cut off. A stream that goes on fails the test, although it shows
    /// that it is alive.
    pub async fn ended(mut self) {
        in_time(async { while let Ok(Some(_)) = self.next_line().await {} }).await;
    }

    /// The rest of the response, which has to end.
    pub async fn rest(mut self) -> String {
        let mut rest = String::new();
        in_time(self.body.read_to_string(&mut rest)).await.unwrap();
        rest
    }
}
