"""What an outgoing event may say of a reason, and in which words."""

from poddispatchd.config.masking import mask_text
from poddispatchd.config.model import PodSettings
from poddispatchd.domain.failure_groups import reason_of
from poddispatchd.domain.french import without_names
from poddispatchd.domain.outgoing_events import Wording
from poddispatchd.observability.logs import without_secrets


def wording_of(pod: PodSettings) -> Wording:
    """The language of this Pod, and its name."""
    return Wording(pod.language, pod.title_site)


def public_reason(words: str, language: str) -> str:
    """The last line of a reason, in Pod's language, without secrets, names, addresses, ids and numbers."""
    lines = [line for line in words.splitlines() if line.strip()]
    last = without_names(lines[-1], language) if lines else ""
    return reason_of(mask_text(without_secrets(last)))
