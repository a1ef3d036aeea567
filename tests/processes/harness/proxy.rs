//! An address that stays while servers behind it come and go, and a wire that may be slow, or swallow what is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Server;

/// Passes connections on to the present server.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    /// The same.
    pub address: SocketAddr,
    wire: Arc<watch::Sender<Wire>>,
}

/// How it passes on what is sent.
#[derive(Clone, Copy, Debug)]
struct Wire {
    target: SocketAddr,
    conduct: Conduct,
    /// How often connections have been cut.
    cuts: u64,
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It arrives.
    Pass,
    /// Answers arrive this much later.
    Delay(Duration),
    /// Nothing arrives, in either direction, and nobody is told. Connections that were there meanwhile never recover, as
    /// when a firewall has forgotten them.
    Swallow,
}

impl Proxy {
    /// Begins to listen in front of a server.
    pub async fn to(server: &Server) -> Self {
        Self::before(server.address).await
    }

    /// Begins to listen in front of this address.
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(watch::Sender::new(Wire { target, conduct: Conduct::Pass, cuts: 0 }));
        let present = wire.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connect(client, present.subscribe()));
            }
        });
        Self { url: format!("http://{address}"), address, wire }
    }

    /// Passes new connections to another server from now on.
    pub fn turn_to(&self, server: &Server) {
        self.turn_to_address(server.address);
    }

    /// Passes new connections to another address from now on.
    pub fn turn_to_address(&self, target: SocketAddr) {
        self.wire.send_modify(|wire| wire.target = target);
    }

    /// Passes on in another way from now on.
    pub fn conduct(&self, conduct: Conduct) {
        self.wire.send_modify(|wire| wire.conduct = conduct);
    }

    /// Ends all connections that there are.
    pub fn cut(&self) {
        self.wire.send_modify(|wire| wire.cuts += 1);
    }
}

async fn connect(client: TcpStream, mut wire: watch::Receiver<Wire>) {
    let Wire { target, cuts, .. } = *wire.borrow_and_update();
    let (mut cut, mut forgotten) = (wire.clone(), wire.clone());
    let _ = client.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let passing = async {
        if is_swallowing(&wire) {
            return std::future::pending().await;
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        let _ = server.set_nodelay(true);
        let (mut from_server, mut to_server) = server.into_split();
        let there = pass(&mut from_client, &mut to_server, wire.clone(), false);
        let back = pass(&mut from_server, &mut to_client, wire.clone(), true);
        // Either side may leave as it likes.
        tokio::join!(there, back);
    };
    let lost = async {
        until(&mut forgotten, |wire| wire.conduct == Conduct::Swallow).await;
        until(&mut forgotten, |wire| wire.conduct != Conduct::Swallow).await;
    };
    tokio::select! {
        () = passing => return,
        () = until(&mut cut, |wire| wire.cuts != cuts) => return,
        // The server finds out, by its keepalives; the client waits on.
        () = lost => {}
    }
    until(&mut cut, |wire| wire.cuts != cuts).await;
    drop((from_client, to_client));
}

/// Waits until the wire is so, or gone.
async fn until(wire: &mut watch::Receiver<Wire>, is_so: impl Fn(&Wire) -> bool) {
    let _ = wire.wait_for(is_so).await.map(drop);
}

fn is_swallowing(wire: &watch::Receiver<Wire>) -> bool {
    wire.borrow().conduct == Conduct::Swallow
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut wire: watch::Receiver<Wire>,
    are_answers: bool,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = until(&mut wire, |wire| wire.conduct == Conduct::Swallow) => return std::future::pending().await,
            read = from.read(&mut bytes) => read,
        };
        let read = read.unwrap_or(0);
        let conduct = wire.borrow().conduct;
        match conduct {
            Conduct::Delay(delay) if are_answers => sleep(delay).await,
            Conduct::Swallow => return std::future::pending().await,
            Conduct::Pass | Conduct::Delay(_) => {}
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
