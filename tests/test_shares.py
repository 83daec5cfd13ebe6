"""What each job of a sweep gets of the machine."""

from __future__ import annotations

import pytest

from embexp import shares
from embexp.config import ConfigError


def test_a_job_s_threads_do_not_depend_on_how_many_jobs_there_are(monkeypatch):
    monkeypatch.setattr(shares, "usable_cores", lambda: 8)
    for n_jobs, count in ((None, 4), (3, 3), (9, 9)):
        dealt = shares.deal(n_jobs, cores_per_job=2, jobs_per_gpu=1, gpus=[])
        assert dealt == [{"OMP_NUM_THREADS": "2"}] * count


def test_a_machine_of_fewer_cores_than_a_share_runs_one_job_at_a_time(monkeypatch):
    monkeypatch.setattr(shares, "usable_cores", lambda: 2)
    assert len(shares.deal(None, cores_per_job=4, jobs_per_gpu=1, gpus=[])) == 1


def test_every_gpu_gets_a_job_before_any_gets_its_second():
    dealt = shares.deal(3, cores_per_job=1, jobs_per_gpu=2, gpus=["0", "GPU-5f"])
    assert [share["CUDA_VISIBLE_DEVICES"] for share in dealt] == ["0", "GPU-5f", "0"]


def test_more_jobs_than_the_gpus_take_wait():
    assert len(shares.deal(8, cores_per_job=1, jobs_per_gpu=2, gpus=["0"])) == 2


def test_a_job_of_several_devices_has_its_gpus_for_itself_and_what_is_left_over_is_not_used():
    dealt = shares.deal(None, cores_per_job=1, jobs_per_gpu=1, gpus=["0", "1", "2", "3", "4"], devices=2)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in dealt] == ["0,1", "2,3"]
    dealt = shares.deal(3, cores_per_job=1, jobs_per_gpu=2, gpus=["0", "1", "2", "3"], devices=2)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in dealt] == ["0,1", "2,3", "0,1"]


def test_a_job_of_several_devices_is_refused_where_there_are_fewer_gpus():
    with pytest.raises(ConfigError, match="devices=4: this machine has 2 GPUs for a job; use devices=2"):
        shares.deal(None, cores_per_job=1, jobs_per_gpu=1, gpus=["0", "1"], devices=4)


def test_a_job_of_several_processes_takes_the_cores_of_all(monkeypatch):
    monkeypatch.setattr(shares, "usable_cores", lambda: 8)
    assert shares.deal(None, cores_per_job=2, jobs_per_gpu=1, gpus=[], devices=2) == [{"OMP_NUM_THREADS": "2"}] * 2


@pytest.mark.parametrize(("named", "gpus"), [("3, 1", ["3", "1"]), ("", []), ("-1", []), ("0,-1,1", ["0"])])
def test_the_gpus_that_were_named_are_dealt_out(monkeypatch, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert shares.visible_gpus() == gpus
