"""The command that looks at an installation and says what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from agent_messaging_mcp.cli.opening import as_json, show_json

if TYPE_CHECKING:
    from agent_messaging_mcp.doctor.findings import Finding


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Look at this installation as a server would, and say what to do about what is wrong.

    Nothing is changed. The exit code is 1 if something fails, and 0 if there are only warnings.
    """
    import asyncio

    from agent_messaging_mcp.doctor.examination import examine
    from agent_messaging_mcp.doctor.findings import Result

    findings = asyncio.run(examine())
    failing = any(finding.result is Result.FAILING for finding in findings)
    if as_json:
        show_json({"fails": failing, "checks": [_document(finding) for finding in findings]})
    else:
        _tell(findings)
    sys.exit(1 if failing else 0)


def _document(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check.value,
        "result": finding.result.value,
        "found": finding.found,
        "do": finding.do,
    }


def _tell(findings: list[Finding]) -> None:
    first = max(len(finding.result.value) for finding in findings) + 2
    second = max(len(finding.check.value) for finding in findings) + 2
    for finding in findings:
        click.echo(f"{finding.result.value:<{first}}{finding.check.value:<{second}}{finding.found}")
        if finding.do:
            click.echo(f"{'':<{first + second}}do: {finding.do}")
