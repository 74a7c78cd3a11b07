"""A local Amazon ECR: the JSON API and the `/v2/` registry over one store on disk, with ECR's messages and oddities.

Where no source says what ECR does, we chose (to be confirmed on a real account):

- every manifest of a push is one PUSH event, children by digest with an empty tag; an unchanged push sends none;
- a manifest with a subject sends "ECR Referrer Action" only, not "ECR Image Action" too;
- a removal is one DELETE event per tag, and one with an empty tag for an image that is gone;
- an expired token gets 403, not 401;
- missing layers and children are `MANIFEST_BLOB_UNKNOWN` with status 400;
- removing the last tag of an image that an index names fails like removing the image;
- refused management calls leave CloudTrail records with `errorCode`;
- replication ends before the answer to the push; a failed one is `AccessDenied` or `ReplicationFailed`;
- a registry policy's denials hold for every action where REGISTRY_POLICY_SCOPE is V2, the default here;
- an id with digest and tag is removed like its tag; a repository's `scanOnPush` counts besides the registry's rules;
- actions of other services in policies are accepted and match nothing;
- a full disk is 507 over `/v2/`, a ServerException over the API.

`docs/local-ecr.md` says which calls it serves and how faithfully.
"""

from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.service import Callbacks, LocalEcr, Options

__all__ = ["Callbacks", "EcrError", "Identity", "LocalEcr", "Options"]
