"""Run the OCI distribution suite (opencontainers/distribution-spec, folder conformance/) against the local ECR.

    python tests/tools/conformance.py PATH/OF/conformance [--without-oddities]

The suite is Go and is built by hand; docs/local-ecr.md says how, and lists its results. NAME=VALUE pairs of its
configuration (`OCI_…`) in the environment win over those below. Prints each kind of failure, and the counts.
`--without-oddities`: PATCH answers as the specification says, to reach the checks after ECR's 201.
"""

import base64
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / folder) for folder in ("layers/core/src", "local", "tests")]

from support.servers.ecr import DEV, serve  # noqa: E402
from tallyman_local.ecr.v2.blobs import BlobRoutes  # noqa: E402

REPOSITORIES = ("conformance/repo1", "conformance/repo2")


def run(binary: str, results: Path) -> None:
    """Run the suite; its report is `junit.xml` in the folder of results."""
    with serve(results / "ecr") as served:
        for name in REPOSITORIES:
            served.create(name=name)
        user, _, password = base64.b64decode(served.token().partition(" ")[2]).decode().partition(":")
        asked = {
            "OCI_REGISTRY": f"localhost:{served.ports[DEV]}",
            "OCI_TLS": "disabled",
            "OCI_REPO1": REPOSITORIES[0],
            "OCI_REPO2": REPOSITORIES[1],
            "OCI_USERNAME": user,
            "OCI_PASSWORD": password,
            "OCI_RESULTS_DIR": str(results),
        }
        subprocess.run([binary], env={**asked, **os.environ}, check=False, capture_output=True)


def report(results: Path) -> None:
    """Print the failures, with equal ones grouped, and the counts."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for case in ElementTree.parse(results / "junit.xml").iter("testcase"):
        verdict = str(case.get("status"))
        counts[verdict] += 1
        if verdict == "failure":
            said = case.findtext("system-out") or ""
            reasons = [line.strip() for line in said.splitlines() if "unexpected status" in line or "mismatch" in line]
            failures[f"{case.get('name')}: {reasons[0] if reasons else said.strip()[:200]}"] += 1
    for failure, count in sorted(failures.items()):
        print(f"{count}  {failure}")
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    BlobRoutes.oddities = "--without-oddities" not in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        run(sys.argv[1], Path(folder))
        report(Path(folder))
