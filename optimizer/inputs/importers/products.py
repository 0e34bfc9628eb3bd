"""GPU names and PCI devices to catalogue ids.

Names are those that nvidia-smi, the GPU feature discovery labels, rocm-smi and people write. A name that fits several
ids is narrowed by form factor and memory; when several remain the caller decides or asks.
"""

import re
from collections.abc import Callable, Sequence

from optimizer.inputs.gpu import GpuSpec
from optimizer.units import parse_bytes

FAMILIES: dict[str, tuple[str, ...]] = {
    "GB300": ("gb300",),
    "GB200": ("gb200",),
    "GH200": ("gh200-96", "gh200-144"),
    "B300": ("b300-sxm",),
    "B200": ("b200-sxm",),
    "H200": ("h200-sxm", "h200-nvl"),
    "H100": ("h100-sxm", "h100-pcie", "h100-nvl"),
    "H800": ("h800-sxm",),
    "H20": ("h20",),
    "A100": ("a100-40-sxm", "a100-80-sxm", "a100-40-pcie", "a100-80-pcie"),
    "A800": ("a800-80-sxm",),
    "A30": ("a30",),
    "A10": ("a10",),
    "V100": ("v100-sxm2-32",),
    "T4": ("t4",),
    "L40S": ("l40s",),
    "L4": ("l4",),
    "RTX ?4090": ("rtx4090",),
    "RTX ?5090": ("rtx5090",),
    "RTX PRO 6000": ("rtx-pro-6000-bw-server",),
    "MI250X": ("mi250x",),
    "MI300X": ("mi300x",),
    "MI325X": ("mi325x",),
    "MI350X": ("mi350x",),
    "MI355X": ("mi355x",),
    "GAUDI ?2|HL ?225\\w?": ("gaudi2",),
    "GAUDI ?3|HL ?325\\w?": ("gaudi3",),
}

DEVICES: dict[str, str] = {
    "10de:1db5": "v100-sxm2-32",
    "10de:1eb8": "t4",
    "10de:2236": "a10",
    "10de:20b7": "a30",
    "10de:20b0": "a100-40-sxm",
    "10de:20b2": "a100-80-sxm",
    "10de:20f1": "a100-40-pcie",
    "10de:20b5": "a100-80-pcie",
    "10de:20f3": "a800-80-sxm",
    "10de:2330": "h100-sxm",
    "10de:2331": "h100-pcie",
    "10de:2321": "h100-nvl",
    "10de:2324": "h800-sxm",
    "10de:2329": "h20",
    "10de:2335": "h200-sxm",
    "10de:233b": "h200-nvl",
    "10de:2342": "gh200-96",
    "10de:2901": "b200-sxm",
    "10de:2941": "gb200",
    "10de:3182": "b300-sxm",
    "10de:31c2": "gb300",
    "10de:26b9": "l40s",
    "10de:27b8": "l4",
    "10de:2684": "rtx4090",
    "10de:2b85": "rtx5090",
    "10de:2bb5": "rtx-pro-6000-bw-server",
    "1002:740c": "mi250x",
    "1002:7408": "mi250x",
    "1002:74a1": "mi300x",
    "1002:74a5": "mi325x",
    "1002:75a0": "mi350x",
    "1002:75a3": "mi355x",
}
"""PCI vendor and device, from the PCI ID repository (pci-ids.ucw.cz)."""

OTHER_FORMS = re.compile(r"LAPTOP|MAX ?Q|MOBILE|WORKSTATION|4090 D\b|5090 D\b|(?<![A-Z])ADA(?![A-Z])|IGX")
"""Words of products that share a family's name and not its numbers."""
_FORMS = {"sxm": r"SXM\d?|HGX|DGX|HBM3E?", "pcie": r"PCI ?E?", "nvl": r"NVL(?!\d)"}
_SLICES = re.compile(r"[- ](?:SHARED|MIG[- ]\d+G.*)$", re.IGNORECASE)
_NEAR = 0.1
"""Marketing gigabytes and what the driver shows differ by up to 7 %, the next size by 20 % or more."""


def whole_gpu(product: str) -> tuple[str, bool]:
    """Return the product's name without the suffix of a slice, and whether it had one."""
    name = _SLICES.sub("", product.strip())
    return name, name != product.strip()


def candidates(
    product: str, memory_bytes: int | None, load_gpu: Callable[[str], GpuSpec], known: Sequence[str]
) -> tuple[str, ...]:
    """Return the catalogue ids that a product's name (or "10de:2335") may mean; empty when none does."""
    plain = whole_gpu(product)[0].lower()
    name = re.sub(r"[-_\s]+", " ", plain).upper()
    if plain in known:
        return (plain,)
    ids = (DEVICES[plain],) if plain in DEVICES else _of_form(_family(name), name)
    ids = tuple(i for i in ids if i in known)
    for size in (*_sizes(name), *([memory_bytes] if memory_bytes else [])):
        ids = tuple(i for i in ids if abs(load_gpu(i).memory - size) <= _NEAR * load_gpu(i).memory)
    return ids


def is_certain(product: str) -> bool:
    """Whether the name is a PCI device, which names one product only."""
    return product.lower() in DEVICES


def _family(name: str) -> tuple[str, ...]:
    if OTHER_FORMS.search(name):
        return ()
    found = (ids for word, ids in FAMILIES.items() if re.search(rf"(?<![A-Z0-9])(?:{word})(?![A-Z0-9])", name))
    return next(found, ())


def _of_form(ids: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Narrow by the form factor in the name; the NVL cards are always called so."""
    forms = [form for form, words in _FORMS.items() if re.search(rf"(?<![A-Z])(?:{words})(?![A-Z])", name)]
    if "nvl" in forms and any(i.endswith("-nvl") for i in ids):
        return tuple(i for i in ids if i.endswith("-nvl"))
    ids = tuple(i for i in ids if not i.endswith("-nvl"))
    tagged = [i for i in ids if re.search(r"-(sxm2?|pcie)\b", i)]
    if not tagged or not forms or forms == ["nvl"]:
        return ids
    wanted = "pcie" if "pcie" in forms else "sxm"
    return tuple(i for i in ids if i not in tagged or f"-{wanted}" in i)


def _sizes(name: str) -> tuple[int, ...]:
    found = re.findall(r"(?<![\d.])(\d{2,3}) ?GB?(?![A-Z0-9])", name)
    sizes = [text for text in found if "GH200" not in name or text == "144"]  # else it is the CPU's memory
    return tuple(parse_bytes(f"{text} GB") for text in sizes[:1])
