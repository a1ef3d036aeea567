# The commands of the API's documentation, letter by letter. tests/processes/documentation.rs runs each paragraph on its own
# and looks at what comes out; only the server's address is another.

# List all workers
curl http://localhost:8080/api/v1/workers

# List workers in specific zone
curl http://localhost:8080/api/v1/workers?zone=us-west-1a

# Get Worker Details
curl http://localhost:8080/api/v1/workers/worker-01

# Get Worker VMs
curl http://localhost:8080/api/v1/workers/worker-01/vms

# Drain Worker
curl -X POST http://localhost:8080/api/v1/workers/worker-01/drain

# Activate Worker
curl -X POST http://localhost:8080/api/v1/workers/worker-01/activate

# Get Cluster Statistics
curl http://localhost:8080/api/v1/cluster/stats

# Get VM Distribution
curl http://localhost:8080/api/v1/cluster/distribution

# Get cluster overview
curl http://localhost:8080/api/v1/cluster/stats
# Get worker list with health status
curl http://localhost:8080/api/v1/workers
# Get VM distribution for visualization
curl http://localhost:8080/api/v1/cluster/distribution

# Drain worker before maintenance
curl -X POST http://localhost:8080/api/v1/workers/worker-01/drain
# Wait for VMs to complete or migrate them
# ... perform maintenance ...
# Reactivate worker
curl -X POST http://localhost:8080/api/v1/workers/worker-01/activate

# Check available resources
curl http://localhost:8080/api/v1/cluster/stats | jq '{
  available_cpu: .available_cpu_cores,
  available_memory_gb: (.available_memory_mb / 1024),
  available_vm_slots: .available_vm_slots
}'

# Get VMs in a zone (via worker filtering)
for worker in $(curl -s http://localhost:8080/api/v1/workers?zone=us-west-1a | jq -r '.workers[].id'); do
  curl -s http://localhost:8080/api/v1/workers/$worker/vms
done
