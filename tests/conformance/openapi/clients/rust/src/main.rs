//! Calls the server with the client that openapi-generator makes for Rust.

use std::collections::HashMap;
use std::error::Error;

use openapi::apis::configuration::Configuration;
use openapi::apis::{Error as Failed, agents_api, cluster_api, events_api, server_api, vms_api, workers_api};
use openapi::models::{
    DrainRequest, Failure, Heartbeat, HeartbeatResult, Heartbeats, Registration, VmReport, VmStatus, WorkerStatus,
    WorkersHeartbeat,
};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, url, name] = arguments.as_slice() else { return Err("caller URL NAME".into()) };
    let api = &Configuration { base_path: format!("{url}/api/v1"), ..Configuration::default() };

    let registration = Registration {
        zone: Some(Some(name.clone())),
        labels: Some(Some(HashMap::from([("made-by".to_owned(), name.clone())]))),
        capabilities: Some(Some(vec!["firecracker".to_owned()])),
        boot_id: Some(Some("generated".to_owned())),
        ..Registration::new(format!("{name}.example.com"), "192.0.2.1:8081".to_owned(), 16, 32_768)
    };
    let registered = agents_api::register_worker(api, name, registration, None, None).await?;

    let first = VmReport {
        name: Some(Some("dev-vm-1".to_owned())),
        status: Some(Some(VmStatus::Running)),
        vcpus: Some(Some(2)),
        memory_mb: Some(Some(2_048)),
        ..VmReport::new(format!("{name}-vm-1"))
    };
    let second = VmReport { status: Some(None), ..VmReport::new(format!("{name}-vm-2")) };
    let heartbeat = Heartbeat { vms: Some(Some(vec![first, second])), ..Heartbeat::new(1) };
    let recorded = agents_api::record_heartbeat(api, name, heartbeat, None).await?;

    let heartbeats = vec![WorkersHeartbeat::new(name.clone(), 1), WorkersHeartbeat::new("nobody".to_owned(), 1)];
    let results = agents_api::record_heartbeats(api, Heartbeats::new(heartbeats), None).await?.results;
    let [HeartbeatResult::RecordedHeartbeat(accepted), HeartbeatResult::RefusedHeartbeat(refused)] = results.as_slice()
    else {
        return Err(format!("{results:?}").into());
    };

    workers_api::drain_worker(api, name, None, None, None, None).await?;
    let activated = workers_api::activate_worker(api, name, None, None, None, None).await?;
    let request = DrainRequest { reason: Some(Some("new disks".to_owned())), ..DrainRequest::new() };
    let key = format!("drain-{name}");
    let drained = workers_api::drain_worker(api, name, None, None, Some(&key), Some(request)).await?;

    let worker = workers_api::show_worker(api, name, None, None).await?;
    let draining = Some(vec![WorkerStatus::Draining]);
    let label = Some(vec![format!("made-by={name}")]);
    let listed = list_workers(api, draining, label, None).await?;
    let ids: Vec<_> = listed.workers.iter().map(|worker| &worker.id).collect();
    let stats = cluster_api::show_cluster_stats(api, None, None).await?;
    let on_it = workers_api::list_worker_vms(api, name, None, None, None, None).await?;
    let vms: Vec<_> = on_it.vms.iter().map(|vm| (&vm.id, vm.status)).collect();
    let vm = vms_api::show_vm(api, &format!("{name}-vm-1"), None, None).await?;
    let events = events_api::list_events(
        api,
        None,
        None,
        Some(vec![name.clone()]),
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
    )
    .await?
    .events;
    let (Some(oldest), Some(newest)) = (events.first(), events.last()) else { return Err("no events".into()) };
    let health = server_api::show_health(api, None).await?;
    let missing = match workers_api::show_worker(api, "nobody", None, None).await {
        // Read again: the generated types of failures are tried in turn, and all of them are alike.
        Err(Failed::ResponseError(refused)) => {
            (refused.status.as_u16(), serde_json::from_str::<Failure>(&refused.content)?.message)
        }
        other => return Err(format!("{other:?}").into()),
    };
    agents_api::deregister_worker(api, name, None, None, None, Some(true), Some(true), None, None).await?;
    let left = list_workers(api, None, None, Some(vec![name.clone()])).await?;

    let said = json!({
        "registered": (registered.created, registered.incarnation, registered.worker.status),
        "heartbeat": (recorded.policy, recorded.resync),
        "heartbeats": (accepted.status, accepted.policy, refused.status, refused.error.code),
        "activated": activated.status,
        "drained": drained.status,
        "worker": (worker.status, worker.scheduling_policy, worker.vm_count, worker.labels, worker.zone),
        "listed": (ids, listed.total),
        "stats": stats.zones[name],
        "vms": vms,
        "vm": (vm.worker_id, vm.vcpus),
        "events": (oldest.kind, newest.kind, &newest.reason),
        "health": health.status,
        "missing": missing,
        "left": left.total,
    });
    println!("{said}");
    Ok(())
}

async fn list_workers(
    api: &Configuration,
    status: Option<Vec<WorkerStatus>>,
    label: Option<Vec<String>>,
    id: Option<Vec<String>>,
) -> Result<openapi::models::WorkerList, Box<dyn Error>> {
    let (zone, has_zone, is_healthy, capability, search, sort, limit) = (None, None, None, None, None, None, Some(10));
    let (min_free_cpu_cores, min_free_memory_mb, min_free_vm_slots) = (None, None, None);
    let (cursor, wait, after_revision, min_revision, if_none_match) = (None, None, None, None, None);
    let workers = workers_api::list_workers(
        api,
        zone,
        has_zone,
        status,
        is_healthy,
        label,
        capability,
        id,
        search,
        min_free_cpu_cores,
        min_free_memory_mb,
        min_free_vm_slots,
        sort,
        limit,
        cursor,
        wait,
        after_revision,
        min_revision,
        if_none_match,
    );
    Ok(workers.await?)
}
