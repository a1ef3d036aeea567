"""The client py-consul, against the stub of Consul at AETHERIUM_TEST_CONSUL_PORT, in which nothing is registered."""

import os
import threading

import consul
import pytest

PORT = int(os.environ["AETHERIUM_TEST_CONSUL_PORT"])

# Nothing takes that long, even on a machine that does other things.
PATIENCE = 60


@pytest.fixture
def client():
    return consul.Consul(host="127.0.0.1", port=PORT)


def ids(instances):
    return [instance["Service"]["ID"] for instance in instances]


def test_a_service_comes_is_watched_and_goes(client):
    index, instances = client.health.service("api", passing=True)
    assert instances == []

    seen = []

    def watch():
        following = consul.Consul(host="127.0.0.1", port=PORT)
        seen.append(following.health.service("api", passing=True, index=index, wait="10m"))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    check = consul.Check.ttl("1h") | {"status": "passing", "DeregisterCriticalServiceAfter": "24h"}
    assert client.agent.service.register(
        "api", service_id="api-1", address="192.0.2.1", port=80, tags=["a", "b"], meta={"zone": "here"}, check=check
    )
    watching.join(PATIENCE)
    ((changed, instances),) = seen
    assert int(changed) > int(index)
    assert ids(instances) == ["api-1"]
    service = instances[0]["Service"]
    assert (service["Address"], service["Port"], service["Tags"]) == ("192.0.2.1", 80, ["a", "b"])
    assert service["Meta"] == {"zone": "here"}

    assert client.agent.check.ttl_warn("service:api-1", notes="slow")
    assert client.health.service("api", passing=True)[1] == []
    assert client.agent.checks()["service:api-1"]["Output"] == "slow"
    assert client.agent.check.ttl_pass("service:api-1")
    assert ids(client.health.service("api", passing=True, tag="b")[1]) == ["api-1"]
    assert client.health.service("api", tag="c")[1] == []

    assert client.agent.service.maintenance("api-1", "true", "new disks")
    (critical,) = client.health.state("critical")[1]
    assert critical["Notes"] == "new disks"
    assert client.agent.service.maintenance("api-1", "false")

    assert client.catalog.services()[1] == {"api": ["a", "b"]}
    (entry,) = client.catalog.service("api")[1]
    assert entry["ServiceID"] == "api-1"
    assert client.catalog.datacenters() == ["dc1"]
    assert len(client.catalog.nodes()[1]) == 1
    assert client.status.leader() == "127.0.0.1:8300"
    assert client.agent.self()["Config"]["Datacenter"] == "dc1"

    assert client.agent.service.deregister("api-1")
    assert client.agent.services() == {}


def test_what_is_refused_is_an_exception_with_the_reason(client):
    with pytest.raises(consul.exceptions.BadRequest, match="Missing service name"):
        client.agent.service.register("")
    with pytest.raises(consul.exceptions.BadRequest, match="Value is too long"):
        client.agent.service.register("api", meta={"labels": "x" * 513})
