"""A fault campaign: thousands of tasks through two daemons while everything they depend on fails.

``python -m chaos --tasks 2000 --seed 1 --minutes 20`` runs it; ``docs/chaos.md`` says what is broken, and
what is checked.
"""
