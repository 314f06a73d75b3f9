"""What is planted, where, and what a right verdict says of it."""

from __future__ import annotations

from typing import Any

import alterations as alter
import spoiling
from alterations import Alteration
from case import (
    DIFFERENT,
    FLOATS,
    KERNEL_LESS,
    NATIVE,
    OPENVINO,
    QUANTISED,
    SATURABLE,
    SATURATING,
    SME,
    Case,
    Truth,
)
from environments import OLDEST, TRAINING, fleet
from models import names


def cases() -> list[Case]:
    """Return every case, healthy ones first."""
    return [
        *_healthy(),
        *_saturation(),
        *_weights(),
        *_graphs(),
        *_kernels(),
        *_another_model(),
        *_environments(),
        *_providers(),
    ]


def _healthy() -> list[Case]:
    every = tuple(environment.name for environment in fleet())
    calm = tuple(name for name in every if name not in SATURATING)
    others = tuple(name for name in SATURABLE if name != KERNEL_LESS)
    unsaturable = tuple(name for name in names() if name not in SATURABLE)
    able = tuple(name for name in calm if name not in (*lacking_kernel(), SME))
    return [
        Case("healthy", "nothing", "healthy", others, tuple(name for name in calm if name != SME)),
        Case("healthy", "nothing", "healthy", ("cnn-qdq", "transformer-qdq"), (SME,)),
        Case("healthy", "nothing", "healthy", (KERNEL_LESS,), able),
        Case("healthy", "nothing", "healthy", unsaturable, every),
        Case("healthy", "nothing, deployed", "healthy", FLOATS, NATIVE, deployed=alter.unchanged),
        Case(
            "healthy",
            "nothing, another provider than the baseline's",
            "healthy",
            # It refuses the graphs with ConvInteger.
            tuple(name for name in names() if not name.startswith("cnn-dynamic")),
            ("openvino",),
            changes={"providers": ["OpenVINOExecutionProvider", "CPUExecutionProvider"]},
        ),
        Case(
            "healthy",
            "nothing, on its own provider",
            "healthy",
            FLOATS,
            ("openvino",),
            trained_in="openvino",
            options=OPENVINO,
        ),
    ]


def _saturation() -> list[Case]:
    what, cause = "int8 products saturate on this CPU (AVX2 without VNNI)", "saturate"
    others = tuple(name for name in SATURABLE if name != KERNEL_LESS)
    able = tuple(name for name in SATURATING if name not in lacking_kernel())
    return [
        Case("saturating CPU", what, "told", others, SATURATING, cause),
        Case("saturating CPU", what, "told", (KERNEL_LESS,), able, cause),
    ]


def lacking_kernel() -> tuple[str, ...]:
    """Return the environments whose onnxruntime can't convolve with int8 weights: those before 1.24."""
    return tuple(one.name for one in fleet() if one.onnxruntime < (1, 24))


def _weights() -> list[Case]:
    def case(name: str, what: str, alteration: Alteration, truth: Truth = "fault") -> Case:
        return Case(name, what, truth, FLOATS, DIFFERENT, cause=r"weights|another model", alter=alteration)

    found = [
        case(f"weights x (1 + {share:.0e} N)", "every float weight moved", alter.moved(share))
        for share in (1e-3, 1e-4, 1e-5, 1e-6)
    ]
    below = [
        case(f"weights x (1 + {share:.0e} N)", "below the noise floor", alter.moved(share), "below")
        for share in (3e-7, 1e-7)
    ]
    half = case("weights rounded to fp16", "every float weight rounded", alter.rounded_to_half)
    return [*found, half, *below, *_scales()]


def _scales() -> list[Case]:
    """The weights' scale of one quantised layer: one of eighteen may weigh less than quantising itself."""
    what, cause = "the weights' scale of the middle quantised layer", r"weights|scale|another model"
    faint = "transformer-qdq"

    def case(variants: tuple[str, ...], environments: tuple[str, ...], truth: Truth = "fault") -> Case:
        alteration = alter.scaled_layer(1.1)
        return Case("a layer's scale 10% off", what, truth, variants, environments, cause, alteration)

    plain = tuple(name for name in QUANTISED if name not in (KERNEL_LESS, faint))
    return [case(plain, NATIVE), case((KERNEL_LESS,), (TRAINING,)), case((faint,), NATIVE, "below")]


def _graphs() -> list[Case]:
    def case(name: str, what: str, cause: str, alteration: Alteration | None, **more: Any) -> Case:
        return Case(name, what, "fault", FLOATS, NATIVE, cause=cause, alter=alteration, **more)

    return [
        case(
            "outputs exchanged",
            "each output under the other's name",
            r"exchang|swap",
            alter.outputs_exchanged,
        ),
        case(
            "outputs reordered",
            "the same outputs, declared in another order",
            r"another order",
            alter.outputs_reordered,
        ),
        case(
            "classes permuted",
            "the last axis in another order",
            r"permuted|order of classes",
            alter.classes_permuted,
        ),
        case(
            "another file deployed",
            "the configuration names a model that is not the release's",
            r"deployed",
            None,
            deployed=alter.moved(1e-3),
        ),
        case(
            "random operator",
            "random numbers added to the logits",
            r"random operator",
            alter.random_noise,
        ),
        case("NaN", "NaN among the logits", r"NaN", alter.not_a_number),
        case("hang in a run", "a loop of 2^62 rounds", r"stage 'run", alter.endless, deadline_s=6.0),
        case("more memory than there is", "a tensor of 64 GB", r"memory", alter.greedy),
    ]


def _kernels() -> list[Case]:
    """Faults that nobody planted: the lab met them."""
    lacking = "ConvInteger with int8 weights, before onnxruntime 1.24"
    wrong = "onnxruntime's SME kernel of DynamicQuantizeMatMul under qemu gives other numbers"
    dynamic = tuple(name for name in names() if name.endswith("-s8"))
    return [
        Case("no kernel", lacking, "fault", (KERNEL_LESS,), lacking_kernel(), "no kernel for ConvInteger"),
        Case("wrong kernel", wrong, "fault", dynamic, (SME,), r"SME|DynamicQuantizeMatMul|optimisation"),
    ]


def _another_model() -> list[Case]:
    what, cause = "another network under the right name", r"another model|weights|not the model"
    found = []
    for name in names():
        # The oldest onnxruntime has no kernel for one of the two.
        environments = (TRAINING,) if name.endswith("-s8") else NATIVE
        found.append(
            Case("another model", what, "fault", (name,), environments, cause, alter.another_network(name))
        )
    return found


def _environments() -> list[Case]:
    def case(name: str, what: str, cause: str, environments: tuple[str, ...], **more: Any) -> Case:
        return Case(name, what, "fault", FLOATS, environments, cause=cause, **more)

    return [
        case(
            "opset too new",
            "opset 22 of the model, 19 to 21 here",
            r"opset 22",
            (OLDEST, "py3.8-ort1.19.2", "py3.10-ort1.18.1", "py3.11-ort1.16.3"),
            alter=alter.opset(22, 8),
        ),
        case(
            "IR version too new",
            "IR version 11 of the model",
            r"IR version 11",
            (OLDEST, "py3.8-ort1.19.2", "py3.11-ort1.16.3"),
            alter=alter.opset(18, 11),
        ),
        case(
            "missing library",
            "numpy's OpenBLAS is gone",
            r"openblas\S* is missing",
            NATIVE,
            spoil=spoiling.without_openblas,
        ),
        case(
            "damaged package",
            "a module of onnxruntime is gone",
            r"not whole|files .*missing",
            NATIVE,
            spoil=spoiling.without_a_module,
        ),
        case(
            "no onnxruntime",
            "it was never installed",
            r"no onnxruntime",
            NATIVE,
            spoil=spoiling.without_onnxruntime,
        ),
        case(
            "CPU older than the wheel",
            "SSSE3 alone, under a numpy built for x86-64-v2",
            r"illegal instruction|instruction set|SSE4|x86.64.v2",
            ("conroe",),
        ),
        case(
            "illegal instruction",
            "OPENBLAS_CORETYPE names a newer CPU than this",
            r"illegal instruction",
            ("nehalem",),
            shell="export OPENBLAS_CORETYPE=SkylakeX",
        ),
        case(
            "segmentation fault",
            "onnxruntime dies of a foreign /proc/cpuinfo",
            r"segmentation|segfault|SIGSEGV",
            ("arm64-foreign-cpuinfo",),
        ),
        case(
            "hang at import",
            "a library on a mount that never answers",
            r"stage 'import",
            NATIVE,
            spoil=spoiling.with_a_silent_file,
            deadline_s=6.0,
        ),
        case("memory limit", "100 MB of address space", r"memory", NATIVE, shell="ulimit -v 100000"),
        Case(
            "two flavours",
            "onnxruntime and onnxruntime-gpu over each other",
            "told",
            FLOATS,
            ("both-flavours",),
            cause=r"flavour|onnxruntime-gpu",
        ),
    ]


def _providers() -> list[Case]:
    cuda = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return [
        Case(
            "OpenVINO asked for, not there",
            "a plain onnxruntime",
            "fault",
            FLOATS,
            NATIVE,
            cause="OpenVINOExecutionProvider",
            trained_in="openvino",
            options=OPENVINO,
        ),
        Case(
            "CUDA asked for, silently CPU",
            "onnxruntime-gpu without a GPU",
            "fault",
            FLOATS,
            ("gpu",),
            cause=r"lib\S+\.so\S* is missing",
            changes={"providers": cuda},
        ),
        Case(
            "CUDA asked for, not there",
            "a plain onnxruntime",
            "fault",
            FLOATS,
            NATIVE,
            cause="CUDAExecutionProvider",
            changes={"providers": cuda},
        ),
    ]
