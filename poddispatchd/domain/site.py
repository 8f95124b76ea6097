"""Django's sites, as Pod uses them."""

from dataclasses import dataclass

from poddispatchd.domain.task import SiteId


@dataclass(frozen=True, slots=True)
class Site:
    """A row of ``django_site``."""

    id: SiteId
    domain: str

    def base_url(self, *, https: bool) -> str:
        """The address of this site without a closing slash; ``https`` mirrors Pod's SECURE_SSL_REDIRECT."""
        return f"{'https' if https else 'http'}://{self.domain}"
