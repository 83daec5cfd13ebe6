"""What the machine decides, and that it says why."""

from __future__ import annotations

import pytest

from embexp import cores, shares
from embexp.config import ConfigError, Trainer
from embexp.config.composition import compose
from embexp.training import choose_hardware, hardware


def trainer(**changed) -> Trainer:
    return compose().trainer.model_copy(update=changed)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.mark.parametrize(
    ("flags", "precision"), [({"avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), ({"avx2"}, "fp32")]
)
def test_bf16_is_taken_where_the_cpu_does_it_fast(monkeypatch, flags, precision):
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: flags)
    chosen = choose_hardware(trainer())
    assert (chosen.device, chosen.precision) == ("cpu", precision)
    assert any(reason.startswith(f"precision: {precision}, this CPU has") for reason in chosen.reasons)


@pytest.mark.parametrize(("capability", "precision"), [((9, 0), "bf16"), ((7, 5), "fp16")])
def test_a_gpu_is_taken_where_there_is_one_with_the_precision_it_does_best(monkeypatch, capability, precision):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: "Some GPU")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: capability)
    chosen = choose_hardware(trainer())
    assert (chosen.device, chosen.precision) == ("cuda", precision)
    assert "1 more are left alone" in chosen.reasons[0]


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"trainer\.device=cuda"):
        choose_hardware(trainer(device="cuda"))


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: "Some GPU")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: (9, 0))
    assert choose_hardware(trainer(), devices=2).device == "cuda"
    for asked in ("auto", "cuda"):
        with pytest.raises(ConfigError, match=r"devices=3: .* sees 2 GPUs here; use devices=2 or trainer.device=cpu"):
            choose_hardware(trainer(device=asked), devices=3)


def test_apples_gpu_is_one_device(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"devices=2: .* sees 1 GPU here"):
        choose_hardware(trainer(), devices=2)


def test_the_devices_of_a_run_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "usable_cores", lambda: 7)
    assert [choose_hardware(trainer(), devices=devices).threads for devices in (1, 2, 9)] == [7, 3, 1]
    assert choose_hardware(trainer(threads=5), devices=2).threads == 5


def test_fp16_without_cuda_is_refused():
    with pytest.raises(ConfigError, match="needs CUDA"):
        choose_hardware(trainer(precision="fp16"))


def test_a_container_s_quota_bounds_the_threads(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setattr(cores, "CPU_QUOTA", tmp_path / "cpu.max")
    assert cores.usable_cores() == 1


def test_the_threads_of_openmp_are_obeyed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_hardware(trainer()).threads == 3
    assert choose_hardware(trainer(threads=1)).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert choose_hardware(trainer()).threads == 4


def test_threads_that_a_launcher_dealt_are_told_as_its_and_not_as_openmp_s_that_nobody_set(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv(shares.THREADS_FROM, raising=False)
    assert choose_hardware(trainer()).reasons[2] == "threads: 3, as OMP_NUM_THREADS says"
    monkeypatch.setenv(shares.THREADS_FROM, shares.CORES_PER_JOB)
    assert choose_hardware(trainer()).reasons[2] == "threads: 3, its share (hydra.launcher.cores_per_job)"


@pytest.mark.parametrize("said", ["0", "", "many", "-1"])
def test_what_openmp_cannot_be_told_either_is_not_obeyed(monkeypatch, said):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(hardware, "usable_cores", lambda: 7)
    assert choose_hardware(trainer()).threads == 7
