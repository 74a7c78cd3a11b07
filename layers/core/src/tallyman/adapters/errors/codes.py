"""The kind of error for each error code of the AWS calls that Tallyman makes; in each kind sorted by name."""

from tallyman.errors import (
    BadInput,
    DigestMismatch,
    NotAllowed,
    NotFound,
    Refused,
    RevisionConflict,
    TagTaken,
    TallymanError,
    Throttled,
    TransientError,
    Unreachable,
    Unsupported,
)

_BY_KIND: dict[type[TallymanError], str] = {
    # too many requests
    Throttled: """
        BandwidthLimitExceeded EC2ThrottledException KMS.ThrottlingException KmsThrottled KMSThrottling
        KMSThrottlingException OverLimit PriorRequestNotComplete ProvisionedThroughputExceededException
        RequestLimitExceeded RequestThrottled RequestThrottledException SlowDown ThrottledException Throttling
        ThrottlingException TooManyRequestsException
    """,
    # no permission
    NotAllowed: """
        AccessDenied AccessDeniedException AuthorizationError AuthorizationErrorException InvalidAccessKeyId
        InvalidClientTokenId InvalidSecurity InvalidSecurityException KMS.AccessDeniedException KMS.OptInRequired
        KmsAccessDenied KMSAccessDenied KMSAccessDeniedException KmsException KMSOptInRequired KmsOptInRequired
        LayerInaccessibleException MissingAuthenticationToken NotAuthorizedForSourceException OptInRequired
        RegionDisabledException SignatureDoesNotMatch UnauthorizedOperation UnrecognizedClientException
    """,
    # expired credentials (the next session has new ones), an upload that begins again, a failure of the service
    Unreachable: """
        DependencyTimeoutException EFSIOException ExpiredToken ExpiredTokenException InternalError
        InternalErrorException InternalException InternalFailure InternalServerError InternalServerException
        InternalServiceErrorException InvalidLayerPartException KeyUnavailableException KMSInternalException
        RequestExpired RequestTimeout RequestTimeoutException RequestTimeTooSkewed ServerException ServiceException
        ServiceFailure ServiceFailureException ServiceUnavailable ServiceUnavailableException
        UnableToGetUpstreamImageException UnableToGetUpstreamLayerException UnableToListUpstreamImageReferrersException
        UploadNotFoundException
    """,
    # not there
    NotFound: """
        404 AWS.SimpleQueueService.NonExistentQueue ClusterNotFoundException CodeSigningConfigNotFoundException
        ImageNotFoundException KMSNotFound KmsNotFound KMSNotFoundException LayersNotFoundException
        LifecyclePolicyNotFoundException NamespaceNotFoundException NoSuchBucket NoSuchEntity NoSuchEntityException
        NoSuchKey NoSuchResourceException NotFound NotFoundException QueueDoesNotExist RegistryPolicyNotFoundException
        RepositoryNotFoundException RepositoryPolicyNotFoundException ResourceNotFoundException ScanNotFoundException
        ServiceNotFoundException TrailNotFoundException
    """,
    TagTaken: "ImageTagAlreadyExistsException",
    DigestMismatch: "ImageDigestDoesNotMatchException InvalidLayerException",
    Unsupported: """
        EmptyUploadException ImageStorageClassUpdateNotSupportedException InvalidAction ModeNotSupportedException
        UnknownOperationException UnsupportedCommandException UnsupportedFeatureException UnsupportedImageTypeException
        UnsupportedOperation UnsupportedOperationException
    """,
    # refusals of each service
    Refused: """
        ClientException CodeArtifactUserDeletedException CodeArtifactUserFailedException CodeStorageExceededException
        CodeVerificationFailedException DisabledException DryRunOperationException
        DurableExecutionAlreadyStartedException EndpointDisabled EndpointDisabledException
        FunctionVersionsPerCapacityProviderLimitExceededException ImageAlreadyExistsException ImageArchivedException
        InvalidCodeSignatureException InvalidGrantTokenException InvalidKeyUsageException KmsDisabled KMSDisabled
        KMSDisabledException KmsInvalidKeyUsage KmsInvalidState KMSInvalidState KMSInvalidStateException
        LayerAlreadyExistsException LimitExceededException NoManagementAccountSLRExistsException
        NoPublishedVersionException OperationNotPermittedException PlatformApplicationDisabled
        PlatformApplicationDisabledException PlatformTaskDefinitionIncompatibilityException PlatformUnknownException
        RecursiveInvocationException RepositoryAlreadyExistsException RuntimeAliasDeletedException
        RuntimeVersionDeletedException ServiceNotActiveException ServiceQuotaExceededException SnapStartException
        SnapStartRegenerationFailureException
    """,
    # the request is invalid
    BadInput: """
        BatchEntryIdsNotDistinct CloudTrailARNInvalidException EmptyBatchRequest EntityTooLarge
        IdempotentParameterMismatchException IllegalArgumentException InvalidAddress InvalidArnException
        InvalidAttributeName InvalidBatchEntryId InvalidEventCategoryException InvalidIdFormat
        InvalidLookupAttributesException InvalidMaxResultsException InvalidMessageContents InvalidNextTokenException
        InvalidPaginationTokenException InvalidParameter InvalidParameterException InvalidParameterValue
        InvalidParameterValueException InvalidRequestContentException InvalidTagParameterException
        InvalidTimeRangeException InvalidTrailNameException ItemCollectionSizeLimitExceededException
        LayerPartTooSmallException MalformedPolicyDocument MalformedPolicyDocumentException MessageNotInflight
        PackedPolicyTooLarge PackedPolicyTooLargeException ParameterValueInvalid ReceiptHandleIsInvalid
        RequestTooLargeException SerializationException SerializedRequestEntityTooLargeException
        TooManyEntriesInBatchRequest TooManyTagsException UnsupportedMediaTypeException ValidationError
        ValidationException
    """,
    # something is under way there: Lambda updates the function, S3 changes the object, children are staged again
    TransientError: """
        CodeArtifactUserPendingException OperationAborted ReferencedImagesNotFoundException ResourceConflictException
        SnapStartNotReadyException
    """,
    # another writer was faster
    RevisionConflict: """
        ConditionalCheckFailedException ConditionalRequestConflict PreconditionFailed PreconditionFailedException
        ReplicatedWriteConflictException TransactionConflictException TransactionInProgressException
    """,
}

CODES = {code: kind for kind, codes in _BY_KIND.items() for code in codes.split()}
"""The kind of error by code. A code that is not here is translated by its HTTP status."""

_BUSY = {"ClientException": "Too many concurrent attempts"}
"""The first words of a message by which a code of permanent failures means a transient one. ECS: several callers
register a revision of one task definition. Source: issues of Terraform's AWS provider (9777) and Dagster (11192); AWS
documents the code only."""


def kind_of_code(code: str, message: str) -> type[TallymanError] | None:
    """The kind of an error by its code and, where AWS gives one code to different failures, by its message; None: the
    code is not known."""
    return Throttled if code in _BUSY and message.startswith(_BUSY[code]) else CODES.get(code)
