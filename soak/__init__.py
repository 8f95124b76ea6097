"""An hour of ordinary work with faults, in which nothing may grow.

``python -m soak --minutes 60`` runs it; ``docs/soak.md`` says what is measured, and what is called flat.
"""
