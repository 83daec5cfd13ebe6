"""Whether the hub can be reached: asked once, quickly, so that a machine without a network is told so in seconds."""

from __future__ import annotations

import socket
from functools import lru_cache
from urllib.parse import urlsplit

TIMEOUT = 2.0


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Tries to open a connection to the hub's endpoint, for at most two seconds; false when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    endpoint = urlsplit(constants.ENDPOINT)
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        with socket.create_connection((endpoint.hostname or "", port), timeout=TIMEOUT):
            return True
    except OSError:
        return False
