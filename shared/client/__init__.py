"""What an app backend needs: `Publisher` for events, items and offers, `ranking` for lists.

Token: `partition:offset`, where in the log an event stands; given as `after`, a list holds its
effect.
"""

from shared.client.publisher import Publisher, token
from shared.client.recommender import ranking

__all__ = ["Publisher", "ranking", "token"]
