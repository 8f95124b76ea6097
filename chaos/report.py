"""The result of a campaign as people read it."""

from collections.abc import Iterator
from statistics import median

from chaos.campaign import Result
from chaos.recovery import Recovery
from chaos.timeline import OF_THE_POOLER, UNWANTED, Kind


def text(result: Result) -> str:
    """Tables of faults, ends and recoveries, then every violation with the life of its task."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    plan = result.plan
    behind = "" if plan.pooler is None else f", behind a pooler in {plan.pooler} mode"
    after = "" if plan.older is None else ", upgraded in the middle"
    on_a_share = ", on a served media tree" if plan.file_server else ""
    where = f"{behind}{on_a_share}{after}"
    yield f"seed {plan.seed}: {sum(result.ends.values())} tasks in {result.seconds:.0f} s{where}"
    yield f"everything was settled {result.settled_in:.0f} s after the last fault"
    yield ""
    yield f"{'faults':<44} caused  happened"
    for effect in result.effects:
        if effect.caused or effect.happened:
            yield f"  {effect.kind:<42} {effect.caused:6} {effect.happened:9}"
    impossible = (
        *(OF_THE_POOLER if plan.pooler is None else UNWANTED),
        *((Kind.UPGRADE,) if plan.older is None else ()),
        *result.impossible,
    )
    never = [
        str(effect.kind) for effect in result.effects if not effect.happened and effect.kind not in impossible
    ]
    yield f"faults that never happened: {'; '.join(never) or 'none'}"
    yield ""
    yield "answers of managers that were spoilt"
    for words, count in sorted(result.spoilt.items()):
        yield f"  {count:5}  {words}"
    yield ""
    yield "tasks"
    for end, count in sorted(result.ends.items()):
        yield f"  {count:5}  {end}"
    yield ""
    yield "callbacks by the daemons' answer"
    for status, count in sorted(result.callbacks.items()):
        yield f"  {count:5}  {status}"
    yield ""
    yield f"{'recovery, in seconds':<44}    n   median    worst    limit"
    for one in result.recoveries:
        yield _recovery(one)
    yield ""
    yield from result.notes
    yield ""
    for violation in result.violations:
        yield f"VIOLATION ({violation.rule}): {violation.words}"
        yield from (f"    {line}" for line in violation.life)
    count = len(result.violations)
    verdict = "no violation" if not count else "1 violation" if count == 1 else f"{count} violations"
    yield f"{verdict} (seed {plan.seed})"


def _recovery(one: Recovery) -> str:
    typical, worst = (median(one.seconds), max(one.seconds)) if one.seconds else (None, None)
    figures = "".join(
        f"{'-' if value is None else f'{value:.1f}':>9}" for value in (typical, worst, one.limit)
    )
    return f"  {one.name:<42} {len(one.seconds):4}{figures}"
