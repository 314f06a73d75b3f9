"""The validator that textbooks write: `pip show` for each dependency, `import torch` for CUDA."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

DEPENDENCIES = (
    "torch",
    "onnxruntime",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "requests",
    "pydantic",
    "fastapi",
    "protobuf",
)


def version(name: str) -> str:
    """Ask pip for the version of one distribution."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "show", name], capture_output=True, text=True, check=True
    )
    return next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("Version:"))


def main() -> None:
    versions = {name: version(name) for name in DEPENDENCIES}
    import torch

    cuda = {"available": torch.cuda.is_available(), "version": torch.version.cuda}
    print(json.dumps({"python": platform.python_version(), "packages": versions, "cuda": cuda}))


if __name__ == "__main__":
    main()
