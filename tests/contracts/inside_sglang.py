"""Runs inside an environment with SGLang and CPU torch: every command through SGLang's own ServerArgs.

Usage: python inside_sglang.py < requests.jsonl > answers.jsonl; see inside_vllm.py for the form. SGLang checks little:
tests/export holds the rules that it leaves to the model's code.
"""
# mypy: ignore-errors

import argparse
import importlib.machinery
import importlib.util
import json
import logging
import os
import sys
import types
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

GPUS = 8
MEMORY_BYTES = 143_771 * 2**20
ABSENT = (
    "triton", "torchvision", "sgl_kernel", "flashinfer", "deep_gemm", "triton_kernels", "tilelang", "decord", "cuda",
    "torch_memory_saver", "sgl_deep_gemm", "xgrammar", "cutlass", "quack", "flash_attn", "tvm_ffi",
)  # fmt: skip


class MetaAnything(type):
    """Answers for any attribute of a stand-in class."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 0


class Anything(metaclass=MetaAnything):
    """Stands for a class of a package that is not installed."""

    def __init_subclass__(cls, **_):
        super().__init_subclass__()

    def __init__(self, *_, **__):
        pass


def _own_stand_ins():
    """Return SGLang's own stand-ins for packages that a platform lacks (sglang/_platform_stubs.py)."""
    place = importlib.util.find_spec("sglang").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("sglang_platform_stubs", f"{place}/_platform_stubs.py")
    stubs = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = stubs
    spec.loader.exec_module(stubs)
    stubs._StubBase = Anything
    return stubs


class StandIns:
    """Finds the absent packages."""

    def __init__(self, stubs):
        self.stubs = stubs

    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in ABSENT
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        return self.stubs._MockModule(spec.name)

    def exec_module(self, module):
        pass


def _prepare():
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers.utils.import_utils as available

    for name in ("torchvision", "torchvision_v2", "flash_attn_2", "torchaudio", "triton"):
        if hasattr(available, f"is_{name}_available"):
            setattr(available, f"is_{name}_available", lambda *_, **__: False)
    sys.meta_path.append(StandIns(_own_stand_ins()))
    import triton

    triton.__version__ = "3.5.0"


def _fake_hopper():
    import torch

    hopper = types.SimpleNamespace(
        name="NVIDIA H200", total_memory=MEMORY_BYTES, major=9, minor=0, multi_processor_count=132, warp_size=32,
        shared_memory_per_block_optin=232_448, regs_per_multiprocessor=65_536, gcnArchName="", is_integrated=0,
        L2_cache_size=50 * 2**20, pci_bus_id=0,
    )  # fmt: skip
    answers = {
        "is_available": True, "device_count": GPUS, "get_device_capability": (9, 0), "get_device_name": hopper.name,
        "get_device_properties": hopper, "current_device": 0, "mem_get_info": (MEMORY_BYTES, MEMORY_BYTES),
        "synchronize": None, "empty_cache": None,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    torch.version.cuda = "13.0"
    import sglang.srt.utils.common as common

    common.get_nvgpu_memory_capacity = lambda: MEMORY_BYTES / 2**20


def _configure():
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser(prog="sglang serve", allow_abbrev=False)
    ServerArgs.add_cli_args(parser)

    def configure(argv):
        given = parser.parse_args([*argv, "--skip-tokenizer-init"])
        given._radix_eviction_policy_explicitly_set = False
        arguments = ServerArgs.from_cli_args(given)
        arguments.resolve_once()
        arguments.check_server_args()

    return configure


def _answer(configure, request):
    before, said = dict(os.environ), StringIO()
    os.environ.update(request["environment"])
    try:
        with redirect_stderr(said), redirect_stdout(said):
            configure(request["argv"])
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
    logging.disable(logging.CRITICAL)
    for request in requests:
        out.write(json.dumps({"name": request["name"], "error": _answer(configure, request)}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
