"""Set what holds for the processes of all services, before any library is loaded.

A matrix of one request is small: threads of the linear algebra library would cost more than they
save, and take the cores that other requests need. The model runtime reports to nobody. What is on
this machine is never asked through a proxy, whichever library asks.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_beside_proxies = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
for _each in ("localhost", "127.0.0.1", "::1", "[::1]"):
    if _each not in _beside_proxies.split(","):
        _beside_proxies = f"{_beside_proxies},{_each}".lstrip(",")
os.environ["no_proxy"] = os.environ["NO_PROXY"] = _beside_proxies
