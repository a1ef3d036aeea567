//! What changes because time passes, and for no other reason: whoever follows is told at that moment, in both
//! protocols.

use std::pin::pin;
use std::time::Duration;

use aetherium::auth::Caller;
use aetherium::cluster::WorkerFilter;
use futures_util::{StreamExt as _, poll};
use serde_json::{Value, json};

use crate::harness::*;

const SSE: (&str, &str) = ("accept", "text/event-stream");

const STATS: &str = "subscription { clusterStats(every: \"50ms\") {
    totalWorkers activeWorkers drainingWorkers offlineWorkers schedulableWorkers revision
} }";

/// The same figures by REST.
async fn stats(cluster: &TestCluster) -> Value {
    let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
    json!({
        "totalWorkers": stats["total_workers"], "activeWorkers": stats["active_workers"],
        "drainingWorkers": stats["draining_workers"], "offlineWorkers": stats["offline_workers"],
        "schedulableWorkers": stats["schedulable_workers"], "revision": stats["revision"],
    })
}

on_both_databases! {
    // Nobody commits anything: no beat, no sweep. A dozen are silent at once, and others at other times.
    async fn statistics_are_told_at_the_moment_they_change(cluster: TestCluster) {
        cluster.add((0..12).map(|n| worker(&format!("a{n}")).silent_for(seconds(3)))).await;
        cluster.add([worker("b"), worker("c").silent_for(seconds(7)), worker("d").silent_for(seconds(20))]).await;
        cluster.rest().post("/api/v1/workers/c/drain").await;
        let port = Port::of(&cluster).await;
        let mut stream = HttpStream::post(&port.authority(), "/graphql", &[SSE], &json!({"query": STATS})).await;
        let mut socket = port.client().await;
        socket.subscribe("1", STATS, json!({})).await;
        let mut last = Value::Null;
        let mut changes = 0;
        for _ in 0..90 {
            let now = stats(&cluster).await;
            if now != last {
                changes += 1;
                assert_eq!(in_time(stream.message()).await.json()["data"]["clusterStats"], now);
                assert_eq!(in_time(socket.next("1")).await["clusterStats"], now);
                last = now;
            }
            cluster.advance(seconds(1));
        }
        assert_eq!(changes, 5, "the beginning, and four moments: {last}");
        assert_eq!(last["offlineWorkers"], 15);
    }

    // To the millisecond, and not before: exactly as long as they may be silent is not too long.
    async fn nothing_is_told_before_its_moment(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let resolvers = cluster.server().resolvers();
        let mut stream = pin!(resolvers.watch_cluster_stats(&Caller::unrestricted(), Some(Duration::from_millis(50))).unwrap().map(Result::unwrap));
        assert_eq!(stream.next().await.unwrap().offline_workers, 0);
        cluster.advance(seconds(60));
        let quiet = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        assert_eq!(stats(&cluster).await["offlineWorkers"], 0);
        cluster.advance(Duration::from_millis(1));
        assert_eq!(in_time(stream.next()).await.unwrap().offline_workers, 1);
        assert_eq!(stats(&cluster).await["offlineWorkers"], 1);
    }

    // Who follows those that are offline, and who follows all.
    async fn a_worker_is_told_offline_at_that_moment(cluster: TestCluster) {
        cluster.add([worker("w1").silent_for(seconds(10)), worker("w2"), worker("w3").silent_for(minutes(2))]).await;
        let resolvers = cluster.server().resolvers();
        let offline = WorkerFilter { is_healthy: Some(false), ..WorkerFilter::default() };
        let mut offline = pin!(resolvers.watch_heartbeats(&Caller::unrestricted(), offline, None).unwrap().map(Result::unwrap));
        let mut all = pin!(resolvers.watch_heartbeats(&Caller::unrestricted(), WorkerFilter::default(), None).unwrap().map(Result::unwrap));
        let told = |beat: aetherium::resolvers::watch::Heartbeat| {
            format!("{} {}", beat.worker.worker.id, beat.worker.status())
        };
        assert_eq!(told(offline.next().await.unwrap()), "w3 offline");
        for expected in ["w1 active", "w2 active", "w3 offline"] {
            assert_eq!(told(all.next().await.unwrap()), expected);
        }
        assert!(poll!(offline.next()).is_pending() && poll!(all.next()).is_pending());
        for (by, id) in [(51, "w1"), (10, "w2")] {
            cluster.advance(seconds(by));
            assert_eq!(cluster.worker(id).await["status"], "offline");
            assert_eq!(told(in_time(offline.next()).await.unwrap()), format!("{id} offline"));
            assert_eq!(told(in_time(all.next()).await.unwrap()), format!("{id} offline"));
            assert!(poll!(offline.next()).is_pending() && poll!(all.next()).is_pending());
        }
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(told(in_time(all.next()).await.unwrap()), "w1 active");
        let last = in_time(offline.next()).await.unwrap();
        assert!(last.is_last, "it has left the filter");
        assert_eq!(told(last), "w1 active");
        assert!(poll!(offline.next()).is_pending());
    }

    // Whoever follows was told when to look again, by a clock that was an hour ahead.
    async fn a_silence_is_told_by_the_clock_as_it_is_set(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let resolvers = cluster.server().resolvers();
        let offline = WorkerFilter { is_healthy: Some(false), ..WorkerFilter::default() };
        let mut offline = pin!(resolvers.watch_heartbeats(&Caller::unrestricted(), offline, None).unwrap().map(Result::unwrap));
        let mut stats = pin!(resolvers.watch_cluster_stats(&Caller::unrestricted(), Some(Duration::from_millis(50))).unwrap().map(Result::unwrap));
        assert_eq!(stats.next().await.unwrap().offline_workers, 0);
        assert!(poll!(offline.next()).is_pending());
        cluster.clock().set(cluster.clock().now() - Duration::from_secs(3_600));
        cluster.sweep().await;
        assert!(poll!(offline.next()).is_pending(), "it is not silent");
        cluster.advance(seconds(61));
        assert_eq!(in_time(offline.next()).await.unwrap().worker.worker.id.as_str(), "w1");
        assert_eq!(in_time(stats.next()).await.unwrap().offline_workers, 1);
    }
}
