"""Checks the examples of the contract with Python's jsonschema, which knows nothing of the gateway.

A partner who validates before sending must get the verdict the gateway gives. Usage:
python check_examples.py
"""

import datetime
import json
import pathlib
import re
import sys

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "schemas"
# Only our own: what the gateway asserts is asserted here, neither more nor less.
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date", raises=ValueError)
def is_date(value):
    return not isinstance(value, str) or bool(datetime.date.fromisoformat(value))


@FORMATS.checks("date-time", raises=ValueError)
def is_instant(value):
    if not isinstance(value, str):
        return True
    shaped = re.fullmatch(
        r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})", value, re.ASCII
    )
    return bool(shaped and datetime.datetime.fromisoformat(shaped[1] + shaped[3]))


@FORMATS.checks("nhs-number")
def is_nhs_number(value):
    if not isinstance(value, str):
        return True
    if not re.fullmatch("[0-9]{10}", value):
        return False
    digits = [int(digit) for digit in value]
    total = sum(digit * weight for digit, weight in zip(digits, range(10, 1, -1)))
    return (11 - total % 11) % 11 == digits[9]


@FORMATS.checks("uuid")
def is_uuid(value):
    return not isinstance(value, str) or bool(
        re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value, re.IGNORECASE)
    )


def main():
    validators = compiled()
    passed = failed = skipped = 0
    examples = sorted((SCHEMAS / "examples").glob("*.*.*valid.json"))
    for path in examples:
        kind, _, expected, _ = path.name.split(".")
        problem = None
        if expected == "invalid":
            beside = path.with_suffix(".problem.json")
            if not beside.exists():
                print(f"{path.name}: {beside.name} is missing")
                failed += 1
                continue
            problem = json.loads(beside.read_text("utf-8"))
            # Not JSON as the gateway reads it: nothing a schema could be asked about.
            if problem["problem"] == "not-json":
                skipped += 1
                continue
        is_valid = validators[kind].is_valid(json.loads(path.read_text("utf-8")))
        # What only a rule of the gateway refuses, its schema takes.
        if is_valid == (problem is None or not problem["schemaOnly"]):
            passed += 1
        else:
            print(f"{path.name}: {'valid' if is_valid else 'invalid'} by its schema")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped (not JSON)")
    return 1 if failed or not passed else 0


def compiled():
    documents = {
        path.name.split(".")[0]: json.loads(path.read_text("utf-8"))
        for path in SCHEMAS.glob("*.schema.json")
    }
    # Refers to nothing it was not given: an unknown $ref is an error, not a download.
    registry = Registry().with_resources(
        (document["$id"], DRAFT202012.create_resource(document)) for document in documents.values()
    )
    for name, document in documents.items():
        try:
            Draft202012Validator.check_schema(document)
        except SchemaError as error:
            sys.exit(f"{name}: not a schema: {error.message}")
    return {
        name: Draft202012Validator(document, registry=registry, format_checker=FORMATS)
        for name, document in documents.items()
    }


if __name__ == "__main__":
    sys.exit(main())
