"""Whether the hub can be reached: asked once, quickly, so that a machine without a network is told so in seconds."""

from __future__ import annotations

import socket
import threading
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

TIMEOUT = 2.0


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Tries to open a connection to the hub's endpoint, for at most two seconds; false when HF_HUB_OFFLINE is set.

    Where the machine reaches the hub through a proxy, the connection is to the proxy.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    endpoint = urlsplit(constants.ENDPOINT)
    proxy = getproxies().get(endpoint.scheme)
    if proxy and not proxy_bypass(endpoint.hostname or ""):
        endpoint = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    answered = threading.Event()

    def knock() -> None:
        try:
            with socket.create_connection((endpoint.hostname or "", port), timeout=TIMEOUT):
                answered.set()
        except OSError:
            pass

    # In a thread, because looking up a name has no timeout: without a network it can take the resolver many seconds.
    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    knocking.join(TIMEOUT)
    return answered.is_set()
