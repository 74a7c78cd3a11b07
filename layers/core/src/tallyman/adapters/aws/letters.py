"""The stack's dead-letter queues: read the letters without removing them, send them again, remove them one by one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from tallyman.adapters.aws.paging import batches
from tallyman.adapters.errors.translate import translated
from tallyman.domain.events.letters import BOXES, UNDELIVERED, Letter, source_of
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput, TallymanError

HIDDEN = 60
"""Seconds for which SQS hides a letter that was read from other readers, unless its visibility is reset before."""


class SqsLetterReader:
    """Reads letters. `url`: the URL of any queue of the stack; the others differ only in the name."""

    PERMISSIONS: tuple[str, ...] = permissions("sqs:ChangeMessageVisibilityBatch", "sqs:ReceiveMessage")

    def __init__(self, client: Any, stack: str, url: str) -> None:
        self._client, self._stack, self._base = client, stack, url.rpartition("/")[0]

    @contextmanager
    def opened(self, queue: str, most: int = 1000) -> Iterator[Iterator[Letter]]:
        """See `LetterReader`. A long poll asks all of SQS's servers, so an answer with nothing new ends the list."""
        url, handles = self._box(queue), dict[str, str]()
        try:
            yield self._each(queue, url, most, handles)
        finally:
            # a failure does no harm: letters that were not removed are visible again within a minute
            with suppress(TallymanError), translated(f"make the letters of the queue {queue} visible again"):
                for batch in batches(handles.values(), 10):
                    entries = [
                        {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for n, handle in enumerate(batch)
                    ]
                    self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)

    def _each(self, queue: str, url: str, most: int, handles: dict[str, str]) -> Iterator[Letter]:
        count = 0
        while count < most:
            with translated(f"read the letters of the queue {queue}"):
                answer = self._client.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=min(10, most - count),
                    VisibilityTimeout=HIDDEN,
                    WaitTimeSeconds=1,
                    MessageSystemAttributeNames=["SentTimestamp", "DeadLetterQueueSourceArn"],
                    MessageAttributeNames=["All"],
                )
            messages = answer.get("Messages", [])
            new = [message for message in messages if message["MessageId"] not in handles]
            handles |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
            if not new:
                return
            count += len(new)
            yield from (_letter(queue, self._stack, message) for message in new)

    def _box(self, queue: str) -> str:
        if queue not in BOXES:
            raise BadInput(f"no queue of the stack with dead letters is named '{queue}': expected {', '.join(BOXES)}")
        return f"{self._base}/{self._stack}-{queue if queue == UNDELIVERED else f'{queue}-dead-letters'}"


class SqsLetters(SqsLetterReader):
    """Reads letters, sends them to their queues again and removes them."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "sqs:ChangeMessageVisibilityBatch", "sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage"
    )

    def send_again(self, letter: Letter) -> None:
        """Send the body alone: the attributes only say why it became a letter."""
        if letter.source is None:
            raise BadInput(f"the letter {letter.id} does not say which queue it came from")
        with translated(f"send a letter to the queue {letter.source} again"):
            self._client.send_message(QueueUrl=f"{self._base}/{self._stack}-{letter.source}", MessageBody=letter.body)

    def remove(self, letter: Letter) -> None:
        """Remove it for good; within `opened`, whose handle it needs."""
        with translated(f"remove a letter from the queue {letter.queue}"):
            self._client.delete_message(QueueUrl=self._box(letter.queue), ReceiptHandle=letter.handle)


def _letter(queue: str, stack: str, message: Mapping[str, Any]) -> Letter:
    system = message.get("Attributes", {})
    given = {name: found.get("StringValue") for name, found in message.get("MessageAttributes", {}).items()}
    arn = system.get("DeadLetterQueueSourceArn") or given.get("TARGET_ARN")
    return Letter(
        id=message["MessageId"],
        queue=queue,
        body=message["Body"],
        sent=datetime.fromtimestamp(int(system.get("SentTimestamp", 0)) / 1000, UTC),
        reason=given.get("Reason") or given.get("ERROR_MESSAGE"),
        error=given.get("Error") or given.get("ERROR_CODE"),
        function=given.get("Function"),
        source=source_of(queue, stack, given.get("Source"), arn, given.get("Function")),
        handle=message["ReceiptHandle"],
    )
