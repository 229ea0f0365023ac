"""Tells Schemathesis what the OpenAPI document cannot express."""

import json

import schemathesis
from hypothesis import strategies as st

# The server's limits are in bytes of UTF-8, but JSON Schema counts characters.
MAX_BYTES = {"event": 128}
MAX_BYTES_OF_ANY_OTHER_NAME = 256


def events():
    names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64)
    targets = st.one_of(
        st.fixed_dictionaries({"user": names | st.integers(-2**63, 2**63 - 1)}),
        st.fixed_dictionaries({"users": st.lists(names, max_size=3)}),
        st.just({"all": True}))
    data = st.recursive(st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
                        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=5)
    return st.fixed_dictionaries({"to": targets, "data": data}, optional={"event": names, "persist": st.booleans()})


# A batch: lines with events, other JSON, or any text.
schemathesis.openapi.media_type(
    "application/x-ndjson",
    st.lists(events().map(json.dumps) | st.just("{}") | st.text(max_size=20), max_size=5).map(lambda lines: "\n".join(lines).encode()))


def expressible(name, value):
    """Whether document and server agree on a value. They differ on a text that is short enough in characters but not in
    bytes, and on 1.0: JSON Schema accepts it as an integer, and the server refuses it as a likely mistake."""
    if isinstance(value, float):
        return not value.is_integer()
    most = MAX_BYTES.get(name, MAX_BYTES_OF_ANY_OTHER_NAME)
    return not isinstance(value, str) or len(value) > most or len(value.encode()) <= most


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    return all(expressible(name, value) for name, value in (path_parameters or {}).items())


@schemathesis.hook
def filter_body(context, body):
    if not isinstance(body, dict):
        return True
    to = body.get("to")
    to = to if isinstance(to, dict) else {}
    users = to.get("users")
    users = users if isinstance(users, list) else []
    named = [(name, value) for name, value in body.items() if name in ("event", "id", "session_id")]
    return all(expressible(name, value) for name, value in [*named, *to.items(), *(("user", user) for user in users)])
