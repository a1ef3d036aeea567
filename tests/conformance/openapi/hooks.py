"""What schemathesis cannot know of the API: texts whose form has a name, some of which only the server can make."""

import itertools
import json
import os
import re
from urllib.request import urlopen

import schemathesis
from hypothesis import strategies as st

LONGEST_KEY = 255
# One in quotes would lose its closing one.
KEY = re.compile(r"[!#-~][!-~]{0,%d}" % (LONGEST_KEY - 1))
# How many VMs a reservation may be for.
COUNTS = range(1, 1001)
numbers = itertools.count()

API = os.environ["AETHERIUM_TEST_URL"] + "/api/v1"


def _page_cursor(path):
    with urlopen(f"{API}/{path}?limit=1") as answer:
        return re.search(r"cursor=([^&>]+)", answer.headers["link"])[1]


def _event_cursors():
    with urlopen(f"{API}/events?limit=20") as answer:
        return [event["cursor"] for event in json.load(answer)["events"]]


schemathesis.openapi.format("page-cursor", st.sampled_from([_page_cursor("workers"), _page_cursor("vms")]))
schemathesis.openapi.format("event-cursor", st.sampled_from(_event_cursors()))
# Short ones, since whoever waits learns nothing more by waiting longer, and each of them in the range of every parameter.
schemathesis.openapi.format("go-duration", st.sampled_from(["1s", "1.5s", "1001ms", "1s10us"]))


# One that never matches, one that always does, and one of another sort.
schemathesis.openapi.format("entity-tags", st.sampled_from(['"0"', "*", 'W/"1-5b1a9e0c2d7f4a36"']))


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """A registration leads to heartbeats of its incarnation. The document says so in words (ADR 0028)."""
    for answer in raw_schema["paths"]["/workers/{id}"]["put"]["responses"].values():
        for link in answer.get("links", {}).values():
            if link["operationId"] == "recordHeartbeat":
                link["requestBody"] = {"incarnation": "$response.body#/incarnation"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """A cursor is a place in one order: those above are of the order by id. A key is for one request. VMs of a
    reservation that are named are as many as there are to be: a number that differs is refused, as the document says in
    words."""
    if isinstance(case.body, dict) and case.body.get("vm_ids"):
        count = case.body.get("count")
        if count is not True and count in COUNTS:
            case.body = {field: value for field, value in case.body.items() if field != "count"}
    if case.query and case.query.get("sort", "id") not in ("id", "-id"):
        case.query.pop("cursor", None)
    for name, key in list((case.headers or {}).items()):
        if name.lower() == "idempotency-key" and isinstance(key, str) and KEY.fullmatch(key):
            number = f"-{next(numbers)}"
            case.headers[name] = key[: LONGEST_KEY - len(number)] + number
