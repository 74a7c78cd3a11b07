"""`/v2/_catalog`, and the pages of lists over `/v2/`: at most 1,000 items, and an opaque `Link` to the next page."""

import base64
import json
import re
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr.api.calls import Parts
from tallyman_local.ecr.v2.http import OciError, reply

_PAGE, _MOST = 100, 1000
JSON = "application/json; charset=utf-8"


def page_size(request: Request) -> int:
    """The parameter `n`, by default 100. Raises OciError unless it is 1 to 1,000."""
    count = request.args.get("n", str(_PAGE))
    if re.fullmatch("[0-9]{1,18}", count) and 1 <= int(count) <= _MOST:
        return int(count)
    least = count.isdecimal() and int(count[:19]) < 1
    bound = "greater than or equal to 1" if least else f"less than or equal to {_MOST}"
    text = f"Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value {bound}'"
    raise OciError(405, "UNSUPPORTED", text)  # go-containerregistry #1091


def after(request: Request) -> str:
    """The last item of the page before; empty on the first page. Raises OciError for a `last` that no Link had."""
    try:
        return base64.urlsafe_b64decode(request.args.get("last", "").encode()).decode()
    except ValueError as error:
        raise bad_last() from error


def bad_last() -> OciError:
    """The error for a `last` that no `Link` had."""
    return OciError(405, "UNSUPPORTED", "Invalid parameter at 'last': use the Link of an earlier answer")


def next_page(path: str, last: str, count: int) -> dict[str, str]:
    """The `Link` header to the items after `last`."""
    query = urlencode({"last": base64.urlsafe_b64encode(last.encode()).decode(), "n": count})
    return {"Link": f'<{path}?{query}>; rel="next"'}


def serve_catalog(parts: Parts, registry: EcrRegistry, request: Request) -> Response:
    """The names of the registry's repositories, sorted."""
    count, last = page_size(request), after(request)
    names = [row.name.name for row in parts.store.repositories(registry) if row.name.name > last]
    page = names[:count]
    headers = next_page("/v2/_catalog", page[-1], count) if len(names) > count else {}
    return reply(200, headers, json.dumps({"repositories": page}), JSON)
