//! Falling silent and coming back are told once each, however many servers look; and nobody is told of whom a server
//! just did not hear.

use std::collections::BTreeMap;

use aetherium::auth::Caller;
use aetherium::cluster::{EventFilter, EventKind};
use aetherium::resolvers::worker_input::{HeartbeatInput, RegistrationInput};
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::*;

/// What the log tells of availability, in order: worker, kind, revision.
async fn announcements(cluster: &TestCluster) -> Vec<(String, EventKind, u64)> {
    let log = cluster.server().journal().event_log();
    let filter =
        EventFilter { kinds: Some(vec![EventKind::WorkerOffline, EventKind::WorkerOnline]), ..Default::default() };
    let start = cluster.server().journal().snapshot().cursor_after(0);
    let events = log.events_after(&start, &filter, u64::from(u32::MAX)).await.unwrap().events;
    let told = |event: &aetherium::cluster::Event| {
        (event.worker_id.as_ref().unwrap().to_string(), event.kind, event.cursor.revision)
    };
    events.iter().map(|event| told(event)).collect()
}

/// The same, by worker.
async fn announcements_by_worker(cluster: &TestCluster) -> BTreeMap<String, Vec<(EventKind, u64)>> {
    let mut by_worker = BTreeMap::<_, Vec<_>>::new();
    for (worker, kind, revision) in announcements(cluster).await {
        by_worker.entry(worker).or_default().push((kind, revision));
    }
    by_worker
}

/// Registers so many workers that are not heard from after that.
async fn register(cluster: &TestCluster, ids: impl IntoIterator<Item = String>) {
    let resolvers = cluster.server().resolvers();
    let registered = join_all(ids.into_iter().map(async |id| {
        let registration: RegistrationInput = serde_json::from_value(worker(&id).registration()).unwrap();
        resolvers.register_worker(&Caller::unrestricted(), &id, registration).await
    }));
    for registered in registered.await {
        registered.unwrap();
    }
}

/// Heartbeats of so many workers; answers the revision of each.
async fn beat(cluster: &TestCluster, ids: impl IntoIterator<Item = String>) -> Vec<(String, u64)> {
    let resolvers = cluster.server().resolvers();
    join_all(ids.into_iter().map(async |id| {
        let beat: HeartbeatInput = serde_json::from_value(json!({"incarnation": 1})).unwrap();
        let recorded = resolvers.record_heartbeat(&Caller::unrestricted(), &id, beat).await.unwrap();
        (id, recorded.worker.view.snapshot.revision)
    }))
    .await
}

fn ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("w{n:05}"))
}

/// Waits until a server has seen what another one committed.
async fn catch_up(cluster: &TestCluster, revision: u64) {
    in_time(cluster.server().journal().snapshot_at_least(revision)).await.expect("it should look for others' commits");
}

/// Lets the sweeper of a cluster's server look every second, for so many seconds of its clock.
async fn look_for(cluster: &TestCluster, looks: u64) -> usize {
    let mut announced = 0;
    for _ in 0..looks {
        cluster.advance(seconds(1));
        announced += cluster.sweep().await;
    }
    announced
}

/// How many are silent at once. They are never all of the cluster, for that would be taken for the server's deafness.
const MANY: usize = 10_000;

// reliability F7, C4
#[tokio::test]
async fn of_three_servers_that_see_ten_thousand_expire_one_tells() {
    TestDatabase::postgres()
        .await
        .run(async |a: TestCluster| {
            register(&a, ids(MANY)).await;
            let (b, c) = (a.another_server().await, a.another_server().await);
            // Not in their grace any more.
            a.advance(seconds(61));
            for cluster in [&a, &b, &c] {
                assert_eq!(cluster.sweep().await, 0, "all at once: it may be the server that hears nothing");
            }
            // A tenth of them beats while it is found out, by another server than the one that may tell.
            let late: Vec<_> = ids(MANY).step_by(10).collect();
            let (first, second) = late.split_at(late.len() / 2);
            beat(&a, ["w00000".to_owned()]).await;
            let (here, there, elsewhere, beaten, more) = tokio::join!(
                a.sweep(),
                b.sweep(),
                c.sweep(),
                beat(&b, first.iter().cloned()),
                beat(&c, second.iter().cloned()),
            );
            let beaten: BTreeMap<_, _> = beaten.into_iter().chain(more).collect();
            let last = [a.revision(), b.revision(), c.revision()].into_iter().max().unwrap();
            let mut told = here + there + elsewhere;
            for cluster in [&a, &b, &c] {
                catch_up(cluster, last).await;
                told += cluster.sweep().await;
            }
            let by_worker = announcements_by_worker(&a).await;
            let offline = by_worker.values().flatten().filter(|(kind, _)| *kind == EventKind::WorkerOffline).count();
            assert_eq!(told, offline, "each server says how many it told of");
            for id in ids(MANY) {
                let told = by_worker.get(&id).map(Vec::as_slice).unwrap_or_default();
                match beaten.get(&id) {
                    None => assert!(matches!(told, [(EventKind::WorkerOffline, _)]), "{id}: {told:?}"),
                    // It was heard: either it was not told of, or it was told of before and is back since that beat.
                    Some(beat) => match told {
                        [] => {}
                        [(EventKind::WorkerOffline, gone), (EventKind::WorkerOnline, back)] => {
                            assert!(gone <= back && back == beat, "{id}: {told:?}, heard at {beat}");
                        }
                        odd => panic!("{id}: {odd:?}"),
                    },
                }
            }
            assert_eq!(a.everything().await["/api/v1/cluster/stats"], b.everything().await["/api/v1/cluster/stats"]);
        })
        .await;
}

on_both_databases! {
    // One commit of a large fleet would run over its time, and fail again each second.
    async fn many_that_fall_silent_at_once_are_told_in_several_commits_between_which_others_have_their_turn(
        cluster: TestCluster
    ) {
        register(&cluster, ids(5_001)).await;
        cluster.advance(seconds(61));
        beat(&cluster, ids(1)).await;
        let drain = cluster.rest().post("/api/v1/workers/w00000/drain").into_future();
        let (announced, drained) = tokio::join!(cluster.sweep(), drain);
        assert_eq!((announced, drained.status), (5_000, 200));
        let mut by_revision = BTreeMap::<u64, usize>::new();
        for (_, _, revision) in announcements(&cluster).await {
            *by_revision.entry(revision).or_default() += 1;
        }
        assert!(by_revision.values().all(|told| *told <= 2_000), "{by_revision:?}");
        let (last, drained) = (by_revision.keys().next_back(), cluster.worker("w00000").await["revision"].as_u64());
        assert!(drained.as_ref() < last, "drained at {drained:?}: {by_revision:?}");
    }

    async fn many_times_in_the_future_are_corrected_in_several_commits(cluster: TestCluster) {
        let clock = cluster.clock();
        for prefix in ["a", "b"] {
            clock.set(clock.now() + chrono::TimeDelta::hours(1));
            register(&cluster, ids(5_001).map(|id| format!("{prefix}-{id}"))).await;
        }
        let before = cluster.revision();
        clock.set(START.parse().unwrap());
        cluster.sweep().await;
        assert_eq!(cluster.revision() - before, 6, "10,002 workers");
        let list = cluster.rest().get("/api/v1/workers").await.json();
        assert!(list["workers"].as_array().unwrap().iter().all(|worker| worker["last_seen"] == START));
        let cluster = cluster.restart().await;
        assert_eq!(cluster.revision(), before + 6, "there is nothing left to correct");
        clock.set(clock.now() - chrono::TimeDelta::hours(1));
        let cluster = cluster.restart().await;
        assert_eq!(cluster.revision(), before + 12, "a server that starts does the same");
    }

    // regression: a clock that was set while a worker was being announced made all others silent
    async fn a_clock_that_is_set_during_an_announcement_is_noticed(cluster: TestCluster) {
        register(&cluster, ids(3)).await;
        cluster.advance(seconds(50));
        beat(&cluster, ["w00001", "w00002"].map(str::to_owned)).await;
        cluster.advance(seconds(11));
        let clock = cluster.clock();
        {
            let mut sweep = std::pin::pin!(cluster.sweep());
            tokio::select! {
                biased;
                _ = &mut sweep => panic!("it waits for its commit"),
                () = std::future::ready(()) => {}
            }
            clock.set(clock.now() + chrono::TimeDelta::hours(1));
            assert_eq!(sweep.await, 1);
        }
        assert_eq!(cluster.sweep().await, 0, "nobody can tell for how long they have been silent");
        assert_eq!(look_for(&cluster, 50).await, 0);
        beat(&cluster, ["w00001".to_owned()]).await;
        assert_eq!(look_for(&cluster, 11).await, 1, "who is silent from then on is told");
    }

    // regression: a clock that was set twice between two looks made those silent who beat in between
    async fn a_clock_that_is_set_back_and_forward_between_two_looks_is_noticed(cluster: TestCluster) {
        register(&cluster, ids(3)).await;
        cluster.advance(seconds(50));
        beat(&cluster, ["w00001", "w00002"].map(str::to_owned)).await;
        assert_eq!(look_for(&cluster, 11).await, 1);
        let clock = cluster.clock();
        clock.set(clock.now() - chrono::TimeDelta::hours(1));
        beat(&cluster, ["w00001", "w00002"].map(str::to_owned)).await;
        clock.set(clock.now() + chrono::TimeDelta::hours(1));
        assert_eq!(look_for(&cluster, 50).await, 0);
        beat(&cluster, ["w00001".to_owned()]).await;
        assert_eq!(look_for(&cluster, 11).await, 1, "who is silent from then on is told");
    }

    // semantics 2
    async fn after_a_start_every_worker_gets_one_whole_time_out(cluster: TestCluster) {
        register(&cluster, ids(3)).await;
        cluster.advance(minutes(10));
        let cluster = cluster.restart().await;
        assert_eq!(look_for(&cluster, 30).await, 0);
        beat(&cluster, ["w00001".to_owned()]).await;
        assert_eq!(look_for(&cluster, 30).await, 0);
        assert_eq!(look_for(&cluster, 1).await, 2);
        let told: Vec<_> = announcements(&cluster).await.into_iter().map(|(worker, kind, _)| (worker, kind)).collect();
        assert_eq!(told, ["w00000", "w00002"].map(|id| (id.to_owned(), EventKind::WorkerOffline)));
    }

    // reliability 4, row 4
    async fn nobody_is_told_to_be_offline_after_it_was_heard(cluster: TestCluster) {
        register(&cluster, ids(200)).await;
        beat(&cluster, ids(1)).await;
        cluster.advance(seconds(30));
        beat(&cluster, ids(1)).await;
        for round in 0..5 {
            cluster.advance(seconds(31));
            beat(&cluster, ids(1)).await;
            cluster.advance(seconds(30));
            // The sweep has chosen its candidates by the time the beats come in, or not.
            let beats = beat(&cluster, ids(200).skip(1).filter(|id| !id.ends_with(['7', '9'])));
            let (beaten, _) = if round % 2 == 0 {
                tokio::join!(beats, cluster.sweep())
            } else {
                let (told, beaten) = tokio::join!(cluster.sweep(), beats);
                (beaten, told)
            };
            let by_worker = announcements_by_worker(&cluster).await;
            for (id, beat) in beaten {
                let last = by_worker.get(&id).and_then(|told| told.last());
                let is_right = last.is_none_or(|(kind, at)| *kind == EventKind::WorkerOnline && *at <= beat);
                assert!(is_right, "{id} was heard at {beat}: {last:?}");
            }
        }
        let by_worker = announcements_by_worker(&cluster).await;
        let twice = by_worker.iter().find(|(_, told)| told.windows(2).any(|two| two[0].0 == two[1].0));
        assert_eq!(twice, None, "gone and back take turns");
        let is_silent = |id: &str| by_worker[id].iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
        assert_eq!(is_silent("w00007"), [EventKind::WorkerOffline], "who stays away is told of once");
    }

    async fn who_comes_back_is_told_with_the_beat_it_comes_back_with(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2").silent_for(seconds(61))]).await;
        assert_eq!(cluster.sweep().await, 1);
        assert_eq!(cluster.worker("w2").await["status"], "offline");
        let beats = ["w2", "w1"].map(|id| json!({"worker_id": id, "incarnation": 1}));
        let answer = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).await.json();
        let revision = answer["results"][0]["revision"].as_u64().unwrap();
        let told = announcements(&cluster).await;
        assert_eq!(told[1..], [("w2".to_owned(), EventKind::WorkerOnline, revision)], "{told:?}");
        cluster.beat("w2", json!({"incarnation": 1})).await;
        assert_eq!((cluster.sweep().await, announcements(&cluster).await.len()), (0, 2));
        // Once per transition, not once for ever.
        for _ in 0..2 {
            cluster.advance(seconds(61));
            cluster.beat("w1", json!({"incarnation": 1})).await;
            assert_eq!(cluster.sweep().await, 1);
            cluster.beat("w2", json!({"incarnation": 1})).await;
        }
        assert_eq!(announcements(&cluster).await.len(), 6);
    }

    async fn who_said_goodbye_is_not_told_to_have_fallen_silent(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        cluster.rest().delete("/api/v1/workers/w1").await;
        cluster.advance(seconds(61));
        assert_eq!(cluster.sweep().await, 1);
        assert_eq!(announcements(&cluster).await.len(), 1);
    }

    async fn when_all_fall_silent_at_once_it_is_believed_only_after_another_time_out(cluster: TestCluster) {
        register(&cluster, ids(10)).await;
        cluster.advance(seconds(60));
        assert_eq!(look_for(&cluster, 60).await, 0, "the server may be the one that hears nothing");
        assert_eq!(cluster.worker("w00000").await["is_healthy"], false, "health is strictly a matter of age");
        assert_eq!(look_for(&cluster, 2).await, 10);
        assert_eq!(look_for(&cluster, 2).await, 0);
        assert_eq!(announcements(&cluster).await.len(), 10);
    }

    async fn a_few_workers_may_well_die_together(cluster: TestCluster) {
        register(&cluster, ids(9)).await;
        cluster.advance(seconds(60));
        assert_eq!(look_for(&cluster, 1).await, 9);
    }

    async fn one_that_is_still_heard_shows_that_the_others_are_silent(cluster: TestCluster) {
        register(&cluster, ids(20)).await;
        cluster.advance(seconds(60));
        assert_eq!(look_for(&cluster, 5).await, 0);
        beat(&cluster, ids(1)).await;
        assert_eq!(look_for(&cluster, 1).await, 19);
    }

    // They do not beat all at the same moment, so that their time is not over at the same moment either.
    async fn workers_that_beat_one_after_the_other_are_not_told_one_after_the_other_when_nobody_is_heard(
        cluster: TestCluster
    ) {
        for id in ids(20) {
            register(&cluster, [id]).await;
            cluster.advance(std::time::Duration::from_millis(500));
        }
        // From here on the server hears nobody.
        assert_eq!(look_for(&cluster, 62).await, 0);
        assert_eq!(announcements(&cluster).await, []);
        beat(&cluster, ids(20)).await;
        assert_eq!(look_for(&cluster, 59).await, 0, "they were there all the time");
        assert_eq!(announcements(&cluster).await, []);
    }

    // The brake holds every time, not only the first.
    async fn when_all_come_back_and_fall_silent_again_it_is_a_new_silence(cluster: TestCluster) {
        register(&cluster, ids(10)).await;
        cluster.advance(seconds(60));
        for _ in 0..3 {
            assert_eq!(look_for(&cluster, 30).await, 0);
            beat(&cluster, ids(10)).await;
            assert_eq!(look_for(&cluster, 60).await, 0);
        }
        assert_eq!(announcements(&cluster).await, []);
        // And after it was believed, too.
        assert_eq!(look_for(&cluster, 62).await, 10);
        beat(&cluster, ids(10)).await;
        assert_eq!(look_for(&cluster, 60 + 60).await, 0);
        assert_eq!(look_for(&cluster, 2).await, 10);
    }
}

// semantics 2; while a database is away, no heartbeat can be recorded
#[tokio::test]
async fn after_an_outage_of_the_database_every_worker_gets_one_whole_time_out() {
    TestDatabase::postgres()
        .await
        .run(async |database: TestDatabase| {
            let cluster = TestCluster::on(&database).await;
            register(&cluster, ids(3)).await;
            assert_eq!(look_for(&cluster, 50).await, 0);
            beat(&cluster, ids(3)).await;
            database.cut_off().await;
            for _ in 0..6 {
                cluster.advance(seconds(10));
                assert_eq!(cluster.beat("w00000", json!({"incarnation": 1})).await.status, 503);
            }
            database.let_in().await;
            // When this has come through, nothing is under way any more that could fail later.
            assert_eq!(cluster.beat("w00000", json!({"incarnation": 1})).await.status, 200);
            cluster.advance(seconds(1));
            assert_eq!(cluster.sweep().await, 0, "silent for 61 s, of which the database was away for 60 s");
            beat(&cluster, ids(2)).await;
            assert_eq!(look_for(&cluster, 59).await, 0);
            assert_eq!(look_for(&cluster, 1).await, 1);
            let told: Vec<_> = announcements(&cluster).await.into_iter().map(|(id, kind, _)| (id, kind)).collect();
            assert_eq!(told, [("w00002".to_owned(), EventKind::WorkerOffline)]);
        })
        .await;
}
