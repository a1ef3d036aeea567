//! A document that was never seen before: what reading, checking and planning it costs, against asking it again.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;

use super::Wanted;
use super::load::{Connection, Request};
use super::ours::Ours;
use super::questions::graphql;
use super::table::{Line, Table, Target};
use crate::support::documents::FIELDS;
use crate::support::median;

const NAME: &str = "new-document";

/// How many documents; the first few warm up.
const DOCUMENTS: usize = 50;
const WARM_UP: usize = 10;

/// Compares, if it is wanted.
pub async fn compare(wanted: &Wanted, table: &mut Table) -> Result<()> {
    if !wanted.has(NAME) {
        return Ok(());
    }
    let ours = Ours::start(None).await?;
    let mut connection = Connection::open(ours.address()).await?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for document in 0..DOCUMENTS {
        let request = graphql(&json!({"query": format!("query Unseen{document} {{ workers {{ {FIELDS} }} }}")}));
        for times in [&mut first, &mut second] {
            times.push(milliseconds(time(&mut connection, &request).await?));
        }
    }
    let [first, second] = [first, second].map(|times| Ok(median(times[WARM_UP..].to_vec())));
    table.add(Line::ratio(NAME, "ms", first, ("the same again", second), Target::AtMost(4.0)));
    Ok(())
}

/// How long one answer takes.
pub async fn time(connection: &mut Connection, request: &Request) -> Result<Duration> {
    let asked = Instant::now();
    connection.exchange(request, |_| ()).await?;
    Ok(asked.elapsed())
}

/// As tables show them.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
