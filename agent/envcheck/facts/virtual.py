"""What kind of machine this is: a container, a virtual machine, or neither."""

from __future__ import annotations

import re

from envcheck.facts.section import Scene, clean

_DMI = "/sys/class/dmi/id/"
_TREE = "/proc/device-tree/"
# Words of DMI's vendor and product names. A cloud's name says who runs the hypervisor.
_VIRTUAL = (
    ("cloud hypervisor", "cloud-hypervisor"),
    ("firecracker", "firecracker"),
    ("kubevirt", "kubevirt"),
    ("qemu", "qemu"),
    ("kvm", "kvm"),
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("xen", "xen"),
    ("amazon ec2", "amazon"),
    ("google compute", "google"),
    ("alibaba cloud", "alibaba"),
    ("virtual machine", "hyperv"),
    ("parallels", "parallels"),
    ("apple virtualization", "apple"),
    ("nutanix", "nutanix"),
    ("ovirt", "kvm"),
    ("rhev", "kvm"),
    ("bhyve", "bhyve"),
    ("bochs", "bochs"),
    ("openstack", "openstack"),
    ("droplet", "kvm"),
    ("vserver", "kvm"),
)
# Their whole machines have the same names as their virtual ones.
_ALSO_METAL = ("amazon", "google", "alibaba", "openstack")
# A clock that only one hypervisor offers, world-readable where DMI and CPUID's leaf are not to be had.
_CLOCKS = (("kvm-clock", "kvm"), ("hyperv", "hyperv"), ("xen", "xen"), ("vmware", "vmware"))
# A container's group, not the service that runs containers (`/system.slice/docker.service`).
_CONTAINER_GROUP = r"/(kubepods|docker|libpod|lxc|containerd|garden)(?:[/-]|\.payload|\.slice)"
_MARKS = (
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
    ("/.flatpak-info", "flatpak"),
)
# gVisor's kernel says this of itself, always.
_GVISOR = "Sun Jan 10 15:06:54 PST 2016"


def virtual_machine(scene: Scene) -> str:
    """Name the hypervisor, "" for none, `unknown` where only the processor's flag is left."""
    cpuinfo = scene.text("/proc/cpuinfo") or ""
    flagged = " hypervisor" in cpuinfo
    names = " ".join(scene.text(_DMI + name) or "" for name in ("sys_vendor", "product_name", "bios_vendor"))
    kind = parse_vm(names)
    if kind in _ALSO_METAL and not flagged and "flags\t" in cpuinfo:
        return ""
    if kind:
        return kind
    told = [scene.text("/sys/hypervisor/type"), _by_device_tree(scene), _by_clock(scene)]
    return next((kind for kind in told if kind), "unknown" if flagged else "")


def container(scene: Scene) -> str:
    """Name the kind of container that this is, "" when it is none."""
    marker = scene.text("/run/systemd/container") or ""
    if not marker and scene.names("/run/secrets/kubernetes.io"):
        marker = "kubernetes"
    if not marker:
        marker = next((kind for path, kind in _MARKS if scene.data(path) is not None), "")
    if not marker and scene.names("/.singularity.d"):
        marker = "apptainer"
    kernel = " ".join(scene.text(f"/proc/sys/kernel/{name}") or "" for name in ("osrelease", "version"))
    return parse_container(marker, scene.text("/proc/self/cgroup") or "", kernel)


def parse_vm(names: str) -> str:
    """Name the hypervisor that a board's vendor and product names speak of, "" when none."""
    lowered = names.lower()
    return next((kind for word, kind in _VIRTUAL if word in lowered), "")


def parse_container(marker: str, groups: str, kernel: str = "") -> str:
    """Name the container kind from a marker, the control groups or the kernel's name, "" when none tells."""
    if marker:
        return marker
    match = re.search(_CONTAINER_GROUP, groups)
    word = match.group(1) if match else ""
    if not word and _GVISOR in kernel:
        return "gvisor"
    if not word and "microsoft" in kernel.lower():
        return "wsl"
    return {"kubepods": "kubernetes", "libpod": "podman"}.get(word, word)


def _by_device_tree(scene: Scene) -> str:
    compatible = clean(scene.data(f"{_TREE}hypervisor/compatible") or b"")
    if compatible:
        return next((kind for kind in ("kvm", "xen", "vmware") if kind in compatible), "unknown")
    names = scene.names(_TREE)
    return "qemu" if any(name.startswith("fw-cfg") for name in names) else ""


def _by_clock(scene: Scene) -> str:
    offered = scene.text("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    return next((kind for word, kind in _CLOCKS if word in offered), "")
