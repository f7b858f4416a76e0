"""Dead letters: what died, why, and how it comes back, on Amazon SQS, on the embedded broker and on any other SQS.

Knows SQS's API and Celery's envelopes; must not know workers, the broker's insides, or the command line.
"""

from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.matching import Match

__all__ = ["DeadLetterQueue", "Match"]
