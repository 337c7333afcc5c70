"""Checks schemas/openapi.json: valid OpenAPI 3.1, complete in itself, and true to the source.

The message schemas stand in it as copies, so that any tool reads it without a network; this script
makes the copies and checks them. Usage:
python check_openapi.py [--embed] [--source FOLDER]

--embed          writes the copies anew from the schema files, then checks
--source FOLDER  the folder that holds http/api.rs, problem.rs and message.rs (default: src)
"""

import argparse
import json
import pathlib
import re
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPENAPI = ROOT / "schemas" / "openapi.json"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
TYPE = "urn:mash:problem:"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--embed", action="store_true")
    parser.add_argument("--source", type=pathlib.Path, default=ROOT / "src")
    options = parser.parse_args()
    document = json.loads(OPENAPI.read_text("utf-8"))
    if options.embed:
        document["components"]["schemas"].update(copies())
        OPENAPI.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    faults = [
        *embedded(document),
        *references(document),
        *validity(document),
        *schemas(document),
        *strictness(document),
        *routes(document, options.source),
        *problems(document, options.source),
    ]
    for fault in faults:
        print(fault)
    count = sum(method in METHODS for item in document["paths"].values() for method in item)
    print(f"{count} operations, {len(faults)} faults")
    return 1 if faults else 0


def copies():
    """The schema files as components, without ids, referring to one another in here."""
    made = {}
    for path in sorted((ROOT / "schemas").glob("*.schema.json")):
        word = path.name.split(".")[0]
        made[component(word)] = moved(json.loads(path.read_text("utf-8")), component(word))
    return made


def moved(schema, home):
    if isinstance(schema, list):
        return [moved(item, home) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {}
    for name, value in schema.items():
        if name == "$ref":
            document, _, fragment = value.partition("#")
            target = component(document.split(":")[3]) if document else home
            copy[name] = f"#/components/schemas/{target}{fragment}"
        elif name not in ("$id", "$schema"):
            copy[name] = moved(value, home)
    return copy


def component(word):
    return word.capitalize()


def validity(document):
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        yield f"not OpenAPI 3.1: {error.message}"


def embedded(document):
    for name, schema in copies().items():
        if document["components"]["schemas"].get(name) != schema:
            yield f"components/schemas/{name} is not the schema file: run with --embed"


def references(document):
    used = set()
    for reference in found(document, "$ref"):
        place = document
        try:
            if not reference.startswith("#/"):
                raise KeyError(reference)
            for part in reference[2:].split("/"):
                place = place[part.replace("~1", "/").replace("~0", "~")]
        except (KeyError, TypeError):
            yield f"{reference} leads nowhere in this document"
        used.add("/".join(reference.split("/")[:4]))
    for sort in ("headers", "parameters", "responses", "schemas"):
        for name in document["components"][sort]:
            if f"#/components/{sort}/{name}" not in used:
                yield f"components/{sort}/{name} is not used"


def found(place, key):
    if isinstance(place, dict):
        for name, value in place.items():
            if name == key and isinstance(value, str):
                yield value
            yield from found(value, key)
    elif isinstance(place, list):
        for value in place:
            yield from found(value, key)


def schemas(document):
    for name, schema in document["components"]["schemas"].items():
        for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema):
            yield f"components/schemas/{name}: {error.message}"


def strictness(document):
    """Every JSON answer of ours refuses a property it does not know."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                if status[0] != "2" or path in ("/openapi.json", "/v1/schemas/{name}"):
                    continue
                for media, content in answer["content"].items():
                    schema = resolved(document, content["schema"])
                    closed = "additionalProperties", "unevaluatedProperties"
                    if "json" in media and not any(schema.get(word) is False for word in closed):
                        yield f"{method} {path} {status} is open to unknown properties"


def resolved(document, schema):
    while "$ref" in schema:
        place = document
        for part in schema["$ref"][2:].split("/"):
            place = place[part]
        schema = place
    return schema


def routes(document, source):
    api = (source / "http" / "api.rs").read_text("utf-8")
    kinds = re.findall(r'=> Some\("([a-z-]+s)"\)', (source / "message.rs").read_text("utf-8"))
    wanted = set()
    route = r'\.route\(\s*"([^"]+)",\s*may\([^()]+(?:\([^()]+\))?, (\w+)\('
    said = r'"([^"]+)"\.replace\("\{kind\}".+?may\([^()]+\([^()]+\), (\w+)\('
    for path, method in re.findall(route, api) + re.findall(said, api, re.DOTALL):
        each = [path.replace("{kind}", kind) for kind in kinds] if "{kind}" in path else [path]
        wanted.update((method, one) for one in each)
    if not wanted:
        yield f"no routes found in {source}/http/api.rs"
    described = {
        (method, path)
        for path, item in document["paths"].items()
        for method in item
        if method in METHODS
    }
    for method, path in sorted(wanted - described):
        yield f"{method} {path} is not described"
    for method, path in sorted(described - wanted):
        yield f"{method} {path} is described but not served"


def problems(document, source):
    rust = (source / "problem.rs").read_text("utf-8")
    fact = r'=> fact\(\s*"([a-z-]+)",\s*(\d+),.*?(None|Some\(\d+\)),\s*\)'
    rows = re.findall(fact, rust, re.DOTALL)
    facts = {code: (int(status), retry != "None") for code, status, retry in rows}
    if not facts:
        yield f"no problems found in {source}/problem.rs"
    listed = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    if set(listed) != {TYPE + code for code in facts}:
        yield f"the problem types differ: {sorted({TYPE + code for code in facts} ^ set(listed))}"
    for name, answer in document["components"]["responses"].items():
        said = answer["content"]["application/problem+json"]["schema"]["properties"]
        for urn in said["type"]["enum"]:
            status, may_retry = facts.get(urn.removeprefix(TYPE), (None, None))
            if status != said["status"]["const"]:
                yield f"components/responses/{name}: {urn} has status {status}"
            if may_retry != ("Retry-After" in answer["headers"]):
                yield f"components/responses/{name}: Retry-After is not as in problem.rs"


if __name__ == "__main__":
    sys.exit(main())
