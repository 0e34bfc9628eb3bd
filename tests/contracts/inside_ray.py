"""Runs inside an environment with Ray Serve: every RayService through Ray's own ServeDeploySchema and LLMConfig.

Usage: python inside_ray.py < requests.jsonl > answers.jsonl. A request is {"name", "serve": text}. vLLM, which Ray only
imports here, is stood in for by empty modules.
"""
# mypy: ignore-errors

import importlib.abc
import importlib.machinery
import json
import sys

import yaml


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds vllm and everything in it, and makes it of nothing."""

    def find_spec(self, name, path=None, target=None):
        mine = name.split(".")[0] in ("vllm", "sglang")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if mine else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = attribute


def _answer(text):
    from ray.serve.llm import LLMConfig
    from ray.serve.schema import ServeDeploySchema

    try:
        content = yaml.safe_load(text)
        ServeDeploySchema.model_validate(content)
        for application in content["applications"]:
            for one in application["args"]["llm_configs"]:
                LLMConfig(**one)
    except Exception as error:  # whatever Ray raises is its answer
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


def main():
    requests = [json.loads(line) for line in sys.stdin]
    out, sys.stdout = sys.stdout, sys.stderr
    sys.meta_path.insert(0, StandIns())
    for request in requests:
        out.write(json.dumps({"name": request["name"], "error": _answer(request["serve"])}) + "\n")


if __name__ == "__main__":
    main()
