"""Set what holds for the processes of all services, before any library is loaded.

A matrix of one request is small: threads of the linear algebra library would cost more than they
save, and take the cores that other requests need. The model runtime reports to nobody.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
