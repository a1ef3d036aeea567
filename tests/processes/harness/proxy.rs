//! An address that stays while servers behind it come and go, each on a port of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::Server;

/// Passes connections on to the present server.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    target: Arc<Mutex<SocketAddr>>,
}

impl Proxy {
    /// Begins to listen in front of a server.
    pub async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = Arc::new(Mutex::new(server.address));
        let present = Arc::clone(&target);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let target = *present.lock().unwrap();
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        // Either side may leave as it likes.
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { url, target }
    }

    /// Passes new connections to another server from now on.
    pub fn turn_to(&self, server: &Server) {
        *self.target.lock().unwrap() = server.address;
    }
}
