//! The loops that talk to Consul, against a stub of it, with time that the tests move.

use std::sync::mpsc;
use std::time::Duration;

use consul_stub::{EventKind, Mode, State, Status, Stub};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::advance;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::consul::{Settings, TokenSource};
use super::service::AdvertiseAddress;
use super::{Announcer, CheckState, CheckStatus, Consul, Finder, Service};

const TTL: Duration = Duration::from_secs(30);

const READY: CheckState = CheckState { status: CheckStatus::Passing, output: "", is_draining: None };

/// Keeps tokio from moving paused time by itself while nothing but a socket is waited for.
fn hold_time() -> mpsc::Sender<()> {
    let (held, wait) = mpsc::channel::<()>();
    spawn_blocking(move || _ = wait.recv());
    held
}

fn client(stub: &Stub) -> Consul {
    Consul::new(Settings {
        address: stub.url().parse().unwrap(),
        token: TokenSource::None,
        ca_file: None,
        verifies_certificates: true,
        namespace: None,
    })
    .unwrap()
}

fn server(host: &str) -> Service {
    let advertise: AdvertiseAddress = host.parse().unwrap();
    let listen = "127.0.0.1:8080".parse().unwrap();
    Service::server(listen, false, Some(&advertise), None, &Address::default()).unwrap()
}

/// A server that is announced, and what stops that.
fn announce(stub: &Stub, service: &Service) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (shutdown, (_, state)) = (CancellationToken::new(), watch::channel(READY));
    let announcer = Announcer::new(client(stub), service.clone(), TTL, state, None);
    (shutdown.clone(), tokio::spawn(announcer.run(shutdown)))
}

/// Moves time on by a tenth of a second, with an exchange of its own, so that others have the time for theirs.
async fn pass_time(stub: &Stub) {
    advance(Duration::from_millis(100)).await;
    // Consul does not know it, and nothing changes.
    _ = client(stub).deregister(&Service::worker("nobody", "", "")).await;
}

#[tokio::test(start_paused = true)]
async fn a_check_survives_the_loss_of_two_updates() {
    let (_held, stub, service) = (hold_time(), Stub::start().await, server("a"));
    let (_shutdown, announcing) = announce(&stub, &service);
    let updates = |state: &State| {
        let history = state.catalog.history_of(&service.id);
        history.iter().filter(|kind| **kind == EventKind::Updated(Status::Passing)).count()
    };
    stub.until("it is passing", |state| (updates(state) == 1).then_some(())).await;
    stub.lose_updates(2);
    while stub.read(updates) == 1 {
        pass_time(&stub).await;
    }
    let history = stub.read(|state| state.catalog.history_of(&service.id));
    assert!(!history.contains(&EventKind::Expired), "{history:?}");
    announcing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_registration_in_flight_ends_before_the_service_is_taken_out() {
    let (_held, stub, service) = (hold_time(), Stub::start().await, server("a"));
    stub.set_mode(Mode::Hang);
    let (shutdown, announcing) = announce(&stub, &service);
    stub.until("it is registered", |state| (!state.requests.is_empty()).then_some(())).await;
    shutdown.cancel();
    stub.set_mode(Mode::Answer);
    announcing.await.unwrap();
    let history = stub.read(|state| state.catalog.history_of(&service.id));
    let updated = EventKind::Updated(Status::Passing);
    assert_eq!(history, [EventKind::Registered, updated, EventKind::Deregistered]);
}

#[tokio::test(start_paused = true)]
async fn consul_is_asked_for_servers_once_a_second_at_most() {
    let (_held, stub) = (hold_time(), Stub::start().await);
    let (finder, mut list) = Finder::new(client(&stub));
    let finding = tokio::spawn(finder.run());
    for number in 1..=5 {
        // A change for each question: none is held back.
        client(&stub).register(&server(&format!("a{number}")), CheckStatus::Passing, 100 * TTL).await.unwrap();
        while list.take_if_changed().is_none() {
            pass_time(&stub).await;
        }
    }
    finding.abort();
    let asked: Vec<_> = stub.read(|state| {
        let questions = state.requests.iter().filter(|request| request.path.starts_with("/v1/health/"));
        questions.map(|request| request.at).collect()
    });
    assert!(asked.len() >= 5, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{asked:?}");
}
