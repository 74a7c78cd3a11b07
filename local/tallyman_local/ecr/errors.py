"""ECR's errors with ECR's messages: one exception type, and one function for each message.

`code` is the error's name in the service model; `/v2/` translates it with `OCI`. The messages are ECR's own, as quoted
in public issues (containers-roadmap, moby, moto); where no source quotes one, ours says what is wrong.
"""

from collections.abc import Iterable

from tallyman.domain.names import EcrRegistry, Repository


class EcrError(Exception):
    """A refusal: the error's name in the model, its message, and further members of its shape.

    `oci`: the answer of `/v2/` (HTTP status, code), where it differs from the table `OCI`.
    """

    def __init__(self, code: str, message: str, *, oci: tuple[int, str] | None = None, **members: object) -> None:
        super().__init__(message)
        self.code, self.message, self.oci, self.members = code, message, oci, members


#: The answer of `/v2/` for each error of the API: HTTP status and OCI error code.
OCI: dict[str, tuple[int, str]] = {
    "RepositoryNotFoundException": (404, "NAME_UNKNOWN"),
    "ImageNotFoundException": (404, "MANIFEST_UNKNOWN"),
    "LayersNotFoundException": (400, "MANIFEST_BLOB_UNKNOWN"),
    "ReferencedImagesNotFoundException": (400, "MANIFEST_BLOB_UNKNOWN"),
    "ImageTagAlreadyExistsException": (400, "TAG_INVALID"),
    "ImageDigestDoesNotMatchException": (400, "MANIFEST_INVALID"),
    "InvalidParameterException": (400, "MANIFEST_INVALID"),
    "UploadNotFoundException": (404, "BLOB_UPLOAD_UNKNOWN"),
    "InvalidLayerException": (400, "DIGEST_INVALID"),
    "EmptyUploadException": (400, "BLOB_UPLOAD_INVALID"),
    "InvalidLayerPartException": (416, "BLOB_UPLOAD_INVALID"),
    "ImageReferencedByManifestList": (405, "UNSUPPORTED"),
    "AccessDeniedException": (403, "DENIED"),
    "ThrottlingException": (429, "TOOMANYREQUESTS"),
}


def _named(repository: Repository) -> str:
    return f"repository with name '{repository.name}'"


def _registry(repository: Repository) -> str:
    return f"registry with id '{repository.registry.account}'"


def _where(repository: Repository) -> str:
    return f"{_named(repository)} in the {_registry(repository)}"


def invalid(parameter: str, constraint: str) -> EcrError:
    """A parameter outside its constraint."""
    text = f"Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'"
    return EcrError("InvalidParameterException", text)


def not_one_of(parameter: str, choices: Iterable[str]) -> EcrError:
    """A parameter that is none of the choices."""
    return invalid(parameter, f"Member must satisfy enum value set: [{', '.join(choices)}]")


def unsupported_manifest(media_type: object) -> EcrError:
    """A kind of manifest that ECR does not accept: 405 over `/v2/` (containers-roadmap #2783)."""
    text = f"Manifest with media type '{media_type}' is not supported"
    return EcrError("InvalidParameterException", text, oci=(405, "UNSUPPORTED"))


def throttled() -> EcrError:
    """A call beyond a rate; over `/v2/` it is 429 TOOMANYREQUESTS with the same message."""
    return EcrError("ThrottlingException", "Rate exceeded")


def denied(arn: str, action: str, resource: str) -> EcrError:
    """The identity's own policies do not allow the action."""
    text = f"User: {arn} is not authorized to perform: {action} on resource: {resource} "
    return EcrError("AccessDeniedException", text + f"because no identity-based policy allows the {action} action")


def denied_explicitly(arn: str, action: str, resource: str) -> EcrError:
    """The policy of the repository or the registry denies the action."""
    text = f"User: {arn} is not authorized to perform: {action} on resource: {resource} "
    return EcrError("AccessDeniedException", text + "with an explicit deny in a resource-based policy")


def repository_not_found(repository: Repository) -> EcrError:
    """A repository that does not exist, in this or another account."""
    text = f"The {_named(repository)} does not exist in the {_registry(repository)}"
    return EcrError("RepositoryNotFoundException", text)


def repository_exists(repository: Repository) -> EcrError:
    """CreateRepository with a name that exists already."""
    text = f"The {_named(repository)} already exists in the {_registry(repository)}"
    return EcrError("RepositoryAlreadyExistsException", text)


def repository_not_empty(repository: Repository) -> EcrError:
    """DeleteRepository without `force` of a repository with images."""
    text = f"The {_named(repository)} in {_registry(repository)} cannot be deleted because it still contains images"
    return EcrError("RepositoryNotEmptyException", text)


def document_not_found(kind: str, repository: Repository) -> EcrError:
    """A document that the repository does not have. `kind`: "Repository policy", "Lifecycle policy" or "Lifecycle
    policy preview"."""
    name = kind.title().replace(" ", "") + "NotFoundException"
    return EcrError(name, f"{kind} does not exist for the {_where(repository)}")


def not_in_registry(code: str, what: str, registry: EcrRegistry) -> EcrError:
    """A document or rule (`what`) that the registry does not have."""
    return EcrError(code, f"{what} does not exist in the registry with id '{registry.account}'")


def image_id(digest: str | None, tag: str | None) -> str:
    """An image id in the form of ECR's messages."""
    return f"{{imageDigest:'{digest or 'null'}', imageTag:'{tag or 'null'}'}}"


def image_not_found(repository: Repository, digest: str | None, tag: str | None) -> EcrError:
    """An image that does not exist: the API's message; that of `/v2/` is "Requested image not found"."""
    text = f"The image with imageId {image_id(digest, tag)} does not exist within the {_where(repository)}"
    return EcrError("ImageNotFoundException", text)


def scan_not_found(repository: Repository, digest: str | None, tag: str | None) -> EcrError:
    """The image exists and was never scanned."""
    text = f"Image scan does not exist for the image with '{image_id(digest, tag)}' in the {_where(repository)}"
    return EcrError("ScanNotFoundException", text)


def scan_unsupported(media_type: str) -> EcrError:
    """Indexes and artifacts can't be scanned (containers-roadmap #1683)."""
    text = f"An artifact with media type '{media_type}' cannot be scanned. "
    return EcrError("UnsupportedImageTypeException", text + "For more information, see the Amazon ECR documentation.")


def image_exists(repository: Repository, digest: str, tag: str | None) -> EcrError:
    """A PutImage that would change nothing."""
    text = f"Image with digest '{digest}' and tag '{tag or 'null'}' already exists in the "
    return EcrError("ImageAlreadyExistsException", f"{text}{_named(repository)} in {_registry(repository)}")


def tag_immutable(repository: Repository, tag: str) -> EcrError:
    """An immutable tag is pushed again, over `/v2/` even with the same image (containers-roadmap #2380)."""
    text = f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be overwritten "
    return EcrError("ImageTagAlreadyExistsException", text + "because the tag is immutable.")


def missing_for_push(kind: str, digests: list[str], repository: Repository) -> EcrError:
    """A push whose layers or children are missing. `kind`: "Layers" or "Images" (children of an index)."""
    name = "LayersNotFoundException" if kind == "Layers" else "ReferencedImagesNotFoundException"
    text = f"{kind} with digests '[{', '.join(digests)}]' required for pushing image into {_where(repository)}"
    return EcrError(name, f"{text} do not exist")


def layers_not_found(digests: list[str], repository: Repository) -> EcrError:
    """GetDownloadUrlForLayer of a layer that is not in this repository."""
    text = f"Layers with digests '[{', '.join(digests)}]' do not exist in the {_where(repository)}"
    return EcrError("LayersNotFoundException", text)


def digest_mismatch(repository: Repository, digest: str) -> EcrError:
    """The manifest's bytes have another digest than the one in the request."""
    where = f"in repository '{repository.name}' and registry ID '{repository.registry.account}'"
    text = f"The image with digest '{digest}' {where} does not match the image digest that Amazon ECR has calculated."
    return EcrError("ImageDigestDoesNotMatchException", text)


def upload_not_found(repository: Repository, upload: str) -> EcrError:
    """An upload that never began, was completed, or ended with the process."""
    text = f"Upload with id '{upload}' could not be found for the {_where(repository)}"
    return EcrError("UploadNotFoundException", text)


def upload_empty(repository: Repository, upload: str) -> EcrError:
    """An upload of zero bytes, which ECR does not accept."""
    text = f"The upload with id '{upload}' in the {_named(repository)} in {_registry(repository)} "
    return EcrError("EmptyUploadException", text + "cannot be completed because it does not have any parts")


def layer_mismatch(repository: Repository, digests: list[str], calculated: str) -> EcrError:
    """The received bytes have another digest than those in the request that completes the upload."""
    text = f"The layer digest '{calculated}' calculated by Amazon ECR for the layer in the {_where(repository)} "
    text += f"does not match any of the provided digests '[{', '.join(digests)}]'"
    return EcrError("InvalidLayerException", text)


def layer_exists(repository: Repository, digest: str) -> EcrError:
    """CompleteLayerUpload of a layer that the repository has; over `/v2/` it is a success."""
    text = f"The layer with digest '{digest}' already exists in the {_where(repository)}"
    return EcrError("LayerAlreadyExistsException", text)


def part_invalid(repository: Repository, upload: str, first: int, received: int) -> EcrError:
    """A part that does not start where the last one ended. `received`: bytes stored so far."""
    return EcrError(
        "InvalidLayerPartException",
        f"First byte of the layer part is {first} instead of {received}",
        registryId=repository.registry.account,
        repositoryName=repository.name,
        uploadId=upload,
        lastValidByteReceived=max(received - 1, 0),
    )
