"""What is sent to another process through a file, without the passwords in it: they go through its environment.

A parcel is pickled as anything else, but for what `secrets` calls a secret, wherever in it that stands: of it the parcel
holds only which of the environment's it is.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from typing import Any

from embexp.tracking.secrets import split_at_secrets

KEPT_BACK = "EMBEXP_KEPT_BACK"


class LostSecretsError(RuntimeError):
    """The process that opens a parcel does not have the environment of the one that packed it."""


class _Packer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> tuple[str | int, ...] | None:
        if not isinstance(obj, str) or len(parts := split_at_secrets(obj)) == 1:
            return None
        return tuple(_keep_back(part) if number % 2 else part for number, part in enumerate(parts))


class _Opener(pickle.Unpickler):
    def persistent_load(self, pid: tuple[str | int, ...]) -> str:
        try:
            return "".join(_kept_back()[part] if isinstance(part, int) else part for part in pid)
        except IndexError:
            raise LostSecretsError(
                "the password of a URI is handed over in the environment, which this process was not given; let sbatch "
                "export it (--export=ALL)."
            ) from None


def pack(content: Any) -> bytes:
    """The content as bytes without secrets, which are put into the environment of this process and its children."""
    written = io.BytesIO()
    _Packer(written).dump(content)
    return written.getvalue()


def unpack(parcel: bytes) -> Any:
    """The content, whole.

    Raises:
        LostSecretsError: there are secrets in it, and they are not in the environment.
    """
    return _Opener(io.BytesIO(parcel)).load()


def _keep_back(secret: str) -> int:
    # In their order, which stays: a job that is queued again packs itself, in the environment that it had.
    known = _kept_back()
    if secret not in known:
        known.append(secret)
        os.environ[KEPT_BACK] = json.dumps(known)
    return known.index(secret)


def _kept_back() -> list[str]:
    known: list[str] = json.loads(os.environ.get(KEPT_BACK, "[]"))
    return known
