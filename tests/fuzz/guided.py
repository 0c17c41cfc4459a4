"""Runs one target under atheris, in a process of its own: coverage leads the mutations.

    python -m tests.fuzz.guided TARGET SEED SECONDS CORPUS CRASHES

atheris is a dependency of nobody: it has wheels for some machines and versions of Python only.
What libFuzzer prints is read by `tests.fuzz.__main__`.
"""

from __future__ import annotations

import os
import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

MOST_BYTES = 64 * 1024


def main(name: str, seed: str, seconds: str, corpus: str, crashes: str) -> None:
    """Never returns: libFuzzer ends the process."""
    with atheris.instrument_imports(include=["client", "runner"]):
        from tests.fuzz.driver import target_module

        module = target_module(name)
    for number, data in enumerate(module.seeds()):
        with open(os.path.join(corpus, f"seed-{number:03}"), "wb") as file:
            file.write(data)
    options = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MOST_BYTES}",
        f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1", "-rss_limit_mb=2048",
        "-timeout=30",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, corpus], module.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
