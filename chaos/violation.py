"""What must not be."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be; ``life`` are the lines that tell how it came."""

    rule: str
    words: str
    task: int | None = None
    life: tuple[str, ...] = field(default=(), repr=False)
