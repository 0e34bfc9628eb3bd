"""Runs inside an environment with vLLM's Python files and CPU torch: every command through vLLM's own configuration.

Usage: python inside_vllm.py < requests.jsonl > answers.jsonl. A request is {"name", "argv", "environment"}; argv starts
after ``vllm serve``. An answer is {"name", "error": null or text}.

No GPU is touched. vLLM is told of a host with eight H200 by a platform class of ours; its compiled extensions, which
the wheel's Python files only import, are empty modules here.
"""
# mypy: ignore-errors

import importlib
import importlib.abc
import importlib.machinery
import json
import os
import re
import sys
import types
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

GPUS = 8
MEMORY_BYTES = 143_771 * 2**20
COMPILED = re.compile(r"vllm(\.\w+)*\._(\w*C(_\w+)*|vllm_fa\d_C|flashmla\w*_C)$")
ABSENT = ("torchvision", "torchaudio", "cuda")


class EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules by a rule and makes them of nothing."""

    def __init__(self, wanted, attribute=None):
        self.wanted, self.attribute = wanted, attribute

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if self.wanted(name) else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        if self.attribute:
            module.__getattr__ = self.attribute


class AnyAttribute(type):
    """Answers for whatever a class that is not there would have."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 0


class Anything(metaclass=AnyAttribute):
    """Stands for a class of a package that is not installed."""

    def __init_subclass__(cls, **_):
        super().__init_subclass__()

    def __init__(self, *_, **__):
        pass


class Tuned:
    """Stands for triton.Config: keeps what it is given."""

    def __init__(self, kwargs=None, num_warps=4, num_stages=2, **_):
        self.kwargs, self.num_warps, self.num_stages = kwargs or {}, num_warps, num_stages


def _anything(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Anything,), {})


def _prepare():
    os.environ.update(VLLM_LOGGING_LEVEL="CRITICAL", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    sys.meta_path.insert(0, EmptyModules(lambda name: bool(COMPILED.match(name))))
    import transformers.utils.import_utils as available

    for name in ("is_torchvision_available", "is_torchvision_v2_available", "is_torchaudio_available"):
        if hasattr(available, name):
            setattr(available, name, lambda *_, **__: False)
    importlib.import_module("tvm_ffi")  # looks for cuda itself, and must not find ours
    sys.meta_path.append(EmptyModules(lambda name: name.split(".")[0] in ABSENT, _anything))
    _open_operators()


def _open_operators():
    """Let torch.ops.<compiled> answer for operators that were never compiled, and skip their fake kernels."""
    import torch
    import torch.library

    namespace = torch._ops._OpNamespace
    known = namespace.__getattr__

    def find(self, name):
        try:
            return known(self, name)
        except AttributeError:
            if not (self.name.startswith("_") or "vllm" in self.name):
                raise
            operator = types.SimpleNamespace()
            return type("Operator", (), {"__call__": lambda *_: True, "default": operator, "out": operator})()

    namespace.__getattr__ = find
    register = torch.library.register_fake

    def lenient(operator, function=None, /, **options):
        def decorate(body):
            try:
                return register(operator, **options)(body)
            except (RuntimeError, ValueError):
                return body

        return decorate(function) if function else decorate

    torch.library.register_fake = lenient


def _fake_hopper():
    import vllm.platforms as platforms
    from vllm.platforms import cuda
    from vllm.platforms.interface import DeviceCapability

    answers = {
        "device_count": lambda cls: GPUS,
        "get_device_capability": lambda cls, device_id=0: DeviceCapability(9, 0),
        "get_device_name": lambda cls, device_id=0: "NVIDIA H200",
        "get_device_total_memory": lambda cls, device_id=0: MEMORY_BYTES,
        "is_fully_connected": lambda cls, *_: True,
        "num_compute_units": lambda cls, device_id=0: 132,
        "is_integrated_gpu": lambda cls, device_id=0: False,
        "get_cuda_runtime_major": lambda cls: 13,
    }
    methods = {name: classmethod(body) for name, body in answers.items()}
    platforms._current_platform = type("Hopper", (cuda.NonNvmlCudaPlatform,), methods)()
    import vllm.config.vllm as whole
    import vllm.model_executor.models.registry as registry
    import vllm.triton_utils as triton

    whole.HAS_TRITON = True
    registry._run_in_subprocess = lambda body: body()
    if not triton.HAS_TRITON:
        triton.triton.Config = Tuned


def _configure():
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
    except ImportError:  # its place until 0.32
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))

    def configure(argv):
        given = parser.parse_args(argv)
        given.model = getattr(given, "model_tag", None) or given.model
        validate_parsed_serve_args(given)
        engine = AsyncEngineArgs.from_cli_args(given)
        return engine.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER, headless=given.headless)

    return configure


def _answer(configure, request):
    before = dict(os.environ)
    os.environ.update(request["environment"])
    said = StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            configure([*request["argv"], "--skip-tokenizer-init"])
    except SystemExit:
        return (said.getvalue().strip().splitlines() or ["exit"])[-1]
    except Exception as error:  # whatever the engine raises is its answer
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    finally:
        os.environ.clear()
        os.environ.update(before)
    return None


def main():
    requests = [json.loads(line) for line in sys.stdin]
    out, sys.stdout = sys.stdout, sys.stderr
    _prepare()
    _fake_hopper()
    configure = _configure()
    for request in requests:
        out.write(json.dumps({"name": request["name"], "error": _answer(configure, request)}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
