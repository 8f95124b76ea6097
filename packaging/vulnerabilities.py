"""Known vulnerabilities of pinned packages: ``vulnerabilities.py constraints.txt``.

Asks the sources that pip-audit knows, until one of them knows the packages. Exit status 1: there are some; 3:
no source could be asked, so that nothing is known.
"""

import json
import subprocess
import sys

_SOURCES = ("pypi", "osv")


def _asked(source: str, file: str) -> "list[dict[str, object]] | None":
    """What a source says of each package that it knows; None when it does not answer."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", source, "--requirement", file]
    options = [
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "15",
    ]
    said = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
    try:
        packages = json.loads(said.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    return [package for package in packages if "skip_reason" not in package] or None


def main() -> int:
    """Ask, and print what was found."""
    for source in _SOURCES:
        packages = _asked(source, sys.argv[1])
        if packages is None:
            print(f"{source} does not answer, or knows none of the packages.")
            continue
        found = [
            f"{package['name']} {package['version']}: {vulnerability['id']}"
            for package in packages
            for vulnerability in package["vulns"]  # type: ignore[attr-defined]  # JSON
        ]
        print("\n".join([*found, f"{source}: {len(packages)} packages, {len(found)} vulnerabilities."]))
        return 1 if found else 0
    print("No source of vulnerabilities could be asked: nothing is known about these packages.")
    return 3


if __name__ == "__main__":
    sys.exit(main())
