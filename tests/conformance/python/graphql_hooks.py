"""What schemathesis cannot know of the GraphQL schema: forms of our scalars, and what the codes of our errors mean."""

import json
import os
from urllib.request import Request, urlopen

import schemathesis
from hypothesis import strategies as st
from schemathesis.graphql import nodes
from schemathesis.specs.graphql import validation

URL = os.environ["AETHERIUM_TEST_URL"]

# The codes of errors that a caller can do something about, and of those that are our fault. Told apart from Apollo
# Server's codes only, every error of a field would count as a fault of the server, were it `NOT_FOUND`.
REFUSED = {"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_REQUEST", "BAD_USER_INPUT", "QUERY_TOO_COMPLEX"}
CALLERS = REFUSED | {"INVALID_ARGUMENT", "NOT_FOUND", "CONFLICT", "FORBIDDEN"}
OURS = {"INTERNAL", "UNAVAILABLE"}

validation.CLIENT_ERROR_MARKERS = validation.CLIENT_ERROR_MARKERS | CALLERS
validation.SERVER_ERROR_MARKERS = validation.SERVER_ERROR_MARKERS | OURS


def cursors():
    body = json.dumps({"query": "{ events(first: 20) { nodes { cursor } } }"}).encode()
    with urlopen(Request(URL, body, {"content-type": "application/json"})) as answer:
        return [event["cursor"] for event in json.load(answer)["data"]["events"]["nodes"]]


schemathesis.graphql.scalar("Cursor", st.sampled_from(cursors()).map(nodes.String))
schemathesis.graphql.scalar("Duration", st.sampled_from(["50ms", "1s", "1m30s", "1h"]).map(nodes.String))
schemathesis.graphql.scalar("Int53", st.integers(0, 2**53).map(nodes.Int))


@schemathesis.check
def errors_have_codes(_context, response, case):
    """Every error says what its caller can do, none is ours, and what fits the schema is not said to be invalid."""
    for error in response.json().get("errors", []):
        code = error.get("extensions", {}).get("code")
        assert code in CALLERS, f"unexpected code {code}: {error}"
        assert error["message"].strip(), f"no message: {error}"
        is_positive = not case.meta.generation.mode.is_negative
        assert not (is_positive and code in {"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"}), f"it is valid: {error}"
