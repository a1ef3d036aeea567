"""The client gql with its transports, against the server at AETHERIUM_TEST_URL, which has a fleet of twelve workers."""

import asyncio
import os

import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

URL = os.environ["AETHERIUM_TEST_URL"]
WEBSOCKET = URL.replace("http://", "ws://")

# Nothing takes that long, even on a machine that does other things.
PATIENCE = 60

# By default, gql gives up each of these after 10 s.
PATIENTLY = {"connect_timeout": PATIENCE, "ack_timeout": PATIENCE, "close_timeout": PATIENCE}

TRANSPORTS = {
    "aiohttp": lambda: AIOHTTPTransport(url=URL),
    "websockets": lambda: WebsocketsTransport(url=WEBSOCKET, **PATIENTLY),
    "websockets, legacy protocol": lambda: WebsocketsTransport(url=WEBSOCKET, subprotocols=["graphql-ws"], **PATIENTLY),
    "aiohttp websockets": lambda: AIOHTTPWebsocketsTransport(url=WEBSOCKET, **PATIENTLY),
}
SUBSCRIBING = [name for name in TRANSPORTS if name != "aiohttp"]

WORKER = "query Worker($id: ID!) { worker(id: $id) { id hostname status labels { key value } } }"
DRAIN = "mutation Drain($input: DrainWorkerInput!) { drainWorker(input: $input) { changed worker { status } } }"
ACTIVATE = "mutation Activate($input: ActivateWorkerInput!) { activateWorker(input: $input) { worker { status } } }"
EVENTS = "subscription Events($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }"

each_transport = pytest.mark.parametrize("name", TRANSPORTS)
each_subscribing = pytest.mark.parametrize("name", SUBSCRIBING)


def ask(document, **variables):
    return GraphQLRequest(document, variable_values=variables)


def with_session(name, scenario, **options):
    """Runs a scenario in a session of a client with this transport."""

    async def run():
        async with Client(transport=TRANSPORTS[name](), execute_timeout=PATIENCE, **options) as session:
            await scenario(session)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


@each_transport
def test_the_schema_is_fetched_and_documents_are_checked_against_it(name):
    async def scenario(session):
        answer = await session.execute(ask(WORKER, id="worker-03"))
        assert answer["worker"]["hostname"] == "node3.example.com"
        assert "clusterEvents" in session.client.schema.subscription_type.fields

    with_session(name, scenario, fetch_schema_from_transport=True)


@each_transport
def test_a_mutation_changes_what_a_query_then_sees(name):
    async def scenario(session):
        change = {"workerId": "worker-04"}
        answer = await session.execute(ask(DRAIN, input=change))
        assert answer["drainWorker"] == {"changed": True, "worker": {"status": "DRAINING"}}
        answer = await session.execute(ask(WORKER, id="worker-04"))
        assert answer["worker"]["status"] == "DRAINING"
        await session.execute(ask(ACTIVATE, input=change))

    with_session(name, scenario)


@each_transport
def test_errors_carry_their_codes(name):
    async def scenario(session):
        for request, code in [
            (ask(DRAIN, input={"workerId": "nobody"}), "NOT_FOUND"),
            (ask("{ nothing }"), "GRAPHQL_VALIDATION_FAILED"),
        ]:
            with pytest.raises(TransportQueryError) as raised:
                await session.execute(request)
            assert raised.value.errors[0]["extensions"]["code"] == code

    with_session(name, scenario)


def test_requests_of_one_kind_may_go_by_get():
    async def scenario(session):
        answer = await session.execute(ask(WORKER, id="worker-01"), extra_args={"headers": {"x-from": "gql"}})
        assert answer["worker"]["id"] == "worker-01"

    with_session("aiohttp", scenario)


@each_subscribing
def test_a_subscription_tells_what_happens_and_resumes(name):
    async def events(session, **variables):
        async for answer in session.subscribe(ask(EVENTS, **variables)):
            yield answer["clusterEvents"]

    async def until(stream, kind):
        told = []
        async for event in stream:
            if event["kind"] != "SYNCED":
                told.append(event["kind"])
            if event["kind"] == kind:
                return told, event["cursor"]
        raise AssertionError(f"the stream ended before {kind}")

    async def scenario(session):
        change = {"workerId": "worker-05"}
        stream = events(session)
        _, cursor = await until(stream, "SYNCED")
        await session.execute(ask(DRAIN, input=change))
        told, _ = await until(stream, "WORKER_DRAIN_STARTED")
        assert told == ["WORKER_DRAIN_STARTED"]
        await stream.aclose()

        await session.execute(ask(ACTIVATE, input=change))
        stream = events(session, after=cursor)
        told, _ = await until(stream, "WORKER_ACTIVATED")
        assert told == ["WORKER_DRAIN_STARTED", "WORKER_ACTIVATED"]
        await stream.aclose()

    with_session(name, scenario)


@each_subscribing
def test_a_subscription_that_cannot_be_run_says_why(name):
    async def scenario(session):
        with pytest.raises(TransportQueryError) as raised:
            async for _ in session.subscribe(gql("subscription { nothing }")):
                pass
        assert "nothing" in str(raised.value)

    with_session(name, scenario)
