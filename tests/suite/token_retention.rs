//! Tokens that ended do not stay for ever: which leave, when, and that a server that had tokens stays closed.

use std::time::Duration;

use aetherium::resolvers::tokens::TokenInput;
use serde_json::json;

use crate::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn prune(cluster: &TestCluster) {
    cluster.server().retention_pruner().prune().await.unwrap();
}

/// The ids of the tokens that a server knows.
fn known(cluster: &TestCluster) -> Vec<String> {
    cluster.server().journal().snapshot().tokens().map(|token| token.id.to_string()).collect()
}

fn sorted(tokens: &[&TestToken]) -> Vec<String> {
    let mut ids: Vec<_> = tokens.iter().map(|token| token.id.clone()).collect();
    ids.sort();
    ids
}

async fn revoke(cluster: &TestCluster, token: &TestToken) {
    cluster.server().resolvers().revoke_token(&aetherium::auth::Caller::server(), &token.id).await.unwrap();
}

fn expiring(role: &str, expires_in: &str) -> TokenInput {
    TokenInput { expires_in: Some(expires_in.to_owned()), ..role_token(role) }
}

on_both_databases! {
    async fn a_token_that_ended_leaves_when_operators_events_do(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (revoked, expired) =
            (cluster.token(role_token("viewer")).await, cluster.token(expiring("viewer", "48h")).await);
        // Revoked after it had ended by itself, which is what counts.
        let both = cluster.token(expiring("viewer", "1h")).await;
        revoke(&cluster, &revoked).await;
        cluster.advance(DAY);
        revoke(&cluster, &both).await;
        cluster.advance(364 * DAY);
        prune(&cluster).await;
        assert_eq!(known(&cluster), sorted(&[&admin, &revoked, &expired, &both]), "a year is not more than a year");
        cluster.advance(seconds(3_600));
        prune(&cluster).await;
        assert_eq!(known(&cluster), sorted(&[&admin, &expired, &both]));
        cluster.advance(seconds(1));
        prune(&cluster).await;
        assert_eq!(known(&cluster), sorted(&[&admin, &expired]));
        let revision = cluster.revision();
        prune(&cluster).await;
        assert_eq!(cluster.revision(), revision, "nothing is committed if none is old");
        cluster.advance(2 * DAY);
        prune(&cluster).await;
        let cluster = cluster.restart().await;
        assert_eq!(known(&cluster), sorted(&[&admin]));
        // They are refused as tokens of another server are.
        for token in [&revoked, &expired, &both] {
            cluster.holder(token).get("/api/v1/workers").await.assert_failure(401, "The token is not one of this server");
        }
        assert_eq!(cluster.holder(&admin).get("/api/v1/workers").await.status, 200);
        let listed = cluster.holder(&admin).get("/api/v1/tokens").await.json();
        assert_eq!(pick(&listed["tokens"], ["id"]), [[json!(admin.id)]]);
    }

    async fn a_token_that_a_worker_belongs_to_stays(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let gateway = cluster.token(gateway_token(5)).await;
        for id in ["w1", "w2"] {
            let answer = cluster.holder(&gateway).put(&format!("/api/v1/workers/{id}")).json(worker(id).registration()).await;
            assert_eq!(answer.status, 201);
        }
        revoke(&cluster, &gateway).await;
        cluster.advance(400 * DAY);
        for id in ["w1", "w2"] {
            prune(&cluster).await;
            assert_eq!(known(&cluster), sorted(&[&admin, &gateway]));
            assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/workers/{id}?purge=true")).await.status, 204);
        }
        prune(&cluster).await;
        assert_eq!(known(&cluster), sorted(&[&admin]));
    }

    async fn a_server_whose_tokens_all_ended_long_ago_stays_closed(cluster: TestCluster) {
        let (one, other) = (cluster.token(expiring("admin", "1h")).await, cluster.token(expiring("admin", "2h")).await);
        cluster.advance(800 * DAY);
        for _ in 0..3 {
            prune(&cluster).await;
            assert_eq!(known(&cluster), sorted(&[&other]), "the one that ended last");
        }
        let revision = cluster.revision();
        prune(&cluster).await;
        assert_eq!(cluster.revision(), revision);
        let cluster = cluster.restart().await;
        for client in [cluster.rest(), cluster.holder(&one), cluster.holder(&other)] {
            assert_eq!(client.get("/api/v1/workers").await.status, 401);
        }
        // The way back in.
        let admin = cluster.token(role_token("admin")).await;
        prune(&cluster).await;
        assert_eq!(known(&cluster), sorted(&[&admin]));
    }
}

/// Servers that prune at once do not remove each other's last one, and one that did not prune learns of it.
#[tokio::test]
async fn removed_tokens_leave_other_servers_as_well() {
    TestDatabase::postgres()
        .await
        .run(async |one: TestCluster| {
            let mut tokens = Vec::new();
            for _ in 0..5 {
                tokens.push(one.token(expiring("admin", "1h")).await);
            }
            let (two, third) = (one.another_server().await, one.another_server().await);
            assert_eq!(known(&third), known(&one));
            one.advance(800 * DAY);
            let (a, b) = (one.server().retention_pruner(), two.server().retention_pruner());
            let (a, b) = in_time(async { tokio::join!(a.prune(), b.prune()) }).await;
            a.unwrap();
            b.unwrap();
            let read = one.revision().max(two.revision());
            for server in [&one, &two, &third] {
                in_time(server.server().journal().snapshot_at_least(read)).await.unwrap();
                assert_eq!(known(server).len(), 1);
                assert_eq!(known(server), known(&one));
                assert_eq!(server.rest().get("/api/v1/workers").await.status, 401);
            }
        })
        .await;
}
