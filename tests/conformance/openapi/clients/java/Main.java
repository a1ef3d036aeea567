import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.AgentsApi;
import org.openapitools.client.api.ClusterApi;
import org.openapitools.client.api.EventsApi;
import org.openapitools.client.api.ServerApi;
import org.openapitools.client.api.VmsApi;
import org.openapitools.client.api.WorkersApi;
import org.openapitools.client.model.DrainRequest;
import org.openapitools.client.model.Heartbeat;
import org.openapitools.client.model.Heartbeats;
import org.openapitools.client.model.RecordedHeartbeat;
import org.openapitools.client.model.RefusedHeartbeat;
import org.openapitools.client.model.Registration;
import org.openapitools.client.model.VmReport;
import org.openapitools.client.model.VmStatus;
import org.openapitools.client.model.WorkerList;
import org.openapitools.client.model.WorkerStatus;
import org.openapitools.client.model.WorkersHeartbeat;

/** Calls the server with the client that openapi-generator makes for Java. */
public class Main {
    public static void main(String[] arguments) throws Exception {
        String name = arguments[1];
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0] + "/api/v1");
        AgentsApi agents = new AgentsApi(client);
        WorkersApi workers = new WorkersApi(client);
        Map<String, Object> said = new LinkedHashMap<>();

        Registration registration = new Registration()
            .hostname(name + ".example.com")
            .address("192.0.2.1:8081")
            .zone(name)
            .labels(Map.of("made-by", name))
            .capabilities(List.of("firecracker"))
            .cpuCores(16)
            .memoryMb(32768)
            .bootId("generated");
        var registered = agents.registerWorker(name, registration, null, null);
        said.put("registered",
            List.of(registered.getCreated(), registered.getIncarnation(), registered.getWorker().getStatus()));

        VmReport first = new VmReport()
            .id(name + "-vm-1").name("dev-vm-1").status(VmStatus.RUNNING).vcpus(2).memoryMb(2048);
        VmReport second = new VmReport().id(name + "-vm-2").status(null);
        var recorded = agents.recordHeartbeat(name, new Heartbeat().incarnation(1L).vms(List.of(first, second)), null);
        said.put("heartbeat", List.of(recorded.getPolicy(), recorded.getResync()));

        Heartbeats heartbeats = new Heartbeats()
            .addHeartbeatsItem(new WorkersHeartbeat().workerId(name).incarnation(1L))
            .addHeartbeatsItem(new WorkersHeartbeat().workerId("nobody").incarnation(1L));
        var results = agents.recordHeartbeats(heartbeats, null).getResults();
        RecordedHeartbeat accepted = (RecordedHeartbeat) results.get(0).getActualInstance();
        RefusedHeartbeat refused = (RefusedHeartbeat) results.get(1).getActualInstance();
        said.put("heartbeats",
            List.of(accepted.getStatus(), accepted.getPolicy(), refused.getStatus(), refused.getError().getCode()));

        workers.drainWorker(name, null, null, null, null);
        said.put("activated", workers.activateWorker(name, null, null, null, null).getStatus());
        DrainRequest request = new DrainRequest().reason("new disks");
        said.put("drained", workers.drainWorker(name, null, null, "drain-" + name, request).getStatus());

        var worker = workers.showWorker(name, null, null);
        said.put("worker", List.of(
            worker.getStatus(),
            worker.getSchedulingPolicy(),
            worker.getVmCount(),
            worker.getLabels(),
            worker.getZone()));
        WorkerList listed = list(workers, List.of(WorkerStatus.DRAINING), List.of("made-by=" + name), null);
        said.put("listed", List.of(listed.getWorkers().stream().map(each -> each.getId()).toList(), listed.getTotal()));
        said.put("stats", new ClusterApi(client).showClusterStats(null, null).getZones().get(name));
        var vms = workers.listWorkerVms(name, null, null, null, null).getVms();
        said.put("vms", vms.stream().map(vm -> List.of(vm.getId(), vm.getStatus())).toList());
        var vm = new VmsApi(client).showVm(name + "-vm-1", null, null);
        said.put("vm", List.of(vm.getWorkerId(), vm.getVcpus()));
        var events = new EventsApi(client).listEvents(null, null, List.of(name), null, null, null, null, null, null, null, null, null, null, null, null).getEvents();
        var last = events.get(events.size() - 1);
        said.put("events", List.of(events.get(0).getKind(), last.getKind(), last.getReason()));
        said.put("health", new ServerApi(client).showHealth(null).getStatus());
        try {
            workers.showWorker("nobody", null, null);
        } catch (ApiException failure) {
            String message = new ObjectMapper().readTree(failure.getResponseBody()).get("message").asText();
            said.put("missing", List.of(failure.getCode(), message));
        }
        agents.deregisterWorker(name, null, null, null, true, true, null, null);
        said.put("left", list(workers, null, null, List.of(name)).getTotal());
        System.out.println(client.getObjectMapper().writeValueAsString(said));
    }

    private static WorkerList list(WorkersApi workers, List<WorkerStatus> status, List<String> label, List<String> id)
        throws ApiException {
        Boolean isHealthy = null;
        return workers.listWorkers(
            null, null, status, isHealthy, label, null, id, null, null, null, null, null, 10, null, null, null, null, null);
    }
}
