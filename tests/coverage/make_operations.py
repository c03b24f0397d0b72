"""Writes operations.json from a checkout of the specification: `make_operations.py SPEC/data`.

Every operation of the Client-Server API with its schemas: what a request's body may hold, what each answer
must look like. Schemas are bundled under `$defs`, without prose and examples. Run by hand when the specification
moves on; it needs PyYAML, which the tests do not.
"""

import json
import pathlib
import sys
from typing import Any

import yaml

METHODS = ("get", "put", "post", "delete")
# Prose, and what only a renderer of the specification reads. `x-pattern-format` names the format of a map's keys.
DROPPED = {"description", "example", "examples", "title", "summary", "externalDocs", "x-addedInMatrixVersion",
           "x-changedInMatrixVersion", "x-weight", "deprecated"}  # fmt: skip
NOTICE = "Derived from the Matrix specification, v1.19. Copyright The Matrix.org Foundation C.I.C., Apache-2.0."
OPTIONAL_TOKEN = {"getRoomSummary"}


class Bundle:
    """The schemas that are referred to, each once."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self.files: dict[pathlib.Path, Any] = {}

    def load(self, file: pathlib.Path) -> Any:
        if file not in self.files:
            self.files[file] = yaml.safe_load(file.read_text())
        return self.files[file]

    def take(self, schema: Any, file: pathlib.Path, names: bool = False) -> Any:
        """A schema with its references turned into `#/$defs/…`. `names`: its keys are names, not keywords."""
        if isinstance(schema, list):
            return [self.take(item, file) for item in schema]
        if not isinstance(schema, dict):
            return schema
        kept = {}
        for key, value in schema.items():
            if names:
                kept[key] = self.take(value, file)
            elif key == "$ref":
                kept[key] = self.refer(value, file)
            elif key not in DROPPED:
                kept[key] = self.take(value, file, names=key in ("properties", "patternProperties"))
        return kept

    def refer(self, target: str, file: pathlib.Path) -> str:
        place, _, pointer = target.partition("#")
        where = (file.parent / place).resolve() if place else file
        name = f"{where.parent.name}_{where.stem}{pointer}".replace("/", "_").replace(".", "_")
        if name not in self.definitions:
            self.definitions[name] = {}
            found = self.load(where)
            for step in filter(None, pointer.split("/")):
                found = found[step]
            self.definitions[name] = self.take(found, where)
        return f"#/$defs/{name}"


def token(operation: dict[str, Any]) -> str:
    """none, optional, required, or appservice."""
    if operation["operationId"] in OPTIONAL_TOKEN:
        return "optional"
    schemes = operation.get("security") or []
    if not schemes:
        return "none"
    if {} in schemes:
        return "optional"
    return "appservice" if "appserviceAccessTokenBearer" in schemes[0] else "required"


def answer(response: dict[str, Any], file: pathlib.Path, bundle: Bundle) -> Any:
    """The schema of an answer; `null` where it is not JSON."""
    content = response.get("content", {}).get("application/json")
    return None if content is None else bundle.take(content.get("schema", {}), file)


def operations(folder: pathlib.Path, bundle: Bundle) -> list[dict[str, Any]]:
    found = []
    for file in sorted(folder.glob("*.yaml")):
        spec = bundle.load(file.resolve())
        base = spec["servers"][0].get("variables", {}).get("basePath", {}).get("default", "")
        for path, methods in spec.get("paths", {}).items():
            for method in METHODS:
                if method not in methods:
                    continue
                operation = methods[method]
                responses = operation["responses"].items()
                body = operation.get("requestBody", {}).get("content", {}).get("application/json")
                found.append({
                    "name": operation["operationId"],
                    "method": method.upper(),
                    "path": base + path.strip(),
                    "token": token(operation),
                    "body": None if body is None else bundle.take(body.get("schema", {}), file.resolve()),
                    "answers": {str(status): answer(r, file.resolve(), bundle) for status, r in responses},
                })  # fmt: skip
    return sorted(found, key=lambda o: (o["path"], o["method"], o["name"]))


def main(data: pathlib.Path) -> None:
    bundle = Bundle()
    rows = operations(data / "api" / "client-server", bundle)
    rows_text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    defs = dict(sorted(bundle.definitions.items()))
    defs_text = ",\n".join(f"{json.dumps(n)}:{json.dumps(s, separators=(',', ':'))}" for n, s in defs.items())
    text = f'{{"notice":{json.dumps(NOTICE)},\n"operations":[\n{rows_text}\n],\n"$defs":{{\n{defs_text}\n}}}}\n'
    (pathlib.Path(__file__).parent / "operations.json").write_text(text)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
