"""Amazon ECR, local: the JSON API and the `/v2/` registry over one store on disk, with ECR's words and oddities.

Where no source says what ECR does, this was chosen (to confirm on a real account):

- every manifest of a push is one PUSH event, children by digest with an empty tag; an unchanged push is none;
- a manifest with a subject sends "ECR Referrer Action" only, not "ECR Image Action" too;
- a removal is one DELETE event per tag, and one with an empty tag for an image that is gone;
- an expired token is answered 403 (`Options(expired_status=401)` for the other way);
- missing layers and children are `MANIFEST_BLOB_UNKNOWN` with status 400;
- removing the last tag of an image that an index names fails like removing the image;
- refused management calls leave CloudTrail records with `errorCode`;
- replication is done before the push is answered; a failed one is `AccessDenied` or `ReplicationFailed`;
- a registry policy's denials hold for every action where REGISTRY_POLICY_SCOPE is V2, the default here;
- an id with digest and tag is removed like its tag; a repository's `scanOnPush` counts beside the registry's rules;
- actions of other services in policies are taken and match nothing;
- a full disk is 507 over `/v2/`, a ServerException over the API.

`docs/local-ecr.md` says what is served and how true it is.
"""

from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.rules.scanner import Scan, Scanner
from tallyman_local.ecr.service import Callbacks, LocalEcr, Options

__all__ = ["Callbacks", "EcrError", "Identity", "LocalEcr", "Options", "Scan", "Scanner"]
