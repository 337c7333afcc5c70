"""What schemathesis cannot make up by itself: names of what there is, and messages that are taken.

It reads this file as its hooks. PLANTED names a file with what fuzz.py has put into the gateway.
Most cases are made from it: a valid message, half of them changed in one place; or the name of something
that there is. A message that the description's schema refuses must be refused; one that it takes
must be answered for what it says, and not for how it is written.
"""

import copy
import json
import os
import pathlib
import uuid

import jsonschema_rs
import schemathesis
from hypothesis import strategies

PLANTED = json.loads(pathlib.Path(os.environ["PLANTED"]).read_text("utf-8"))
# The key in the description's example: every message needs one of its own.
EXAMPLE_KEY = PLANTED["key"]
# What a message may be answered with whose form is right: taken, or refused for what it says.
FOR_WHAT_IT_SAYS = (202, 403, 404, 409, 422)
# Of these schemathesis cannot always make one up: their schema asks too much of it.
TOO_HARD = ("POST /v1/rfis", "POST /v1/overrides", "POST /v1/exchanges/{id}/step-downs")
# What stands in the place of something else.
ODD = [None, True, 0, -1, 0.5, 10**20, "", " ", "x" * 70_000, "\0", "\ud800", [], {}, [[]], {"": 0}]


@schemathesis.hook
def before_generate_case(context, strategy):
    operation = context.operation
    bodies = PLANTED["bodies"].get(operation.label)
    names = PLANTED["names"].get(operation.label)
    if bodies is None and names is None:
        return strategy

    @strategies.composite
    def planted(draw):
        parts = {"headers": {"Idempotency-Key": EXAMPLE_KEY}} if bodies else {}
        if names:
            name, said = draw(strategies.sampled_from(names))
            parts["path_parameters"] = {"id": name}
        else:
            said = {}
        if bodies:
            body = {**draw(strategies.sampled_from(bodies)), **said}
            if draw(strategies.booleans()):
                body = changed(draw, body)
            parts |= {"body": body, "media_type": "application/json"}
        return operation.Case(method=operation.method, **parts)

    if operation.label in TOO_HARD:
        return planted()
    # What it makes up itself of a message is seldom taken, and takes it long.
    return strategies.one_of(*[planted()] * 3, strategy)


def changed(draw, body):
    """The message with something odd, something missing or something more in one place."""
    body = copy.deepcopy(body)
    holder, key = draw(strategies.sampled_from(list(places(body))))
    change = draw(strategies.sampled_from(["odd", "missing", "more", "twice"]))
    if change == "odd":
        holder[key] = draw(strategies.sampled_from(ODD))
    elif change == "missing":
        del holder[key]
    elif change == "more" and isinstance(holder, dict):
        holder["another"] = holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = [holder[key], holder[key]]
    return body


def places(value):
    """Every place in a value: what it is in, and where."""
    found = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in found:
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.headers and case.headers.get("Idempotency-Key") == EXAMPLE_KEY:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


@schemathesis.check
def message_form(context, response, case):
    """What the schema refuses is not taken; what it takes is not refused for its form."""
    schema = schema_of(case.operation)
    if schema is None or not isinstance(case.body, dict | list):
        return
    try:
        is_valid = schema.is_valid(case.body)
    except UnicodeEncodeError:
        # Half a surrogate pair is no text.
        is_valid = False
    if response.status_code == 202 and not is_valid:
        raise AssertionError("a message that breaks its schema was taken")
    if case.meta is None and is_valid and response.status_code not in FOR_WHAT_IT_SAYS:
        raise AssertionError(f"a message of the right form was answered {response.status_code}")


SCHEMAS = {}


def schema_of(operation):
    """The validator of an operation's message, by the description alone."""
    if operation.label not in SCHEMAS:
        raw = operation.schema.raw_schema
        content = operation.definition.raw.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        whole = {**schema, "components": raw["components"]} if schema else None
        SCHEMAS[operation.label] = whole and jsonschema_rs.Draft202012Validator(
            whole, validate_formats=True
        )
    return SCHEMAS[operation.label]
