"""`make conformance`: every scenario of the suite, in both of its lines and both eras of the protocol.

Writes docs/conformance.md if everything is as `expected.toml` says, and fails if not. Needs npm.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from agent_messaging_db import embedded
from tools.conformance import suite
from tools.conformance.judgement import objections, reasons
from tools.conformance.page import PAGE, page
from tools.conformance.process import serving
from tools.conformance.suite import RUNS, Outcome, Run, Suite


def main(written_to: Path) -> int:
    """Run everything; gives the exit code."""
    expected = reasons()
    outcomes: dict[Run, list[Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="agent-messaging-conformance-") as name:
        directory = Path(name)
        suites = {version: Suite(version, directory) for version in (suite.RELEASE, suite.ALPHA)}
        log, data = directory / "server.log", directory / "data"
        try:
            with serving(log, AGENT_MESSAGING_DATA_DIR=str(data)) as url:
                for run in RUNS:
                    outcomes[run] = list(suites[run.version].run(url, run.revision))
                    passing = sum(outcome.passes for outcome in outcomes[run])
                    print(f"{run.title}: {passing} of {len(outcomes[run])} scenarios pass", flush=True)
        finally:
            embedded.stop(data)
        node, words = suites[suite.ALPHA].node_version(), log.read_text("utf-8")
    wrong = objections(outcomes, expected)
    if "Traceback" in words:
        wrong.append("the server met a defect of its own")
    if wrong:
        print(f"\nThe server's log:\n{words}", "Not as expected:", *wrong, sep="\n", file=sys.stderr)
        return 1
    written_to.write_text(page(outcomes, expected, node), "utf-8")
    print(f"As expected; {len(expected)} entries of expected.toml do not pass. Written: {written_to}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write the page")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind after it, either
    sys.exit(main(parser.parse_args().page))
