"""Every fault that the campaign can cause, and the seeded order in which it does."""

from chaos.sabotage.saboteur import KINDS, Saboteur

__all__ = ["KINDS", "Saboteur"]
