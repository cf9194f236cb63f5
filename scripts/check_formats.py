#!/usr/bin/env python3
"""Reads what Brigade exports as its readers do: with their own parser or their schema.

    cargo run -p brigade-report --example formats DIR
    scripts/check_formats.py DIR

Needs the packages jsonschema, lxml and prometheus_client, in an environment of yours
(python3 -m venv V && V/bin/pip install jsonschema lxml prometheus_client).
"""

import csv
import json
import math
import sys
from pathlib import Path

try:
    import jsonschema
    from lxml import etree
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
except ImportError as missing:
    sys.exit(f"{missing}; needed: pip install jsonschema lxml prometheus_client")

SCHEMAS = Path(__file__).resolve().parent.parent / "crates/report/tests/schemas"


def by_schema(name):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)

    def check(text):
        # Python reads NaN, which is not JSON.
        value = json.loads(text, parse_constant=lambda constant: sys.exit(constant))
        validator.validate(value)
        return f"{len(value.get('results', value) if isinstance(value, dict) else value)} entries"

    return check


def hyperfine(text):
    said = by_schema("hyperfine")(text)
    for run in json.loads(text)["results"]:
        assert len(run["times"]) == len(run["exit_codes"]), run["command"]
        assert run["min"] <= run["median"] <= run["max"], run["command"]
        assert math.isclose(run["mean"], sum(run["times"]) / len(run["times"])), run["command"]
    return said


def junit(text):
    schema = etree.XMLSchema(etree.parse(SCHEMAS / "junit-10.xsd"))
    tree = etree.fromstring(text.encode())
    schema.assertValid(tree)
    (suite,) = tree.findall("testsuite")
    cases = suite.findall("testcase")
    for attribute, element in [("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")]:
        assert int(suite.get(attribute)) == len(list(suite.iter(element))), attribute
    assert len({case.get("name") for case in cases}) == len(cases), "names are not unique"
    return f"{len(cases)} cases"


def openmetrics(text):
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    keys = {(sample.name, *sorted(sample.labels.items())) for sample in samples}
    assert len(keys) == len(samples), "two samples with the same labels"
    return f"{len(families)} families, {len(samples)} samples"


def table(text):
    rows = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    for row in rows:
        assert None not in row and None not in row.values(), row
        json.loads(row["case"])
    return f"{len(rows)} rows"


def wide(text):
    rows = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    for row in rows:
        assert None not in row and None not in row.values(), row
        assert not any(value.startswith(("{", "[")) for value in row.values()), row
    return f"{len(rows)} rows"


CHECKS = {
    "json": lambda text: json.loads(text)["schema"],
    "jsonl": lambda text: f"{len([json.loads(line)['name'] for line in text.splitlines()])} lines",
    "csv": table,
    "csv-wide": wide,
    "junit": junit,
    "bencher": by_schema("bencher"),
    "github-action-benchmark": by_schema("github-action-benchmark"),
    "hyperfine": hyperfine,
    "openmetrics": openmetrics,
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    seen = set()
    for path in sorted(Path(sys.argv[1]).iterdir()):
        name = path.suffix.removeprefix(".")
        if name in CHECKS:
            with path.open(newline="", encoding="utf-8") as file:
                print(f"{path.name}: {CHECKS[name](file.read())}")
            seen.add(name)
    if missing := CHECKS.keys() - seen:
        sys.exit(f"not there: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
