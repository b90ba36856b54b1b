"""Give the producer of freshet.producer under the name that it had here."""

from freshet.producer import Entry as Entry
from freshet.producer import RenewedProducer as RenewedProducer
