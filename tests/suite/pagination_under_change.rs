//! Walks through long lists, page by page, while the fleet goes on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::*;

const FIELDS: [&str; 7] = ["id", "hostname", "zone", "cpu_usage", "memory_usage", "vm_count", "last_seen"];

/// What a fleet does between two pages. The same for the same seed.
struct Fleet {
    seed: u64,
    beats: u64,
}

impl Fleet {
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    /// Some beat, with more or less work than before; some describe themselves anew; some come and go.
    async fn go_on(&mut self, cluster: &TestCluster) {
        cluster.advance(std::time::Duration::from_millis(1_500));
        let mut beats = Vec::new();
        for _ in 0..8 {
            let id = format!("w{:02}", self.random(SIZE));
            let (cores, memory) = (self.random(17), self.random(64) * 512);
            let mut beat =
                json!({"worker_id": id, "incarnation": 1, "used_cpu_cores": cores, "used_memory_mb": memory});
            if self.random(2) == 0 {
                let vms: Vec<_> = (0..self.random(4)).map(|n| json!({"id": format!("vm-{id}-{n}")})).collect();
                beat["vms"] = vms.into();
            }
            beats.push(beat);
            self.beats += 1;
        }
        let answer = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let id = format!("w{:02}", self.random(SIZE));
        let moved = registration(&id, self.random(5));
        assert_eq!(cluster.rest().put(&format!("/api/v1/workers/{id}")).json(moved).await.status, 200);
        let guest = format!("x{}", self.random(3));
        if self.random(2) == 0 {
            cluster.rest().put(&format!("/api/v1/workers/{guest}")).json(worker(&guest).registration()).await;
        } else {
            cluster.rest().delete(&format!("/api/v1/workers/{guest}?purge=true&force=true")).await;
        }
    }
}

const SIZE: u64 = 40;

fn registration(id: &str, place: u64) -> Value {
    worker(id)
        .zone(&format!("zone{place}"))
        .registers("hostname", format!("host{place}"))
        .registers("boot_id", "same")
        .registration()
}

async fn furnish(cluster: &TestCluster) -> Fleet {
    for n in 0..SIZE {
        let id = format!("w{n:02}");
        let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration(&id, n % 5)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let mut fleet = Fleet { seed: 0x9E37_79B9_7F4A_7C15, beats: 0 };
    for _ in 0..5 {
        fleet.go_on(cluster).await;
    }
    fleet
}

/// How often each of those that were there throughout was on a page.
fn assert_everybody_was_met(pages: &[Vec<String>], walk: &str) {
    let mut met = BTreeMap::<&str, usize>::new();
    for id in pages.iter().flatten() {
        *met.entry(id).or_default() += 1;
    }
    for n in 0..SIZE {
        let id = format!("w{n:02}");
        let times = met.get(&*id).copied().unwrap_or_default();
        assert!((1..=2).contains(&times), "{walk}: {id} was on {times} of {} pages: {pages:?}", pages.len());
    }
    // Everybody at their own place, and once more who has moved since.
    assert!(pages.len() <= 2 * (SIZE as usize + 3).div_ceil(LIMIT) + 1, "{walk}: {} pages", pages.len());
}

const LIMIT: usize = 6;

on_both_databases! {
    async fn whoever_is_there_throughout_a_walk_is_met(cluster: TestCluster) {
        let mut fleet = furnish(&cluster).await;
        for field in FIELDS {
            for sign in ["", "-"] {
                let walk = format!("sort={sign}{field}");
                let mut pages = Vec::new();
                let mut path = format!("/api/v1/workers?{walk}&limit={LIMIT}");
                loop {
                    let answer = cluster.rest().get(&path).await;
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                    let ids = pick(&answer.json()["workers"], ["id"]);
                    pages.push(ids.into_iter().map(|[id]| id.as_str().unwrap().to_owned()).collect());
                    let Some(link) = answer.header("link") else { break };
                    path = format!("/api/v1/workers{}", &link[1..link.find('>').unwrap()]);
                    fleet.go_on(&cluster).await;
                }
                assert_everybody_was_met(&pages, &walk);
            }
        }
    }

    async fn a_walk_in_graphql_meets_everybody_from_either_end(cluster: TestCluster) {
        let mut fleet = furnish(&cluster).await;
        for field in FIELDS {
            for direction in ["ASC", "DESC"] {
                for (size, from, more, next) in [
                    ("first", "after", "hasNextPage", "endCursor"),
                    ("last", "before", "hasPreviousPage", "startCursor"),
                ] {
                    let query = format!(
                        "query($from: String) {{ workersConnection({size}: {LIMIT}, {from}: $from, \
                         orderBy: {{field: {}, direction: {direction}}}) {{ nodes {{ id }} pageInfo {{ {more} {next} }} }} }}",
                        field.to_uppercase()
                    );
                    let (mut pages, mut place) = (Vec::new(), Value::Null);
                    loop {
                        let mut answer = cluster.graphql_answer(&query, json!({"from": place})).await;
                        let mut page = answer["data"]["workersConnection"].take();
                        assert!(page.is_object(), "{answer}");
                        let ids = pick(&page["nodes"], ["id"]);
                        pages.push(ids.into_iter().map(|[id]| id.as_str().unwrap().to_owned()).collect());
                        if page["pageInfo"][more] == false {
                            break;
                        }
                        place = page["pageInfo"][next].take();
                        fleet.go_on(&cluster).await;
                    }
                    assert_everybody_was_met(&pages, &format!("{size} by {field} {direction}"));
                }
            }
        }
    }

    // While nothing moves, pages are the parts of the list, and each of its cursors leads back to where it came from.
    async fn pages_of_a_fleet_that_stands_still_are_the_list(cluster: TestCluster) {
        furnish(&cluster).await;
        for field in FIELDS {
            for sign in ["", "-"] {
                let all = cluster.rest().get(&format!("/api/v1/workers?sort={sign}{field}")).await.json();
                let mut walked = Vec::new();
                let mut path = format!("/api/v1/workers?sort={sign}{field}&limit={LIMIT}");
                loop {
                    let answer = cluster.rest().get(&path).await;
                    walked.extend(answer.json()["workers"].as_array().unwrap().iter().map(|row| row["id"].clone()));
                    let Some(link) = answer.header("link") else { break };
                    path = format!("/api/v1/workers{}", &link[1..link.find('>').unwrap()]);
                }
                let listed: Vec<_> = pick(&all["workers"], ["id"]).into_iter().map(|[id]| id).collect();
                assert_eq!(walked, listed, "{sign}{field}");
            }
        }
    }
}

/// Page by page at servers that take turns, each of which hears the beats.
#[tokio::test]
async fn a_walk_over_several_servers_meets_everybody() {
    TestDatabase::postgres()
        .await
        .run(async |a: TestCluster| {
            let mut fleet = furnish(&a).await;
            let b = a.another_server().await;
            for sort in ["-last_seen", "cpu_usage"] {
                let mut pages = Vec::new();
                let mut path = format!("/api/v1/workers?sort={sort}&limit={LIMIT}");
                for round in 0.. {
                    let here = if round % 2 == 0 { &a } else { &b };
                    fleet.go_on(here).await;
                    let answer = here.rest().get(&path).await;
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                    let ids = pick(&answer.json()["workers"], ["id"]);
                    pages.push(ids.into_iter().map(|[id]| id.as_str().unwrap().to_owned()).collect());
                    let Some(link) = answer.header("link") else { break };
                    path = format!("/api/v1/workers{}", &link[1..link.find('>').unwrap()]);
                }
                assert_everybody_was_met(&pages, sort);
            }
        })
        .await;
}
