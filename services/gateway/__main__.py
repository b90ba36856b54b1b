"""Start the gateway: `python -m services.gateway`. Settings come from the environment."""

from __future__ import annotations

import sys

from services.gateway.service import GatewayService
from services.gateway.settings import NAME, GatewaySettings
from shared.runtime.service import main

if __name__ == "__main__":
    sys.exit(main(NAME, GatewaySettings, GatewayService))
