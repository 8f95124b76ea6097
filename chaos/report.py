"""The result of a campaign as people read it."""

from statistics import median

from chaos.campaign import Result


def text(result: Result) -> str:
    """Tables of faults, ends and recoveries, then every violation with the life of its task."""
    plan = result.plan
    lines = [
        f"seed {plan.seed}: {plan.tasks} tasks in {result.seconds:.0f} s",
        f"everything was settled {result.settled_in:.0f} s after the last fault",
        "",
        "faults",
        *(f"  {count:5}  {kind}" for kind, count in result.faults.items()),
        "",
        "tasks",
        *(f"  {count:5}  {end}" for end, count in sorted(result.ends.items())),
        "",
        "callbacks by the daemons' answer",
        *(f"  {count:5}  {status}" for status, count in sorted(result.callbacks.items())),
        "",
        "recovery, in seconds                          n   median     most",
        *(
            f"  {one.name:40} {len(one.seconds):4} {median(one.seconds):8.1f} {max(one.seconds):8.1f}"
            for one in result.recoveries
            if one.seconds
        ),
        "",
        *result.notes,
        "",
    ]
    for violation in result.violations:
        lines.append(f"VIOLATION ({violation.rule}): {violation.words}")
        lines += [f"    {line}" for line in violation.life]
    verdict = f"{len(result.violations)} violations" if result.violations else "no violation"
    lines.append(f"{verdict} (seed {plan.seed})")
    return "\n".join(lines)
