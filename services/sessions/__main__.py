"""Start sessions: `python -m services.sessions`. Settings come from the environment."""

from __future__ import annotations

import sys

from services.sessions.service import SessionsService
from services.sessions.settings import NAME, SessionsSettings
from shared.runtime.service import main

if __name__ == "__main__":
    sys.exit(main(NAME, SessionsSettings, SessionsService))
