"""Everything that a figure depends on besides the pictures: versions, weights, machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from facerec.landmarks.checkpoint import weight_records

_PACKAGES = (
    "facerec", "numpy", "scipy", "torch", "onnxruntime", "opencv-python-headless", "faiss-cpu", "scikit-learn", "pillow"
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, facerec and the packages whose numbers flow into its figures."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def weight_digests() -> dict[str, str]:
    """SHA-256 of every weight file that is installed, as "folder/name"."""
    return {f"{record.folder}/{record.name}": record.sha256 for record in weight_records()}


def machine(device: str) -> dict[str, Any]:
    """CPU count and kind, system and the device the networks ran on."""
    return {
        "cpu_count": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
