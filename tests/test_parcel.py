"""Parcels: what they hold, what they do not, and what is said where the environment is missing."""

from __future__ import annotations

import os

import pytest
from omegaconf import OmegaConf

from embexp.parcel import KEPT_BACK, LostSecretsError, pack, unpack

URI = "postgresql://me:pa55word@host/db?sslpassword=pa66word&sslmode=on"


@pytest.fixture(autouse=True)
def _nothing_kept_back(monkeypatch):
    monkeypatch.setenv(KEPT_BACK, "[]")


def content(number: int = 0):
    return OmegaConf.create({"tracker": {"uri": URI, "same": "${.uri}"}, "n": number}), [f"seed={number} uri={URI}"]


def test_a_parcel_holds_no_password_and_is_whole_when_it_is_opened():
    parcel = pack(content())
    assert b"pa55word" not in parcel
    assert b"pa66word" not in parcel
    assert unpack(parcel) == content()
    assert unpack(parcel)[0].tracker.same == URI


def test_a_parcel_without_its_environment_says_what_to_do(monkeypatch):
    parcel = pack(content())
    monkeypatch.delenv(KEPT_BACK)
    with pytest.raises(LostSecretsError, match="--export=ALL"):
        unpack(parcel)


def test_a_parcel_that_is_packed_again_where_it_was_opened_can_be_opened_in_the_environment_of_the_first():
    parcel = pack(content())
    before = os.environ[KEPT_BACK]
    again = pack(unpack(parcel))
    assert os.environ[KEPT_BACK] == before
    assert unpack(again) == content()


def test_a_thousand_jobs_of_one_password_keep_one_back():
    # Linux starts no process with a variable of more than 128 KiB.
    for number in range(1000):
        pack(content(number))
    assert len(os.environ[KEPT_BACK]) < 100
