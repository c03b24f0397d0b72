"""Writes endpoints.json from a checkout of the specification: `make_endpoints.py SPEC/data/api/client-server`.

Run by hand when the specification moves on; it needs PyYAML, which the tests do not.
"""

import json
import pathlib
import sys

import yaml

METHODS = ("get", "put", "post", "delete")


def parameters(operation: dict) -> list[str]:
    return [p["name"] for p in operation.get("parameters", []) if p.get("in") == "query"]


def body(operation: dict, folder: pathlib.Path) -> list[str]:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    names = list(schema.get("properties", {}))
    for part in [schema, *schema.get("allOf", [])]:
        if "$ref" in part:
            names += yaml.safe_load((folder / part["$ref"]).read_text()).get("properties", {})
        names += part.get("properties", {})
    return sorted(set(names))


def main(folder: pathlib.Path) -> None:
    found: dict[tuple[str, str], dict] = {}
    for file in sorted(folder.glob("*.yaml")):
        spec = yaml.safe_load(file.read_text())
        server = spec["servers"][0]
        base = server.get("variables", {}).get("basePath", {}).get("default", "")
        for path, operations in spec.get("paths", {}).items():
            for method in METHODS:
                if method in operations:
                    operation = operations[method]
                    entry = found.setdefault(
                        (method.upper(), base + path.strip()), {"query": [], "body": []}
                    )
                    entry["query"] = sorted({*entry["query"], *parameters(operation)})
                    entry["body"] = sorted({*entry["body"], *body(operation, folder)})
    rows = [{"method": m, "path": p, **rest} for (m, p), rest in sorted(found.items(), key=lambda i: i[0][::-1])]
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    (pathlib.Path(__file__).parent / "endpoints.json").write_text(text)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
