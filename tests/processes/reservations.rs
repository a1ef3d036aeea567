//! kill -9 around the moment in which a VM takes its slot: no slot is lost, none is counted twice, and none is held for ever.

use reqwest::Method;
use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::harness::{Postgres, Server, eventually, http};

/// How often the server is killed.
const KILLS: usize = 8;

async fn reserve(server: &Server, expires_in: &str) -> Value {
    let body = json!({"vcpus": 1, "memory_mb": 1, "expires_in": expires_in});
    let (status, reservation) = server.change(Method::POST, "/reservations", Some(&body)).await;
    assert_eq!(status, 201, "{reservation}");
    reservation
}

/// A heartbeat with all VMs, each with the reservation that it takes.
fn heartbeat(vms: &[(String, String)]) -> Value {
    let vms = vms.iter().map(|(id, reservation)| json!({"id": id, "vcpus": 1, "reservation_id": reservation}));
    json!({"incarnation": 1, "vms": vms.collect::<Vec<_>>()})
}

async fn a_server_that_is_killed_while_vms_take_their_slots(database: TestDatabase) {
    let mut server = Server::start(&database).await;
    let registration = json!({"hostname": "w1", "address": "10.0.0.1:1", "cpu_cores": 64, "memory_mb": 64_000});
    server.put("/workers/w1", &registration).await;
    let mut vms = Vec::new();
    let beat = async |server: &Server, vms: &[(String, String)]| {
        let answer = server.change(Method::POST, "/workers/w1/heartbeat", Some(&heartbeat(vms))).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    };
    beat(&server, &vms).await;
    let abandoned = reserve(&server, "10s").await;
    for kill in 0..KILLS {
        let reservation = reserve(&server, "1h").await;
        let id = reservation["id"].as_str().unwrap().to_owned();
        vms.push((format!("vm-{kill}"), id.clone()));
        // The VM is reported, and the server dies: before it has read that, or after it has committed it.
        let (url, body) = (format!("{}/api/v1/workers/w1/heartbeat", server.url), heartbeat(&vms));
        let reported = tokio::spawn(http().post(url).json(&body).send());
        if kill % 2 == 0 {
            tokio::task::yield_now().await;
        } else {
            let _ = reported.await;
        }
        server.kill().await;

        server = Server::start(&database).await;
        // All of it at one moment: a commit of the server that was killed may still be on its way in PostgreSQL, and a
        // reservation expires meanwhile.
        let query = "query ($id: ID!, $vm: ID!) {
            reservation(id: $id) { state slots { state } } vm(id: $vm) { id } worker(id: \"w1\") { reservedVmSlots }
            reservations(filter: { states: [HELD] }) { totalCount } }";
        let found = server.query(query, &json!({"id": id, "vm": format!("vm-{kill}")}), 0).await;
        let state = if found["vm"].is_null() { "HELD" } else { "TAKEN" };
        let reservation = &found["reservation"];
        assert_eq!([&reservation["state"], &reservation["slots"][0]["state"]], [state, state], "kill {kill}");
        let held = found["reservations"]["totalCount"].as_u64().unwrap();
        // What has expired is announced a moment later.
        let reserved = found["worker"]["reservedVmSlots"].as_u64().unwrap();
        assert!(
            (held..=held + 1).contains(&reserved),
            "{reserved} slots are reserved, and {held} reservations hold one"
        );
        // The worker reports again, as it does every few seconds.
        beat(&server, &vms).await;
        assert_eq!(server.get(&format!("/reservations/{id}")).await["state"], "taken");
    }
    let id = abandoned["id"].as_str().unwrap();
    eventually("the reservation that nobody takes to expire", async || {
        let worker = server.get("/workers/w1").await;
        (worker["reserved_vm_slots"] == 0).then_some(())
    })
    .await;
    assert_eq!(server.get(&format!("/reservations/{id}")).await["state"], "expired");
    let worker = server.get("/workers/w1").await;
    assert_eq!([&worker["vm_count"], &worker["free_cpu_cores"]], [KILLS, 64 - KILLS]);
    server.stop().await;
}

mod no_slot_is_lost_and_none_is_held_for_ever {
    use super::*;

    #[tokio::test]
    async fn sqlite() {
        TestDatabase::sqlite().run(a_server_that_is_killed_while_vms_take_their_slots).await;
    }

    #[tokio::test]
    async fn postgres() {
        let postgres = Postgres::start().await;
        postgres.execute("postgres", "CREATE DATABASE cluster").await.unwrap();
        let database = TestDatabase::at(format!("postgres://postgres@{}/cluster", postgres.address()));
        a_server_that_is_killed_while_vms_take_their_slots(database).await;
    }
}
