"""Django's sites, as Pod uses them."""

from msgspec import Struct

from poddispatchd.domain.task import SiteId


class Site(Struct, frozen=True):
    """A row of ``django_site``."""

    id: SiteId
    domain: str

    def base_url(self, *, https: bool) -> str:
        """The address of this site without a closing slash; ``https`` mirrors Pod's SECURE_SSL_REDIRECT."""
        return f"{'https' if https else 'http'}://{self.domain}"
