// Calls the server with the client that openapi-generator makes for Go.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	openapi "github.com/GIT_USER_ID/GIT_REPO_ID"
)

type list = []interface{}

func must(err error) {
	if err == nil {
		return
	}
	if refused, ok := err.(*openapi.GenericOpenAPIError); ok {
		err = fmt.Errorf("%w: %s", err, refused.Body())
	}
	panic(err)
}

func main() {
	url, name := os.Args[1], os.Args[2]
	configuration := openapi.NewConfiguration()
	configuration.Servers = openapi.ServerConfigurations{{URL: url + "/api/v1"}}
	client := openapi.NewAPIClient(configuration)
	agents, workers := client.AgentsAPI, client.WorkersAPI
	ctx := context.Background()
	said := map[string]interface{}{}

	registration := openapi.NewRegistration(name+".example.com", "192.0.2.1:8081", 16, 32768)
	registration.SetZone(name)
	registration.SetLabels(map[string]string{"made-by": name})
	registration.SetCapabilities([]string{"firecracker"})
	registration.SetBootId("generated")
	registered, _, err := agents.RegisterWorker(ctx, name).Registration(*registration).Execute()
	must(err)
	said["registered"] = list{registered.Created, registered.Incarnation, registered.Worker.Status}

	first, second := openapi.NewVmReport(name+"-vm-1"), openapi.NewVmReport(name+"-vm-2")
	first.SetName("dev-vm-1")
	first.SetStatus(openapi.RUNNING)
	first.SetVcpus(2)
	first.SetMemoryMb(2048)
	second.SetStatusNil()
	heartbeat := openapi.NewHeartbeat(1)
	heartbeat.SetVms([]openapi.VmReport{*first, *second})
	recorded, _, err := agents.RecordHeartbeat(ctx, name).Heartbeat(*heartbeat).Execute()
	must(err)
	said["heartbeat"] = list{recorded.Policy, recorded.Resync}

	heartbeats := openapi.NewHeartbeats([]openapi.WorkersHeartbeat{
		*openapi.NewWorkersHeartbeat(name, 1),
		*openapi.NewWorkersHeartbeat("nobody", 1),
	})
	results, _, err := agents.RecordHeartbeats(ctx).Heartbeats(*heartbeats).Execute()
	must(err)
	accepted, refused := results.Results[0].RecordedHeartbeat, results.Results[1].RefusedHeartbeat
	said["heartbeats"] = list{accepted.Status, accepted.Policy, refused.Status, refused.Error.Code}

	_, _, err = workers.DrainWorker(ctx, name).Execute()
	must(err)
	activated, _, err := workers.ActivateWorker(ctx, name).Execute()
	must(err)
	said["activated"] = activated.Status
	request := openapi.NewDrainRequest()
	request.SetReason("new disks")
	drained, _, err := workers.DrainWorker(ctx, name).IdempotencyKey("drain-" + name).DrainRequest(*request).Execute()
	must(err)
	said["drained"] = drained.Status

	worker, _, err := workers.ShowWorker(ctx, name).Execute()
	must(err)
	said["worker"] = list{worker.Status, worker.SchedulingPolicy, worker.VmCount, worker.Labels, worker.Zone}
	draining := []openapi.WorkerStatus{openapi.DRAINING}
	listed, _, err := workers.ListWorkers(ctx).Status(draining).Label([]string{"made-by=" + name}).IsHealthy(true).Limit(10).Execute()
	must(err)
	ids := []string{}
	for _, worker := range listed.Workers {
		ids = append(ids, worker.Id)
	}
	said["listed"] = list{ids, listed.Total}
	stats, _, err := client.ClusterAPI.ShowClusterStats(ctx).Execute()
	must(err)
	said["stats"] = stats.Zones[name]
	onIt, _, err := workers.ListWorkerVms(ctx, name).Execute()
	must(err)
	vms := []list{}
	for _, vm := range onIt.Vms {
		vms = append(vms, list{vm.Id, vm.Status})
	}
	said["vms"] = vms
	vm, _, err := client.VMsAPI.ShowVm(ctx, name+"-vm-1").Execute()
	must(err)
	said["vm"] = list{vm.GetWorkerId(), vm.Vcpus}
	page, _, err := client.EventsAPI.ListEvents(ctx).WorkerId([]string{name}).Execute()
	must(err)
	last := page.Events[len(page.Events)-1]
	said["events"] = list{page.Events[0].Kind, last.Kind, last.GetReason()}
	health, _, err := client.ServerAPI.ShowHealth(ctx).Execute()
	must(err)
	said["health"] = health.Status
	_, answer, err := workers.ShowWorker(ctx, "nobody").Execute()
	failure := err.(*openapi.GenericOpenAPIError).Model().(openapi.Failure)
	said["missing"] = list{answer.StatusCode, failure.Message}
	_, err = agents.DeregisterWorker(ctx, name).Purge(true).Force(true).Execute()
	must(err)
	left, _, err := workers.ListWorkers(ctx).Id([]string{name}).Execute()
	must(err)
	said["left"] = left.Total
	must(json.NewEncoder(os.Stdout).Encode(said))
}
