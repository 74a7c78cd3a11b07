"""The names of Lambda's API calls and their resources, by method and path.

Lambda's API is REST: the name of the operation, which IAM checks, is not in the request.
"""

import json
import re
from urllib.parse import parse_qs, unquote

from tallyman_local.server.http import Environ

_FUNCTION = r"/[^/]+/functions/(?P<name>[^/]+)"
_CALLS = [
    (re.compile(pattern), names)
    for pattern, names in (
        (r"/[^/]+/account-settings/?", {"GET": "GetAccountSettings"}),
        (r"/[^/]+/functions/?", {"GET": "ListFunctions", "POST": "CreateFunction"}),
        (_FUNCTION + r"/?", {"GET": "GetFunction", "DELETE": "DeleteFunction"}),
        (
            _FUNCTION + r"/configuration/?",
            {"GET": "GetFunctionConfiguration", "PUT": "UpdateFunctionConfiguration"},
        ),
        (_FUNCTION + r"/code/?", {"PUT": "UpdateFunctionCode"}),
        (_FUNCTION + r"/invocations/?", {"POST": "InvokeFunction"}),
        (_FUNCTION + r"/versions/?", {"GET": "ListVersionsByFunction", "POST": "PublishVersion"}),
        (_FUNCTION + r"/aliases/?", {"GET": "ListAliases", "POST": "CreateAlias"}),
        (_FUNCTION + r"/aliases/[^/]+/?", {"GET": "GetAlias", "PUT": "UpdateAlias", "DELETE": "DeleteAlias"}),
        (_FUNCTION + r"/policy/?", {"GET": "GetPolicy", "POST": "AddPermission"}),
        (_FUNCTION + r"/policy/[^/]+/?", {"DELETE": "RemovePermission"}),
    )
]
_ON_ALL = {"GetAccountSettings", "ListFunctions"}


def named(environ: Environ, body: bytes, account: str, region: str) -> tuple[str, str]:
    """The IAM action of a call and its resource. For a call that is not listed here, the action is its method and path:
    no policy allows that, so no role that is held to its policies may make the call."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    for pattern, names in _CALLS:
        if (found := pattern.fullmatch(path)) and method in names:
            operation = names[method]
            if operation in _ON_ALL:
                return f"lambda:{operation}", "*"
            name = found.groupdict().get("name") or json.loads(body or b"{}").get("FunctionName", "*")
            qualifier = parse_qs(environ["QUERY_STRING"]).get("Qualifier", [""])[0]
            return f"lambda:{operation}", _arn(unquote(name), qualifier, account, region)
    return f"lambda:{method} {path}", "*"


def _arn(name: str, qualifier: str, account: str, region: str) -> str:
    arn = name if name.startswith("arn:") else f"arn:aws:lambda:{region}:{account}:function:{name}"
    return f"{arn}:{qualifier}" if qualifier else arn
