"""checkov over the transformed templates: `make checkov`. Exit status 1: a finding that its template does not explain.

A comment `# checkov CKV_AWS_18 Bucket: why` in a template explains that check for its resources of that type; one that
no longer explains anything is reported too. Usage: checkov.py PATH-OF-CHECKOV (or a file of its JSON, `--report FILE`).
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ("template.yaml", "spoke.yaml", "build.yaml", "chat.yaml", "page.yaml")
_EXCEPTION = re.compile(r"^ *# checkov (CKV2?_AWS_\d+) ([A-Za-z]+): \S.{10,}$", re.M)


def exceptions(text: str) -> set[tuple[str, str]]:
    """(Check, last part of the resource's type) of each comment of a template."""
    return {(check, kind) for check, kind in _EXCEPTION.findall(text)}


def findings(report: Any) -> Iterator[tuple[str, str, str, str]]:
    """(Template, check, resource, checkov's text) of each failed check in checkov's JSON."""
    for part in report if isinstance(report, list) else [report]:
        if part["summary"]["parsing_errors"] or not part["summary"]["passed"]:
            raise SystemExit("checkov: it could not read the templates")
        for found in part["results"]["failed_checks"]:
            name = Path(found["file_path"]).with_suffix(".yaml").name
            yield name, found["check_id"], found["resource"], found["check_name"]


def unexplained(report: Any, texts: Mapping[str, str]) -> list[str]:
    """Findings without an exception, and exceptions without a finding, a line each."""
    allowed = {(name, *one) for name, text in texts.items() for one in exceptions(text)}
    used, wrong = set(), []
    for name, check, resource, asks in findings(report):
        key = (name, check, resource.rpartition("::")[2].partition(".")[0])
        used.add(key)
        if key not in allowed:
            wrong.append(f"{name}: {resource}: {check}: {asks}")
    wrong += [f"{name}: {check} {kind} is explained, and no longer found" for name, check, kind in allowed - used]
    return sorted(wrong)


def transformed() -> dict[str, dict[str, Any]]:
    """Each template as CloudFormation gets it."""
    from tallyman_local.stack.template import load, translate

    made = {name: load(ROOT / name) for name in TEMPLATES}
    hub = translate(made["template.yaml"], region="us-east-2", parameters={"SubnetIds": "subnet-1", "KmsKeyArn": ""})
    return made | {"template.yaml": {**hub.template, "Resources": {**hub.template["Resources"], **hub.mappings}}}


def run(checkov: str) -> Any:
    """checkov's report on them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, template in transformed().items():
            (Path(folder) / name).with_suffix(".json").write_text(json.dumps(template, default=str))
        command = [checkov, "--framework", "cloudformation", "--directory", folder, "--quiet", "--compact"]
        command += ["--output", "json", "--skip-download"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"checkov: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main() -> int:
    """Print the findings without an explanation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkov", nargs="?")
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    report = json.loads(given.report.read_text()) if given.report else run(given.checkov)
    wrong = unexplained(report, {name: (ROOT / name).read_text() for name in TEMPLATES})
    print("\n".join(wrong) or "checkov: every finding is explained in its template")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
