"""The limits of the control group that this process lives in, version 1 and 2."""

from __future__ import annotations

from envcheck.facts.section import Scene, integer, pairs

_ROOT = "/sys/fs/cgroup"
# Version 1 writes "no limit" as the largest page-aligned number.
_UNLIMITED = 1 << 60


def memory_limit(scene: Scene) -> int | None:
    """Return the tightest memory limit of this process's groups in bytes, None when there is none."""
    limits = [scene.number(f"{folder}/memory.max") for folder in _folders(scene, "")]
    limits += [scene.number(f"{folder}/memory.limit_in_bytes") for folder in _folders(scene, "memory")]
    return min((limit for limit in limits if limit is not None and 0 < limit < _UNLIMITED), default=None)


def cpu_quota(scene: Scene) -> float | None:
    """Return the tightest CPU quota of this process's groups in CPUs, None when there is none."""
    quotas = [parse_cpu_max(scene.text(f"{folder}/cpu.max") or "") for folder in _folders(scene, "")]
    for folder in _folders(scene, "cpu"):
        quota, period = (scene.number(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period"))
        quotas.append(_share(quota, period))
    return min((quota for quota in quotas if quota is not None), default=None)


def throttled_periods(scene: Scene) -> int | None:
    """Return in how many periods the quota stopped this process's group, None where nobody counts."""
    for controller in ("", "cpu"):
        folders = _folders(scene, controller)
        told = pairs(scene.text(f"{folders[-1]}/cpu.stat") or "", " ") if folders else {}
        if (count := integer(told.get("nr_throttled", ""))) is not None:
            return count
    return None


def parse_cpu_max(text: str) -> float | None:
    """Read `QUOTA PERIOD` of cpu.max; `max` is no quota."""
    words = text.split()
    return _share(integer(words[0]), integer(words[1])) if len(words) == 2 else None


def parse_groups(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: controller -> path; version 2 is the controller ""."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and path.startswith("/") and ".." not in path.split("/") and "\0" not in path:
            for name in controllers.split(",") if number != "0" else [""]:
                groups.setdefault(name, path)
    return groups


def _folders(scene: Scene, controller: str) -> list[str]:
    """Return the process's own group and every group above it, as far as this namespace shows them."""
    path = parse_groups(scene.text("/proc/self/cgroup") or "").get(controller)
    base = f"{_ROOT}/{controller}".rstrip("/")
    if path is None:
        return []
    parts = [part for part in path.split("/") if part][:32]
    return [base, *("/".join([base, *parts[: count + 1]]) for count in range(len(parts)))]


def _share(quota: int | None, period: int | None) -> float | None:
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return round(quota / period, 3)
