"""ECR's errors in ECR's words: one exception type, and one function per text.

`code` is the error's name in the service model; `/v2/` translates it with `OCI`. Texts come from ECR's own answers as
quoted in public issues (containers-roadmap, moby, moto); where no source quotes a text, ours names what was wrong.
"""

from tallyman.domain.names import Repository


class EcrError(Exception):
    """A refusal: the model's error name, the sentence, further members of the error's shape.

    `oci` is the answer of `/v2/` (HTTP status, code) where it is not the one that the table `OCI` has for the name.
    """

    status = 400

    def __init__(self, code: str, message: str, *, oci: tuple[int, str] | None = None, **members: object) -> None:
        super().__init__(message)
        self.code, self.message, self.oci, self.members = code, message, oci, members


#: The registry's answer for each error of the API: HTTP status and OCI error code.
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


def _where(repository: Repository) -> str:
    return f"repository with name '{repository.name}' in the registry with id '{repository.registry.account}'"


def invalid(parameter: str, constraint: str) -> EcrError:
    """A parameter outside its constraint."""
    text = f"Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'"
    return EcrError("InvalidParameterException", text)


def unsupported_manifest(media_type: object) -> EcrError:
    """A kind of manifest that ECR does not take: 405 over `/v2/` (containers-roadmap #2783)."""
    text = f"Manifest with media type '{media_type}' is not supported"
    return EcrError("InvalidParameterException", text, oci=(405, "UNSUPPORTED"))


def throttled() -> EcrError:
    """Over a rate; over `/v2/` it is 429 TOOMANYREQUESTS with the same words."""
    return EcrError("ThrottlingException", "Rate exceeded")


def denied(arn: str, action: str, resource: str) -> EcrError:
    """No permission: permanent, no retry helps."""
    return EcrError(
        "AccessDeniedException",
        f"User: {arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action",
    )


def denied_explicitly(arn: str, action: str, resource: str) -> EcrError:
    """The repository's own policy says no."""
    text = f"User: {arn} is not authorized to perform: {action} on resource: {resource} "
    return EcrError("AccessDeniedException", text + "with an explicit deny in a resource-based policy")


def repository_not_found(repository: Repository) -> EcrError:
    """Also for a repository of another account that does not exist."""
    return EcrError(
        "RepositoryNotFoundException",
        f"The repository with name '{repository.name}' does not exist in the registry with id "
        f"'{repository.registry.account}'",
    )


def repository_exists(repository: Repository) -> EcrError:
    """CreateRepository of a name that is taken."""
    return EcrError(
        "RepositoryAlreadyExistsException",
        f"The repository with name '{repository.name}' already exists in the registry with id "
        f"'{repository.registry.account}'",
    )


def repository_not_empty(repository: Repository) -> EcrError:
    """DeleteRepository without `force`."""
    return EcrError(
        "RepositoryNotEmptyException",
        f"The repository with name '{repository.name}' in registry with id '{repository.registry.account}' "
        "cannot be deleted because it still contains images",
    )


def document_not_found(kind: str, repository: Repository) -> EcrError:
    """`kind` is "Repository policy" or "Lifecycle policy"."""
    name = kind.title().replace(" ", "") + "NotFoundException"
    return EcrError(name, f"{kind} does not exist for the {_where(repository)}")


def image_id(digest: str | None, tag: str | None) -> str:
    """An image id as ECR prints it in its sentences."""
    parts = [f"imageDigest:'{digest}'"] if digest else ["imageDigest:'null'"]
    return "{" + ", ".join([*parts, f"imageTag:'{tag}'" if tag else "imageTag:'null'"]) + "}"


def image_not_found(repository: Repository, digest: str | None, tag: str | None) -> EcrError:
    """The API's sentence; `/v2/` says "Requested image not found"."""
    return EcrError(
        "ImageNotFoundException",
        f"The image with imageId {image_id(digest, tag)} does not exist within the {_where(repository)}",
    )


def scan_not_found(repository: Repository, digest: str | None, tag: str | None) -> EcrError:
    """The image is there and was never scanned."""
    return EcrError(
        "ScanNotFoundException",
        f"Image scan does not exist for the image with '{image_id(digest, tag)}' in the {_where(repository)}",
    )


def scan_unsupported(media_type: str) -> EcrError:
    """Indexes and artifacts can't be scanned (containers-roadmap #1683)."""
    return EcrError(
        "UnsupportedImageTypeException",
        f"An artifact with media type '{media_type}' cannot be scanned. For more information, see the Amazon ECR "
        "documentation.",
    )


def image_exists(repository: Repository, digest: str, tag: str | None) -> EcrError:
    """PutImage that would change nothing."""
    return EcrError(
        "ImageAlreadyExistsException",
        f"Image with digest '{digest}' and tag '{tag or 'null'}' already exists in the repository with name "
        f"'{repository.name}' in registry with id '{repository.registry.account}'",
    )


def tag_immutable(repository: Repository, tag: str) -> EcrError:
    """Also when the very same image is pushed again over `/v2/` (containers-roadmap #2380)."""
    return EcrError(
        "ImageTagAlreadyExistsException",
        f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be overwritten "
        "because the tag is immutable.",
    )


def missing_for_push(kind: str, digests: list[str], repository: Repository) -> EcrError:
    """`kind` is "Layers" or "Images" (children of an index)."""
    name = "LayersNotFoundException" if kind == "Layers" else "ReferencedImagesNotFoundException"
    return EcrError(
        name,
        f"{kind} with digests '[{', '.join(digests)}]' required for pushing image into repository with name "
        f"'{repository.name}' in the registry with id '{repository.registry.account}' do not exist",
    )


def layers_not_found(digests: list[str], repository: Repository) -> EcrError:
    """GetDownloadUrlForLayer of a layer that is not in this repository."""
    text = f"Layers with digests '[{', '.join(digests)}]' do not exist in the {_where(repository)}"
    return EcrError("LayersNotFoundException", text)


def digest_mismatch(repository: Repository, digest: str) -> EcrError:
    """The manifest's bytes have another digest than the one asked for."""
    return EcrError(
        "ImageDigestDoesNotMatchException",
        f"The image with digest '{digest}' in repository '{repository.name}' and registry ID "
        f"'{repository.registry.account}' does not match the image digest that Amazon ECR has calculated.",
    )


def upload_not_found(repository: Repository, upload: str) -> EcrError:
    """An upload that never was, was completed, or died with the process."""
    return EcrError(
        "UploadNotFoundException", f"Upload with id '{upload}' could not be found for the {_where(repository)}"
    )


def upload_empty(repository: Repository, upload: str) -> EcrError:
    """ECR takes no layer of zero bytes."""
    return EcrError(
        "EmptyUploadException",
        f"The upload with id '{upload}' in the repository with name '{repository.name}' in registry with id "
        f"'{repository.registry.account}' cannot be completed because it does not have any parts",
    )


def layer_mismatch(repository: Repository, digests: list[str], calculated: str) -> EcrError:
    """The bytes received have another digest than the one given at completion."""
    listed = ", ".join(digests)
    return EcrError(
        "InvalidLayerException",
        f"The layer digest '{calculated}' calculated by Amazon ECR for the layer in the {_where(repository)} does not "
        f"match any of the provided digests '[{listed}]'",
    )


def layer_exists(repository: Repository, digest: str) -> EcrError:
    """CompleteLayerUpload of a layer that the repository has; over `/v2/` it is a success."""
    text = f"The layer with digest '{digest}' already exists in the {_where(repository)}"
    return EcrError("LayerAlreadyExistsException", text)


def part_invalid(repository: Repository, upload: str, first: int, received: int) -> EcrError:
    """A part that does not start where the last one ended. `received` is the number of bytes stored so far."""
    return EcrError(
        "InvalidLayerPartException",
        f"First byte of the layer part is {first} instead of {received}",
        registryId=repository.registry.account,
        repositoryName=repository.name,
        uploadId=upload,
        lastValidByteReceived=max(received - 1, 0),
    )
