"""Every cause that is named, in the words that people read; and that what resembles it is not named so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.builders import evidence, metrics, reference, shared
from support.causes import CPU, CUDA, DEFAULT, LOGITS, OFF, ORT, ok, on_gpu, why

from envcheck.contract.baseline import Floor, Graph, OutputReference
from envcheck.contract.evidence import Ending, Runtime
from envcheck.contract.fingerprint import Section
from envcheck.contract.verdict import Finding
from envcheck.judge.causes import TABLES
from envcheck.judge.comparison import Situation
from envcheck.judge.judge import judge
from envcheck.judge.reference import Reference


class TestSaturation:
    graph = Graph(
        sha256="a" * 64,
        size=1,
        ir_version=8,
        operators={"MatMulInteger": 12, "Softmax": 1},
        quantised={"U8S8": 12},
    )

    def test_it_is_told_as_people_would(self) -> None:
        device = shared(cpu=ok(isa=["avx2", "sse4_2"]))
        finding = why(
            LOGITS, reference(graph=self.graph), device, outputs=OFF, canaries={"u8s8": "saturates"}
        )
        assert finding.cause == (
            "int8 products saturate: this CPU has AVX2 without VNNI, and the model has 12 U8S8 "
            "MatMulInteger nodes"
        )
        assert finding.hint == (
            "quantise with uint8 weights or reduce_range, set session.x64quantprecision, or choose devices "
            "with VNNI"
        )

    def test_a_canary_that_is_exact_clears_it(self) -> None:
        device = shared(cpu=ok(isa=["avx2", "sse4_2"]))
        finding = why(LOGITS, reference(graph=self.graph), device, outputs=OFF, canaries={"u8s8": "exact"})
        assert "saturate" not in finding.cause

    def test_a_float_model_does_not_have_it_and_the_flag_is_information(self) -> None:
        device = shared(cpu=ok(isa=["avx2", "sse4_2"]))
        measured = evidence(device, outputs=OFF, canaries={"u8s8": "saturates"})
        findings = {one.path: one for one in judge(reference(), device, measured, DEFAULT)}
        assert "saturate" not in findings[LOGITS].cause
        assert findings["cpu.isa"].severity == "info"


class TestPrecision:
    scale = Floor(basis="float64", scale=1.0, rms=1e-7, max=1e-6)
    gpu = ok(gpus=[{"name": "A2", "capability": "8.6"}], driver="550.54", driver_cuda="12.4")

    def off(self, rmse: float) -> dict[str, Any]:
        return {"logits": metrics(rmse=rmse, max_abs=10 * rmse)}

    def test_tf32_is_likely_on_a_gpu_that_has_it(self) -> None:
        device = shared(cuda=self.gpu)
        finding = why(LOGITS, on_gpu(), device, registered=[CUDA, CPU], outputs=self.off(1e-3))
        assert finding.cause == (
            "not proven: the GPU (compute capability 8.6) multiplies float32 as TF32, which keeps ten bits "
            "of mantissa"
        )
        assert "use_tf32=0" in finding.hint

    def test_the_canary_proves_it(self) -> None:
        device = shared(cuda=self.gpu)
        canaries = {"u8s8": "exact", "tf32": "tf32"}
        finding = why(
            LOGITS, on_gpu(), device, registered=[CUDA, CPU], outputs=self.off(1e-3), canaries=canaries
        )
        assert finding.cause.startswith("the GPU (compute capability 8.6)")

    @pytest.mark.parametrize(
        ("cuda", "values", "rmse", "canaries"),
        [
            (ok(gpus=[{"capability": "7.5"}]), {}, 1e-3, {}),
            (gpu, {"NVIDIA_TF32_OVERRIDE": "0"}, 1e-3, {}),
            (gpu, {}, 1e-3, {"tf32": "fp32"}),
            (gpu, {}, 10.0, {}),
        ],
    )
    def test_what_can_not_be_tf32_is_not_called_so(
        self, cuda: Section, values: dict[str, str], rmse: float, canaries: dict[str, str]
    ) -> None:
        device = shared(cuda=cuda, variables=ok(origin="configured", values=values))
        finding = why(
            LOGITS, on_gpu(), device, registered=[CUDA, CPU], outputs=self.off(rmse), canaries=canaries
        )
        assert "TF32" not in finding.cause

    def test_bfloat16_where_the_option_asks_for_it_and_the_cpu_has_it(self) -> None:
        option = {"mlas.enable_gemm_fastmath_arm64_bfloat16": "1"}
        for isa, named in ((["asimd", "bf16"], True), (["asimd"], False)):
            device = shared(cpu=ok(isa=isa))
            finding = why(
                LOGITS,
                device=device,
                outputs=self.off(1e-3),
                runtime=Runtime(python="3.11.7", onnxruntime="1.32.0", numpy="2.4.6", options=option),
            )
            assert finding.cause.startswith("float32 products are rounded to bfloat16") == named

    def test_flushed_subnormals(self) -> None:
        graph = Graph(sha256="a" * 64, size=1, ir_version=8, subnormal=40)
        held_to = reference(graph=graph, evidence=evidence(bundle="", canaries={"denormals": "kept"}))
        finding = why(LOGITS, held_to, outputs=OFF, canaries={"denormals": "flushed"})
        assert "the model has 40 subnormal weights" in finding.cause
        assert "flushed" not in why(LOGITS, held_to, outputs=OFF, canaries={"denormals": "kept"}).cause

    def test_nan_of_half_precision(self) -> None:
        output = OutputReference(dtype="float16", shape=[180, 10], floor=self.scale)
        broken = metrics(
            dtype="float16",
            problem="non-finite",
            detail="4 of 1800 elements are NaN here, 0 in training",
            rmse=None,
            max_abs=None,
            decisions=None,
        )
        finding = why(LOGITS, reference(outputs={"logits": output}), outputs={"logits": broken})
        assert "65504" in finding.cause
        assert "NaN" in finding.message

    def test_nan_on_arm(self) -> None:
        device = shared(cpu=ok(isa=["asimd", "i8mm", "sme"]))
        broken = metrics(problem="non-finite", rmse=None, max_abs=None, decisions=None)
        finding = why(LOGITS, device=device, outputs={"logits": broken})
        assert "kernels of its own for i8mm, sme" in finding.cause


def quantised(**changed: Any) -> Reference:
    """A baseline whose outputs are held to a quantisation error: other kernels may move them further."""
    floor = Floor(basis="quantisation-error", scale=1.0, rms=1e-5, max=1e-4)
    output = OutputReference(dtype="float32", shape=[180, 10], decides=True, floor=floor)
    return reference(outputs={"logits": output}, **changed)


class TestRuntime:
    def test_another_optimisation_level(self) -> None:
        level = "graph_optimization_level"
        there = Runtime(
            python="3.11.7", onnxruntime="1.32.0", numpy="2.4.6", options={level: "ORT_ENABLE_ALL"}
        )
        here = msgspec.structs.replace(there, options={level: "ORT_DISABLE_ALL"})
        held_to = reference(evidence=evidence(bundle="", runtime=there))
        finding = why(LOGITS, held_to, outputs=OFF, runtime=here)
        assert finding.cause == (
            "the graph is optimised otherwise: graph_optimization_level is ORT_DISABLE_ALL here, "
            "ORT_ENABLE_ALL in training"
        )

    def test_another_number_of_threads_is_no_cause(self) -> None:
        there = Runtime(options={"intra_op_num_threads": "8"}, onnxruntime="1.32.0")
        here = msgspec.structs.replace(there, options={"intra_op_num_threads": "1"})
        held_to = reference(evidence=evidence(bundle="", runtime=there))
        assert why(LOGITS, held_to, outputs=OFF, runtime=here).cause.startswith("not known")

    def test_the_hint_is_one_that_this_python_can_follow(self) -> None:
        device = shared(python=ok(version="3.8.18", implementation="cpython"))
        old = Runtime(python="3.8.18", onnxruntime="1.19.2", numpy="1.24.4")
        finding = why(LOGITS, quantised(), device, outputs=OFF, runtime=old)
        assert "onnxruntime 1.19.2 (training 1.32.0)" in finding.cause
        assert finding.hint == (
            "serve the model with Python 3.11 to 3.14: Python 3.8 can have onnxruntime 1.19.2 at most"
        )

    def two(self, **described: tuple[float, float]) -> dict[str, Any]:
        names = ("a", "b")
        return {
            name: metrics(
                rmse=1.0,
                max_abs=2.0,
                decisions=None,
                **{field: values[index] for field, values in described.items()},
            )
            for index, name in enumerate(names)
        }

    def test_swapped_outputs(self) -> None:
        floor = Floor(basis="float64", scale=1.0, rms=1e-7, max=1e-6)
        output = OutputReference(dtype="float32", shape=[180, 10], floor=floor)
        there = self.two(low=(0, 5), high=(1, 9), mean=(0.5, 7), deviation=(0.1, 1))
        here = self.two(low=(5, 0), high=(9, 1), mean=(7, 0.5), deviation=(1, 0.1))
        held_to = reference(outputs={"a": output, "b": output}, evidence=evidence(bundle="", outputs=there))
        finding = why("evidence.outputs.a", held_to, outputs=here)
        assert finding.cause.startswith("the outputs a and b are swapped")
        assert "swapped" not in why("evidence.outputs.a", held_to, outputs=there).cause
        undescribed = self.two()
        bare = reference(
            outputs={"a": output, "b": output}, evidence=evidence(bundle="", outputs=undescribed)
        )
        assert "swapped" not in why("evidence.outputs.a", bare, outputs=undescribed).cause

    def test_permuted_classes(self) -> None:
        described = {"low": -9.0, "high": 9.0, "mean": 0.0, "deviation": 4.0}
        held_to = reference(evidence=evidence(bundle="", outputs={"logits": metrics(**described)}))
        rolled = metrics(**described, rmse=5.0, max_abs=18.0)
        finding = why(LOGITS, held_to, outputs={"logits": rolled})
        assert finding.cause.startswith("the same numbers stand in another order")
        perturbed = metrics(**described, rmse=1e-3, max_abs=1e-2)
        assert "order" not in why(LOGITS, held_to, outputs={"logits": perturbed}).cause

    def test_runs_that_differ_among_themselves(self) -> None:
        finding = why(LOGITS, outputs=OFF, repeatable=False)
        assert finding.cause.startswith("runs of the same inputs differ among themselves here")
        assert why("evidence.repeatable", repeatable=False).cause == finding.cause

    def test_nan_of_the_model_itself(self) -> None:
        broken = metrics(problem="non-finite", rmse=None, max_abs=None, decisions=None)
        finding = why(LOGITS, outputs={"logits": broken})
        assert finding.cause.startswith("NaN or infinity where training had numbers; not known")

    def test_another_architecture_is_told_as_one(self) -> None:
        device = shared(system=ok(machine="aarch64"), cpu=ok(isa=["asimd", "sme"]))
        there = Runtime(python="3.11.7", onnxruntime="1.32.0", numpy="2.4.6", cpu_features=["AVX2", "FMA3"])
        here = msgspec.structs.replace(there, python="3.11.2", cpu_features=["ASIMD"])
        held_to = quantised(evidence=evidence(bundle="", runtime=there))
        finding = why(LOGITS, held_to, device, outputs=OFF, runtime=here)
        assert finding.cause == (
            "not proven; what runs the model differs from training: the architecture: aarch64 here, "
            "x86_64 in training"
        )
        assert "mlas.disable_kleidiai" in finding.hint

    def test_of_one_architecture_what_the_cpu_lacks_is_told(self) -> None:
        there = Runtime(python="3.11.7", onnxruntime="1.32.0", numpy="2.4.6", cpu_features=["AVX2", "FMA3"])
        here = msgspec.structs.replace(there, cpu_features=["FMA3"])
        held_to = quantised(evidence=evidence(bundle="", runtime=there))
        finding = why(LOGITS, held_to, outputs=OFF, runtime=here)
        assert finding.cause.endswith("the CPU lacks AVX2")
        assert "ORT_ENABLE_BASIC" in finding.hint

    def test_a_float_model_is_not_moved_so_far_by_what_differs(self) -> None:
        old = Runtime(python="3.8.18", onnxruntime="1.19.2", numpy="1.24.4")
        finding = why(LOGITS, outputs=OFF, runtime=old)
        assert finding.cause.startswith(
            "more than other versions or instruction sets move a float model: the weights or the inputs may "
        )
        assert "onnxruntime 1.19.2 (training 1.32.0)" in finding.cause
        half = {"logits": metrics(rmse=2.0**-13, max_abs=1e-3)}
        assert "as half precision does" in why(LOGITS, outputs=half, runtime=old).cause

    def test_nor_is_a_quantised_one_whose_int8_products_are_those_of_training(self) -> None:
        there, old = Runtime(onnxruntime="1.32.0"), Runtime(onnxruntime="1.16.3")
        x86 = {"device": shared(system=ok(machine="x86_64"))}
        alike = {"u8s8": "exact", "s8s8": "exact", "u8u8": "exact"}
        held_to = quantised(evidence=evidence(bundle="", runtime=there, canaries=alike))
        finding = why(LOGITS, held_to, **x86, outputs=OFF, runtime=old, canaries=alike)
        assert finding.cause.startswith("more than other versions or instruction sets move a quantised model")
        for told in ({**alike, "s8s8": "saturates"}, {"u8s8": "exact"}, {}):
            finding = why(LOGITS, held_to, **x86, outputs=OFF, runtime=old, canaries=told)
            assert finding.cause.startswith(
                "not proven; what runs the model differs from training: onnxruntime"
            )

    def test_another_provider_may_move_it(self) -> None:
        finding = why(LOGITS, outputs=OFF, registered=["OpenVINOExecutionProvider", CPU])
        assert finding.cause.startswith("not proven; what runs the model differs from training: the provider")

    def test_int8_kernels_of_an_arm_cpu(self) -> None:
        device = shared(system=ok(machine="aarch64"), cpu=ok(isa=["asimd", "sme"]))
        graph = Graph(sha256="a" * 64, size=1, ir_version=8, quantised={"dynamic": 4})
        finding = why(LOGITS, quantised(graph=graph), device, outputs=OFF)
        assert "DynamicQuantizeMatMul on SME" in finding.cause
        assert "mlas.disable_kleidiai=1" in finding.hint

    def test_two_flavours(self) -> None:
        both = {**ORT, "flavours": {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.23.2"}}
        device = shared(
            onnxruntime=ok(**both, conflicts=["onnxruntime and onnxruntime-gpu overwrite each other's files"])
        )
        held_to = msgspec.structs.replace(reference(), training=shared(onnxruntime=ok(**ORT)))
        finding = why(LOGITS, held_to, device, outputs=OFF)
        assert "overwrite each other's files" in finding.cause
        assert finding.hint == (
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime==1.32.0"
        )


def test_what_could_not_be_determined_has_no_cause() -> None:
    findings = judge(reference(), shared(), evidence(outputs={"logits": metrics(rmse=None)}), DEFAULT)
    assert [one.cause for one in findings if one.unknown] == [""]


@pytest.mark.parametrize("garbage", [None, 0, "", [], {}, "x" * 200, [1, None], {"a": {}}, "9" * 5000, True])
def test_no_fact_breaks_a_rule(garbage: Any) -> None:
    """Facts come from strange devices: every rule takes anything at every path that rules read."""
    names = ("version", "flavours", "conflicts", "providers", "needs", "cuda", "gpus", "driver", "l4t")
    facts = dict.fromkeys((*names, "isa", "quota", "total_mib", "limit_mib", "values", "unit"), garbage)
    device = shared(
        **{
            name: Section(status="ok", shared=facts)
            for name in ("onnxruntime", "cuda", "cpu", "memory", "variables", "python")
        }
    )
    finding = Finding(rule="r", path="x", severity="block", message="m", expected="1.0")
    endings = [
        Ending(status=status, stage="session", signal=4) for status in ("error", "crash", "memory", "timeout")
    ]
    for ending in endings:
        ended = evidence(device, ending=ending)
        measured = evidence(device, registered=[CUDA], outputs=OFF)
        for seen, bad in ((measured, None), (None, ended)):
            situation = Situation(reference=on_gpu(), device=device, evidence=seen, ended=bad)
            for begin, rules in TABLES:
                path = begin + "numpy.version" if begin == "packages." else begin.rstrip(".")
                for rule in rules:
                    rule(msgspec.structs.replace(finding, path=path), situation)
                    rule(msgspec.structs.replace(finding, path=LOGITS), situation)
