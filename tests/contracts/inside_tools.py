"""Runs inside the tools' environment: Kubernetes objects and router commands through their projects' own checks.

Usage: python inside_tools.py kubernetes [CRD.yaml ...] | vllm-router | sglang-router < requests.jsonl > answers.jsonl.
A request is {"name", "document"} or {"name", "argv"}. Built-in objects go through kubernetes-validate (strict, 1.37);
custom objects through the CRDs given, unknown fields refused, and their pod templates as Deployments in any case.
"""
# mypy: ignore-errors

import copy
import importlib
import json
import sys

import jsonschema
import kubernetes_validate
import yaml

RELEASE = "1.37"
BUILT_IN = ("v1", "apps/v1", "resource.k8s.io/v1")


def _strict(schema):
    """Return a structural schema that refuses what it does not name, as the API server does under strict validation."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value if key in ("default", "enum") else _strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
        made.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    if isinstance(made.get("properties"), dict) and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def _definitions(paths):
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (plain script of another environment)
            for crd in yaml.load_all(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                for version in crd["spec"]["versions"]:
                    schema = version["schema"]["openAPIV3Schema"]
                    schema["properties"]["metadata"] = {"type": "object"}
                    key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                    found[key] = jsonschema.Draft7Validator(_strict(schema))
    return found


def _templates(value):
    if isinstance(value, dict):
        if isinstance(value.get("spec"), dict) and "containers" in value["spec"]:
            yield value
        for inner in value.values():
            yield from _templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _templates(inner)


def _built_in(document):
    try:
        kubernetes_validate.validate(document, RELEASE, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'/'.join(map(str, error.path))}: {error.message[:200]}"]
    return []


def _object(document, definitions):
    kind = (document.get("apiVersion"), document.get("kind"))
    if kind in definitions:
        said = [
            f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in definitions[kind].iter_errors(document)
        ]
    elif kind[0] in BUILT_IN:
        return _built_in(document)
    else:
        said = []
    for template in _templates(document.get("spec", {})):
        pod = copy.deepcopy(template)
        pod.setdefault("metadata", {}).setdefault("labels", {})["app"] = "x"
        spec = {"selector": {"matchLabels": {"app": "x"}}, "template": pod}
        said += _built_in({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec})
    return said


def _router(package, argv):
    module = importlib.import_module(f"{package.replace('-', '_')}.launch_router")
    try:
        module.parse_router_args(argv)
    except SystemExit as error:
        return [f"exit {error.code}"]
    except ValueError as error:
        return [str(error)]
    return []


def main(what, paths):
    definitions = _definitions(paths)
    for line in sys.stdin:
        request = json.loads(line)
        said = _object(request["document"], definitions) if what == "kubernetes" else _router(what, request["argv"])
        sys.stdout.write(json.dumps({"name": request["name"], "error": "; ".join(said) or None}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
