//! Heartbeats: how many a second are on disk and answered, one per request and in bodies of a hundred.

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::load::{Request, Script};
use super::ours::Ours;
use super::questions::answer;
use super::rounds::{Contender, measure};
use super::table::{Line, Table, Target};
use super::{Wanted, limit};
use crate::support::{Fleet, Postgres, beat};

const ONE: &str = "beats";
const HUNDRED: &str = "beats-100";

/// As many as a simulated fleet has under way at once: what waits while one batch is committed is the next batch.
const CONNECTIONS: usize = 256;

/// Gateways in front of a hundred workers each.
const GATEWAYS: usize = 10;

/// No two beats of a worker in a row say the same.
const VARIANTS: usize = 4;

/// Compares all that is wanted.
pub async fn compare(wanted: &Wanted, table: &mut Table) -> Result<()> {
    if !wanted.has(ONE) && !wanted.has(HUNDRED) {
        return Ok(());
    }
    let sqlite = Ours::start(None).await;
    let postgres = Postgres::start();
    let on_postgres = match &postgres {
        Ok(postgres) => Ours::start(Some(postgres.url())).await,
        Err(error) => Err(anyhow!("{error:#}")),
    };
    let nothing = tempfile::tempdir()?;
    let limit = limit::start(nothing.path()).await?;
    let on_one_thread = limit::start_on_one_thread(nothing.path()).await?;
    let mut contenders = vec![
        Contender::new("a bare echo", &limit.address, one_by_one()),
        Contender::new("an echo on one thread", &on_one_thread.address, one_by_one()),
    ];
    for ours in [&sqlite, &on_postgres] {
        for script in [one_by_one(), in_hundreds()] {
            contenders.push(match ours {
                Ok(ours) => {
                    check(ours.address(), &limit.address).await?;
                    Contender::new("us", ours.address(), script)
                }
                Err(error) => Contender::absent("us", error),
            });
        }
    }
    measure(&mut contenders).await;
    let [echo, on_one_thread, us @ ..] = contenders.as_slice() else { unreachable!("they were the first") };
    for (database, us) in ["SQLite", "PostgreSQL"].into_iter().zip(us.chunks(2)) {
        let figure = format!("{ONE} on {database}");
        table.add(Line::contest(&figure, "/s", (&us[0], echo), Target::AtLeast(0.5)));
        table.add(Line::contest(&figure, "/s", (&us[0], on_one_thread), Target::Told));
        let figure = format!("{HUNDRED} on {database}");
        let beats = us[1].rate().map(|bodies| bodies * 100.0);
        table.add(Line::value(&figure, "/s", beats, Target::AtLeast(60_000.0)));
    }
    Ok(())
}

/// Every connection speaks for some of the workers, so that none overtakes itself.
fn one_by_one() -> Script {
    let connection = |connection| {
        let mut requests = Vec::new();
        for variant in 0..VARIANTS {
            for worker in (connection..Fleet::A.workers).step_by(CONNECTIONS) {
                let path = format!("/api/v1/workers/{}/heartbeat", Fleet::id(worker));
                requests.push(Request::post(&path, &beat(worker, variant).to_string()));
            }
        }
        requests
    };
    (0..CONNECTIONS).map(connection).collect()
}

/// Every gateway speaks for a hundred workers.
pub fn in_hundreds() -> Script {
    (0..GATEWAYS).map(|gateway| (0..VARIANTS).map(|variant| hundred(gateway, variant, 100)).collect()).collect()
}

/// Beats of so many workers, the ones of this gateway, in one body.
pub fn hundred(gateway: usize, variant: usize, workers: usize) -> Request {
    let workers = (gateway * workers..(gateway + 1) * workers).map(|worker| worker % Fleet::A.workers);
    let beats = workers.map(|worker| {
        let mut beat = beat(worker, variant);
        beat["worker_id"] = Fleet::id(worker).into();
        beat
    });
    Request::post("/api/v1/heartbeats", &json!({"heartbeats": beats.collect::<Vec<_>>()}).to_string())
}

/// Whether beats are taken, and the echo answers as we do.
async fn check(ours: &str, echo: &str) -> Result<()> {
    let one = &one_by_one()[0][0];
    let keys = |answer: &Value| answer.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    let (ours_said, echo_said) = (answer(ours, one).await?, answer(echo, one).await?);
    ensure!(keys(&ours_said) == keys(&echo_said), "{ours_said} is answered, the echo says {echo_said}");
    let many = answer(ours, &in_hundreds()[0][0]).await?;
    let results = many["results"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(results.len() == 100 && results.iter().all(|result| result["status"] == 200), "{many}");
    Ok(())
}
