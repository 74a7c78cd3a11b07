"""Gate `check: {lambda: …}`: a release needs an approved ticket.

A Lambda function without dependencies: handler `ticket.handler`, a timeout of eight seconds. It searches a ticket
system for tickets with the label `release-<version>` and uses the first of them. `TICKETS_URL` is the address of the
search, which returns `[{"key": "OPS-42", "url": "https://…", "status": "approved"}, …]`. On a failure the function
raises; Tallyman then waits and shows the reason.
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
