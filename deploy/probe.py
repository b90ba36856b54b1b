"""Ask a service's health port whether it is ready: probe.py VARIABLE DEFAULT_PORT.

Run by the image's HEALTHCHECK, which has no curl. The port is that of the environment variable; it
is asked by TLS where the service has a certificate. Exit code 0 for ready, 1 for not.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys


def ready(port: int, timeout_s: float = 3.0) -> bool:
    """Return whether GET /ready on the loopback answers 200 in time."""
    if os.environ.get("FRESHET_TLS_CERT_FILE"):
        # The loopback needs no proof of whom it asks, and the certificate names other hosts.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=timeout_s, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    variable, default = sys.argv[1:]
    sys.exit(0 if ready(int(os.environ.get(variable, default))) else 1)
