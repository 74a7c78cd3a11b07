"""Gate `check: {lambda: …}`: a release needs a ticket that somebody has approved.

A Lambda function without dependencies: handler `ticket.handler`, a timeout of eight seconds. It asks a ticket system
for the tickets with the label `release-<version>` and answers with the first of them. `TICKETS_URL` is the address of
the search; it answers `[{"key": "OPS-42", "url": "https://…", "status": "approved"}, …]`. What fails raises: Tallyman
then waits, and says why.
"""

import json
import os
import urllib.parse
import urllib.request

RESULTS = {"approved": "passed", "rejected": "failed"}


def handler(question, context):
    """`question`: see docs/gates.md, "A function of your own"."""
    version = next((tag for tag in question["tags"] if tag != "latest"), None)
    if version is None:
        return {"result": "waiting", "because": "the image has no tag that names a version"}
    query = urllib.parse.urlencode({"label": f"release-{version}"})
    with urllib.request.urlopen(f"{os.environ['TICKETS_URL']}?{query}", timeout=6) as answer:
        tickets = json.load(answer)
    if not tickets:
        return {"result": "waiting", "because": f"no ticket has the label release-{version}"}
    ticket = tickets[0]
    result = RESULTS.get(ticket["status"], "waiting")
    return {"result": result, "because": f"{ticket['key']} is {ticket['status']}: {ticket['url']}"}
